"""Histograms of gates of known weights."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_moe import metrics as m
from rllib_moe.models.gate_histograms import BINS, gate_histograms


def test_every_state_is_counted_once_in_its_bin() -> None:
    one_hot, even = [1.0, 0.0, 0.0, 0.0], [0.25] * 4
    histograms = gate_histograms(torch.tensor([one_hot] * 3 + [even] * 5))
    assert histograms.keys() == {m.ALPHA_ENTROPIES.key, *(m.gate_weight(index).key for index in range(4))}
    first = histograms[m.gate_weight(0).key]
    # Bins of 0.05: 0.25 begins the sixth, and 1 belongs to the last.
    assert {index: count for index, count in enumerate(first.counts) if count} == {5: 5, BINS - 1: 3}
    assert (first.least, first.most) == (0.25, 1.0)
    assert (first.total, first.squares) == (pytest.approx(4.25), pytest.approx(3.3125))
    assert first.limits[-1] == 1.0
    entropy = histograms[m.ALPHA_ENTROPIES.key]
    assert (entropy.counts[0], entropy.counts[-1], sum(entropy.counts)) == (3, 5, 8)
    assert entropy.total == pytest.approx(5 * math.log(4))


def test_states_that_are_not_finite_are_left_out() -> None:
    gate = torch.tensor([[0.5, 0.5], [math.nan, math.nan]])
    assert sum(gate_histograms(gate)[m.gate_weight(1).key].counts) == 1
    assert gate_histograms(gate[1:]) == {}
    assert gate_histograms(gate[:0]) == {}


def test_one_expert() -> None:
    assert gate_histograms(torch.ones(3, 1))[m.ALPHA_ENTROPIES.key].counts[0] == 3
