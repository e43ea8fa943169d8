"""The command line of a search: refusals before anything starts, and going on with a search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from rllib_moe.experiment import Experiment
from rllib_moe.runtime.files import locked
from rllib_moe.studies.tuning.search import SEARCH, Search
from rllib_moe.studies.tuning.search_config import BUNDLED, SearchConfig
from rllib_moe.validation.errors import ConfigError
from scripts.tune import main
from tests.refused import errors_of


def errors(*flags: str) -> list[str]:
    return errors_of(main, flags)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the search that flags ask for, without running it."""
    monkeypatch.setattr("rllib_moe.cli.tune.run_search", lambda search, _: search)
    return lambda *flags: main(flags)


def test_every_error_of_search_experiment_and_space_is_in_one_message(tmp_path: Path) -> None:
    told = errors("--trials", "0", "--gama", "3", "--gae-lambda", "7", "--set", "warmup.temperatur=1")
    assert told == [
        "unknown argument '--gama' (did you mean '--gamma'?)",
        "unknown argument '3'",
        f"space: missing; expected a YAML file or one of {', '.join(BUNDLED)}",
        "trials: expected a whole number, 1 or more, got 0",
        "warmup.temperatur: unknown key 'temperatur' (did you mean 'temperature'?)",
        "gae_lambda: expected a finite number from 0 to 1, got 7",
    ]
    (tmp_path / "space.yaml").write_text("parameters: {gamm: {choice: [0, 1]}}")
    told = errors("--space", str(tmp_path / "space.yaml"), "--schedule", "v33", "--clip-param", "0")
    assert "did you mean 'v3'?" in told[0]
    assert told[1:] == [
        "gamm: unknown setting (did you mean 'gamma'?)",
        "clip_param: expected a finite number, above 0, got 0",
    ]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--grace-episodes 3", "grace_episodes: is for --scheduler asha, got --scheduler none"),
        ("--scheduler asha --perturb-every 9", "perturb_every: is for --scheduler pbt, got --scheduler asha"),
        ("--scheduler asha --grace-episodes 6000", "grace_episodes: expected at most episodes=5000, got 6000"),
        ("--scheduler pbt --perturb-every 5000", "perturb_every: expected below episodes=5000, got 5000"),
        ("--scheduler pbt --trials 1", "trials: pbt compares trials; expected 2 or more, got 1"),
        ("--scheduler pbt --search optuna", "scheduler: pbt changes values itself; use --search random or grid"),
        ("--search grid --trials 3", "trials: grid tries every combination once; give no number, or --search random"),
        ("--exp-name a/b", "exp_name: expected a plain directory name, got 'a/b'"),
    ],
)
def test_what_does_not_go_together_is_refused(flags: str, told: str) -> None:
    assert errors("--space", "coefficients", "--env", "regimes", *flags.split()) == [told]


def test_a_wrong_argument_of_the_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("parameters: {env_args.num_cues: {choice: [2, -1]}}")
    (told,) = errors("--space", str(tmp_path / "space.yaml"), "--env", "regimes")
    assert told.startswith("env_args.num_cues: expected a whole number, 2 or more, got -1")


def test_a_search_begins_with_a_file_and_flags_go_over_it(planned: Any, tmp_path: Path) -> None:
    base = Experiment().with_overrides(
        {"env": "regimes", "gamma": 0.5, "seed": 3, "exp_name": "run", "num_workers": 8, "resume": "results/other"}
    )
    (tmp_path / "config.yaml").write_text(base.to_yaml())
    flags = ("--config", str(tmp_path / "config.yaml"), "--gamma", "0.6", "--schedule", "v3", "--exp-name", "mine")
    search: Search = planned("--space", "coefficients", "--trials", "3", *flags)
    example = search.space.example
    assert (example.training.gamma, example.training.seed, example.run.exp_name) == (0.6, 3, "mine")
    assert (example.run.output_dir, search.config.directory) == ("results", Path("results/tune/mine"))
    assert example.run.resume is None, "trials begin anew"
    assert example.training.num_workers == 0, "several trials share a machine"
    assert len(search.candidates) == 3


@pytest.mark.parametrize(("asked", "offered"), [("0", 0), ("0.5", 4), ("8", 8)])
def test_trials_get_every_gpu_of_the_machine(
    asked: str, offered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray refuses 8 of 4."""
    started = Mock(side_effect=ConfigError(["no Ray here"]))
    monkeypatch.setattr("rllib_moe.studies.tuning.tuner.ray_session", started)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    place = ("--output-dir", str(tmp_path), "--env", "regimes", "--space", "coefficients", "--trials", "2")
    assert errors(*place, "--num-gpus", asked) == ["no Ray here"]
    assert started.call_args.args[2] == offered


def test_the_directory_of_a_search_may_be_where_one_is(
    planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Experiment().with_overrides({"env": "regimes"})
    place = {"exp_name": "mine", "output_dir": str(tmp_path / "tune")}
    began = Search.plan(SearchConfig(space="coefficients", **place), base, {"gamma": 0.5, "address": "10.0.0.1:6379"})
    began.save(["tune.py"])
    own = tmp_path / "tune" / "mine"
    (tmp_path / "link").symlink_to(own)
    for directory, resume in ((own, "."), (tmp_path, "link"), (tmp_path, str(own))):
        monkeypatch.chdir(directory)
        resumed: Search = planned("--resume", resume, "--address", "auto")
        assert resumed.config.directory.resolve() == own
        assert resumed.space.parameters == began.space.parameters
        assert resumed.space.example.run.address == "auto"
        kept: Search = planned("--resume", resume)
        assert kept.space.example.run.address == "10.0.0.1:6379"
        assert resumed.space.example.training == began.space.example.training


def test_a_search_goes_on_with_its_own_settings_alone(tmp_path: Path) -> None:
    told = errors("--resume", str(tmp_path), "--gamma", "0.5", "--max-concurrent", "3")
    assert told == ["resume: a search goes on with its own settings; leave out --gamma, --max-concurrent"]
    assert errors("--resume", str(tmp_path)) == [f"resume: {tmp_path} holds no search ({SEARCH} is missing)"]
    (tmp_path / SEARCH).write_text("search: {}")
    assert "is damaged or was written by another version" in errors("--resume", str(tmp_path))[0]


def test_a_search_goes_on_where_a_trial_began_and_nobody_is_at_work(tmp_path: Path) -> None:
    config = SearchConfig(space="coefficients", exp_name="mine", output_dir=str(tmp_path))
    Search.plan(config, Experiment().with_overrides({"env": "regimes"})).save(["tune.py"])
    own = tmp_path / "mine"
    assert errors("--resume", str(own)) == [
        f"resume: {os.path.relpath(own)} was interrupted before any trial began; start it anew"
    ]
    (own / "trial_00000").mkdir()
    with locked("exp_name", own):
        assert errors("--resume", str(own)) == [f"exp_name: another process is writing to {os.path.relpath(own)}"]
