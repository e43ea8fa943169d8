"""A request to play, resolved: the environment and the player that it names, checked against each other.

Nothing of a checkpoint is unpickled: it is `weights.pt` that plays, with the phase, gate and temperature, among the
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from rllib_moe.config import EnvironmentConfig, ModelConfig
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.actors import Player, PolicyName
from rllib_moe.evaluation.spec import PlayRequest
from rllib_moe.runtime.files import file_errors
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.validation import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A request that was checked against what it names."""

    environment: EnvironmentConfig
    """The environment."""
    player: Player
    """The player."""
    checkpoint: Checkpoint | None
    """The checkpoint, where one is named."""


def resolve(request: PlayRequest, policy: str = "checkpoint", *, watched: bool = False) -> Resolved:
    """Check everything that can be checked before the first episode.

    Args:
        request: The request.
        policy: Name of the policy.
        watched: Whether the network's whole output is kept.

    Raises:
        ConfigError: naming every error.
    """
    errors = [error for name, file in request.files().items() if file for error in file_errors(name, file)]
    checkpoint = environment = player = None
    if request.checkpoint is not None:
        try:
            checkpoint = load_checkpoint(request.checkpoint)
        except CheckpointError as error:
            errors.append(str(error))
    try:
        environment = _environment(request, checkpoint)
    except ConfigError as error:
        errors += error.errors
    model = checkpoint.experiment.model if checkpoint else None
    if policy == "checkpoint" and model and request.remove_expert is not None:
        errors += _removal_errors(request.remove_expert, model)
    if policy != "checkpoint" or checkpoint:
        player = Player(
            policy=policy,
            deterministic=request.deterministic,
            removed_expert=request.remove_expert,
            watched=watched,
            model=model,
            weights=checkpoint.weights() if checkpoint and policy == "checkpoint" else None,
        )
    if environment:
        errors += _fit_errors(environment, policy, None if errors else player)
    if errors or player is None or environment is None:
        raise ConfigError(errors)
    return Resolved(environment=environment, player=player, checkpoint=checkpoint)


def _environment(request: PlayRequest, checkpoint: Checkpoint | None) -> EnvironmentConfig:
    """Return the checkpoint's environment, changed as asked for."""
    base = checkpoint.experiment.environment if checkpoint else EnvironmentConfig()
    is_same = request.env in (None, base.env)
    return base.replace(
        env=request.env or base.env,
        max_steps=request.max_steps or base.max_steps,
        env_args=(base.env_args if is_same else {}) | request.env_args,
    )


def _removal_errors(expert: int, model: ModelConfig) -> Iterator[str]:
    if model.num_experts == 1:
        yield "remove_expert: the checkpoint has one expert, and one must stay"
    elif expert >= model.num_experts:
        yield f"remove_expert: expected 0 to {model.num_experts - 1}, got {expert}"


def _fit_errors(environment: EnvironmentConfig, policy: str, player: Player | None) -> Iterator[str]:
    """Make the environment once, and the actor for it."""
    known = [name for name in get_args(PolicyName) if name != "scripted" or environment.env == "nethack"]
    if policy not in known:
        hint = did_you_mean(policy, known, otherwise="")
        yield f"policy: expected one of {', '.join(known)}, got {policy!r}{hint}"
        player = None
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        yield f"env: {error}"
        return
    try:
        if player:
            player.actor(env)
    except ValueError as error:
        yield f"{'checkpoint' if policy == 'checkpoint' else 'policy'}: {error}"
    finally:
        env.close()
