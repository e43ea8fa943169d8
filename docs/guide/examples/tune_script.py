"""Ray Tune with the curriculum inside one's own script: two trials on `regimes`, each with a schedule of its own.

How to run:
    python docs/guide/examples/tune_script.py

Results to expect: in about a minute, a line for each trial with the phase and the load balance coefficient of its last
iteration.
"""

from __future__ import annotations

import sys
from typing import Any

from ray import tune

from rllib_moe.algorithms.build import algorithm_config
from rllib_moe.algorithms.ppo import MoEPPO
from rllib_moe.experiment import Experiment

EXPERIMENT = Experiment().with_overrides(
    {
        **{"env": "regimes", "max_steps": 16, "phase_boundaries": [16, 32], "transition.temperature": [1.0, 0.6]},
        **{"num_workers": 0, "num_envs_per_worker": 4, "batch_size": 128, "minibatch_size": 64, "hidden_size": 16},
    }
)


def main(storage: str | None = None) -> list[dict[str, Any]]:
    """Run the trials and return the row of measures of each one's last iteration.

    Args:
        storage: Directory of Tune's results; None is Tune's own choice.
    """
    config = algorithm_config(EXPERIMENT).training(gamma=tune.uniform(0.0, 0.9))  # any option of RLlib
    config.schedule["phases"][2]["load_balance_coef"] = tune.grid_search([0.0, 0.5])  # and any value of a phase
    results = tune.Tuner(
        MoEPPO,
        param_space=config,
        tune_config=tune.TuneConfig(metric="moe/score/mean", mode="max"),
        run_config=tune.RunConfig(stop={"episodes_total": 40}, storage_path=storage, verbose=0),
    ).fit()
    return [(result.metrics or {})["moe"] for result in results]


if __name__ == "__main__":
    for row in main(*sys.argv[1:]):
        print(f"{row['phase/name']}  load balance {row['phase/load_balance_coef']}  score {row['score/mean']:.1f}")
