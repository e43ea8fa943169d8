"""States that an evaluation keeps to measure what the experts tell of them: gate, router's input and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rllib_moe.envs.description import ACTION, FLAG, ROLE, SCENE, GraphDescription, Label
from rllib_moe.evaluation.information import States
from rllib_moe.models.policy_network import PolicyOutput

MOST_STATES = 20_000
"""States kept of an evaluation, about, spread evenly over all its episodes. Neighboring states resemble each other, so
more of them would take time (a tenth of that of playing) and tell little: what counts are the episodes."""


@dataclass(kw_only=True)
class KeptStates:
    """Every so many states of an episode, in order."""

    every: int
    """Steps from one to the next."""
    first: int
    """Step of the first one."""
    gate: list[np.ndarray] = field(default_factory=list)
    """Weights of the experts, [K] each."""
    router_input: list[np.ndarray] = field(default_factory=list)
    """Rows that the router read, [R] each."""
    labels: dict[str, list[Label]] = field(default_factory=dict)
    """Values of each label."""

    def wants(self, step: int) -> bool:
        """Return whether the state of a step, counted from 0, is to be kept."""
        return step % self.every == self.first

    def add(self, output: PolicyOutput, row: int, labels: Mapping[str, Label]) -> None:
        """Keep a state, a row of what the network said.

        Raises:
            ValueError: Its labels are not those of the states before.
        """
        if not self.gate:
            self.labels = {name: [] for name in labels}
        _check_same(self.labels, labels)
        self.gate.append(output.gate.numpy()[row].copy())  # copied, as a view would keep the whole batch
        self.router_input.append(output.router_input.numpy()[row].copy())
        for name, value in labels.items():
            self.labels[name].append(value)


def labels_of_state(
    description: GraphDescription, info: Mapping[str, object], observation: Mapping[str, np.ndarray], action: int
) -> dict[str, Label]:
    """Return all labels of a state.

    Args:
        description: Description of the environment.
        info: The state's `info`.
        observation: Its observation, without a batch dimension.
        action: Action taken in it.
    """
    labels = description.labels_of(info) | {ACTION: int(description.purpose_of_actions(observation)[action])}
    return labels | ({ROLE: int(observation["roles"].argmax())} if "roles" in observation else {})


def joined(episodes: Sequence[KeptStates]) -> States | None:
    """Put the states of episodes together, in their order, with the flags of the scene as one more label.

    Returns:
        The states; None where there are none.

    Raises:
        ValueError: The labels are not the same in all episodes.
    """
    episodes = [each for each in episodes if each.gate]
    if not episodes:
        return None
    for each in episodes:
        _check_same(episodes[0].labels, each.labels)
    labels: dict[str, Sequence[Any]] = {
        name: [value for each in episodes for value in each.labels[name]] for name in episodes[0].labels
    }
    if flags := [values for name, values in labels.items() if name.startswith(FLAG)]:
        labels[SCENE] = list(zip(*flags, strict=True))
    return States(
        gate=np.stack([row for each in episodes for row in each.gate]).astype(np.float64),
        router_input=np.stack([row for each in episodes for row in each.router_input]),
        labels=labels,
        longest=max(len(each.gate) for each in episodes),
    )


def _check_same(expected: Mapping[str, object], labels: Mapping[str, object]) -> None:
    if changed := sorted(expected.keys() ^ labels.keys()):
        raise ValueError(
            f"labels: expected the same in every state, but {', '.join(changed)} is missing in some; a flag of "
            "info['scene'] that does not hold is False, not absent"
        )
