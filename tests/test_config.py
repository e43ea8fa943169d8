"""The configuration: plain form and back, unknown keys, ranges, and all faults in one message."""

import dataclasses
import math
import pickle
from typing import Any

import pytest

from rllib_moe.config import (
    MAX_SEED,
    SECTIONS,
    ConfigError,
    EnvironmentConfig,
    ExperimentConfig,
    ModelConfig,
    RunConfig,
    Section,
    TrainingConfig,
)

OTHER_VALUES: dict[str, dict[str, Any]] = {
    "model": {
        "hidden_size": 30,
        "graph_encoder": "mean",
        "num_heads": 5,
        "num_layers": 3,
        "num_experts": 6,
        "trunk_size": 7,
        "expert_hidden_size": 8,
        "critic_hidden_size": 9,
        "category_size": 10,
    },
    "environment": {
        "env": "regimes",
        "max_steps": 7,
        "env_args": {"num_regimes": 3, "deep": {"list": [1, 2.5, None]}},
        "step_timeout": 8.5,
    },
    "training": {
        "algo": "appo",
        "batch_size": 120,
        "minibatch_size": 30,
        "num_epochs": 3,
        "gamma": 0.5,
        "gae_lambda": 0.25,
        "clip_param": 0.3,
        "vf_loss_coef": 0.125,
        "grad_clip": 2.5,
        "num_workers": 3,
        "num_envs_per_worker": 4,
        "num_gpus": 0.5,
        "sample_timeout": 17.5,
        "mixed_precision": True,
        "seed": 11,
    },
    "run": {
        "exp_name": "other",
        "episodes": 12,
        "output_dir": "elsewhere",
        "resume": "a/checkpoint",
        "storage": "s3://bucket/runs",
        "address": "ray://head:10001",
        "checkpoint_every": 13,
        "keep_checkpoints": 14,
    },
}
FIELDS = [(name, field) for name, kind in SECTIONS.items() for field in dataclasses.fields(kind)]  # type: ignore[arg-type]


def other() -> ExperimentConfig:
    return ExperimentConfig(**{name: kind(**OTHER_VALUES[name]) for name, kind in SECTIONS.items()})


def faults(section: Section) -> list[str]:
    """The faults that `check` raises, also as they stand in its message."""
    with pytest.raises(ConfigError) as refused:
        section.check()
    assert str(refused.value) == "configuration refused:\n" + "\n".join(
        f"  - {fault}" for fault in refused.value.faults
    )
    return refused.value.faults


class TestForms:
    @pytest.mark.parametrize("config", [ExperimentConfig(), other()], ids=["defaults", "others"])
    def test_exact_inverse(self, config: ExperimentConfig) -> None:
        assert ExperimentConfig.from_dict(config.to_dict()) == config
        for name, kind in SECTIONS.items():
            assert kind.from_dict(getattr(config, name).to_dict()) == getattr(config, name)

    def test_other_values_cover_every_field_and_are_no_defaults(self) -> None:
        for name, field in FIELDS:
            assert field.name in OTHER_VALUES[name]
            assert OTHER_VALUES[name][field.name] != getattr(getattr(ExperimentConfig(), name), field.name)

    def test_sections_are_the_fields_of_the_experiment(self) -> None:
        assert [field.name for field in dataclasses.fields(ExperimentConfig)] == list(SECTIONS)
        for name, kind in SECTIONS.items():
            assert type(getattr(ExperimentConfig(), name)) is kind

    def test_defaults_and_others_are_in_range(self) -> None:
        assert list(ExperimentConfig().faults()) == []
        assert other().check() == other()

    def test_missing_keys_take_their_defaults(self) -> None:
        assert ExperimentConfig.from_dict({}) == ExperimentConfig()
        assert ExperimentConfig.from_dict({"model": {"num_experts": 2}}).model == ModelConfig(num_experts=2)

    def test_plain_form_shares_nothing_with_the_config(self) -> None:
        config = other()
        config.to_dict()["environment"]["env_args"]["deep"]["list"].append(3)
        assert config == other()

    def test_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            ModelConfig().num_heads = 2  # type: ignore[misc]


class TestUnknownKeys:
    def test_all_named_with_the_nearest(self) -> None:
        with pytest.raises(ConfigError) as refused:
            ExperimentConfig.from_dict({"modle": {}, "model": {"num_head": 2, "zzz": 1}, "run": {"episode": 1}})
        assert sorted(refused.value.faults) == [
            "ExperimentConfig: unknown key 'modle' (did you mean 'model'?)",
            "ModelConfig: unknown key 'num_head' (did you mean 'num_heads'?)",
            f"ModelConfig: unknown key 'zzz'; expected one of {', '.join(OTHER_VALUES['model'])}",
            "RunConfig: unknown key 'episode' (did you mean 'episodes'?)",
        ]

    @pytest.mark.parametrize("data", [None, 5, "model", [("model", {})]])
    def test_no_mapping(self, data: Any) -> None:
        with pytest.raises(ConfigError, match="ExperimentConfig: expected a mapping"):
            ExperimentConfig.from_dict(data)
        with pytest.raises(ConfigError, match="ModelConfig: expected a mapping"):
            ExperimentConfig.from_dict({"model": data})

    def test_a_key_that_is_no_string(self) -> None:
        with pytest.raises(ConfigError, match="unknown key 5"):
            ModelConfig.from_dict({5: 1})  # type: ignore[dict-item]


WHOLE = {
    **{
        field.name: (ModelConfig, 2 if field.name == "trunk_size" else 1)
        for field in dataclasses.fields(ModelConfig)
        if field.name != "graph_encoder"
    },
    "max_steps": (EnvironmentConfig, 1),
    **dict.fromkeys(("batch_size", "num_epochs", "num_envs_per_worker"), (TrainingConfig, 1)),
    "minibatch_size": (TrainingConfig, 2),
    **dict.fromkeys(("num_workers", "seed"), (TrainingConfig, 0)),
    **dict.fromkeys(("episodes", "checkpoint_every", "keep_checkpoints"), (RunConfig, 1)),
}
REAL = {
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "clip_param": math.inf,
    "vf_loss_coef": math.inf,
    "grad_clip": math.inf,
    "num_gpus": math.inf,
}
SECONDS = {"step_timeout": EnvironmentConfig, "sample_timeout": TrainingConfig}
TEXT = {"env": EnvironmentConfig, **dict.fromkeys(("output_dir", "resume", "address", "storage"), RunConfig)}


class TestRanges:
    def test_every_field_is_checked_here(self) -> None:
        assert {field.name for _, field in FIELDS} == {
            *WHOLE,
            *REAL,
            *TEXT,
            *SECONDS,
            *("algo", "exp_name", "env_args", "graph_encoder", "mixed_precision"),
        }

    @pytest.mark.parametrize("name", WHOLE)
    @pytest.mark.parametrize("value", [-1, 2.0, "64", None, True, math.nan])
    def test_whole_numbers(self, name: str, value: Any) -> None:
        kind, least = WHOLE[name]
        expected = f"{name}: expected a whole number, {least} or more, got {value!r}"
        assert faults(kind(**{name: value})) == [expected]

    @pytest.mark.parametrize("name", WHOLE)
    def test_one_below_the_least(self, name: str) -> None:
        kind, least = WHOLE[name]
        assert any(fault.startswith(f"{name}: ") for fault in faults(kind(**{name: least - 1})))

    @pytest.mark.parametrize("name", REAL)
    @pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.5", None, True, pytest.param(10**400, id="huge")])
    def test_real_numbers(self, name: str, value: Any) -> None:
        assert faults(TrainingConfig(**{name: value})) == [
            f"{name}: expected a number from 0 to {REAL[name] if REAL[name] == math.inf else 1}, got {value!r}"
        ]

    def test_gpus_are_given_out_in_parts_of_one_or_whole(self) -> None:
        for value in (0, 0.5, 1, 2.0, 3):
            assert TrainingConfig(num_gpus=value).check().num_gpus == value
        (fault,) = faults(TrainingConfig(num_gpus=1.5))
        assert fault == "num_gpus: expected a part of one or a whole number (as Ray gives them out), got 1.5"

    @pytest.mark.parametrize("name", SECONDS)
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "60", None, True])
    def test_seconds(self, name: str, value: Any) -> None:
        assert faults(SECONDS[name](**{name: value})) == [f"{name}: expected a number from 0.1 to 86400, got {value!r}"]

    def test_a_hung_environment_is_found_before_its_worker_is_given_up(self) -> None:
        config = ExperimentConfig(
            environment=EnvironmentConfig(step_timeout=30), training=TrainingConfig(sample_timeout=60)
        )
        assert faults(config) == [
            "sample_timeout: expected above twice step_timeout=30, so that a hung environment is replaced before its "
            "worker is, got 60"
        ]

    @pytest.mark.parametrize("name", ["gamma", "gae_lambda"])
    def test_above_one(self, name: str) -> None:
        assert faults(TrainingConfig(**{name: 1.01})) == [f"{name}: expected a number from 0 to 1, got 1.01"]
        assert TrainingConfig(**{name: 1}).check()

    @pytest.mark.parametrize("name", ["clip_param", "grad_clip"])
    def test_zero_would_learn_nothing(self, name: str) -> None:
        assert faults(TrainingConfig(**{name: 0})) == [f"{name}: expected above 0 (at 0 nothing is learned), got 0"]

    @pytest.mark.parametrize("name", TEXT)
    @pytest.mark.parametrize("value", ["", 5, True])
    def test_text(self, name: str, value: Any) -> None:
        assert faults(TEXT[name](**{name: value})) == [f"{name}: expected a non-empty string, got {value!r}"]

    @pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/a", "a/", 5, None])
    def test_exp_name_is_one_directory(self, value: Any) -> None:
        assert faults(RunConfig(exp_name=value)) == [f"exp_name: expected a plain directory name, got {value!r}"]

    def test_seed_fits_numpy(self) -> None:
        assert TrainingConfig(seed=MAX_SEED).check()
        assert faults(TrainingConfig(seed=MAX_SEED + 1)) == [f"seed: expected at most {MAX_SEED}, got {MAX_SEED + 1}"]

    def test_algo(self) -> None:
        assert faults(TrainingConfig(algo="sac")) == ["algo: expected 'ppo' or 'appo', got 'sac'"]  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", [None, 1, "yes"])
    def test_mixed_precision(self, value: Any) -> None:
        assert faults(TrainingConfig(mixed_precision=value)) == [
            f"mixed_precision: expected true or false, got {value!r}"
        ]

    def test_appo_learns_on_one_gpu(self) -> None:
        assert faults(TrainingConfig(algo="appo", num_gpus=2)) == [
            "num_gpus: expected at most 1 with appo, whose learner has one device, got 2"
        ]
        assert TrainingConfig(algo="appo", num_gpus=1).check()
        assert TrainingConfig(algo="ppo", num_gpus=2).check()

    @pytest.mark.parametrize("value", [None, [], "a=1", {1: 2}])
    def test_env_args(self, value: Any) -> None:
        assert faults(EnvironmentConfig(env_args=value)) == [
            f"env_args: expected a mapping of names to values, got {value!r}"
        ]

    def test_graph_encoder(self) -> None:
        (fault,) = faults(ModelConfig(graph_encoder="gat"))
        assert fault.startswith("graph_encoder: unknown encoder 'gat' (did you mean 'GATConv'?)")
        assert faults(ModelConfig(graph_encoder=1)) == ["graph_encoder: expected a non-empty string, got 1"]  # type: ignore[arg-type]

    def test_section_of_another_kind(self) -> None:
        assert faults(ExperimentConfig(model={})) == ["model: expected a ModelConfig, got {}"]  # type: ignore[arg-type]


class TestContradictions:
    def test_heads_divide_the_width(self) -> None:
        assert faults(ModelConfig(hidden_size=30)) == ["hidden_size: expected a multiple of num_heads=4, got 30"]

    def test_minibatch_within_the_batch(self) -> None:
        (fault,) = faults(TrainingConfig(minibatch_size=4097))
        assert fault == "minibatch_size: expected a divisor of batch_size=4096, so that every row is learned, got 4097"

    @pytest.mark.parametrize(("num_workers", "together"), [(0, 7), (1, 7), (3, 21)])
    def test_batch_is_made_of_whole_fragments(self, num_workers: int, together: int) -> None:
        (fault,) = faults(TrainingConfig(num_workers=num_workers, num_envs_per_worker=7))
        assert fault.startswith(f"batch_size: expected a multiple of all environments together ({together} = ")

    def test_max_steps_has_one_place(self) -> None:
        assert faults(EnvironmentConfig(env_args={"max_steps": 5})) == ["env_args: max_steps has a flag of its own"]


class TestMessage:
    def test_faults_of_all_sections_at_once(self) -> None:
        config = ExperimentConfig(
            model=ModelConfig(num_experts=0, hidden_size=-1),
            environment=EnvironmentConfig(env=""),
            training=TrainingConfig(gamma=2, batch_size=True),
            run=RunConfig(episodes=0),
        )
        names = [fault.partition(":")[0] for fault in faults(config)]
        assert names == ["hidden_size", "num_experts", "env", "batch_size", "gamma", "episodes"]

    def test_survives_pickling_as_ray_does_it(self) -> None:
        error = pickle.loads(pickle.dumps(ConfigError(["one", "two"])))
        assert (error.faults, str(error)) == (["one", "two"], "configuration refused:\n  - one\n  - two")
