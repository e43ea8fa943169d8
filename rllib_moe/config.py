"""Settings of an experiment except its phase schedule: fields, defaults and bounds.

`experiment.py` joins them with the schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings

if TYPE_CHECKING:
    from rllib_moe.envs.graph_space import GraphShape

STATE, GRAPH = "state", "graph"
"""Names, among the inputs of router and experts, of the joint state and of the encoded graph."""

MAX_SEED = 2**31 - 1
"""Largest seed: RLlib adds worker indices to it, and numpy takes 32 bits."""

FIRST_TRAINING_SEED = 2**20
"""Least seed of a training episode. Evaluations use those below, so no run has learned from what it is judged by."""


class ModelConfig(Settings):
    """Sizes of the network."""

    hidden_size: int = Field(64, ge=2)
    """Width of node, graph, status and crop embeddings; a multiple of num_heads and at least 2 (the router
    normalizes it)."""
    graph_encoder: str = Field("attention", min_length=1)
    """Encoder of the graph: `attention` along its edges, the `mean` over its nodes (to compare with), a convolution of
    torch_geometric.nn such as `GATv2Conv`, or a class of yours as `module:Class`."""
    num_heads: int = Field(4, ge=1)
    """Attention heads of the graph encoder."""
    num_layers: int = Field(2, ge=1)
    """Layers of the graph encoder; the last one of attention is read at the ego node alone."""
    num_experts: int = Field(4, ge=1)
    """Experts; 1 makes a plain policy of the same kind (the router then has nothing to choose)."""
    router: Literal["learned", "frozen", "roles"] = "learned"
    """Router: `learned`; `frozen` at its random start (the null that a learned one is compared with; nothing is
    learned for its sake); or `roles`, the environment's own roles as the gate (the best router, where roles are what
    matters)."""
    router_inputs: str = Field(GRAPH, min_length=1)
    """Inputs of the router, comma-separated: the joint `state`, the `graph`, the status `features`, or extra leaves of
    the observation by their names. Experts divide the work better where the router reads something else than they."""
    router_candidates: int = Field(4, ge=1)
    """Candidates of a learned router, each from a random start; the one that divides the experts best is used."""
    expert_inputs: str = Field(STATE, min_length=1)
    """Inputs of the experts, as for `router_inputs`."""
    trunk_size: int = Field(128, ge=2)
    """Width of the joint state, which the critic and, by default, the experts read; at least 2 (a router that reads it
    normalizes it)."""
    expert_hidden_size: int = Field(64, ge=1)
    """Hidden width of each expert."""
    shared_hidden_size: int = Field(64, ge=0)
    """Hidden width of a shared expert, whose action logits are added to those of each expert; 0: none. What is right in
    every state is then learned once, from all states, and the experts divide only what differs."""
    critic_hidden_size: int = Field(64, ge=1)
    """Hidden width of the critic."""
    category_size: int = Field(8, ge=1)
    """Embedding width of one cell of a categorical extra leaf (the map crop)."""

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                [f"hidden_size: expected a multiple of num_heads={self.num_heads}, got {self.hidden_size}"]
            )
        return self

    @staticmethod
    def names(inputs: str) -> tuple[str, ...]:
        """Return the names in a list of inputs."""
        return tuple(name.strip() for name in inputs.split(","))

    def errors(self, shape: GraphShape, for_roles: Sequence[str] = ()) -> list[str]:
        """Return the reasons why the network does not fit an observation; empty when it does.

        Args:
            shape: Sizes of the observation.
            for_roles: Settings elsewhere that need a role for each expert, as `router='roles'` does.
        """
        known = (STATE, GRAPH, "features", *shape.extras)
        errors = [
            f"observation: leaf {name!r} has the name of something else that router and experts may read"
            for name in (STATE, GRAPH)
            if name in shape.extras
        ]
        errors += [
            f"{setting}: expected {', '.join(known)}, each once, got {inputs!r}"
            for setting, inputs in (("router_inputs", self.router_inputs), ("expert_inputs", self.expert_inputs))
            if len(names := self.names(inputs)) != len({*names} & {*known})
        ]
        if shape.num_roles != self.num_experts:
            has = f"{shape.num_roles or 'no'} roles"
            errors += [
                f"{setting}: needs a role for each of num_experts={self.num_experts}; the environment names {has}"
                for setting in (*(["router"] if self.router == "roles" else ()), *for_roles)
            ]
        return errors


class EnvironmentConfig(Settings):
    """The environment and its limits."""

    env: str = Field("nethack", min_length=1)
    """`nethack`, `regimes`, or a gymnasium id with a graph observation (`module:id` imports the module)."""
    max_steps: int = Field(500, ge=1)
    """Steps after which an episode is truncated."""
    env_args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the environment, such as `depth_bonus` of NetHack."""
    step_timeout: float = Field(60.0, ge=0.1, le=86400)
    """Seconds after which a step or reset counts as hung, and the environment is replaced."""

    @field_validator("env_args")
    @classmethod
    def _check_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if "max_steps" in arguments:
            raise ConfigError(["env_args: max_steps is a setting of its own"])
        return arguments


class TrainingConfig(Settings):
    """Learning and sampling. The learning rate and the loss coefficients of the phases are in the schedule."""

    algo: Literal["ppo", "appo"] = "ppo"
    """Learning algorithm: PPO, or APPO, whose workers go on sampling while the learner learns."""
    batch_size: int = Field(4096, ge=1)
    """Environment steps of a learning iteration."""
    minibatch_size: int = Field(256, ge=2)
    """Rows of one gradient step, at least 2 (the router measures how they differ)."""
    num_epochs: int = Field(2, ge=1)
    """Passes over each batch."""
    gamma: float = Field(0.995, ge=0, le=1)
    """Discount."""
    gae_lambda: float = Field(0.65, ge=0, le=1)
    """Lambda of generalized advantage estimation (https://arxiv.org/abs/1506.02438). The usual 0.95 learns half as much
    on NetHack: the critic knows nine tenths of the returns, and what it does not know is mostly chance."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Value of what follows an episode that its environment truncates, at a limit of steps or for want of progress:
    `bootstrap` takes the critic's estimate, `terminal` takes 0, as at an end of the task. An agent that observes the
    time left needs no bootstrap (https://arxiv.org/abs/1712.00378)."""
    clip_param: float = Field(0.2, gt=0)
    """PPO's clip range (https://arxiv.org/abs/1707.06347)."""
    vf_loss_coef: float = Field(0.5, ge=0)
    """Weight of the critic's loss."""
    grad_clip: float = Field(0.5, gt=0)
    """Largest global gradient norm."""
    num_workers: int = Field(2, ge=0)
    """Rollout workers; 0 samples in the driver."""
    num_envs_per_worker: int = Field(32, ge=1)
    """Environments stepped together in one worker."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs of the learner."""
    sample_timeout: float = Field(180.0, ge=0.1, le=86400)
    """Seconds without an answer after which a rollout worker is killed and started anew; above twice `step_timeout`."""
    mixed_precision: bool = False
    """Learn with the encoder in bfloat16; routing, actions, losses and sampling stay in float32."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of weights, sampling and environments."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        errors = []
        if self.algo == "appo" and self.num_gpus > 1:
            errors.append(f"num_gpus: expected at most 1 with appo, whose learner has one device, got {self.num_gpus}")
        elif self.num_gpus > 1 and not float(self.num_gpus).is_integer():
            errors.append(
                f"num_gpus: expected a part of one or a whole number, as Ray gives them out, got {self.num_gpus}"
            )
        if self.batch_size % self.minibatch_size:
            errors.append(
                f"minibatch_size: expected a divisor of batch_size={self.batch_size}, so that every row is learned, "
                f"got {self.minibatch_size}"
            )
        if self.num_gpus > 1 and float(self.num_gpus).is_integer() and self.minibatch_size % self.num_gpus:
            errors.append(
                f"minibatch_size: expected a multiple of num_gpus={self.num_gpus:g}, so that every row is learned, got "
                f"{self.minibatch_size}"
            )
        if self.batch_size % self.num_envs:
            errors.append(
                f"batch_size: expected a multiple of all environments together ({self.num_envs} = num_workers x "
                f"num_envs_per_worker), so that every batch is exact, got {self.batch_size}"
            )
        if errors:
            raise ConfigError(errors)
        return self

    @property
    def num_envs(self) -> int:
        """Environments of all workers together."""
        return max(1, self.num_workers) * self.num_envs_per_worker


class RunConfig(Settings):
    """One run: its name, length and place."""

    exp_name: str = "experiment"
    """Name of the run; its directory is <output-dir>/<exp-name>."""
    episodes: int = Field(5000, ge=1)
    """Total episodes, those of a resumed run included."""
    output_dir: str = Field("results", min_length=1)
    """Directory of the run directories."""
    resume: str | None = Field(None, min_length=1)
    """Checkpoint directory to go on from, or a run directory (its latest checkpoint); either may be a URI."""
    address: str | None = Field(None, min_length=1)
    """Address of a Ray cluster; none starts Ray on this machine."""
    checkpoint_every: int = Field(500, ge=1)
    """Episodes between checkpoints; the last and the best are kept besides."""
    keep_checkpoints: int = Field(5, ge=1)
    """Number of periodic checkpoints that stay on disk."""
    storage: str | None = Field(None, min_length=1)
    """URI or absolute path to which each checkpoint is copied, such as s3://bucket/runs or file:///mnt/shared/runs."""

    @field_validator("exp_name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name in ("", "..") or Path(name).name != name:
            raise ValueError(f"expected a plain directory name, got {name!r}")
        return name

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, storage: str | None) -> str | None:
        if storage and "://" not in storage and not storage.startswith("/"):
            raise ValueError(f"expected a URI or an absolute path, got {storage!r}")
        return storage

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return Path(self.output_dir) / self.exp_name

    @property
    def copy_place(self) -> str | None:
        """URI or path of the run's copy on the storage, None without one; options of a URI (`?...`) stay at its end."""
        if self.storage is None:
            return None
        place, mark, options = self.storage.partition("?") if "://" in self.storage else (self.storage, "", "")
        return f"{place.rstrip('/')}/{self.exp_name}{mark}{options}"
