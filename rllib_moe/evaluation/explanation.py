"""Explanation of a policy, added up over the states of an episode: which expert leads, what for, looking where.

For every state the network's own answer is compared with what it would be without each expert; nothing is played again
for that. What changes in the scores is the subject of `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rllib_moe.envs.description import UNREACHABLE, GraphDescription
from rllib_moe.models.experts import combine_experts
from rllib_moe.models.policy_network import ILLEGAL, PolicyOutput
from rllib_moe.models.routing import mask_experts

ALL = "all"
"""Scene to which every state belongs."""

DISTANCE_BANDS: tuple[tuple[str, int], ...] = (
    ("0", 0),
    ("1", 1),
    ("2", 2),
    ("3 to 4", 4),
    ("5 to 8", 8),
    ("9 to 16", 16),
    ("17 to 32", 32),
    ("33 or more", 1 << 30),
)
"""Bands of distance by their last distance."""

BAND_NAMES = ("itself", *(name for name, _ in DISTANCE_BANDS), "out of reach")
_LAST_DISTANCES = np.array([last for _, last in DISTANCE_BANDS])


ATTENTION_SUMS = ("nodes", "states", "equal", "attention")
"""Sums over states for a class of nodes: its nodes, the states with such a node, the attention that they would have if
all nodes had the same, and the ego node's attention to them (mean of the heads)."""


@dataclass(kw_only=True)
class Explanation:
    """Sums over the states of one episode."""

    steps: dict[str, int] = field(default_factory=dict)
    """States in each scene, `ALL` included."""
    states: dict[str, np.ndarray] = field(default_factory=dict)
    """For each scene the experts' sums [K, 4 + P]: the expert's weight; 1 where it leads, having the largest weight; 1
    where another action would be the most probable one without it; the Kullback-Leibler divergence of the policy
    without it from the policy, in nats; and where it leads, the policy's probability of each of P purposes."""
    by_type: np.ndarray | float = 0.0
    """`ATTENTION_SUMS` by node type [4, T]; 0 for an encoder without attention."""
    by_distance: np.ndarray | float = 0.0
    """`ATTENTION_SUMS` by `BAND_NAMES` [4, bands]; 0 likewise."""

    def add_state(self, values: np.ndarray, scenes: Mapping[str, bool]) -> None:
        """Add a state's values [K, 4 + P] to all and to the scenes that hold."""
        for name, flag in {ALL: True, **scenes}.items():
            self._add(name, int(holds := bool(flag)), values * holds)

    def add_attention(self, attention: np.ndarray, types: np.ndarray, distances: np.ndarray, num_types: int) -> None:
        """Add a state's attention: that of the ego node to the n nodes that exist, mean of the heads."""
        bands = 1 + np.searchsorted(_LAST_DISTANCES, distances)
        bands[distances == UNREACHABLE] = len(BAND_NAMES) - 1
        bands[:1] = 0
        self.by_type = self.by_type + _by_class(attention, types, num_types)
        self.by_distance = self.by_distance + _by_class(attention, bands, len(BAND_NAMES))

    def merge(self, other: Explanation) -> None:
        """Add the sums of another episode."""
        for name, values in other.states.items():
            self._add(name, other.steps[name], values)
        self.by_type = self.by_type + other.by_type
        self.by_distance = self.by_distance + other.by_distance

    def _add(self, scene: str, steps: int, values: np.ndarray) -> None:
        self.steps[scene] = self.steps.get(scene, 0) + steps
        self.states[scene] = self.states.get(scene, 0) + values


def add_states(
    explanations: Sequence[Explanation],
    output: PolicyOutput,
    observations: Mapping[str, np.ndarray],
    scenes: Sequence[Mapping[str, bool]],
    description: GraphDescription,
) -> None:
    """Add a batch of n states, a row each with leaves [n, ...] and its scene's flags, to those of their episodes.

    The network's output has the attention where there is any.
    """
    mask = torch.tensor(observations["action_mask"]) if "action_mask" in observations else None
    changes, divergence = removal_effects(output, mask)
    gate = output.gate.double().numpy()  # [n, K]
    probabilities = output.logits.double().softmax(-1).numpy()  # [n, A]
    attention = None if output.attention is None else output.attention.double().mean(1).numpy()  # [n, N]
    num_purposes = len(description.purposes())
    for row, explanation in enumerate(explanations):
        one = {name: leaf[row] for name, leaf in observations.items()}
        leader = int(gate[row].argmax())
        values = np.zeros((gate.shape[1], 4 + num_purposes))
        values[:, 0] = gate[row]
        values[leader, 1] = 1
        values[:, 2] = changes[row]
        values[:, 3] = divergence[row]
        values[leader, 4:] = np.bincount(
            description.purpose_of_actions(one), weights=probabilities[row], minlength=num_purposes
        )
        explanation.add_state(values, scenes[row])
        if attention is None:
            continue
        distances = description.distances(one)
        count = len(distances)
        types = one["node_types"][:count] if "node_types" in one else np.zeros(count, int)
        explanation.add_attention(attention[row, :count], types, distances, len(description.node_type_names))


def removal_effects(output: PolicyOutput, action_mask: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of taking each expert away in the same states.

    Args:
        output: What the network says of n states.
        action_mask: Legal actions [n, A], where there is a mask.

    Returns:
        Whether the most probable action is another one [n, K], and the divergence KL(policy || policy without the
        expert) in nats [n, K]. Zeros where there is one expert only.
    """
    num_experts = output.gate.shape[1]
    full = output.logits.double().log_softmax(-1)  # [n, A]
    changes = np.zeros(output.gate.shape, bool)
    divergence = np.zeros(output.gate.shape)
    for expert in range(num_experts if num_experts > 1 else 0):
        available = torch.arange(num_experts) != expert
        logits = combine_experts(mask_experts(output.gate, available), output.expert_logits)
        if action_mask is not None:
            logits = logits.masked_fill(action_mask == 0, ILLEGAL)
        without = logits.double().log_softmax(-1)
        changes[:, expert] = (without.argmax(-1) != full.argmax(-1)).numpy()
        divergence[:, expert] = (full.exp() * (full - without)).sum(-1).clamp(min=0).numpy()
    return changes, divergence


def _by_class(attention: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    nodes = np.bincount(classes, minlength=num_classes).astype(float)
    weights = np.bincount(classes, weights=attention, minlength=num_classes)
    return np.stack((nodes, nodes > 0, nodes / max(1, len(classes)), weights))
