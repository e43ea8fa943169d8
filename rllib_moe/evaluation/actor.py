"""Actors: what chooses the actions of an evaluation, and those that do so without a network.

An actor holds nothing of an episode: what an episode needs (a random generator, a player's memory) is made by `start`
and handed back with every observation. So an episode plays the same whichever others are stepped beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from rllib_moe.envs.description import BaselinePlayer

if TYPE_CHECKING:
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
