"""A request to play, resolved: the environment and the player that it names, checked against each other.

It is `weights.pt` of a checkpoint that plays, with the phase, gate and temperature, among the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from rllib_moe.config import EnvironmentConfig, ModelConfig
from rllib_moe.envs.description import GraphDescription, describe
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.actors import Player
from rllib_moe.evaluation.kept_states import MOST_STATES
from rllib_moe.evaluation.spec import PlayRequest
from rllib_moe.runtime.files import file_errors
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.validation import ConfigError, collected, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A request that was checked against what it names."""

    environment: EnvironmentConfig
    """The environment."""
    description: GraphDescription
    """The environment's description; without names of roles where the experts were given none."""
    player: Player
    """The player."""
    checkpoint: Checkpoint | None
    """The checkpoint, where one is named."""


def resolve(
    request: PlayRequest, policy: str = "checkpoint", *, watched: bool = False, episodes_kept: int = 0
) -> Resolved:
    """Check everything that can be checked before the first episode.

    Args:
        request: The request.
        policy: Name of the policy.
        watched: Ask for the ego node's attention.
        episodes_kept: Number of episodes of which states are kept for `information`, where a network with several
            experts, none of them removed, plays.

    Raises:
        ConfigError: naming every error.
    """
    errors = [error for name, file in request.files().items() if file for error in file_errors(name, file)]
    checkpoint = environment = description = player = None
    if request.checkpoint is not None:
        try:
            checkpoint = load_checkpoint(request.checkpoint)
        except CheckpointError as error:
            errors.append(str(error))
    with collected(errors):
        environment = _environment(request, checkpoint)
    model = checkpoint.experiment.model if checkpoint else None
    if policy == "checkpoint" and model and request.remove_expert is not None:
        errors += _removal_errors(request.remove_expert, model)
    if policy != "checkpoint" or checkpoint:
        weights, keep_every = checkpoint.weights() if checkpoint and policy == "checkpoint" else None, None
        if environment and weights and model and model.num_experts > 1 and request.remove_expert is None:
            keep_every = math.ceil(episodes_kept * environment.max_steps / MOST_STATES) or None
        player = Player(
            policy=policy,
            deterministic=request.deterministic,
            removed_expert=request.remove_expert,
            watched=watched,
            keep_every=keep_every,
            model=model,
            weights=weights,
        )
    if environment:
        made_on = checkpoint.experiment.environment.env if checkpoint else environment.env
        description = _try_out(environment, policy, player, made_on, errors)
        if description and checkpoint and not checkpoint.experiment.teaches_roles:
            description = description.without_roles()
    if errors or environment is None or description is None or player is None:
        raise ConfigError(errors)
    return Resolved(environment=environment, description=description, player=player, checkpoint=checkpoint)


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


def _try_out(
    environment: EnvironmentConfig, policy: str, player: Player | None, made_on: str, errors: list[str]
) -> GraphDescription | None:
    """Make the environment once, and the actor for it where there was no error before; errors are added to the list.

    Returns:
        The environment's description; None where it cannot be made.
    """
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        errors.append(f"env: {error}")
        return None
    with closing(env):
        description = describe(env)
        known = description.policies
        if policy not in known:
            hint = did_you_mean(policy, known, otherwise="")
            errors.append(f"policy: expected one of {', '.join(known)}, got {policy!r}{hint}")
        elif player and not errors:
            try:
                player.actor(env)
            except ValueError as error:
                if policy == "checkpoint" and environment.env != made_on:
                    told = f"the checkpoint was made on {made_on!r}, and its network does not fit {environment.env!r}"
                    errors.append(f"env: {told}")
                    return description
                errors.append(f"{'checkpoint' if policy == 'checkpoint' else 'policy'}: {error}")
            if player.keep_every:
                try:
                    description.labels_of(env.reset(seed=0)[1])
                except ValueError as error:
                    errors.append(f"env: {error}")
    return description
