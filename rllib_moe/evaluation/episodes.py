"""Playing a batch of an evaluation's episodes: environments stepped together, one record for each episode.

Everything is kept by episode, sums included, and put together in the order of the seeds: so the numbers do not depend
on how the episodes were shared out among workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.description import describe
from rllib_moe.envs.registry import make_configured
from rllib_moe.evaluation.actor import Actor
from rllib_moe.evaluation.explanation import Explanation, add_states
from rllib_moe.evaluation.information import KeptState, kept_state, labels_of_state
from rllib_moe.evaluation.player import Player
from rllib_moe.models.losses import gate_entropy


@dataclass(kw_only=True)
class GateSum:
    """Gates added up over steps."""

    steps: int = 0
    """Number of steps."""
    gate: np.ndarray | None = None
    """Their sum [K], float64; None without experts."""

    def add(self, steps: int, gate: np.ndarray | None) -> None:
        """Add the sum `gate` [K] of some steps."""
        self.steps += steps
        if gate is not None:
            self.gate = gate.astype(np.float64) if self.gate is None else self.gate + gate

    def share(self) -> list[float] | None:
        """Mean gate [K]; None without experts or steps."""
        return None if self.gate is None or not self.steps else [float(each) for each in self.gate / self.steps]


@dataclass(kw_only=True)
class EpisodeRecord:
    """Numbers of an episode that is over."""

    seed: int
    """Seed of the environment's reset."""
    score: float = 0.0
    """Raw score; the return where the environment has none."""
    total_reward: float = 0.0
    """Undiscounted return."""
    measures: dict[str, float] = field(default_factory=dict)
    """Values of the environment's own episode measures by name."""
    ending: str | None = None
    """Its ending in words, where the environment has some."""
    gates: GateSum = field(default_factory=GateSum)
    """Gates of all steps."""
    gate_entropy: float = 0.0
    """Sum of the gate's entropy over all steps, in nats."""
    scenes: dict[str, GateSum] = field(default_factory=dict)
    """Gates of the steps in each named scene."""
    explanation: Explanation | None = None
    """Reasons of the actions; only of a player that is `watched`."""
    kept: list[KeptState] = field(default_factory=list)
    """Some of its states, in order; only of a player that has `keep_every`."""


class EpisodeBatch(NamedTuple):
    """A batch of the episodes, played."""

    records: list[EpisodeRecord]
    """In no particular order."""
    seconds: float
    """Wall time of playing, from after the environments' first resets."""


@dataclass
class _Slot:
    """One environment and the episode it is in."""

    env: gymnasium.Env[Any, Any]
    episode: Any = None
    record: EpisodeRecord = field(default_factory=lambda: EpisodeRecord(seed=0))
    observation: Mapping[str, np.ndarray] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scene(self) -> Mapping[str, bool]:
        return self.info.get("scene", {})

    def begin(self, seed: int, actor: Actor, player: Player) -> None:
        """Begin the episode of a seed."""
        self.observation, self.info = self.env.reset(seed=seed)
        self.episode = actor.start(seed)
        self.record = EpisodeRecord(seed=seed, scenes={name: GateSum() for name in self.scene})
        if player.watched:
            self.record.explanation = Explanation()


def play(environment: EnvironmentConfig, player: Player, seeds: Sequence[int], num_envs: int) -> EpisodeBatch:
    """Play one episode for each seed, `num_envs` environments stepped together."""
    with torch_threads(1), ExitStack() as stack:  # batches are small, and workers share the cores
        slots = []
        for _ in range(min(num_envs, len(seeds))):
            env = make_configured(environment)
            stack.callback(env.close)
            slots.append(_Slot(env))
        return _play(slots, player, seeds)


def _play(slots: list[_Slot], player: Player, seeds: Sequence[int]) -> EpisodeBatch:
    """Step the slots until all seeds are played; a slot for which no seed is left goes."""
    actor = player.actor(slots[0].env)
    description = describe(slots[0].env)
    waiting = iter(seeds)
    for slot in slots:
        slot.begin(next(waiting), actor, player)
    # The first reset may load a library or compile; that says nothing about the speed of playing.
    began = time.perf_counter()
    done: list[EpisodeRecord] = []
    while slots:
        observations = _stacked(slots)
        choice = actor.act(observations, [slot.episode for slot in slots])
        if explanations := [slot.record.explanation for slot in slots if slot.record.explanation]:
            assert choice.output is not None
            add_states(explanations, choice.output, observations, [slot.scene for slot in slots], description)
        gates = None if choice.output is None else choice.output.gate
        entropies = None if gates is None else gate_entropy(gates).tolist()
        for row in reversed(range(len(slots))):  # downwards: the last row may take the place of one that is over
            slot = slots[row]
            record = slot.record
            action = int(choice.actions[row])
            gate = None if gates is None else gates[row].numpy()
            if player.keep_every and (record.gates.steps - record.seed) % player.keep_every == 0:
                assert choice.output is not None
                labels = labels_of_state(description, slot.info, slot.observation, action)
                record.kept.append(kept_state(choice.output, row, labels))
            record.gates.add(1, gate)
            record.gate_entropy += 0.0 if entropies is None else entropies[row]
            for name, holds in slot.scene.items():
                if holds:
                    record.scenes.setdefault(name, GateSum()).add(1, gate)
            slot.observation, reward, terminated, truncated, slot.info = slot.env.step(action)
            record.total_reward += float(reward)
            if not (terminated or truncated):
                continue
            record.score = float(slot.info.get("score", record.total_reward))
            record.measures = {each.name: each.value(slot.info) for each in description.episode_measures}
            if description.ending is not None:
                record.ending = description.ending_of(slot.info, terminated=terminated)
            done.append(record)
            if (seed := next(waiting, None)) is not None:
                slot.begin(seed, actor, player)
            elif (last := slots.pop()) is not slot:
                slots[row] = last
    return EpisodeBatch(done, time.perf_counter() - began)


def _stacked(slots: Sequence[_Slot]) -> dict[str, np.ndarray]:
    """Return the slots' observations as leaves [n, ...], of the types that the space names."""
    space = slots[0].env.observation_space
    assert isinstance(space, gymnasium.spaces.Dict)
    return {
        name: np.stack([slot.observation[name] for slot in slots]).astype(leaf.dtype, copy=False)
        for name, leaf in space.items()
    }


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
