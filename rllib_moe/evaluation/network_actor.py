"""The actor that is a trained network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rllib_moe.evaluation.actor import Choice, Observations, action_generator
from rllib_moe.models.policy_network import GATMoEPolicy, PolicyOutput

ROUNDING = 1e-4
"""Distance (in probability, or between logits in proportion) within which rounding might decide an action. Float32 and
the padding of a batch move probabilities by 1e-6 or so."""


class NetworkActor:
    """The network, sampling from its action distribution or taking the most probable action.

    Each episode draws one uniform number a step from a generator of its own and looks it up in the cumulative
    distribution. In a batch the logits differ in the last digits from those of the row alone (other padding, other
    order of sums), so a row whose action lies within `ROUNDING` of another is decided by the network on that row alone:
    the actions are those of playing one environment at a time.

    Args:
        network: The network; is set to evaluation mode.
        deterministic: Take the most probable action instead of drawing one.
        removed_expert: Expert that is taken away; None leaves all.
        watched: Ask for the ego node's attention.
    """

    def __init__(
        self, network: GATMoEPolicy, *, deterministic: bool, removed_expert: int | None, watched: bool
    ) -> None:
        self._network, self._deterministic, self._watched = network.eval(), deterministic, watched
        self._available: Tensor | None = None
        if removed_expert is not None:
            self._available = torch.arange(network.experts.num_experts) != removed_expert

    def start(self, seed: int) -> np.random.Generator:
        """Make the generator of an episode's actions."""
        return action_generator(seed)

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
        return Choice(actions, output)

    @torch.inference_mode()
    def _run(self, observations: Observations) -> PolicyOutput:
        # torch.tensor copies: memory of torch's own alignment gives the same digits wherever a row came from.
        batch = {name: torch.tensor(leaf) for name, leaf in observations.items()}
        return self._network(batch, available_experts=self._available, return_attention=self._watched)


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
