"""Search spaces: what is refused, in one message; what is drawn, combined and mutated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_moe.experiment import Experiment
from rllib_moe.studies.tuning.search import Search
from rllib_moe.studies.tuning.search_config import BUNDLED, SearchConfig
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.yaml_files import load_yaml
from tests.refused import errors_of

BASE = Experiment().with_overrides({"env": "regimes"})


def space(parameters: dict[str, Any], shared: dict[str, Any] | None = None) -> SearchSpace:
    return SearchSpace.from_dict({"parameters": parameters}, BASE, shared)


def errors(parameters: dict[str, Any], shared: dict[str, Any] | None = None) -> list[str]:
    return errors_of(space, parameters, shared)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_spaces_are_valid(name: str) -> None:
    read = SearchSpace.from_dict(load_yaml(BUNDLED[name]), BASE)
    values = read.draw(np.random.default_rng(0))
    assert list(values) == list(load_yaml(BUNDLED[name])["parameters"])


WRONG: dict[str, tuple[Any, str]] = {
    "transision.temperature": ({"uniform": [0.3, 0.8]}, "no phase 'transision' (did you mean 'transition'?)"),
    "warmup.temperatur": ({"uniform": [0.3, 0.8]}, "unknown key 'temperatur' (did you mean 'temperature'?)"),
    "*.entropy_coef": ({"loguniform": [0, 0.1]}, "*.entropy_coef.loguniform: expected low above 0"),
    "gamma": ({"unifrom": [0.9, 1]}, "gamma: unknown kind 'unifrom' (did you mean 'uniform'?)"),
    "num_expert": ({"choice": [2, 3]}, "num_expert: unknown setting (did you mean 'num_experts'?)"),
    "num_heads": ({"choice": []}, "num_heads.choice: expected a list of one value or more, got []"),
    "gae_lambda": ({"uniform": [0.9, 0.8]}, "gae_lambda.uniform: expected low below high, got [0.9, 0.8]"),
    "num_workers": (3, "num_workers: is the same in all trials"),
    "fine-tune.temperature": ({"uniform": [-1, 0.8]}, "fine-tune.temperature = -1: fine-tune.temperature: expected"),
    "num_epochs": ({"uniform": [1.5, 4]}, "num_epochs = 1.5: num_epochs: expected a whole number"),
    "clip_param": ({"uniform": [0.1, "a"]}, "clip_param.uniform: expected [low, high], two finite numbers"),
    "minibatch_size": ({"randint": [1.5, 64]}, "minibatch_size.randint: expected whole numbers"),
    "grad_clip": ({"choice": [0.5, 1.0, 0.5]}, "grad_clip.choice: expected each value once, got 0.5 again"),
    "vf_loss_coef": ({"choice": [1], "grid": [2]}, "vf_loss_coef: expected one kind"),
}
"""Wrong parameters by name, with what is told of each."""


def test_every_error_is_in_one_message() -> None:
    told = "\n".join(errors({name: form for name, (form, _) in WRONG.items()}))
    for _, expected in WRONG.values():
        assert expected in told


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "at least one"),
        ({"gamma": 0.9}, "at least one"),
        ({"gamma": {"choice": [0.9, 1]}, "gamma, gae_lambda": {"choice": [0.9, 1]}}, "gamma: expected once"),
        ({"phase_boundaries": {"choice": [[2000, 1000], [1000, 2000]]}}, "must come after"),
        ({"phase_boundaries": {"choice": [[1000], [1000, 2000]]}}, "expected 2 for 3 phases"),
        ({"transition.start": {"randint": [3000, 4000]}}, "must come after"),
        ({"fine-tune.temperature.to": {"uniform": [0.1, 0.2]}}, "the last phase has no end"),
        ({"*.start": {"choice": [1, 2]}}, "expected the name of one phase"),
        ({"transition.routing": {"choice": ["sparsmax", "softmax"]}}, "expected one of"),
    ],
    ids=str,
)
def test_what_no_trial_can_have_is_refused(parameters: dict[str, Any], told: str) -> None:
    assert told in "\n".join(errors(parameters))


def test_an_error_of_the_flags_is_told_once_and_as_such() -> None:
    wrong = {"num_heads": 3}
    told = "hidden_size: expected a multiple of num_heads=3, got 64"
    assert errors({"gamma": {"uniform": [0.9, 1.0]}}, wrong) == [told]
    # A parameter may mend it.
    assert space({"hidden_size": {"choice": [6, 9]}}, wrong).example.model.num_heads == 3


def test_a_parameter_of_a_phase_that_is_never_reached_is_refused() -> None:
    short = {"episodes": 900}
    parameters = {"transition.temperature": {"uniform": [0.3, 0.8]}}
    assert "has no effect, transition begins at episode 1000 and trials end at 900" in errors(parameters, short)[0]
    assert space({**parameters, "phase_boundaries": {"choice": [[1000, 2000], [800, 2000]]}}, short)


@pytest.mark.parametrize("text", ["parameters: [", "gamma: 1", "[]", "parameters: 3"])
def test_a_file_that_is_no_space_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match="space"):
        Search.plan(SearchConfig(space=str(tmp_path / "space.yaml")), BASE)
    with pytest.raises(ConfigError, match=r"space: cannot read 'coeficients'.*did you mean 'coefficients'"):
        Search.plan(SearchConfig(space="coeficients"), BASE)


def test_values_reach_the_experiment() -> None:
    read = space(
        {
            "transition.temperature.to, fine-tune.temperature": {"choice": [0.3, 0.4]},
            "*.entropy_coef": {"choice": [1e-3, 0.5]},
            "transition.alpha_entropy_coef": [0.5, 0.1],
            "fine-tune.start": {"randint": [2000, 2500]},
            "num_experts": 8,
            "gamma": 0.9,
            "env_args.num_cues": 4,
        }
    )
    drawn = read.draw(np.random.default_rng(0)) | {"*.entropy_coef": 0.001}
    trial, schedule = read.apply_values(drawn), read.apply_values(drawn).schedule
    assert (trial.model.num_experts, trial.training.gamma, trial.environment.env_args) == (8, 0.9, {"num_cues": 4})
    assert read.values(read.overrides(drawn)) == drawn
    start = schedule.boundaries[1]
    assert 2000 <= start <= 2500
    assert schedule.at(1000).temperature == 1.0
    assert schedule.at(start).temperature in (0.3, 0.4)
    assert schedule.at(start - 1).temperature == pytest.approx(schedule.at(start).temperature, abs=1e-3)
    assert {schedule.at(episode).entropy_coef for episode in (0, 1000, start)} == {0.001}
    assert schedule.at(1000).alpha_entropy_coef == 0.5


def test_draws_stay_in_their_ranges() -> None:
    read = space(
        {
            "gamma": {"uniform": [0.9, 0.99]},
            "*.diversity_coef": {"loguniform": [1e-4, 1]},
            "num_epochs": {"randint": [1, 3]},
            "transition.routing": {"choice": ["softmax", "sparsemax"]},
        }
    )
    generator = np.random.default_rng(0)
    drawn = [read.draw(generator) for _ in range(400)]
    assert all(0.9 <= values["gamma"] <= 0.99 for values in drawn)
    assert {values["num_epochs"] for values in drawn} == {1, 2, 3}
    assert {values["transition.routing"] for values in drawn} == {"softmax", "sparsemax"}
    # Uniform in the logarithm: a quarter of the draws in each factor of ten, give or take four standard deviations.
    decades = [math.floor(math.log10(values["*.diversity_coef"])) for values in drawn]
    assert all(abs(decades.count(each) - 100) < 4 * math.sqrt(400 * 0.25 * 0.75) for each in (-4, -3, -2, -1))
    assert drawn == [read.draw(again) for again in [np.random.default_rng(0)] for _ in range(400)]


def test_boundaries_out_of_order_are_drawn_again() -> None:
    read = space({"transition.start": {"randint": [100, 1900]}, "fine-tune.start": {"randint": [200, 2000]}})
    draws = (read.draw(generator) for generator in [np.random.default_rng(0)] for _ in range(100))
    assert all(values["transition.start"] < values["fine-tune.start"] for values in draws)


def test_a_grid_is_every_combination() -> None:
    read = space({"gamma": {"grid": [0.9, 0.99]}, "num_experts": {"choice": [2, 4, 8]}, "clip_param": 0.1})
    combinations = read.combinations()
    assert len(combinations) == 6
    assert {(values["gamma"], values["num_experts"]) for values in combinations} == {
        (gamma, experts) for gamma in (0.9, 0.99) for experts in (2, 4, 8)
    }
    assert all(read.apply_values(values).training.clip_param == 0.1 for values in combinations)


def test_a_grid_refuses_ranges_and_names_combinations_that_are_not_valid() -> None:
    with pytest.raises(ConfigError, match="gamma: uniform has no list of values for a grid"):
        space({"gamma": {"uniform": [0.9, 1.0]}}).combinations()
    read = space({"transition.start": {"grid": [500, 1500]}, "fine-tune.start": {"grid": [1000, 2000]}})
    with pytest.raises(ConfigError, match=r"'transition.start': 1500, 'fine-tune.start': 1000.*must come after"):
        read.combinations()


def test_mutations_leave_the_curriculum_whole() -> None:
    """Coefficients move; boundaries, gates, sizes and seeds do not, so that a count stays in its phase."""
    read = space(
        {
            "transition.temperature.to, fine-tune.temperature": {"uniform": [0.3, 0.8]},
            "*.entropy_coef": {"loguniform": [1e-3, 1e-1]},
            "num_epochs": {"randint": [2, 5]},
            "transition.learning_rate": {"choice": [1e-5, 1e-4, 1e-3]},
            "transition.start": {"randint": [100, 2000]},
            "num_experts": {"choice": [2, 4]},
            "transition.routing": {"choice": ["softmax", "sparsemax"]},
            "seed": {"randint": [0, 9]},
        }
    )
    generator = np.random.default_rng(0)
    values = read.draw(generator)
    kept = ("transition.start", "num_experts", "transition.routing", "seed")
    moved: dict[str, set[Any]] = {}
    for _ in range(200):
        changed = read.mutated(values, generator)
        assert [changed[name] for name in kept] == [values[name] for name in kept]
        assert read.errors(changed) == ()
        assert 0.3 <= changed["transition.temperature.to, fine-tune.temperature"] <= 0.8
        assert 1e-3 <= changed["*.entropy_coef"] <= 1e-1
        assert changed["num_epochs"] in (2, 3, 4, 5)
        for name in changed.keys() - set(kept):
            moved.setdefault(name, set()).add(changed[name])
    assert all(len(seen) > 2 for seen in moved.values())


def test_small_whole_numbers_move_both_ways() -> None:
    parameter = space({"num_epochs": {"randint": [1, 8]}}).parameters[0]
    generator = np.random.default_rng(0)
    for value, near in ((1, {1, 2}), (2, {1, 3}), (3, {2, 4}), (8, {6, 8})):
        seen = [parameter.mutated(value, generator) for _ in range(200)]
        assert all(seen.count(each) > 40 for each in near), (value, seen)
