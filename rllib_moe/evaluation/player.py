"""Players of an evaluation: a description from which each worker makes its actor, and the actors without a network.

An actor holds nothing of an episode: what an episode needs (a random generator, a player's memory) is made by `start`
and handed back with every observation. So an episode plays the same whichever others are stepped beside it.

Torch, which takes a second to import, is imported with the network alone: requests are checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import gymnasium
import numpy as np

from rllib_moe.config import ModelConfig
from rllib_moe.envs.description import BaselinePlayer, describe
from rllib_moe.envs.graph_space import GraphShape

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_moe.models.policy_network import PolicyOutput

_ACTION_STREAM = 0xAC7104  # keeps an episode's actions independent of what the environment draws from the same seed

Observations = Mapping[str, np.ndarray]


class Choice(NamedTuple):
    """Actions for a batch of n observations."""

    actions: np.ndarray
    """Actions [n]."""
    output: PolicyOutput | None = None
    """The network's output, with the ego node's attention if the player is `watched`; None without network."""


class Actor(Protocol):
    """Chooses actions for a batch of episodes under way."""

    def start(self, seed: int) -> Any:
        """Make the memory of one episode."""

    def act(self, observations: Observations, episodes: Sequence[Any]) -> Choice:
        """Choose an action for each row.

        Args:
            observations: Leaves of the graph observation [n, ...].
            episodes: Memory of each of the n episodes, made by `start`.
        """


class RandomPlayer:
    """Uniform choice among so many actions; None: among those that the observation's mask allows."""

    def __init__(self, num_actions: int | None, seed: int) -> None:
        self._num_actions, self._generator = num_actions, action_generator(seed)

    def act(self, observation: Observations) -> int:
        """Choose an action."""
        if self._num_actions is not None:
            return int(self._generator.integers(self._num_actions))
        return int(self._generator.choice(np.flatnonzero(observation["action_mask"])))


class PlayersActor:
    """A player without a network for each episode, made by `start` from its seed."""

    def __init__(self, start: Callable[[int], BaselinePlayer]) -> None:
        self.start = start

    def act(self, observations: Observations, episodes: Sequence[BaselinePlayer]) -> Choice:
        """Ask each episode's player."""
        rows = ({name: leaf[row] for name, leaf in observations.items()} for row in range(len(episodes)))
        return Choice(np.array([int(player.act(row)) for player, row in zip(episodes, rows, strict=True)]))


def action_generator(seed: int) -> np.random.Generator:
    """Return the generator of an episode's actions."""
    return np.random.default_rng(np.random.SeedSequence((seed, _ACTION_STREAM)))


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
            return NetworkActor(network, self)
        if self.policy == "random-legal" and shape.num_actions is None:
            raise ValueError("'random-legal' needs an environment with an action mask; 'random' does not")
        return PlayersActor(partial(RandomPlayer, None if self.policy == "random-legal" else num_actions))
