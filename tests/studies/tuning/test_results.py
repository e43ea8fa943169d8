"""The table and the best trial: what is sorted, shown, dropped and written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_moe.experiment import Experiment
from rllib_moe.studies.tuning.results import (
    FAILED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    best_first,
    trial_table,
    write_outcome,
)
from rllib_moe.studies.tuning.search_space import SearchSpace


def record(number: int, state: str = FINISHED, score: float | None = 1.0, **fields: Any) -> dict[str, Any]:
    some = {"alpha_entropy": 1.0, "mutual_information": 0.25, "min_expert_share": 0.125, "episodes": 48, "path": ""}
    others = {"values": {"*.entropy_coef": 0.0123456}, "clones": [], "error": None, "checkpoint": None}
    return {"number": number, "state": state, "score": score, **some, **others, **fields}


def test_whole_trials_come_first_then_the_higher_score() -> None:
    records = [
        record(0, FAILED, None),
        record(1, STOPPED, 9.0),
        record(2, FINISHED, None),
        record(3, FINISHED, 2.0),
        record(4, UNFINISHED, 8.0),
        record(5, FINISHED, 3.0),
        record(6, FINISHED, 2.0),
    ]
    assert [each["number"] for each in best_first(records, "score")] == [5, 3, 6, 2, 1, 4, 0]


def test_the_table_shows_measures_values_states_and_why_a_trial_failed() -> None:
    stream = io.StringIO()
    error = "ConfigError: transition.start: must come after [warmup]'s start"
    records = [
        record(3, score=12.345678, clones=[{}, {}]),
        record(1, STOPPED, 2.0),
        record(0, FAILED, None, error=error, values={"*.entropy_coef": [0.5, 0.1]}),
    ]
    Console(file=stream, width=160, markup=False).print(trial_table(records, "score"))
    shown = stream.getvalue()
    for text in ("12.35", "0.25", "12%", "finished, copied 2x", "*.entropy_coef", "0.01235", "[0.5, 0.1]"):
        assert text in shown
    assert "1 finished, 1 stopped early, 1 failed" in shown
    assert f"trial 0 failed: {error}" in shown


def test_the_best_trial_is_an_experiment_to_train_and_its_checkpoint_nobody_elses(tmp_path: Path) -> None:
    base = Experiment().with_overrides({"env": "regimes", "env_args.num_cues": 4, "exp_name": "mine"})
    parameters = {"*.entropy_coef": {"loguniform": [1e-8, 1e-3]}, "gamma": 0.9}
    space = SearchSpace.from_dict({"parameters": parameters}, base, {"num_experts": 3})
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "whose").write_text("0")
    best = record(0, values={"*.entropy_coef": 1e-7}, checkpoint=str(tmp_path / "trial"))
    paths = write_outcome([best], space, tmp_path)
    changes = {"*.entropy_coef": 1e-7, "gamma": 0.9, "num_experts": 3, "exp_name": "mine-best"}
    assert Experiment.load(paths["config"]) == base.with_overrides(changes)
    assert Path(paths["config"]).read_text().startswith(f"# rllib-moe train --config {paths['config']}\n")
    assert (Path(paths["checkpoint"]) / "whose").read_text() == "0"
    assert "checkpoint" not in write_outcome([record(1, values={"*.entropy_coef": 1e-6})], space, tmp_path)
    assert not Path(paths["checkpoint"]).exists(), "that of an earlier best trial"
    assert "config" not in write_outcome([record(2, FAILED), record(3, FAILED)], space, tmp_path)
