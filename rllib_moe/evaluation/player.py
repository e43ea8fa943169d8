"""The player of an evaluation: a description, from which each worker makes its actor.

Torch, which takes a second to import, is imported with the network alone: requests are checked without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium

from rllib_moe.config import ModelConfig
from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.evaluation.actor import Actor, PlayersActor, RandomPlayer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Player:
    """Description of an actor, in a form that travels to workers."""

    policy: str
    """Name of its policy, one of `GraphDescription.policies`."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    removed_expert: int | None = None
    """Expert that is taken away from the network; the gate is renormalized over the others."""
    watched: bool = False
    """Ask for the ego node's attention, for explanations."""
    keep_every: int | None = None
    """Keep one of so many states with what the router read, its gate and the state's labels; None keeps none."""
    model: ModelConfig | None = None
    """Sizes of the network."""
    weights: Mapping[str, Tensor] | None = None
    """Its weights, the phase included."""

    def actor(self, env: gymnasium.Env[Any, Any]) -> Actor:
        """Make the actor for an environment.

        Raises:
            ValueError: the environment does not suit it, or the weights do not fit the environment's observations.
        """
        if make := describe(env).baselines.get(self.policy):
            return PlayersActor(make)
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        num_actions = int(env.action_space.n)
        shape = GraphShape.from_space(env.observation_space)
        if self.policy == "checkpoint":
            assert self.model is not None
            assert self.weights is not None
            from rllib_moe.evaluation.network_actor import NetworkActor  # late: see above
            from rllib_moe.models.policy_network import GATMoEPolicy, load_weights

            network = GATMoEPolicy(shape, num_actions, self.model)
            if errors := load_weights(network, self.weights):
                raise ValueError("its network does not fit the environment: " + "; ".join(errors))
            return NetworkActor(
                network,
                deterministic=self.deterministic,
                removed_expert=self.removed_expert,
                watched=self.watched,
            )
        if self.policy == "random-legal" and shape.num_actions is None:
            raise ValueError("'random-legal' needs an environment with an action mask; 'random' does not")
        return PlayersActor(partial(RandomPlayer, None if self.policy == "random-legal" else num_actions))
