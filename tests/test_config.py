"""The settings of an experiment: bounds, contradictions, documentation, and every field read by something."""

import ast
import math
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from pydantic import ValidationError

import rllib_moe
from rllib_moe.config import MAX_SEED, EnvironmentConfig, ModelConfig, RunConfig, TrainingConfig
from rllib_moe.experiment import SECTIONS
from rllib_moe.validation.errors import collected
from rllib_moe.validation.settings import Settings
from tests.refused import errors_of

FIELDS = [(section, name, field) for section in SECTIONS.values() for name, field in section.model_fields.items()]
NUMBERS = [(section, name, field) for section, name, field in FIELDS if field.annotation in (int, float)]
TEXTS = [(section, name) for section, name, field in FIELDS if field.annotation in (str, str | None)]


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=[name for _, name, _ in FIELDS])
def test_every_field_is_documented_and_has_a_default(section: type[Settings], name: str, field: Any) -> None:
    assert field.description, f"{section.__name__}.{name} has no docstring"
    assert field.description.endswith("."), field.description
    assert not field.is_required()


@pytest.fixture(scope="module")
def attributes_read() -> set[str]:
    """Names of all attributes read anywhere in the package but `config.py`."""
    package = Path(rllib_moe.__path__[0])
    trees = [ast.parse(path.read_text()) for path in package.rglob("*.py") if path.name != "config.py"]
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("name", [name for _, name, _ in FIELDS])
def test_every_field_is_read(name: str, attributes_read: set[str]) -> None:
    assert name in attributes_read, f"{name} is a setting nobody reads"


@pytest.mark.parametrize(("section", "name", "field"), NUMBERS, ids=[name for _, name, _ in NUMBERS])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "64", None, True, pytest.param(10**400, id="huge")])
def test_numbers(section: type[Settings], name: str, field: Any, value: Any) -> None:
    if value == 10**400 and field.annotation is int and name != "seed":
        return  # any whole number is as good as another
    (error,) = errors_of(section, **{name: value})
    kind = "a whole number" if field.annotation is int else "a finite number"
    assert error.startswith(f"{name}: expected {kind}"), error
    assert error.endswith(f", got {value!r}")


BOUNDS = [
    (section, name, field, key, limit)
    for section, name, field in NUMBERS
    for bound in field.metadata
    for key in ("ge", "le", "gt", "lt")
    if (limit := getattr(bound, key, None)) is not None
]


def test_every_number_has_a_lower_bound() -> None:
    bounded = {name for _, name, _, key, _ in BOUNDS if key in ("ge", "gt")}
    assert bounded == {name for _, name, _ in NUMBERS}


@pytest.mark.parametrize(
    ("section", "name", "field", "key", "limit"), BOUNDS, ids=[f"{name} {key}" for _, name, _, key, _ in BOUNDS]
)
def test_bounds_are_tight(section: type[Settings], name: str, field: Any, key: str, limit: float) -> None:
    """Just outside a bound a value is refused for the bound, in words; just inside it is not."""
    step = 1 if field.annotation is int else 1e-6
    away = step if key in ("le", "lt") else -step
    outside, inside = (limit + away, limit) if key in ("ge", "le") else (limit, limit - away)
    refusal = f"{name}: expected a {'whole' if field.annotation is int else 'finite'} number"
    (error,) = errors_of(section, **{name: outside})
    assert error.startswith(refusal)
    assert f"{limit:.12g}" in error
    assert error.endswith(f", got {outside!r}")
    # It may contradict another default, as a batch of 1 does.
    found: list[str] = []
    with collected(found):
        section(**{name: inside})
    assert not [each for each in found if each.startswith(refusal)]


@pytest.mark.parametrize(("section", "name"), TEXTS, ids=[name for _, name in TEXTS])
@pytest.mark.parametrize("value", ["", 5, True])
def test_text(section: type[Settings], name: str, value: Any) -> None:
    (error,) = errors_of(section, **{name: value})
    assert error.startswith(f"{name}: expected ")
    assert error.endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("section", "name", "field"), [each for each in FIELDS if get_origin(each[2].annotation) is Literal]
)
def test_choices(section: type[Settings], name: str, field: Any) -> None:
    choices = " or ".join(map(repr, field.annotation.__args__))
    assert errors_of(section, **{name: "other"}) == [f"{name}: expected {choices}, got 'other'"]


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        (
            TrainingConfig,
            {"seed": MAX_SEED + 1},
            f"seed: expected a whole number from 0 to {MAX_SEED}, got {MAX_SEED + 1}",
        ),
        (TrainingConfig, {"gamma": 1.01}, "gamma: expected a finite number from 0 to 1, got 1.01"),
        (TrainingConfig, {"clip_param": 0}, "clip_param: expected a finite number, above 0, got 0"),
        (TrainingConfig, {"mixed_precision": 1}, "mixed_precision: expected true or false, got 1"),
        (
            TrainingConfig,
            {"num_gpus": 1.5},
            "num_gpus: expected a part of one or a whole number, as Ray gives them out, got 1.5",
        ),
        (
            TrainingConfig,
            {"algo": "appo", "num_gpus": 2.0},
            "num_gpus: expected at most 1 with appo, whose learner has one device, got 2.0",
        ),
        (
            TrainingConfig,
            {"minibatch_size": 4097},
            "minibatch_size: expected a divisor of batch_size=4096, so that every row is learned, got 4097",
        ),
        (
            TrainingConfig,
            {"num_gpus": 3},
            "minibatch_size: expected a multiple of num_gpus=3, so that every row is learned, got 256",
        ),
        (
            TrainingConfig,
            {"num_workers": 3, "num_envs_per_worker": 7},
            "batch_size: expected a multiple of all environments together (21 = num_workers x num_envs_per_worker), so "
            "that every batch is exact, got 4096",
        ),
        (ModelConfig, {"hidden_size": 30}, "hidden_size: expected a multiple of num_heads=4, got 30"),
        (EnvironmentConfig, {"env_args": {"max_steps": 5}}, "env_args: max_steps is a setting of its own"),
        (EnvironmentConfig, {"env_args": {1: 2}}, "env_args: expected a mapping of names to values, got 1 in it"),
        (EnvironmentConfig, {"env_args": "a=1"}, "env_args: expected a mapping of names to values, got 'a=1'"),
        (RunConfig, {"storage": "s3"}, "storage: expected a URI or an absolute path, got 's3'"),
        (RunConfig, {"exp_name": "a/b"}, "exp_name: expected a plain directory name, got 'a/b'"),
        (RunConfig, {"exp_name": ".."}, "exp_name: expected a plain directory name, got '..'"),
    ],
)
def test_refusals(section: type[Settings], values: dict[str, Any], expected: str) -> None:
    assert errors_of(section, **values) == [expected]


def test_parts_and_whole_gpus_are_taken() -> None:
    for value in (0, 0.5, 1, 2.0, 4):
        assert TrainingConfig(num_gpus=value).num_gpus == value
    assert TrainingConfig(algo="appo", num_gpus=1).num_gpus == 1


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig().num_heads = 2  # type: ignore[misc]
