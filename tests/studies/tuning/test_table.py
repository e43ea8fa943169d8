"""The table, the journal and the flags of the best trial: what is sorted, shown, dropped and written."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rllib_moe.training.command_line import parse

from rllib_moe.config import EnvironmentConfig, ExperimentConfig, ModelConfig, RunConfig, TrainingConfig
from rllib_moe.phases import PhaseSchedule
from rllib_moe.studies.tuning.journal import RESULTS, append_line, read_results
from rllib_moe.studies.tuning.outcome import train_flags, write_outcome
from rllib_moe.studies.tuning.plot import plot_trials
from rllib_moe.studies.tuning.records import FAILED, FINISHED, STOPPED, UNFINISHED, TrialRecord
from rllib_moe.studies.tuning.request import SearchConfig, SearchRequest
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.table import TrialTable
from rllib_moe.studies.tuning.trial import CHECKPOINT


def record(number: int, state: str = FINISHED, score: float = 1.0, **fields: Any) -> TrialRecord:
    whole = {
        "metric": score,
        "alpha_entropy": 1.0,
        "mutual_information": 0.25,
        "min_expert_share": 0.125,
        "episodes": 48,
        "phase": "fine-tune",
        "values": {"*.entropy_coef": 0.0123456},
        "clones": 0,
        "error": "",
        "path": "",
        "settings": {},
    }
    return TrialRecord(number=number, state=state, score=score, **whole | fields)


def test_whole_trials_come_first_then_the_higher_score() -> None:
    records = [
        record(0, FAILED, math.nan),
        record(1, STOPPED, 9.0),
        record(2, FINISHED, math.nan),
        record(3, FINISHED, 2.0),
        record(4, UNFINISHED, 8.0),
        record(5, FINISHED, 3.0),
        record(6, FINISHED, 2.0),
    ]
    assert [each.number for each in sorted(records, key=TrialRecord.rank)] == [5, 3, 6, 2, 1, 4, 0]


def test_the_table_shows_measures_values_states_and_why_a_trial_failed() -> None:
    stream = io.StringIO()
    error = "SettingsError: transition.start: must come after [warmup]'s start"
    records = [
        record(3, score=12.345678, clones=2),
        record(1, STOPPED, 2.0),
        record(0, FAILED, math.nan, error=error, values={"*.entropy_coef": [0.5, 0.1]}),
    ]
    Console(file=stream, width=160).print(TrialTable(records, "score"))
    shown = stream.getvalue()
    for text in ("12.35", "0.25", "finished, copied 2x", "*.entropy_coef", "0.01235", "[0.5, 0.1]"):
        assert text in shown
    assert "1 finished, 1 stopped early, 1 failed" in shown
    assert f"trial 0 failed: {error}" in shown


def test_plain_records_are_json_without_nan() -> None:
    plain = record(0, FAILED, math.nan).to_dict()
    assert (plain["score"], plain["metric"], plain["mutual_information"]) == (None, None, 0.25)
    json.dumps(plain, allow_nan=False)


def test_iterations_played_again_replace_those_of_before(tmp_path: Path) -> None:
    for number, tag in [(1, "a"), (2, "a"), (3, "a"), (2, "b"), (3, "b")]:
        append_line(tmp_path / RESULTS, {"training_iteration": number, "tag": tag})
    with (tmp_path / RESULTS).open("a") as stream:
        stream.write('{"training_iteration": 4, "ta')  # cut off
    kept = [(result["training_iteration"], result["tag"]) for result in read_results(tmp_path)]
    assert kept == [(1, "a"), (2, "b"), (3, "b")]
    assert read_results(tmp_path / "none") == []


def test_a_line_that_was_cut_off_takes_no_other_along(tmp_path: Path) -> None:
    file = tmp_path / RESULTS
    append_line(file, {"training_iteration": 1})
    file.write_text(file.read_text() + '{"training_iter')
    append_line(file, {"training_iteration": 2})
    append_line(file, {"training_iteration": 3})
    assert [result["training_iteration"] for result in read_results(tmp_path)] == [1, 2, 3]


def test_the_best_trials_checkpoint_is_its_newest_whoever_made_it(tmp_path: Path) -> None:
    """A clone (PBT) begins from a copy of another trial's; and nothing of an earlier best trial stays."""
    schedule = PhaseSchedule.load("default")
    config = ExperimentConfig(environment=EnvironmentConfig(env="regimes"))
    space = SearchSpace.from_dict({"parameters": {"gamma": {"choice": [0.9, 0.99]}}}, config, schedule)
    request = SearchRequest(SearchConfig(exp_name="mine"), space, (), 0, is_resumed=False)
    trial = tmp_path / "trial_0"
    for place in (tmp_path / "donor", trial / "checkpoint_000001"):
        (place / CHECKPOINT).mkdir(parents=True)
        (place / CHECKPOINT / "whose").write_text(place.name)
        time.sleep(0.01)
    shutil.copytree(tmp_path / "donor", trial / "cloned_checkpoint_000000")  # with the donor's earlier mtime
    best = record(0, FINISHED, 3.0, path=str(trial), settings={"gamma": 0.9})
    paths = write_outcome([best], request, tmp_path)
    assert (Path(paths["checkpoint"]) / "whose").read_text() == "donor"
    other = record(1, FINISHED, 4.0, path=str(tmp_path / "trial_1"), settings={"gamma": 0.9})
    assert "checkpoint" not in write_outcome([other], request, tmp_path)
    assert not Path(paths["checkpoint"]).exists()


def test_the_flags_of_a_configuration_are_read_back_by_train(tmp_path: Path) -> None:
    schedule = PhaseSchedule.load("default").with_overrides(
        {"*.entropy_coef": 1e-7, "transition.temperature": [1, 0.3]}
    )
    schedule.save(tmp_path / "best schedule.yaml")
    config = ExperimentConfig(
        environment=EnvironmentConfig(
            env="regimes",
            max_steps=16,
            env_args={"num_cues": 4, "switch_probability": 1e-5, "flag": True, "name": "x y"},
        ),
        training=TrainingConfig(num_workers=0, gamma=0.0, batch_size=2048, num_gpus=0.25, seed=3, mixed_precision=True),
        model=ModelConfig(num_experts=8, hidden_size=32),
        run=RunConfig(episodes=700),
    )
    request = parse(train_flags(config, tmp_path / "best schedule.yaml", "best"), "")
    assert request.config == dataclasses.replace(config, run=dataclasses.replace(config.run, exp_name="best"))
    assert request.schedule == schedule


@pytest.mark.parametrize("count", [1, 14])
def test_the_plot_takes_trials_without_results(count: int, tmp_path: Path) -> None:
    records = [record(number, path=str(tmp_path / f"{number}")) for number in range(count)]
    for number in range(0, count, 2):
        moe = {"moe/alpha_entropy": 1.0, "moe/mutual_information": math.nan}
        result = {"training_iteration": 1, "score": number, "episodes_total": 8, "moe": moe}
        append_line(tmp_path / f"{number}" / RESULTS, result)
    plot_trials(records, (4, 100), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
