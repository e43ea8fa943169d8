"""The curriculum works unchanged inside Tune trials, each with coefficients of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ray import tune

from rllib_moe.algorithms.ppo import MoEPPO, MoEPPOConfig


def test_every_trial_follows_its_own_schedule(small_config: Callable[..., MoEPPOConfig], tmp_path: Path) -> None:
    space = small_config(num_workers=0).to_dict()
    space["schedule"]["phases"][2]["load_balance_coef"] = tune.grid_search([0.0, 0.5])
    results = tune.Tuner(
        MoEPPO,
        param_space=space,
        run_config=tune.RunConfig(stop={"training_iteration": 5}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    # 8 episodes an iteration, boundaries 16 and 32: the fifth is played in fine-tune.
    seen = sorted(
        (row["phase/load_balance_coef"], row["phase/name"], row["phase/learning_rate"], row["run/episodes_total"])
        for row in (result.metrics["moe"] for result in results)
    )
    assert seen == [(0.0, "fine-tune", 1e-5, 40), (0.5, "fine-tune", 1e-5, 40)]
