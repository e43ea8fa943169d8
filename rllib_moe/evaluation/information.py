"""Information of the experts about labels of a state, beside what chance gives: the measure of what experts mean.

`I(expert; label) / H(label)` is the share of a label's entropy that is gone once the expert is known: 0 for a gate that
has nothing to do with the label, 1 for one that tells it. The expert is soft: the joint distribution is the mean of the
gate over the states of each label. Two nulls stand beside it. *Random routers* read what the trained one reads and are
as decided as it is: they tell how far that input sorts the states by itself. *Permuted* labels, their sequence turned
against the gates, tell what chance gives where neighboring states resemble each other.

The states are those that an evaluation keeps: gate, router's input and labels of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rllib_moe.envs.description import ACTION, FLAG, ROLE, SCENE, GraphDescription, Label
from rllib_moe.models.losses import gate_entropy
from rllib_moe.models.policy_network import PolicyOutput
from rllib_moe.models.router import Router
from rllib_moe.models.routing import gate_weights

RANDOM_ROUTERS = 20
PERMUTATIONS = 100

_KEPT_PROFILES = 5  # of the random routers: with five networks they make 250 pairs
_ENTROPY_TOLERANCE = 3e-3  # nats
_SCALES = (1e-3, 1e3)  # of random logits with a standard deviation of 1: from undecided to one-hot
_LEAST_STD = 1e-6


class States(NamedTuple):
    """States in the order they were played, episode after episode."""

    gate: np.ndarray
    """Weights of the experts [S, K]."""
    router_input: np.ndarray
    """Rows that the router read [S, I]."""
    labels: Mapping[str, Sequence[Any]]
    """For each label its S values: int, str or bool."""
    longest: int
    """Number of states of the longest episode."""


class KeptState(NamedTuple):
    """One state that was played."""

    gate: np.ndarray
    """Weights of the experts [K]."""
    router_input: np.ndarray
    """Row that the router read [I]."""
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


def information_numbers(states: States, routing: str, temperature: float) -> dict[str, dict[str, Any]]:
    """Compute the information about each label, with its nulls.

    Args:
        states: At least one, of a network with two experts or more.
        routing: Gate function, one of `phases.GATES` or `module:function`.
        temperature: The gate's temperature.

    Returns:
        For each label `value`, and as means over the nulls `random_router` and `permuted` with their 95th percentiles
        `random_router_p95` and `permuted_p95`: fractions of the label's entropy, NaN for a label that is the same in
        all states. Then `entropy` (of the label, in nats), `values` (the number of different ones) and `states`. For a
        flag of the scene also `random_router_share`: the mean gates of a few random routers where it holds, the
        null of `role_agreement`.
    """
    codes = {name: encode(values) for name, values in states.labels.items()}
    holds = {name: np.array(values, bool) for name, values in states.labels.items() if name.startswith(FLAG)}
    random: dict[str, list[float]] = {name: [] for name in codes}
    shares: dict[str, list[np.ndarray]] = {name: [] for name in holds}
    for gate in random_router_gates(states.router_input, states.gate, routing, temperature):
        gate = np.asfortranarray(gate, float)
        for name, each in codes.items():
            random[name].append(information(gate, each))
        for name, where in holds.items():
            if where.any() and len(shares[name]) < _KEPT_PROFILES:
                shares[name].append(gate[where].mean(0))
    return {
        name: {
            "value": information(states.gate, each),
            **_null("random_router", random[name]),
            **_null("permuted", permuted_information(states.gate, each, states.longest)),
            "entropy": _entropy(np.bincount(each) / len(each)),
            "values": int(each.max()) + 1,
            "states": len(each),
        }
        | ({"random_router_share": shares[name]} if name in holds else {})
        for name, each in codes.items()
    }


def encode(values: Sequence[Any]) -> np.ndarray:
    """Number the values of a label in the order they appear: int [S]."""
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values])


def information(gate: np.ndarray, codes: np.ndarray) -> float:
    """Return I(expert; label) / H(label), from 0 to 1; NaN for a label that is the same in all states.

    Args:
        gate: Weights of the experts [S, K]; fastest in float64 and column by column.
        codes: Values of the label, whole numbers from 0 [S].
    """
    if np.ptp(codes) == 0:
        return math.nan
    joint = np.stack([np.bincount(codes, weights) for weights in gate.T]) / len(codes)  # [K, L]
    entropy = _entropy(joint.sum(0))
    return max(0.0, _entropy(joint.sum(1)) + entropy - _entropy(joint)) / entropy


def permuted_information(gate: np.ndarray, codes: np.ndarray, longest: int) -> list[float]:
    """Return the information about labels turned against the gates by a random number of states, `PERMUTATIONS` times.

    A turned sequence lasts in its values as long as before, which shuffled states would not: two slow sequences that
    have nothing to do with each other agree more by chance than two fast ones.

    Args:
        gate: Weights of the experts [S, K].
        codes: Values of the label [S].
        longest: Number of states of the longest episode: where there are enough, no label stays that near to its state.
    """
    nearest = min(longest, len(codes) // 4)
    gate = np.asfortranarray(gate, float)
    shifts = np.random.default_rng(0).integers(nearest, len(codes) - nearest + 1, PERMUTATIONS)
    return [information(gate, np.roll(codes, shift)) for shift in shifts]


def random_router_gates(
    router_input: np.ndarray, gate: np.ndarray, routing: str, temperature: float
) -> Iterator[np.ndarray]:
    """Make `RANDOM_ROUTERS` untrained routers as decided as a trained one: of the same mean gate entropy.

    Args:
        router_input: Rows that the trained router read [S, I].
        gate: Its gate [S, K].
        routing: Gate function.
        temperature: The gate's temperature.

    Yields:
        The gate of one of them [S, K].
    """
    rows = torch.from_numpy(router_input)
    target = float(gate_entropy(torch.from_numpy(gate)).mean())
    for seed in range(RANDOM_ROUTERS):
        logits = _random_logits(rows, gate.shape[1], seed)
        yield _with_entropy(logits, routing, temperature, target).numpy()


@torch.no_grad()
def _random_logits(rows: Tensor, num_experts: int, seed: int) -> Tensor:
    """Logits [S, K] of an untrained router on rows [S, I], normalized over them as a router's are in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        raw = Router(rows.shape[1], num_experts)(rows)
    raw = raw - raw.mean(0)
    return raw / raw.square().mean().sqrt().clamp(min=_LEAST_STD)


def _with_entropy(logits: Tensor, routing: str, temperature: float, target: float) -> Tensor:
    """Return the gate [S, K] of the scaled logits whose mean entropy is the target, or as near as a scale brings it."""
    low, high = (math.log(scale) for scale in _SCALES)
    while True:
        middle = (low + high) / 2
        gate = gate_weights(logits * math.exp(middle), routing, temperature)
        entropy = float(gate_entropy(gate).mean())
        if abs(entropy - target) < _ENTROPY_TOLERANCE or high - low < 1e-3:
            return gate
        low, high = (middle, high) if entropy > target else (low, middle)


def _null(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.mean(values)), f"{name}_p95": float(np.quantile(values, 0.95))}


def _entropy(shares: np.ndarray) -> float:
    """Entropy in nats of shares that sum to 1, of any shape."""
    return float(-(shares * np.log(np.where(shares > 0, shares, 1))).sum())
