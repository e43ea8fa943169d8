"""One experiment: its YAML form, its overrides, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from rllib_moe.experiment import BUNDLED, SECTIONS, Experiment, override_error
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.studies.comparison.plan import Plan
from rllib_moe.validation.errors import ConfigError
from tests.refused import errors_of

OTHER: dict[str, Any] = {
    **{"hidden_size": 30, "graph_encoder": "mean", "num_heads": 5, "num_layers": 3, "num_experts": 6, "trunk_size": 7},
    **{"expert_hidden_size": 8, "shared_hidden_size": 5, "critic_hidden_size": 9, "category_size": 10},
    **{"router": "frozen", "router_inputs": "state,graph", "router_candidates": 2, "expert_inputs": "features"},
    **{"env": "regimes", "max_steps": 7, "env_args": {"deep": {"list": [1, 2.5, None]}, "ü": "@"}, "step_timeout": 8.5},
    **{"algo": "appo", "batch_size": 120, "minibatch_size": 30, "num_epochs": 3, "gamma": 0.5, "gae_lambda": 0.25},
    **{"clip_param": 0.3, "vf_loss_coef": 0.125, "grad_clip": 2.5, "num_workers": 3, "num_envs_per_worker": 4},
    **{"num_gpus": 0.5, "sample_timeout": 17.5, "mixed_precision": True, "seed": 11, "time_limit": "terminal"},
    **{"exp_name": "other", "episodes": 12, "output_dir": "elsewhere", "resume": "a/checkpoint"},
    **{"storage": "s3://bucket/runs", "address": "ray://head:10001", "checkpoint_every": 13, "keep_checkpoints": 14},
    **{"schedule": "v3", "phase_boundaries": [3, 8], "transition.temperature.to": 0.25, "*.learning_rate": 1e-4},
}
"""A value of every field that is not its default, and some of the schedule."""


def other() -> Experiment:
    return Experiment().with_overrides(OTHER)


def errors(overrides: dict[str, Any]) -> list[str]:
    return errors_of(Experiment().with_overrides, overrides)


def test_every_field_is_overridden_in_its_section() -> None:
    for name, section in SECTIONS.items():
        for field in section.model_fields:
            assert getattr(getattr(other(), name), field) == OTHER[field] != getattr(getattr(Experiment(), name), field)
    assert other().schedule.boundaries == (3, 8)
    assert other().schedule.at(0).alpha_entropy_target is None
    assert other().schedule.phases[1].to_dict()["temperature"] == [1.0, 0.25]


@pytest.mark.parametrize("experiment", [Experiment(), other()], ids=["defaults", "others"])
def test_the_yaml_form_is_an_exact_inverse(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(experiment.to_yaml(), encoding="utf-8")
    assert Experiment.load(path) == experiment
    assert Experiment.load(path).to_yaml() == experiment.to_yaml()
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    experiment.to_dict()["environment"]["env_args"]["x"] = 3
    assert Experiment.load(path) == experiment


def test_a_file_says_what_differs_from_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {num_experts: 2}\nschedule: v3\n")
    assert Experiment.load(path) == Experiment().with_overrides({"num_experts": 2, "schedule": "v3"})
    path.write_text("modle: {}\nmodel: {num_head: 2, hidden_size: 0}\nrun: {episode: 1}\nschedule: v4\n")
    with pytest.raises(ConfigError) as refused:
        Experiment.load(path)
    assert refused.value.source == f"config {path}"
    assert len(refused.value.errors) == 5
    with pytest.raises(ConfigError, match="cannot read"):
        Experiment.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_experiment_teaches_named_experts_and_differs_from_the_defaults(name: str) -> None:
    experiment = Experiment.load(name)
    assert experiment.teaches_roles
    assert experiment.with_overrides({"exp_name": "other"}) != Experiment().with_overrides({"exp_name": "other"})
    assert experiment.run == Experiment().run  # the command says where, and for how long


def test_named_roles_are_those_of_the_published_plan() -> None:
    plan = Plan.load("named-roles")
    variant = next(variant for variant in plan.variants if variant.name == "roles")
    published = plan.config.with_overrides({**plan.overrides, **variant.overrides})
    for section in ("environment", "model", "schedule"):
        assert getattr(Experiment.load("named-roles"), section) == getattr(published, section)


def test_an_unknown_name_is_refused_with_the_bundled_ones() -> None:
    with pytest.raises(ConfigError, match="expected a YAML file or one of named-roles, whole-game"):
        Experiment.load("named-role")


def test_nothing_changes_nothing() -> None:
    assert Experiment().with_overrides({}) == Experiment()


def test_arguments_of_the_environment_one_by_one_and_all_at_once() -> None:
    base = Experiment().with_overrides({"env_args": {"a": 1, "b": 2}})
    assert base.with_overrides({"env_args.a": 3}).environment.env_args == {"a": 3, "b": 2}
    assert base.with_overrides({"env_args": {"c": 3}}).environment.env_args == {"c": 3}
    both = {"env_args.a": 1, "env_args": {"c": 3}}
    assert base.with_overrides(both).environment.env_args == {"c": 3, "a": 1}
    with pytest.raises(ConfigError, match="env_args: expected a mapping"):
        base.with_overrides({"env_args.a": 1, "env_args": 7})


def test_values_that_hold_only_together() -> None:
    assert Experiment().with_overrides({"hidden_size": 30, "num_heads": 5}).model.hidden_size == 30
    late = {"transition.start": 5000, "fine-tune.start": 6000}
    assert Experiment().with_overrides(late).schedule.boundaries == (5000, 6000)


def test_all_errors_in_one_refusal() -> None:
    found = errors(
        {
            **{"gama": 1, "training": {}, "warmup.tempe": 3, "nobody.temperature": 1, "fine-tune.temperature": [1, 2]},
            **{"num_experts": 0, "gamma": 2, "exp_name": "a/b", "env_args.max_steps": 5, "*.routing": "top2"},
        }
    )
    words = ["gama", "training", "tempe", "nobody", "num_experts", "gamma", "exp_name", "max_steps"]
    for word in words:
        assert any(word in error for error in found), word
    assert any("did you mean 'gamma'" in error for error in found)


def test_a_hung_environment_is_found_before_its_worker_is_given_up() -> None:
    assert errors({"step_timeout": 30, "sample_timeout": 60}) == [
        "sample_timeout: expected above twice step_timeout=30, so that a hung environment is replaced before its "
        "worker is, got 60"
    ]


@pytest.mark.parametrize("name", [*OTHER, "*.routing", "warmup.start", "env_args.x", "transition.learning_rate.from"])
def test_known_names(name: str) -> None:
    assert override_error(name, PhaseSchedule.load("default")) is None
