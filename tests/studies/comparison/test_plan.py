"""The plan of a comparison: order of runs, experiments, and every error in one message."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_moe.experiment import Experiment
from rllib_moe.studies.comparison.compare import forecasts
from rllib_moe.studies.comparison.controls import unfair_controls
from rllib_moe.studies.comparison.plan import BUNDLED, Plan
from rllib_moe.studies.comparison.table import limits
from rllib_moe.training.fit import experiment_errors
from rllib_moe.validation.errors import ConfigError
from tests.refused import errors_of

SMALL: dict[str, Any] = {
    "episodes": 40,
    "overrides": {"env": "regimes", "max_steps": 8},
    "evaluation": {"episodes": 4, "seed_base": 7},
    "variants": [
        {"name": "whole"},
        {"name": "soft", "about": "softmax", "overrides": {"*.routing": "softmax"}},
    ],
    "seeds": [0, 1],
}


def load(tmp_path: Path, **changes: Any) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return Plan.load(str(path))


def refused(tmp_path: Path, **changes: Any) -> list[str]:
    return errors_of(load, tmp_path, **changes)


def test_first_seeds_of_all_variants_come_first(tmp_path: Path) -> None:
    names = [run.name for run in load(tmp_path).runs()]
    assert names == ["whole-seed0", "soft-seed0", "whole-seed1", "soft-seed1"]


def test_a_run_is_the_config_under_the_plans_overrides_under_the_variants(tmp_path: Path) -> None:
    config = Experiment().with_overrides({"gamma": 0.5, "num_experts": 2, "max_steps": 9, "phase_boundaries": [7, 9]})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    variants = [{"name": "b", "overrides": {"num_experts": 3, "*.routing": "softmax"}}]
    (run,) = load(tmp_path, config=str(tmp_path / "config.yaml"), variants=variants, seeds=[5]).runs()
    own = {"exp_name": "b-seed5", "episodes": 40, "seed": 5}
    expected = {"env": "regimes", "max_steps": 8, "num_experts": 3, "*.routing": "softmax", **own}
    assert run.experiment == config.with_overrides(expected)
    assert (run.variant, run.name, run.seed) == ("b", "b-seed5", 5)


def test_what_the_plan_gives_every_run_is_no_override(tmp_path: Path) -> None:
    variants = [{"name": "b", "overrides": {"seed": 9, "exp_name": "mine"}}]
    assert refused(tmp_path, overrides={"episodes": 7, "output_dir": "x"}, variants=variants) == [
        "overrides: expected the plan's own `episodes`, got 'episodes'",
        "overrides: the directory of the runs is that of the command, --output-dir, got 'output_dir'",
        "b: overrides: expected the plan's own `seeds`, got 'seed'",
        "b: overrides: a run is named by its variant and seed, got 'exp_name'",
    ]


def test_every_error_of_the_file_is_named_at_once(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        episodes=0,
        override="x",
        evaluation={"episodes": 1.5, "seeds": 3, "baselines": ["random", "random"]},
        variants=[{"name": "", "seeds": []}, {"name": "c", "overrides": "'"}, 7],
        seeds=[1, 1],
        test="z",
    ) == [
        "episodes: expected a whole number, 1 or more, got 0",
        "evaluation: episodes: expected a whole number, 1 or more, got 1.5",
        "evaluation: seed_base: missing; expected a whole number, 0 or more (seed of the first one)",
        "evaluation: baselines: expected different players that learn nothing, got ['random', 'random']",
        "evaluation: unknown key 'seeds' (did you mean 'seed_base'?)",
        "variants[0]: name: expected a non-empty text, got ''",
        "variants[0]: unknown key 'seeds'; expected one of name, about, overrides",
        'variants[1]: overrides: expected a mapping of names to values, got "\'"',
        "variants: expected a list of mappings, at least one, got 7",
        "seeds: expected different seeds, got [1, 1]",
        "test: expected 'sign-flips' or 't', got 'z'",
        "unknown key 'override' (did you mean 'overrides'?)",
    ]


def test_seeds_of_training_are_refused(tmp_path: Path) -> None:
    for counts in ({"episodes": 4}, {"episodes": 1, "most_probable_episodes": 4}, {"without_expert_episodes": 4}):
        (error,) = refused(tmp_path, evaluation={"episodes": 1, "seed_base": 2**20 - 3} | counts)
        assert error == (
            "evaluation: seed_base: expected seeds below 1,048,576, where those of training begin, "
            "got 1,048,573 to 1,048,576"
        )
    load(tmp_path, evaluation={"episodes": 3, "seed_base": 2**20 - 3})


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_what_is_no_plan_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"expected a mapping|missing"):
        Plan.load(str(path))


def test_every_experiment_is_made_before_anything_starts(tmp_path: Path) -> None:
    variants = [
        {"name": "a", "overrides": {"*.temperature": 0, "num_experts": 0}},
        {"name": "b/c", "overrides": {"num_expert": 3}},
        {"name": "a"},
    ]
    errors = refused(tmp_path, variants=variants, seeds=[0, -1], reference="b")
    for error in (
        "reference: no variant 'b'; expected one of a, b/c",
        "variants: expected different names, got 'a' twice",
        "a: warmup.temperature: expected a finite number, above 0, got 0",
        "a: num_experts: expected a whole number, 1 or more, got 0",
        "a: seed: expected a whole number from 0 to 2147483647, got -1",
        "b/c: num_expert: unknown setting (did you mean 'num_experts'?)",
        "b/c: exp_name: expected a plain directory name, got 'b/c-seed0'",
    ):
        assert errors.count(error) == 1, errors


def test_what_counts_as_0_and_1_are_two_values(tmp_path: Path) -> None:
    told = "normalize: expected two different values, got one for a_mean"
    assert refused(tmp_path, normalize={"a_mean": [1.0, 1.0], "b_mean": [0.0, 2]}) == [told]
    assert load(tmp_path, normalize={"b_mean": [0.0, 2]}).normalize == {"b_mean": [0.0, 2.0]}
    assert len(refused(tmp_path, normalize={"a_mean": [1.0]})) == 1


def test_a_phase_that_one_iteration_may_skip_is_warned_of(tmp_path: Path) -> None:
    batch = {"num_workers": 0, "num_envs_per_worker": 8, "batch_size": 128, "minibatch_size": 64}
    assert list(forecasts(load(tmp_path, overrides=SMALL["overrides"] | batch | {"phase_boundaries": [17, 34]}))) == []
    short = [{"name": "whole"}, {"name": "short", "overrides": {"phase_boundaries": [17, 30]}}]
    (told,) = forecasts(
        load(tmp_path, overrides=SMALL["overrides"] | batch | {"phase_boundaries": [17, 34]}, variants=short)
    )
    assert told.startswith("short: warning: transition lasts 13 episodes, and one iteration may end 16 or more")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot read 'nowhere.yaml'.*one of {', '.join(BUNDLED)}"):
        Plan.load("nowhere.yaml")
    (error,) = refused(tmp_path, config="nowhere.yaml")
    assert "config: cannot read 'nowhere.yaml'" in error


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_plans_are_whole(name: str) -> None:
    plan = Plan.load(name)
    assert len(plan.seeds) >= 5
    assert list(limits(plan)) == []
    assert list(unfair_controls(plan)) == []
    assert all(variant.about for variant in plan.variants)
    assert [error for experiment in plan.experiments.values() for error in experiment_errors(experiment)] == []
    assert Plan.from_dict(plan.to_dict()) == plan


def test_one_expert_gets_the_live_parameters_of_four() -> None:
    """On NetHack, trunk 128 and 23 actions: 4 experts of 64 units beside a router of which one candidate of 8,512
    parameters is alive (of the one expert's router nothing is), so 64 + (3 (64 * 152 + 23) + 8512) / 152 = 312.5 units.
    """
    one = {"name": "one", "overrides": {"num_experts": 1, "expert_hidden_size": 258}}
    overrides = {"env": "nethack", "router_inputs": "state"}
    plan = Plan.from_dict({**SMALL, "overrides": overrides, "variants": [one, {"name": "four"}]})
    told = "one: 161583 live parameters, four has 169860; expert_hidden_size=312 has as many, got 258"
    assert list(unfair_controls(plan)) == [told]
