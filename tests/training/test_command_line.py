"""The command line: every field has a flag that reaches it, and every fault is named in one message."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rllib_moe.config import SECTIONS, ExperimentConfig
from rllib_moe.validation import ConfigError
from rllib_moe.phases import PhaseSchedule
from rllib_moe.training.checkpoints import CheckpointError
from rllib_moe.training.command_line import Request, parse


def read(*arguments: str) -> Request:
    return parse(arguments, description="A test.")


def refused(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(*arguments)
    return error.value.faults


FLAGS = [
    (section, field)
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    # env_args has the flag --env-arg; resume needs a checkpoint (see the tests of training).
    if field.name not in ("env_args", "resume")
]
TOGETHER = {
    "hidden_size": (96, ()),
    "num_heads": (8, ()),
    "batch_size": (8192, ()),
    "minibatch_size": (128, ()),
    "num_workers": (4, ()),
    "num_envs_per_worker": (8, ()),
    "trunk_size": (2, ()),
    "storage": ("/mnt/shared", ()),
    "sample_timeout": (200.0, ()),
    "step_timeout": (20.0, ()),
}
"""Values for the fields whose next number would contradict another field."""


def other_value(field: dataclasses.Field[Any], default: Any) -> Any:
    """A valid value that is not the default."""
    if field.name in TOGETHER:
        return TOGETHER[field.name][0]
    if typing.get_origin(field.type) is typing.Literal or str(field.type).startswith("Literal"):
        hints = {name: hint for kind in SECTIONS.values() for name, hint in typing.get_type_hints(kind).items()}
        choices = typing.get_args(hints[field.name])
        return next((choice for choice in choices if choice != default), default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int) and str(field.type) == "int":
        return default + 1
    if isinstance(default, (int, float)):
        return default / 2 if default else 0.5
    return "other"


class TestEveryField:
    @pytest.mark.parametrize(("section", "field"), FLAGS, ids=[field.name for _, field in FLAGS])
    def test_reaches_the_config_through_its_flag(self, section: str, field: dataclasses.Field[Any]) -> None:
        default = getattr(getattr(ExperimentConfig(), section), field.name)
        value = other_value(field, default)
        assert value != default
        flag = f"--{field.name.replace('_', '-')}"
        config = read(*([flag] if value is True else [flag, str(value)])).config
        assert getattr(getattr(config, section), field.name) == value
        # And nothing else moved.
        changed = dataclasses.replace(getattr(ExperimentConfig(), section), **{field.name: value})
        assert config == dataclasses.replace(ExperimentConfig(), **{section: changed})

    def test_no_flag_no_change(self) -> None:
        request = read()
        assert request.config == ExperimentConfig()
        assert request.schedule == PhaseSchedule.load("default")
        assert request.resumed is None

    def test_help_names_every_flag(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            read("--help")
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        names = [field.name for _, field in FLAGS]
        for name in [*names, "resume", "env_arg", "schedule", "phase_boundaries", "set"]:
            assert re.search(rf"--{name.replace('_', '-')}[ ,]", text), name
        assert "A test." in text


class TestTheUsersCommands:
    @pytest.mark.parametrize(
        ("exp_name", "episodes"), [("full_training", 3000), ("transition_3000", 3000), ("finetune_5000", 5000)]
    )
    def test_without_the_checkpoint(self, exp_name: str, episodes: int) -> None:
        run = read("--exp-name", exp_name, "--episodes", str(episodes), "--max-steps", "500")
        assert (run.config.run.exp_name, run.config.run.episodes) == (exp_name, episodes)
        assert run.config.environment.max_steps == 500

    def test_resume_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no such directory"):
            read("--resume", str(tmp_path / "nothing"))

    def test_resume_that_is_empty_does_not_begin_anew(self) -> None:
        with pytest.raises(CheckpointError):
            read("--resume", "")


class TestSchedule:
    def test_bundled(self) -> None:
        assert read("--schedule", "v3").schedule == PhaseSchedule.load("v3")

    def test_file(self, tmp_path: Path) -> None:
        mine = PhaseSchedule.load("v3").with_boundaries([3, 8])
        mine.save(tmp_path / "mine.yaml")
        assert read("--schedule", str(tmp_path / "mine.yaml")).schedule == mine

    @pytest.mark.parametrize("text", ["10,20", " 10 , 20 ", "10, 20"])
    def test_boundaries(self, text: str) -> None:
        assert read("--phase-boundaries", text).schedule == PhaseSchedule.load("default").with_boundaries([10, 20])

    def test_single_values(self) -> None:
        schedule = read(
            "--set",
            "transition.temperature=[2.0, 1]",
            "--set",
            "*.learning_rate=3e-4",
            "--set",
            "warmup.routing=entmax15",
        ).schedule
        assert schedule.at(2000).temperature == 1.5
        assert {schedule.at(each).learning_rate for each in (0, 1000, 3000)} == {3e-4}
        assert schedule.at(0).routing == "entmax15"

    def test_file_then_boundaries_then_values(self) -> None:
        schedule = read(
            "--schedule",
            "v3",
            "--phase-boundaries",
            "10,20",
            "--set",
            "fine-tune.start=30",
            "--set",
            "warmup.temperature=2",
        ).schedule
        assert schedule.boundaries == (10, 30)
        assert schedule.at(0).temperature == 2
        assert schedule.at(0).alpha_entropy_target is None

    def test_null_takes_the_target_away(self) -> None:
        schedule = read("--set", "*.alpha_entropy_target=null").schedule
        assert [phase.alpha_entropy_target for phase in schedule.phases] == [None] * 3
        assert schedule == PhaseSchedule.load("default").with_overrides({"*.alpha_entropy_target": None})

    @pytest.mark.parametrize(
        ("arguments", "fault"),
        [
            (("--phase-boundaries", "10"), "boundaries: expected 2 for 3 phases, got [10]"),
            (("--phase-boundaries", "20,10"), "must come after"),
            (("--phase-boundaries", "a,b"), "phase_boundaries: expected whole numbers such as 1000,3000, got 'a,b'"),
            (("--phase-boundaries", "10,-20"), "phase_boundaries: expected whole numbers"),
            (("--phase-boundaries", ""), "phase_boundaries: expected whole numbers"),
            (("--set", "warmup.temperature"), "set: expected name=value, got 'warmup.temperature'"),
            (("--set", "=1"), "set: expected name=value, got '=1'"),
            (("--set", "warmup.temperature=[1"), "set: expected name=value with a YAML value"),
            (("--set", "warmup.temperature=2024-99-99"), "set: expected name=value with a YAML value"),
            (("--set", "warmup.temprature=1"), "(did you mean 'temperature'?)"),
            (("--set", "wramup.temperature=1"), "(did you mean 'warmup'?)"),
            (("--set", "warmup.temperature=.nan"), "expected a finite number"),
            (("--schedule", "v4"), "cannot read 'v4'"),
        ],
    )
    def test_one_fault(self, arguments: Sequence[str], fault: str) -> None:
        (named,) = refused(*arguments)
        assert fault in named


class TestEnvironmentArguments:
    @pytest.mark.parametrize(
        ("word", "value"),
        [
            ("1", 1),
            ("1.5", 1.5),
            ("1e-3", 1e-3),  # a string to YAML 1.1
            ("-2E+5", -2e5),
            ("true", True),
            ("null", None),
            ("[1, a]", [1, "a"]),
            ("{a: 1}", {"a": 1}),
            ("'1'", "1"),
            ("a=b", "a=b"),
            ("", None),
            ("e5", "e5"),
        ],
    )
    def test_values_are_yaml(self, word: str, value: Any) -> None:
        read_value = read("--env-arg", f"x={word}").config.environment.env_args["x"]
        assert read_value == value
        assert type(read_value) is type(value)

    def test_several_and_the_last_of_a_name(self) -> None:
        config = read("--env-arg", "a=1", "--env-arg", "b=2", "--env-arg", "a=3").config
        assert config.environment.env_args == {"a": 3, "b": 2}

    def test_refused(self) -> None:
        assert refused("--env-arg", "depth_bonus") == ["env_arg: expected name=value, got 'depth_bonus'"]
        assert refused("--env-arg", "max_steps=5") == ["env_args: max_steps has a flag of its own"]


class TestFaults:
    def test_of_every_kind_in_one_message(self) -> None:
        faults = refused(
            *("--episodes", "0", "--num-experts", "0", "--gamma", "2", "--exp-name", "a/b"),
            *("--phase-boundaries", "1", "--set", "warmup.temperature=0", "--set", "nobody.temperature=1"),
            *("--env-arg", "oops", "--set", "oops"),
        )
        words = ["'oops'", "'oops'", "episodes", "num_experts", "gamma", "exp_name", "boundaries", "above 0", "nobody"]
        assert len(faults) == len(words)
        for word in words:
            assert any(word in fault for fault in faults), word

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--nothing", "1"),
            ("--exp", "short"),  # no abbreviations
            ("word",),
            ("--episodes",),
            ("--episodes", "many"),
            ("--episodes", "1.5"),
            ("--algo", "sac"),
            ("--resume",),
        ],
    )
    def test_unknown_flag_or_no_number_exits_2(
        self, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            read(*arguments)
        assert stopped.value.code == 2
        assert arguments[0].lstrip("-") in capsys.readouterr().err
