"""Request of an evaluation, checked against the checkpoint and the environment that it names.

Nothing of a checkpoint is unpickled: it is `weights.pt` that plays, with the phase, gate and temperature, among the
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rllib_moe.config import EnvironmentConfig, ModelConfig
from rllib_moe.envs.description import GraphDescription, describe
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.actors import Player
from rllib_moe.runtime.files import file_errors
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.command_line import assignments
from rllib_moe.validation import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Subject and episodes of an evaluation."""

    checkpoint: str | None = None
    """Checkpoint directory, or a run directory (its latest checkpoint). A baseline takes only its environment."""
    policy: str = "checkpoint"
    """The checkpoint's network (`checkpoint`), uniform choice of all actions (`random`) or the legal ones
    (`random-legal`), or a baseline that the environment brings along."""
    episodes: int = 100
    """Episodes."""
    seed_base: int = 1000
    """Seed of the first episode; episode i has seed_base + i."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    remove_expert: int | None = None
    """Take this expert away; the gate is renormalized over the others."""
    env: str | None = None
    """Environment; by default the checkpoint's, or `nethack` without one."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; by default the checkpoint's, or 500 without one."""
    env_arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One keyword argument of the environment, such as action_mask=false, over those of the checkpoint; repeatable."""
    num_workers: int = 2
    """Ray workers; 0 plays in this process."""
    envs_per_worker: int = 64
    """Environments stepped together in one worker."""
    explain: bool = False
    """Tell why as well: which expert leads in which scene and what for, what it looks at, and what is lost without it
    (the episodes are played once more for each expert)."""
    plot: Annotated[str | None, tyro.conf.arg(metavar="FILE.png")] = None
    """File for a picture of what --explain tells."""
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the numbers; its directory is made."""

    def faults(self) -> Iterator[str]:
        """Everything out of range or contradictory that can be told without reading anything, in words."""
        for name, least in (("episodes", 1), ("seed_base", 0), ("num_workers", 0), ("envs_per_worker", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                yield f"{name}: expected a whole number, {least} or more, got {value!r}"
        if self.policy == "checkpoint":
            if self.checkpoint is None:
                yield "checkpoint: expected a checkpoint or run directory, such as pretrained/nethack"
        else:
            if self.deterministic:
                yield f"deterministic: is for policy 'checkpoint', got policy {self.policy!r}"
            if self.remove_expert is not None:
                yield f"remove_expert: is for policy 'checkpoint', got policy {self.policy!r}"
            if self.explain:
                yield f"explain: is for policy 'checkpoint', got policy {self.policy!r}"
        if self.explain and self.remove_expert is not None:
            yield "remove_expert: --explain removes each expert in turn, so leave this out"
        if self.plot is not None:
            if not self.explain:
                yield "plot: is for --explain"
            if Path(self.plot).suffix.lower() != ".png":
                yield f"plot: expected a file that ends in .png, got {self.plot!r}"
            else:
                yield from file_errors("plot", self.plot)
        if self.json is not None:
            yield from file_errors("json", self.json)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request that was checked against what it names."""

    environment: EnvironmentConfig
    """The environment."""
    description: GraphDescription
    """The environment's description."""
    player: Player
    """The player."""
    checkpoint: Checkpoint | None
    """The checkpoint, where one is named."""


def plan_evaluation(request: EvaluationRequest) -> Plan:
    """Check everything that can be checked before the first episode.

    Raises:
        ConfigError: naming every fault.
    """
    faults = list(request.faults())
    checkpoint = None
    if request.checkpoint is not None:
        try:
            checkpoint = load_checkpoint(request.checkpoint)
        except CheckpointError as error:
            faults.append(str(error))
    environment = _environment(request, checkpoint, faults)
    model = checkpoint.config.model if checkpoint else None
    if request.policy == "checkpoint" and request.remove_expert is not None and model:
        faults += _removal_faults(request.remove_expert, model)
    player = None
    if not (request.policy == "checkpoint" and checkpoint is None):
        player = Player(
            policy=request.policy,
            deterministic=request.deterministic,
            removed_expert=request.remove_expert,
            watched=request.explain,
            model=model,
            weights=checkpoint.weights() if checkpoint and request.policy == "checkpoint" else None,
        )
    description = None
    # What is out of range itself would only be refused twice.
    if environment.env and not list(environment.faults()):
        description = _try_out(environment, request.policy, player, faults)
    if faults or player is None or description is None:
        raise ConfigError(faults)
    return Plan(environment=environment, description=description, player=player, checkpoint=checkpoint)


def _environment(request: EvaluationRequest, checkpoint: Checkpoint | None, faults: list[str]) -> EnvironmentConfig:
    """The environment: the checkpoint's, changed as asked for; faults are added to the list."""
    base = checkpoint.config.environment if checkpoint else EnvironmentConfig()
    asked = assignments("env_arg", request.env_arg, faults)
    is_same = request.env in (None, base.env)
    environment = EnvironmentConfig(
        env=base.env if request.env is None else request.env,
        max_steps=base.max_steps if request.max_steps is None else request.max_steps,
        env_args=(base.env_args if is_same else {}) | asked,
    )
    faults += environment.faults()
    return environment


def _removal_faults(expert: int, model: ModelConfig) -> Iterator[str]:
    if model.num_experts == 1:
        yield "remove_expert: the checkpoint has one expert, and one must stay"
    elif not 0 <= expert < model.num_experts:
        yield f"remove_expert: expected 0 to {model.num_experts - 1}, got {expert}"


def _try_out(
    environment: EnvironmentConfig, policy: str, player: Player | None, faults: list[str]
) -> GraphDescription | None:
    """Make the environment once, and the actor for it where nothing was at fault before; faults are added to the list.

    Returns:
        The environment's description; None where it cannot be made.
    """
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        faults.append(f"env: {error}")
        return None
    with closing(env):
        description = describe(env)
        if fault := policy_error(policy, description.policies):
            faults.append(f"policy: {fault}")
        elif player and not faults:
            try:
                player.actor(env)
            except ValueError as error:
                faults.append(f"{'checkpoint' if policy == 'checkpoint' else 'policy'}: {error}")
    return description


def policy_error(policy: str, known: Sequence[str]) -> str | None:
    """Return why a policy is refused, None where it is known."""
    if policy in known:
        return None
    return f"expected one of {', '.join(known)}, got {policy!r}{did_you_mean(policy, known, otherwise='')}"
