"""Flags: every field has one that reaches it, only what is given counts, and every error is named in one message."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rllib_moe.cli.experiment_flags import add_experiment_flags, experiment_of, overrides_of
from rllib_moe.cli.flags import Parser
from rllib_moe.experiment import SECTION_OF, Experiment
from scripts.train import main as train
from tests.refused import errors_of
from tests.test_experiment import OTHER


def read(*arguments: str, base: Experiment | None = None) -> Experiment:
    parser = Parser("test.py", "A test of 100 %.")
    add_experiment_flags(parser)
    return parser.read(arguments, lambda given: experiment_of(given, base))


def refused(*arguments: str) -> list[str]:
    return errors_of(read, *arguments)


def words_of(field: str, value: Any) -> list[str]:
    flag = f"--{field.replace('_', '-')}"
    if isinstance(value, dict):
        return [word for name, each in value.items() for word in (flag.removesuffix("s"), f"{name}={each!r}")]
    return [flag] if value is True else [flag, str(value)]


@pytest.mark.parametrize("field", SECTION_OF)
def test_a_flag_reaches_its_field_and_nothing_else(field: str) -> None:
    parser = Parser("test.py", "")
    add_experiment_flags(parser)
    value = {"deep": 1, "word": "@"} if field == "env_args" else OTHER[field]
    given = parser.read(words_of(field, value), dict)
    assert given == {field: value}
    assert overrides_of(given) == ({f"env_args.{k}": v for k, v in value.items()} if field == "env_args" else given)


def test_no_flag_no_change() -> None:
    assert read() == Experiment()


def test_help_names_every_flag_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        read("--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in [*(set(SECTION_OF) - {"env_args"}), "config", "env_arg", "schedule", "phase_boundaries", "set"]:
        assert re.search(rf"--{name.replace('_', '-')}[ ,]", text), name
    assert "A test of 100 %." in text
    assert "Environment steps of a learning iteration. Default: 4096." in text


def test_schedule_then_boundaries_then_single_values() -> None:
    words = "--schedule v3 --phase-boundaries 10,20 --set fine-tune.start=30 --set warmup.temperature=2"
    schedule = read(
        *words.split(), "--set", "transition.temperature=[2.0, 1]", "--set", "*.learning_rate=3e-4"
    ).schedule
    assert schedule.boundaries == (10, 30)
    assert schedule.at(0).temperature == 2
    assert schedule.at(20).temperature == 1.5
    assert {schedule.at(each).learning_rate for each in (0, 15, 50)} == {3e-4}
    assert read("--phase-boundaries", " 10 , 20 ").schedule.boundaries == (10, 20)
    assert read("--set", "*.alpha_entropy_target=null").schedule.at(0).alpha_entropy_target is None


def test_flags_override_a_file_and_a_file_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {num_experts: 2}\ntraining: {gamma: 0.5}\n")
    experiment = read("--config", str(tmp_path / "mine.yaml"), "--gamma", "0.9", base=Experiment())
    assert (experiment.model.num_experts, experiment.training.gamma) == (2, 0.9)
    assert experiment == Experiment().with_overrides({"num_experts": 2, "gamma": 0.9})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--phase-boundaries", "10"), "phase_boundaries: expected 2 for 3 phases, got [10]"),
        (("--phase-boundaries", "20,10"), "must come after"),
        (("--phase-boundaries", "10,-20"), "phase_boundaries: expected whole episode numbers"),
        (("--set", "warmup.temperature"), "--set: expected name=value with a value in YAML, got 'warmup.temperature'"),
        (("--set", "=1"), "--set: expected name=value"),
        (("--set", "warmup.temperature=[1"), "--set: expected name=value"),
        (("--env-arg", "a=[@"), "text goes in quotes, such as --env-arg 'a=\"[@\"'"),
        (("--env-arg", "a=2024-99-99"), "--env-arg: expected name=value"),
        (("--set", "wramup.temperature=1"), "(did you mean 'warmup'?)"),
        (("--set", "warmup.temperature=.nan"), "expected a finite number"),
        (("--schedule", "v4"), "cannot read 'v4'"),
        (("--config", "nowhere.yaml"), "cannot read 'nowhere.yaml'"),
        (("--exp", "short"), "unknown argument '--exp'"),  # no abbreviations
        (("--learning-rate", "1e-3"), "each phase has its own, given by --set '*.learning_rate=VALUE'"),
        (("--episodes",), "expected one argument"),
        (("--episodes", "many"), "episodes: expected a whole number, 1 or more, got 'many'"),
        (("--episodes", "1.5"), "episodes: expected a whole number, 1 or more, got 1.5"),
    ],
)
def test_one_error(arguments: Sequence[str], error: str) -> None:
    assert any(error in each for each in refused(*arguments))


def test_errors_of_every_kind_in_one_message() -> None:
    found = refused(
        *("--episodes", "0", "--num-experts", "0", "--gamma", "2", "--exp-name", "a/b", "--gama", "--set", "oops"),
        *("--phase-boundaries", "1", "--set", "nobody.temperature=1", "--env-arg", "oops"),
    )
    for word in (
        *("episodes", "num_experts", "gamma", "exp_name"),
        *("--gama", "--set", "boundaries", "nobody", "--env-arg"),
    ):
        assert any(word in error for error in found), word


def test_a_checkpoint_that_is_missing_does_not_begin_anew(tmp_path: Path) -> None:
    for place in (str(tmp_path / "nothing"), ""):
        with pytest.raises(ValueError, match="checkpoint"):
            train(["--resume", place])
