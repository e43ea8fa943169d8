"""A whole run through `scripts/train.py`, and runs that stop and go on."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from rllib_moe import metrics as m
from rllib_moe.algorithms.ppo import MoEPPO
from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.experiment import Experiment
from rllib_moe.training import session
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.resume import Resumed, begun_from
from rllib_moe.training.run_directory import RunDirectory, TrainingStoppedError
from rllib_moe.validation.errors import ConfigError
from tests.conftest import Train
from tests.refused import errors_of

TOTAL = 48
"""Episodes: 6 iterations of 8; phases begin at 0, 16 and 32."""
ALWAYS_FINITE = (
    m.TOTAL_LOSS,
    m.POLICY_LOSS,
    m.VALUE_LOSS,
    m.ACTION_ENTROPY,
    m.ALPHA_ENTROPY_LOSS,
    m.LOAD_BALANCE_LOSS,
    m.DIVERSITY_LOSS,
    m.ROUTING_LOSS,
    m.GRAD_NORM,
    m.ALPHA_ENTROPY,
    m.MUTUAL_INFORMATION,
)


def listing(directory: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in directory.rglob("*")}


def test_a_run_writes_everything(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "a[" / "red]"  # no markup
    summary = train("mine", TOTAL, "--checkpoint-every", "16", "--output-dir", str(place))
    run = place / "mine"
    assert {path.name for path in run.iterdir()} >= {"checkpoints", "config.yaml", "schedule.yaml", "progress.csv"}
    assert len(list(run.glob("events.out.tfevents.*"))) == 1

    written = json.loads((run / "summary.json").read_text())
    assert written == {key: value for key, value in summary.items() if key not in ("paths", "stopped_by")}
    assert (written["episodes_total"], written["env_steps_total"]) == (TOTAL, TOTAL * 16)
    assert written["wall_seconds"] > 0
    assert written["env_steps_per_second"] > 0
    assert [phase["phase"] for phase in written["phases"]] == ["warmup", "transition", "fine-tune"]
    for phase in written["phases"]:
        assert phase["episodes"] == 16
        assert len(phase["expert_share"]) == 4
        assert sum(phase["expert_share"]) == pytest.approx(1, abs=1e-3)
        for key in ("score_mean", "score_std", "score_max", "alpha_entropy", "usage_entropy", "mutual_information"):
            assert math.isfinite(phase[key]), key
    assert [phase["learning_rate"] for phase in written["phases"]] == pytest.approx([5e-4, 3.75e-4, 1e-4])

    rows = RunDirectory(run).rows()
    assert [row[m.EPISODES_TOTAL.key] for row in rows] == list(range(8, TOTAL + 1, 8))
    assert all(math.isfinite(row[metric.key]) for row in rows for metric in ALWAYS_FINITE)
    assert [row[m.TEMPERATURE.key] for row in rows] == [1.0, 1.0, 1.0, 0.75, 0.5, 0.5]
    assert rows[-1][m.SKIPPED_UPDATES.key] == 0

    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        *("episode_000016", "episode_000032", "episode_000048"),
        *("latest", "best", "final"),
    }
    assert load_checkpoint(run / "checkpoints" / "final").episodes == TOTAL
    assert summary["stopped_by"] is None
    shown = capsys.readouterr().out
    assert shown.count("=====") == 6
    assert shown.startswith("This run: warmup 0 to 16, transition 16 to 32, fine-tune 32 to 48\n")
    for command in ("train --resume {} --episodes 96", "report {}", "evaluate --checkpoint {}"):
        assert f"rllib-moe {command.format(shlex.quote(str(run)))}\n" in shown
    for text in ("Phases played", "episode 48/48", *(f"{name}: {path}\n" for name, path in summary["paths"].items())):
        assert text in shown


def test_resumed_under_a_new_name(train: Train, trained: Path, tmp_path: Path) -> None:
    before = listing(trained)
    summary = train("new", 16, "--num-epochs", "2", resume=trained)
    assert listing(trained) == before
    assert summary["episodes_total"] == 16
    assert [row[m.ITERATION.key] for row in RunDirectory(tmp_path / "new").rows()] == [2]
    config = yaml.safe_load((tmp_path / "new" / "config.yaml").read_text())
    assert (config["training"]["num_epochs"], config["model"]["hidden_size"]) == (2, 16)


def test_rows_after_the_checkpoint_are_played_again(train: Train, tmp_path: Path) -> None:
    train("mine", 32, "--checkpoint-every", "16")
    train("mine", 40, resume=tmp_path / "mine" / "checkpoints" / "episode_000016")
    rows = RunDirectory(tmp_path / "mine").rows()
    assert [row[m.ITERATION.key] for row in rows] == [1, 2, 3, 4, 5]
    assert [row[m.EPISODES_TOTAL.key] for row in rows] == [8, 16, 24, 32, 40]
    starts = [json.loads(line) for line in (tmp_path / "mine" / "starts.jsonl").read_text().splitlines()]
    assert [start["episode"] for start in starts] == [0, 16]
    assert all(start["versions"]["ray"] and start["cpu"] and start["date"] for start in starts)


def test_the_configuration_of_a_run_that_went_on_repeats_the_run(train: Train, trained: Path, tmp_path: Path) -> None:
    train("anew", 8)
    train("anew", 16, resume=tmp_path / "anew")
    train("branch", 16, resume=trained)
    train("branch", 24, resume=tmp_path / "branch")
    begun = {name: Experiment.load(tmp_path / name / "config.yaml").run.resume for name in ("anew", "branch")}
    assert begun == {"anew": None, "branch": str(trained)}
    for name, place in begun.items():
        assert load_checkpoint(tmp_path / name).experiment.run.resume == place


@pytest.mark.parametrize(
    ("name", "place", "is_own"),
    [
        ("best", "base/checkpoints/best", False),
        ("results", "results/base", False),
        ("mine", "elsewhere/mine", False),
        ("checkpoints", "base/checkpoints/latest", False),
        ("mine", "mine", True),
        ("mine", "mine/checkpoints/episode_000008", True),
        ("mine", "s3://bucket/mine/checkpoints/latest?region=eu-north-1", True),
        ("mine", "s3://mine/base", False),
        ("mine", "where/it/was/mine", True),
    ],
)
def test_a_run_that_named_itself_was_begun_anew(
    name: str, place: str, is_own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they did until 2026-11-29; a path that holds a part of the same name is another run's."""
    monkeypatch.chdir(tmp_path)
    for made in ("base/checkpoints", "results/base", "elsewhere/mine", f"{name}/checkpoints"):
        Path(made).mkdir(parents=True, exist_ok=True)
    experiment = Experiment().with_overrides({"resume": place})
    checkpoint = Checkpoint(path=tmp_path, experiment=experiment, episodes=8, iteration=1, score=None)
    assert begun_from(checkpoint, Path(name)) == (None if is_own else place)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--episodes", "24", "--hidden-size", "32"],
            "hidden_size: the checkpoint was made with 16, this run asks for 32",
        ),
        (["--episodes", "24", "--num-experts", "3"], "num_experts: the checkpoint was made with 4"),
        (["--episodes", "24", "--env", "nethack"], "env: the checkpoint was made on 'regimes', got 'nethack'"),
        (["--episodes", "8"], "episodes: the checkpoint stands at episode 8; the total must be above it, got 8"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_what_does_not_fit_the_checkpoint_is_named_and_nothing_touched(
    flags: list[str], told: str, train: Train, trained: Path, tmp_path: Path
) -> None:
    before = listing(tmp_path)
    for name in ("mine", "new"):
        with pytest.raises(ConfigError, match=told):
            train(name, *map(int, flags[1:2]), *flags[2:], resume=trained)
    assert listing(tmp_path) == before


def test_a_damaged_checkpoint_is_refused_and_nothing_touched(train: Train, trained: Path, tmp_path: Path) -> None:
    path = load_checkpoint(trained).path
    (path / "weights.pt").write_bytes((path / "weights.pt").read_bytes()[:100])
    before = listing(tmp_path)
    for name, resume in (("mine", trained), ("new", path)):
        with pytest.raises(CheckpointError, match=r"weights\.pt is damaged"):
            train(name, 16, resume=resume)
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("trained")
def test_a_directory_with_a_run_is_refused(train: Train, tmp_path: Path) -> None:
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match="holds a run already"):
        train("mine", 16)
    assert listing(tmp_path) == before


def test_a_start_that_fails_can_be_tried_again(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("MoEPPOConfig.build_algo", "MoEPPO.training_step"):
        with monkeypatch.context() as patched:
            patched.setattr(f"rllib_moe.algorithms.ppo.{step}", Mock(side_effect=RuntimeError(step)))
            with pytest.raises(RuntimeError, match=step):
                train("mine", 8)
    assert train("mine", 8)["episodes_total"] == 8


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--batch-size", "1000000000000"], r"batch_size: expected one whose observations fit into \d+ GB of memory"),
        (["--address", "127.0.0.1:9"], "address: no Ray cluster answers at '127.0.0.1:9'"),
        (["--num-gpus", "64"], "num_gpus: this machine has"),
    ],
)
def test_what_this_machine_has_not_is_refused_and_nothing_left(
    flags: list[str], told: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=told):
        train("mine", 8, *flags)
    assert not (tmp_path / "mine").exists()


OWN = """
import gymnasium
from torch import nn

class Encoder(nn.Module):
    def __init__(self, shape, config):
        raise KeyError("widths")

    def forward(self, nodes, node_mask, edges, node_types, return_attention):
        raise NotImplementedError

def no_gate(logits):
    return logits

def failing_gate(logits):
    raise IndexError("too few experts")

def make():
    raise OSError("no game data")

gymnasium.register("Own-v0", entry_point=make)
"""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--graph-encoder", "own_module:Encoder"], "graph_encoder: 'own_module:Encoder' cannot be used: KeyError"),
        (["--graph-encoder", "own_module:Encodr"], "has no 'Encodr' (did you mean 'Encoder'?)"),
        (["--graph-encoder", "broken_module:Encoder"], "'broken_module:Encoder' (RuntimeError: no license)"),
        (["--set", "fine-tune.routing=own_module:no_gate"], "'own_module:no_gate' gave [8, 4] from -3 to 3"),
        (["--set", "fine-tune.routing=own_module:failing_gate"], "cannot be used: IndexError: too few experts"),
        (["--set", "fine-tune.routing=broken_module:gate"], "'broken_module:gate' (RuntimeError: no license)"),
        (["--env", "own_module:Own-v0"], "environment 'own_module:Own-v0' cannot be made: OSError: no game data"),
        (["--env", "broken_module:Own-v0"], "cannot import 'broken_module' (RuntimeError: no license)"),
    ],
)
def test_what_a_user_brings_is_tried_before_ray_starts(
    flags: list[str], told: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_module.py").write_text(OWN)
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('no license')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("rllib_moe.training.session.Session.run", Mock(side_effect=AssertionError("was started")))
    with pytest.raises(ConfigError) as refused:
        train("mine", 8, *flags)
    assert told in str(refused.value)
    assert not (tmp_path / "mine").exists()


def test_a_checkpoint_that_lies_in_no_run_begins_a_new_one(trained: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(load_checkpoint(trained).path, tmp_path / "alone")
    found = {place: Resumed.find(str(place)).experiment.run for place in (trained, alone)}
    assert {place: run.exp_name for place, run in found.items()} == {trained: "mine", alone: "experiment"}
    assert found[alone].output_dir == "results"


def test_workers_that_never_sample_end_the_run(
    train: Train, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a run resumed under a new name, whose first rows would be the empty ones."""
    monkeypatch.setattr("rllib_moe.algorithms.ppo.MoEPPO.training_step", Mock(return_value={}))
    with pytest.raises(TrainingStoppedError, match="10 iterations in a row gave no sample"):
        train("new", 16, resume=trained)
    assert RunDirectory(tmp_path / "new").rows() == []


def test_an_error_in_the_first_iteration_after_a_resume_leaves_the_checkpoint_alone(
    train: Train, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (load_checkpoint(trained).path / "manifest.json").read_text()
    training_step = MoEPPO.training_step

    def fail(self: MoEPPO) -> Any:
        training_step(self)  # what it learned is part of a batch that never was
        raise RuntimeError("in the middle of an update")

    with monkeypatch.context() as patched:
        patched.setattr(MoEPPO, "training_step", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            train("mine", 16, resume=trained)
    assert (load_checkpoint(trained).path / "manifest.json").read_text() == before
    assert train("mine", 16, resume=trained)["episodes_total"] == 16


def test_an_error_later_on_saves_checkpoint_and_summary(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step, steps = MoEPPO.training_step, itertools.count(1)

    def fail(self: MoEPPO) -> Any:
        if next(steps) == 3:
            raise RuntimeError("the third time")
        return training_step(self)

    monkeypatch.setattr(MoEPPO, "training_step", fail)
    with pytest.raises(RuntimeError, match="the third time"):
        train("mine", 48)
    assert load_checkpoint(tmp_path / "mine").episodes == 16
    assert json.loads((tmp_path / "mine" / "summary.json").read_text())["episodes_total"] == 16


def test_environments_that_fail_are_replaced_and_counted(train: Train, tmp_path: Path) -> None:
    flags = ["--env", "tests.faulty_environment:Faulty-v0", "--env-arg", "fault=nan reward", "--env-arg", "every=40"]
    train("mine", 24, *flags)
    last = RunDirectory(tmp_path / "mine").rows()[-1]
    assert last[m.REPLACED_ENVIRONMENTS.key] >= 4  # each of 4 environments at its 40th step, and one at least in 80
    assert last[m.SKIPPED_UPDATES.key] == last[m.NONFINITE_LOSS.key] == 0


def test_environments_that_always_fail_end_the_run_with_the_reason(train: Train) -> None:
    flags = ["--env", "tests.faulty_environment:Faulty-v0", "--env-arg", "fault=wrong dtype", "--env-arg", "every=2"]
    with pytest.raises(TrainingStoppedError, match=r"iteration 1: environment 0 .* 'features' must be float32"):
        train("mine", 24, *flags)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", "RuntimeError: broken"),
        ("hang", "HungError: no answer within 0.2 s"),
        ("nan reward", "ValueError: reward: expected a finite number, got nan"),
        ("reward is none", "ValueError: reward: expected a finite number, got None"),
        ("nan observation", "ValueError: not a valid graph observation: leaf 'nodes' holds NaN or infinity at (1, 0)"),
        ("info is none", "TypeError: info: expected a dict, got None"),
        ("five values missing", "ValueError: not enough values to unpack (expected 5, got 2)"),
    ],
)
def test_an_environment_whose_first_step_fails_is_refused_before_anything_starts(
    fault: str, told: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Session", Mock(side_effect=AssertionError("began")))
    flags = ["--env", "tests.faulty_environment:Faulty-v0", "--env-arg", f"fault={fault}", "--env-arg", "every=1"]
    [error] = errors_of(train, "mine", 24, *flags, "--step-timeout", "0.2")
    assert error == f"env: 'tests.faulty_environment:Faulty-v0' cannot be played: the first step: {told}"
    assert not (tmp_path / "mine").exists()


def test_an_environment_whose_reset_returns_no_pair_is_refused(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    reset = RegimesEnv.reset
    monkeypatch.setattr(RegimesEnv, "reset", lambda self, **given: reset(self, **given)[0])
    monkeypatch.setattr(session, "Session", Mock(side_effect=AssertionError("began")))
    [error] = errors_of(train, "mine", 24)
    assert error == (
        "env: 'regimes' cannot be played: reset: TypeError: expected a pair of observation and info, got a dict"
    )


def test_an_environment_whose_first_observation_breaks_the_contract_is_refused(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def observe(self: RegimesEnv) -> Any:
        made = observed(self)
        return {**made, "roles": 0 * made["roles"]}

    observed = RegimesEnv._observation
    monkeypatch.setattr(RegimesEnv, "_observation", observe)
    monkeypatch.setattr(session, "Session", Mock(side_effect=AssertionError("began")))
    [error] = errors_of(train, "mine", 24)
    assert error == (
        "env: 'regimes' cannot be played: reset: ValueError: not a valid graph observation: "
        "leaf 'roles' must sum to 1, got 0"
    )


def test_a_run_that_ends_on_a_periodic_checkpoint_writes_it_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Mock(side_effect=session.save_checkpoint)
    monkeypatch.setattr(session, "save_checkpoint", written)
    train("mine", 16, "--checkpoint-every", "8")
    assert [call.args[1].name for call in written.call_args_list] == ["episode_000008", "episode_000016"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--env", "nowhere"], "env: "),
        (["--env-arg", "num_wings=2"], "env: "),
        (["--set", "warmup.env.num_cues=2"], "warmup.env.num_cues: may not change while the environment lives"),
        (["--set", "transition.env.max_steps=[8,0]"], "transition.env.max_steps: expected a whole number, .*, got 0"),
        (
            ["--set", "transition.env.max_steps=[8.5,9]"],
            "transition.env.max_steps: expected a whole number, .*, got 8.5",
        ),
        (["--set", "transition.env.max_steps.to=9"], r"transition.env.max_steps: expected .*, got \[None, 9\]"),
    ],
)
def test_an_environment_that_cannot_be_made_or_set_is_refused(
    flags: list[str], told: str, train: Train, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        train("mine", 8, *flags)
    assert list(tmp_path.iterdir()) == []
