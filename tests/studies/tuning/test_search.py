"""Real searches: what they leave, ASHA, PBT across a phase boundary, and going on after the driver was killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
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
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MOE
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.validation.errors import ConfigError
from scripts.tune import main
from tests.program import Program

Search = Callable[..., dict[str, Any]]
LOAD_BALANCE = m.PHASE_VALUES["load_balance_coef"].key
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


def test_phases_that_ask_what_the_environment_does_not_take_are_refused(search: Search, tmp_path: Path) -> None:
    parameters = {"transition.env.max_steps.to": {"grid": [20, 0]}, "transition.env.max_steps.from": 8}
    with pytest.raises(ConfigError, match=r"transition.env.max_steps: expected a whole number, 1 or more, got 0"):
        search(parameters, "--search", "grid", "--episodes", "48")
    assert not (tmp_path / "tune").exists()


def test_networks_that_do_not_fit_the_environment_are_refused(search: Search, tmp_path: Path) -> None:
    for experts in ([4, 9], [9, 4]):
        parameters = {"num_experts": {"grid": experts}, "router": {"grid": ["roles", "learned"]}}
        with pytest.raises(ConfigError, match=r"router: needs a role for each of num_experts=9"):
            search(parameters, "--search", "grid", "--episodes", "48")
    assert not (tmp_path / "tune").exists()


@pytest.mark.slow
def test_optuna_proposes_in_view_of_what_trials_scored(search: Search) -> None:
    """By chance, 16 steps earn 16 / R among R regimes: 8 with 2 of them, 2.3 with 7. Trials 0 to 3 are drawn evenly."""
    outcome = search(
        {
            "env_args.num_regimes": {"randint": [2, 7]},
            "*.load_balance_coef": {"loguniform": [0.001, 0.1]},
            "env_args.num_cues": 2,
        },
        *("--search", "optuna", "--trials", "12", "--episodes", "24", "--max-concurrent", "1"),
    )
    trials = sorted(outcome["trials"], key=lambda trial: trial["number"])
    proposed = [trial["values"]["env_args.num_regimes"] for trial in trials]
    print("regimes proposed:", proposed, "score:", [round(trial["score"], 1) for trial in trials])
    assert [trial["state"] for trial in trials] == ["finished"] * 12
    assert all(type(number) is int and 2 <= number <= 7 for number in proposed)
    coefficients = {trial["values"]["*.load_balance_coef"] for trial in trials}
    assert len(coefficients) == 12
    assert 0.001 <= min(coefficients) < max(coefficients) <= 0.1
    assert proposed[4:].count(2) >= 3  # of 8; evenly drawn, a sixth of them
    best = outcome["trials"][0]
    assert best["score"] == max(trial["score"] for trial in trials)
    experiment = Experiment.load(outcome["paths"]["config"])
    assert experiment.environment.env_args == {"num_cues": 2, "num_regimes": best["values"]["env_args.num_regimes"]}
    assert experiment.schedule.at(0).load_balance_coef == best["values"]["*.load_balance_coef"]


@pytest.mark.slow
def test_pbt_clones_go_on_at_the_donors_episode_and_phase(search: Search, rows: Rows) -> None:
    """Copies are made at 24 (in transition), 48 and 72 episodes (in fine-tune).

    A clone's next iteration follows the donor's count, in the phase of that count, at the values of its own schedule.
    Trials take turns (each wants all CPUs), so that whatever the load is, all are compared with all.
    """
    outcome = search(
        {"*.load_balance_coef": {"uniform": [0.01, 0.5]}, "fine-tune.learning_rate": {"loguniform": [1e-5, 1e-3]}},
        *("--scheduler", "pbt", "--perturb-every", "24", "--trials", "4", "--episodes", "96", "--cpus-per-trial", "4"),
    )
    assert {(trial["state"], trial["episodes"]) for trial in outcome["trials"]} == {("finished", 96)}
    assert any(trial["clones"] for trial in outcome["trials"])
    for trial in outcome["trials"]:
        told = rows[Path(trial["path"]).name]
        coefficients = [clone["values"]["*.load_balance_coef"] for clone in trial["clones"]]
        for clone, coefficient in zip(trial["clones"], coefficients, strict=True):
            if coefficients.count(coefficient) > 1:  # at the edge of its range: whose iterations they are is not told
                continue
            after = [row for row in told if row[LOAD_BALANCE] == pytest.approx(coefficient, rel=1e-6)]
            print(trial["number"], clone, after[0][m.EPISODES_TOTAL.key], after[0][m.PHASE.key])
            # 8 episodes an iteration: the first one of the clone ends 8 after the donor's checkpoint.
            assert after[0][m.EPISODES_TOTAL.key] == clone[EPISODES_TOTAL] + 8
            assert after[0][m.ITERATION.key] == after[0][m.EPISODES_TOTAL.key] / 8
            for row in after:
                before = row[m.EPISODES_TOTAL.key] - 8
                phase = "warmup" if before < 16 else "transition" if before < 32 else "fine-tune"
                assert row[m.PHASE.key] == phase
                if before >= 32:
                    learning_rate = clone["values"]["fine-tune.learning_rate"]
                    assert row[m.LEARNING_RATE.key] == pytest.approx(learning_rate, rel=1e-6)


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
    # Tune saves a search every ten seconds at most, by default.
    process = Program("scripts/tune.py", *flags, TUNE_GLOBAL_CHECKPOINT_S="1")
    process.wait_for(lambda: list(directory.glob("trial_*/checkpoint_000002")))
    time.sleep(3)
    process.send(number)
    status = process.status()
    if number == signal.SIGINT:
        assert status == 128 + number, process.output
        assert f"To go on: python scripts/tune.py --resume {directory}" in process.output

    capsys.readouterr()  # what was told before
    outcome = main(["--resume", str(directory)])

    assert [trial["state"] for trial in outcome["trials"]] == ["finished"] * 3
    for trial in outcome["trials"]:
        saved = load_checkpoint(trial["checkpoint"])
        assert (saved.episodes, saved.iteration) == (240, 30), "8 episodes an iteration, none twice"
    first: dict[str, int] = {}
    for trial, episode in re.findall(r"(trial_\d+)  episode (\d+)/240", capsys.readouterr().out):
        first.setdefault(trial, int(episode))
    print(number.name, *kind, "first episodes told after the resume:", first)
    assert max(first.values()) > 16, "no trial went on from its checkpoint"
    coefficients = {trial["values"]["*.load_balance_coef"] for trial in outcome["trials"]}
    assert len(coefficients) == 3 or any(trial["clones"] for trial in outcome["trials"])  # copies may share a step
