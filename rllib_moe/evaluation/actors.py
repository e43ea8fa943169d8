"""Actors of an evaluation: the trained network, uniform choice, or one of the environment's own baselines.

An actor holds nothing of an episode: what an episode needs (a random generator, a player's memory) is made by `start`
and handed back with every observation. So an episode plays the same whichever others are stepped beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from rllib_moe.config import ModelConfig
from rllib_moe.envs.description import BaselinePlayer, describe
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.policy_network import GATMoEPolicy, PolicyOutput, weight_errors

ROUNDING = 1e-4
"""Distance (in probability, or between logits in proportion) within which rounding might decide an action. Float32 and
the padding of a batch move probabilities by 1e-6 or so."""

_ACTION_STREAM = 0xAC7104  # keeps an episode's actions independent of what the environment draws from the same seed

Observations = Mapping[str, np.ndarray]


class Choice(NamedTuple):
    """Actions for a batch of n observations."""

    actions: np.ndarray
    """Actions [n]."""
    gate: np.ndarray | None = None
    """Weights of the experts [n, K]; None without experts."""
    output: PolicyOutput | None = None
    """The network's whole output, with the ego node's attention if the player is `watched`; None without network."""


class Actor(Protocol):
    """Chooses actions for a batch of episodes under way."""

    def start(self, seed: int) -> Any:
        """Make the memory of one episode."""

    def act(self, observations: Observations, episodes: Sequence[Any]) -> Choice:
        """Choose an action for each row.

        Args:
            observations: Leaves of the graph observation [n, ...]; may be overwritten after the call.
            episodes: Memory of each of the n episodes, made by `start`.
        """


@dataclass(frozen=True, kw_only=True)
class Player:
    """Description of an actor, in a form that travels to workers."""

    policy: str
    """Name of its policy, one of `GraphDescription.policies`."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    removed_expert: int | None = None
    """Expert that is taken away from the network."""
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
            network = GATMoEPolicy(shape, num_actions, self.model)
            if errors := weight_errors(network, self.weights):
                raise ValueError("its network does not fit the environment: " + "; ".join(errors))
            network.load_state_dict(dict(self.weights))
            return NetworkActor(
                network,
                deterministic=self.deterministic,
                removed_expert=self.removed_expert,
                watched=self.watched,
            )
        if self.policy == "random-legal" and shape.num_actions is None:
            raise ValueError("'random-legal' needs an environment with an action mask; 'random' does not")
        return PlayersActor(partial(RandomPlayer, None if self.policy == "random-legal" else num_actions))


class NetworkActor:
    """The network, sampling from its action distribution or taking the most probable action.

    Each episode draws one uniform number a step from a generator of its own and looks it up in the cumulative
    distribution. In a batch the logits differ in the last digits from those of the row alone (other padding, other
    order of sums), so a row whose action lies within `ROUNDING` of another is decided by the network on that row alone:
    the actions are those of playing one environment at a time.

    Args:
        network: The network; is set to evaluation mode.
        deterministic: Take the most probable action.
        removed_expert: Expert to take away; the gate is renormalized over the others.
        watched: Give the ego node's attention with every choice.
    """

    def __init__(
        self, network: GATMoEPolicy, *, deterministic: bool, removed_expert: int | None = None, watched: bool = False
    ) -> None:
        self._network = network.eval()
        self._deterministic = deterministic
        self._watched = watched
        self._available: Tensor | None = None
        if removed_expert is not None:
            self._available = torch.ones(network.experts.num_experts, dtype=torch.bool)
            self._available[removed_expert] = False

    def start(self, seed: int) -> np.random.Generator:
        """Make the generator of an episode's actions."""
        return _generator(seed)

    def act(self, observations: Observations, episodes: Sequence[np.random.Generator]) -> Choice:
        """Choose an action for each row."""
        draws = None if self._deterministic else np.array([generator.random() for generator in episodes])
        output = self._run(observations)
        actions, is_doubtful = _choose(output.logits.numpy(), draws)
        if len(episodes) > 1:
            for row in np.flatnonzero(is_doubtful):
                alone = slice(row, row + 1)
                logits = self._run({name: leaf[alone] for name, leaf in observations.items()}).logits.numpy()
                actions[alone] = _choose(logits, None if draws is None else draws[alone])[0]
        return Choice(actions, output.gate.numpy(), output)

    @torch.inference_mode()
    def _run(self, observations: Observations) -> PolicyOutput:
        # torch.tensor copies: memory of torch's own alignment gives the same digits wherever a row came from.
        batch = {name: torch.tensor(leaf) for name, leaf in observations.items()}
        return self._network(batch, available_experts=self._available, return_attention=self._watched)


class RandomPlayer:
    """Uniform choice among so many actions; None: among those that the observation's mask allows."""

    def __init__(self, num_actions: int | None, seed: int) -> None:
        self._num_actions, self._generator = num_actions, _generator(seed)

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


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, _ACTION_STREAM)))


def _choose(logits: np.ndarray, draws: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Actions [n] from logits [n, A], and whether rounding might have decided them [n].

    Args:
        logits: Action logits.
        draws: Uniform numbers in [0, 1) to look up in the cumulative distribution [n]; None takes the largest logit.
    """
    logits = logits.astype(np.float64)
    best = logits.max(1, keepdims=True)  # [n, 1]
    if draws is None:
        if logits.shape[1] == 1:
            return np.zeros(len(logits), np.int64), np.zeros(len(logits), bool)
        second = np.partition(logits, -2, axis=1)[:, -2]
        return logits.argmax(1), best[:, 0] - second < ROUNDING * np.maximum(1, np.abs(best[:, 0]))
    cumulative = np.exp(logits - best).cumsum(1)  # [n, A]
    total = cumulative[:, -1:]
    target = draws[:, None] * total
    # An illegal action adds exactly nothing to the sum, so the first place above the target is never one.
    return (cumulative <= target).sum(1), (np.abs(cumulative - target) < ROUNDING * total).any(1)
