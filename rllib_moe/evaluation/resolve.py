"""A request to play, resolved: the environment and the player that it names, checked against each other.

It is `weights.pt` of a checkpoint that plays, with the phase, gate and temperature, among the weights. They are read
last, once nothing else is wrong, since that imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.arguments import ChangeableArguments
from rllib_moe.envs.description import GraphDescription, describe
from rllib_moe.envs.registry import make_configured
from rllib_moe.evaluation.player import Player
from rllib_moe.evaluation.spec import EvaluationRequest, PlayRequest
from rllib_moe.models.encoder_registry import encoder_errors
from rllib_moe.runtime.files import file_errors
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.validation.errors import ConfigError, collected
from rllib_moe.validation.words import did_you_mean

if TYPE_CHECKING:
    from rllib_moe.models.phase_state import PhaseState

MOST_STATES = 20_000
"""States kept of an evaluation, about, spread evenly over all its episodes. Neighboring states resemble each other, so
more of them would take time (a tenth of that of playing) and tell little: what counts are the episodes."""


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

    @property
    def phase(self) -> PhaseState | None:
        """Phase in which the network plays; None for a baseline."""
        from rllib_moe.models.policy_network import phase_of  # late: see above

        return phase_of(self.player.weights) if self.player.weights else None


def resolve(request: PlayRequest) -> Resolved:
    """Check everything that can be checked before the first episode.

    The player is `watched` for an explanation and for a replay. States are kept of an evaluation, where a network with
    several experts, none of them removed, plays.

    Raises:
        ConfigError: naming every error.
    """
    evaluation = request if isinstance(request, EvaluationRequest) else None
    policy = evaluation.policy if evaluation else "checkpoint"
    errors = [error for name, file in request.files().items() if file for error in file_errors(name, file)]
    checkpoint = environment = env = None
    if request.checkpoint is not None:
        try:
            checkpoint = load_checkpoint(request.checkpoint)
        except CheckpointError as error:
            errors.append(str(error))
    model = checkpoint.experiment.model if checkpoint else None
    if policy == "checkpoint" and model and request.remove_expert is not None:
        if model.num_experts == 1:
            errors.append("remove_expert: the checkpoint has one expert, and one must stay")
        elif request.remove_expert >= model.num_experts:
            errors.append(f"remove_expert: expected 0 to {model.num_experts - 1}, got {request.remove_expert}")
    with collected(errors):
        environment = _environment(request, checkpoint)
        env = make_configured(environment)
    if environment is None or env is None:
        raise ConfigError(errors)
    with closing(env):
        description = describe(env)
        if policy not in description.policies:
            hint = did_you_mean(policy, description.policies, otherwise="")
            errors.append(f"policy: expected one of {', '.join(description.policies)}, got {policy!r}{hint}")
        if errors:
            raise ConfigError(errors)
        weights, keep_every = checkpoint.weights() if checkpoint and policy == "checkpoint" else None, None
        if evaluation and weights and model and model.num_experts > 1 and request.remove_expert is None:
            keep_every = math.ceil(evaluation.episodes * environment.max_steps / MOST_STATES)
        player = Player(
            policy=policy,
            deterministic=request.deterministic,
            removed_expert=request.remove_expert,
            watched=evaluation is None or evaluation.explain,
            keep_every=keep_every,
            model=model,
            weights=weights,
        )
        made_on = checkpoint.experiment.environment if checkpoint else environment
        if errors := list(_player_errors(player, env, description, environment, made_on)):
            raise ConfigError(errors)
    if checkpoint and not checkpoint.experiment.teaches_roles:
        description = description.without_roles()
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


def _player_errors(
    player: Player,
    env: ChangeableArguments,
    description: GraphDescription,
    environment: EnvironmentConfig,
    made_on: EnvironmentConfig,
) -> Iterator[str]:
    """Yield the reasons why a player cannot play in an environment, or be measured in it.

    Args:
        player: The player.
        env: The environment.
        description: Its description.
        environment: Its settings.
        made_on: Settings of the environment that the player's checkpoint was made on.
    """
    if player.model is not None and (errors := encoder_errors(player.model.graph_encoder)):
        yield from (f"checkpoint: {error}" for error in errors)
        return
    try:
        player.actor(env)
    except ValueError as error:
        for field in ("env", "env_args") if player.policy == "checkpoint" else ():
            made, given = getattr(made_on, field), getattr(environment, field)
            if made != given:
                yield f"{field}: the checkpoint was made on {made!r}, and its network does not fit {given!r}"
                return
        yield f"{'checkpoint' if player.policy == 'checkpoint' else 'policy'}: {error}"
    if player.keep_every:
        try:
            description.labels_of(env.reset(seed=0)[1])
        except ValueError as error:
            yield f"env: {error}"
