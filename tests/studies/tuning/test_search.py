"""Real searches: what they leave, ASHA, PBT across a phase boundary, and going on after the driver was killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_moe import metrics as m
from rllib_moe.experiment import Experiment
from rllib_moe.studies.tuning.progress import SearchProgress
from rllib_moe.studies.tuning.trial import MOE
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.validation import ConfigError
from scripts.tune import main

Search = Callable[..., dict[str, Any]]
LOAD_BALANCE = m.PHASE_VALUES["load_balance_coef"].key
PATIENCE = 600
"""Seconds until a test gives up waiting, many times what is needed."""


Rows = defaultdict[str, list[m.Row]]


@pytest.fixture
def search_flags(small_flags: tuple[str, ...], tmp_path: Path) -> Callable[..., list[str]]:
    """Make the command line of a small search from its parameters: 8 episodes an iteration, phases at 16 and 32."""

    def make(parameters: dict[str, Any], *flags: str) -> list[str]:
        (tmp_path / "space.yaml").write_text(yaml.safe_dump({"parameters": parameters}))
        place = ["--output-dir", str(tmp_path / "tune"), "--exp-name", "mine", "--space", str(tmp_path / "space.yaml")]
        return [*small_flags, *place, "--cpus-per-trial", "0.5", *flags]

    return make


@pytest.fixture
def search(ray_session: None, search_flags: Callable[..., list[str]]) -> Search:
    """Run a search in this process."""
    del ray_session
    return lambda *words: main(search_flags(*words))


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """The rows of measures that trials report, by the trial's name, in the order in which they come."""
    told = Rows(list)
    show = SearchProgress.on_trial_result

    def note(self: SearchProgress, *args: Any, **info: Any) -> None:
        told[str(info["trial"])].append(info["result"][MOE])
        show(self, *args, **info)

    monkeypatch.setattr(SearchProgress, "on_trial_result", note)
    return told


def test_a_search_leaves_a_table_curves_and_the_best_ready_to_train(
    search: Search, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"*.load_balance_coef": {"grid": [0.0, 0.5]}, "num_experts": 3, "gamma": 0.9}
    outcome = search(parameters, "--search", "grid", "--episodes", "48")
    shown = capsys.readouterr().out
    directory = tmp_path / "tune" / "mine"
    assert [trial["state"] for trial in outcome["trials"]] == ["finished", "finished"]
    assert {trial["values"]["*.load_balance_coef"] for trial in outcome["trials"]} == {0.0, 0.5}
    assert outcome["trials"][0]["score"] >= outcome["trials"][1]["score"]
    assert json.loads((directory / "trials.json").read_text()) == outcome["trials"]
    with (directory / "trials.csv").open() as stream:
        assert [int(row["number"]) for row in csv.DictReader(stream)] == [each["number"] for each in outcome["trials"]]
    assert list(directory.glob("trial_00000/events.out.tfevents.*"))
    for text in ("Trials by score", "2 finished", *outcome["paths"].values()):
        assert text in shown

    # The curriculum, from the callback alone: phases at 16 and 32, each trial under its own coefficients.
    for told in (rows["trial_00000"], rows["trial_00001"]):
        assert [row[m.EPISODES_TOTAL.key] for row in told] == [8, 16, 24, 32, 40, 48]
        assert [row[m.PHASE.key] for row in told] == [*["warmup"] * 2, *["transition"] * 2, *["fine-tune"] * 2]
        assert len({row[LOAD_BALANCE] for row in told}) == 1

    best = outcome["trials"][0]["values"]["*.load_balance_coef"]
    experiment, saved = Experiment.load(outcome["paths"]["config"]), load_checkpoint(outcome["paths"]["checkpoint"])
    assert experiment == saved.experiment.with_overrides({"exp_name": "mine-best"})
    assert experiment.schedule.boundaries == (16, 32)
    assert {experiment.schedule.at(episode).load_balance_coef for episode in (0, 16, 32)} == {best}
    assert (experiment.model.num_experts, experiment.training.gamma) == (3, 0.9)
    assert (experiment.run.episodes, saved.episodes) == (48, 48)

    with pytest.raises(ConfigError, match="is not empty; choose another name"):
        search(parameters, "--search", "grid", "--episodes", "48")


@pytest.mark.slow
def test_asha_stops_the_weak_also_when_a_search_goes_on(search: Search, rows: Rows, tmp_path: Path) -> None:
    """The second trial is interrupted before the rung at 16 episodes, where it is weaker than the first one was.

    Of 16 steps, chance gets 8 among 2 regimes and 2.3 among 7.
    """
    flags = ("--search", "grid", "--scheduler", "asha", "--grace-episodes", "16")

    def first_row() -> list[m.Row]:
        if len(rows) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return []

    rows.default_factory = first_row
    parameters = {"env_args.num_regimes": {"grid": [2, 7]}, "env_args.num_cues": 2}
    interrupted = search(parameters, *flags, "--episodes", "32", "--max-concurrent", "1")
    assert interrupted["stopped_by"] == "SIGINT"
    assert {trial["number"]: trial["state"] for trial in interrupted["trials"]} == {0: "finished", 1: "unfinished"}
    outcome = main(["--resume", str(tmp_path / "tune" / "mine")])
    ends = {trial["number"]: (trial["state"], trial["episodes"]) for trial in outcome["trials"]}
    assert ends == {0: ("finished", 32), 1: ("stopped early", 16)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param((), id="random"),
        pytest.param(("--scheduler", "pbt"), id="pbt"),
        # The last trial is proposed by the search that was resumed.
        pytest.param(("--search", "optuna", "--max-concurrent", "2"), id="optuna"),
    ],
)
def test_a_search_goes_on_after_its_driver_ended(
    number: signal.Signals,
    kind: tuple[str, ...],
    search_flags: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The driver is stopped or killed half-way, Ray with it; `--resume` ends with every trial whole, none twice."""
    flags = search_flags(
        {"*.load_balance_coef": {"uniform": [0.01, 0.5]}},
        *("--trials", "3", "--episodes", "240", "--checkpoint-every", "16", *kind),
    )
    directory = tmp_path / "tune" / "mine"
    with (tmp_path / "output").open("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "scripts/tune.py", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[3],
        )
        deadline = time.monotonic() + PATIENCE
        while not list(directory.glob("trial_*/checkpoint_000002")):
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        time.sleep(3)
        process.send_signal(number)
        process.wait(timeout=PATIENCE)
    told = (tmp_path / "output").read_text()
    if number == signal.SIGINT:
        assert process.returncode == 128 + number, told
        assert f"To go on: python scripts/tune.py --resume {directory}" in told

    outcome = main(["--resume", str(directory)])

    assert [trial["state"] for trial in outcome["trials"]] == ["finished"] * 3
    for trial in outcome["trials"]:
        saved = load_checkpoint(trial["checkpoint"])
        assert (saved.episodes, saved.iteration) == (240, 30), "8 episodes an iteration, none twice"
    went_on = [int(number) for number in re.findall(r"goes on from episode (\d+)", capsys.readouterr().out)]
    print(number.name, *kind, "went on from:", went_on)
    assert max(went_on) >= 16
    coefficients = {trial["values"]["*.load_balance_coef"] for trial in outcome["trials"]}
    assert len(coefficients) == 3 or any(trial["clones"] for trial in outcome["trials"])  # copies may share a step
