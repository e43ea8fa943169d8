"""States that an evaluation keeps to measure what the experts tell of them: gate, router's input and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rllib_moe.envs.description import ACTION, FLAG, ROLE, SCENE, GraphDescription, Label
from rllib_moe.evaluation.information import States
from rllib_moe.models.policy_network import PolicyOutput


class KeptState(NamedTuple):
    """One state that was played."""

    gate: np.ndarray
    """Weights of the experts [K]."""
    router_input: np.ndarray
    """Row that the router read [R]."""
    labels: dict[str, Label]
    """Values of its labels."""


def kept_state(output: PolicyOutput, row: int, labels: dict[str, Label]) -> KeptState:
    """Return a row of a batch of states, copied: a view would keep the whole batch."""
    return KeptState(output.gate.numpy()[row].copy(), output.router_input.numpy()[row].copy(), labels)


def labels_of_state(
    description: GraphDescription, info: Mapping[str, object], observation: Mapping[str, np.ndarray], action: int
) -> dict[str, Label]:
    """Return all labels of a state, those of its `info` and the purpose of the action taken in it.

    Args:
        description: Description of the environment.
        info: The state's `info`.
        observation: Its observation, without a batch dimension.
        action: Action taken in it.
    """
    labels = description.labels_of(info) | {ACTION: int(description.purpose_of_actions(observation)[action])}
    return labels | ({ROLE: int(observation["roles"].argmax())} if "roles" in observation else {})


def joined(episodes: Sequence[Sequence[KeptState]]) -> States:
    """Put the states of episodes together, in their order, with the flags of the scene as one more label.

    Raises:
        ValueError: The labels are not the same in all states.
    """
    states = [state for episode in episodes for state in episode]
    names = states[0].labels.keys()
    if changed := sorted({name for state in states for name in names ^ state.labels.keys()}):
        raise ValueError(
            f"labels: expected the same in every state, but {', '.join(changed)} is missing in some; a flag of "
            "info['scene'] that does not hold is False, not absent"
        )
    labels: dict[str, Sequence[Any]] = {name: [state.labels[name] for state in states] for name in names}
    if flags := [values for name, values in labels.items() if name.startswith(FLAG)]:
        labels[SCENE] = list(zip(*flags, strict=True))
    return States(
        gate=np.stack([state.gate for state in states]).astype(np.float64),
        router_input=np.stack([state.router_input for state in states]),
        labels=labels,
        longest=max(map(len, episodes)),
    )
