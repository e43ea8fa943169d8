"""Configuration of an experiment: frozen dataclasses, each field documented, each default said here and nowhere else.

`to_dict` and `from_dict` are exact inverses and reject unknown keys by name. `ExperimentConfig.check` names every value
that is out of range or contradicts another, in one error, before anything starts. Only plain dicts cross into Ray.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from rllib_moe.errors import did_you_mean

MAX_SEED = 2**31 - 1
"""Largest seed: RLlib adds worker indices to it, and numpy takes 32 bits."""


class ConfigError(ValueError):
    """A configuration was refused. The message lists every fault, one a line."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("configuration refused:\n" + "\n".join(f"  - {fault}" for fault in faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


class Section:
    """What the sections below share: plain-dict form and back."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        raise NotImplementedError

    def check(self) -> Self:
        """Return self when every value is in range.

        Raises:
            ConfigError: naming every fault.
        """
        if faults := list(self.faults()):
            raise ConfigError(faults)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, the inverse of `from_dict`."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from a plain dict; a missing key takes its default.

        Raises:
            ConfigError: naming every unknown key and the nearest known one, or what is no mapping.
        """
        if not isinstance(data, Mapping):
            raise ConfigError([f"{cls.__name__}: expected a mapping, got {data!r}"])
        known = {each.name: each for each in dataclasses.fields(cls)}  # type: ignore[arg-type]
        faults = [
            f"{cls.__name__}: unknown key {key!r}{did_you_mean(str(key), list(known))}"
            for key in data
            if key not in known
        ]
        values = {}
        for key in known.keys() & data.keys():
            section = SECTIONS.get(key)
            try:
                values[key] = section.from_dict(data[key]) if section and cls is ExperimentConfig else data[key]
            except ConfigError as error:
                faults += error.faults
        if faults:
            raise ConfigError(faults)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """Sizes of the network."""

    hidden_size: int = 64
    """Width of node, graph, status and crop embeddings; a multiple of num_heads."""
    graph_encoder: str = "attention"
    """Encoder of the graph: `attention` along its edges, the `mean` over its nodes (to compare with), a convolution of
    torch_geometric.nn such as `GATv2Conv`, or a class of yours as `module:Class`."""
    num_heads: int = 4
    """Attention heads of the graph encoder."""
    num_layers: int = 2
    """Layers of the graph encoder; the last one of attention is read at the ego node alone."""
    num_experts: int = 4
    """Experts; 1 makes a plain policy of the same kind (the router then has nothing to choose)."""
    trunk_size: int = 128
    """Width of the joint state that router, experts and critic read, at least 2 (the router normalises it)."""
    expert_hidden_size: int = 64
    """Hidden width of each expert."""
    critic_hidden_size: int = 64
    """Hidden width of the critic."""
    category_size: int = 8
    """Embedding width of one cell of a categorical extra leaf (the map crop)."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        from rllib_moe.models.encoder_registry import encoder_errors  # models import this module

        not_text = list(_text("graph_encoder", self.graph_encoder))
        yield from not_text or encoder_errors(self.graph_encoder)
        for each in dataclasses.fields(self):
            if each.name != "graph_encoder":
                yield from _whole(each.name, getattr(self, each.name), at_least=2 if each.name == "trunk_size" else 1)
        sizes_are_whole = _is_whole(self.num_heads, 1) and _is_whole(self.hidden_size, 1)
        if sizes_are_whole and self.hidden_size % self.num_heads:
            yield f"hidden_size: expected a multiple of num_heads={self.num_heads}, got {self.hidden_size}"


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig(Section):
    """Which environment, and its limits."""

    env: str = "nethack"
    """`nethack`, `regimes`, or a gymnasium id with a graph observation (`module:id` imports the module)."""
    max_steps: int = 500
    """Steps after which an episode is truncated."""
    env_args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment, such as `depth_bonus` of NetHack."""
    step_timeout: float = 60.0
    """Seconds after which a step or reset counts as hung, and the environment is replaced."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        yield from _whole("max_steps", self.max_steps, at_least=1)
        yield from _text("env", self.env)
        if not isinstance(self.env_args, dict) or not all(isinstance(name, str) for name in self.env_args):
            yield f"env_args: expected a mapping of names to values, got {self.env_args!r}"
        elif "max_steps" in self.env_args:
            yield "env_args: max_steps has a flag of its own"
        yield from _seconds("step_timeout", self.step_timeout)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """How the policy learns. The learning rate and all loss coefficients of the phases are in the schedule."""

    algo: Literal["ppo", "appo"] = "ppo"
    """Learning algorithm: PPO, or APPO, whose workers go on sampling while the learner learns."""
    batch_size: int = 4096
    """Environment steps a learning iteration."""
    minibatch_size: int = 256
    """Rows of one gradient step, at least 2 (the router measures how they differ)."""
    num_epochs: int = 2
    """Passes over each batch."""
    gamma: float = 0.995
    """Discount."""
    gae_lambda: float = 0.65
    """Lambda of generalised advantage estimation (https://arxiv.org/abs/1506.02438). The usual 0.95 learns half as much
    on NetHack: the critic knows nine tenths of the returns, and what it does not know is mostly chance."""
    clip_param: float = 0.2
    """PPO's clip range (https://arxiv.org/abs/1707.06347)."""
    vf_loss_coef: float = 0.5
    """Weight of the critic's loss."""
    grad_clip: float = 0.5
    """Largest global gradient norm."""
    num_workers: int = 2
    """Rollout workers; 0 samples in the driver."""
    num_envs_per_worker: int = 32
    """Environments stepped together in one worker."""
    num_gpus: float = 0
    """GPUs of the learner."""
    sample_timeout: float = 180.0
    """Seconds without an answer after which a rollout worker is killed and started anew; above twice `step_timeout`."""
    mixed_precision: bool = False
    """Learn with the encoder in bfloat16; routing, actions, losses and sampling stay in float32."""
    seed: int = 0
    """Seed of weights, sampling and environments, at most 2147483647 (`MAX_SEED`)."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        if self.algo not in ("ppo", "appo"):
            yield f"algo: expected 'ppo' or 'appo', got {self.algo!r}"
        if not isinstance(self.mixed_precision, bool):
            yield f"mixed_precision: expected true or false, got {self.mixed_precision!r}"
        for name in ("batch_size", "num_epochs", "num_envs_per_worker"):
            yield from _whole(name, getattr(self, name), at_least=1)
        yield from _whole("minibatch_size", self.minibatch_size, at_least=2)
        for name in ("num_workers", "seed"):
            yield from _whole(name, getattr(self, name), at_least=0)
        if _is_whole(self.seed, 0) and self.seed > MAX_SEED:
            yield f"seed: expected at most {MAX_SEED}, got {self.seed}"
        for name in ("gamma", "gae_lambda"):
            yield from _real(name, getattr(self, name), least=0, most=1)
        for name in ("vf_loss_coef", "num_gpus"):
            yield from _real(name, getattr(self, name), least=0, most=math.inf)
        if self.algo == "appo" and isinstance(self.num_gpus, (int, float)) and 1 < self.num_gpus < math.inf:
            yield f"num_gpus: expected at most 1 with appo, whose learner has one device, got {self.num_gpus!r}"
        if isinstance(self.num_gpus, float) and 1 < self.num_gpus < math.inf and not self.num_gpus.is_integer():
            yield f"num_gpus: expected a part of one or a whole number (as Ray gives them out), got {self.num_gpus!r}"
        for name in ("clip_param", "grad_clip"):
            value = getattr(self, name)
            yield from _real(name, value, least=0, most=math.inf)
            if value == 0 and value is not False:
                yield f"{name}: expected above 0 (at 0 nothing is learned), got {value!r}"
        yield from _seconds("sample_timeout", self.sample_timeout)
        batch_is_whole = _is_whole(self.batch_size, 1)
        if batch_is_whole and _is_whole(self.minibatch_size, 1) and self.batch_size % self.minibatch_size:
            yield (
                f"minibatch_size: expected a divisor of batch_size={self.batch_size}, so that every row is learned, "
                f"got {self.minibatch_size}"
            )
        if not (batch_is_whole and _is_whole(self.num_workers, 0) and _is_whole(self.num_envs_per_worker, 1)):
            return
        num_envs = max(1, self.num_workers) * self.num_envs_per_worker
        if self.batch_size % num_envs:
            yield (
                f"batch_size: expected a multiple of all environments together ({num_envs} = num_workers x "
                f"num_envs_per_worker), so that every batch is exact, got {self.batch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """One run: its name, length and place."""

    exp_name: str = "experiment"
    """Name of the run; its directory is <output-dir>/<exp-name>."""
    episodes: int = 5000
    """Total episodes, those of a resumed run included."""
    output_dir: str = "results"
    """Where run directories are made."""
    resume: str | None = None
    """Checkpoint directory to go on from, or a run directory (its latest checkpoint); either may be a URI."""
    address: str | None = None
    """Address of a Ray cluster; none starts Ray on this machine."""
    checkpoint_every: int = 500
    """Episodes between checkpoints; the last and the best are kept besides."""
    keep_checkpoints: int = 5
    """How many periodic checkpoints stay on disk."""
    storage: str | None = None
    """URI or absolute path to which each checkpoint is copied, such as s3://bucket/runs or file:///mnt/shared/runs."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        for name in ("episodes", "checkpoint_every", "keep_checkpoints"):
            yield from _whole(name, getattr(self, name), at_least=1)
        yield from _text("output_dir", self.output_dir)
        for name in ("resume", "address", "storage"):
            if getattr(self, name) is not None:
                yield from _text(name, getattr(self, name))
        if (
            isinstance(self.storage, str)
            and self.storage
            and "://" not in self.storage
            and not self.storage.startswith("/")
        ):
            yield f"storage: expected a URI or an absolute path, got {self.storage!r}"
        if (
            not isinstance(self.exp_name, str)
            or self.exp_name in ("", "..")
            or Path(self.exp_name).name != self.exp_name
        ):
            yield f"exp_name: expected a plain directory name, got {self.exp_name!r}"


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Section):
    """Everything about an experiment but its phase schedule."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    """The environment."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Learning and sampling."""
    run: RunConfig = field(default_factory=RunConfig)
    """The run."""

    def faults(self) -> Iterator[str]:
        """Everything out of range in any section, in words."""
        has_faults = False
        for name, kind in SECTIONS.items():
            section = getattr(self, name)
            told = (
                list(section.faults())
                if isinstance(section, kind)
                else [f"{name}: expected a {kind.__name__}, got {section!r}"]
            )
            has_faults = has_faults or bool(told)
            yield from told
        if not has_faults and self.training.sample_timeout <= 2 * self.environment.step_timeout:
            yield (
                f"sample_timeout: expected above twice step_timeout={self.environment.step_timeout:g}, so that a hung "
                f"environment is replaced before its worker is, got {self.training.sample_timeout:g}"
            )


SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "environment": EnvironmentConfig,
    "training": TrainingConfig,
    "run": RunConfig,
}


def _is_whole(value: Any, at_least: int) -> bool:
    return type(value) is int and value >= at_least


def _whole(name: str, value: Any, at_least: int) -> Iterator[str]:
    if not _is_whole(value, at_least):
        yield f"{name}: expected a whole number, {at_least} or more, got {value!r}"


def _real(name: str, value: Any, least: float, most: float) -> Iterator[str]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and least <= value <= min(most, sys.float_info.max)):  # false for NaN
        yield f"{name}: expected a number from {least} to {most}, got {value!r}"


def _seconds(name: str, value: Any) -> Iterator[str]:
    yield from _real(name, value, least=0.1, most=86400)


def _text(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield f"{name}: expected a non-empty string, got {value!r}"
