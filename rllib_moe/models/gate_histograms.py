"""Histograms of a gate over a batch: each expert's weight, and the entropy in a state. Taken once an iteration.

Plain numbers in the form TensorBoard wants; cheap (a few hundred states, about a millisecond), and off the loss's way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rllib_moe import metrics as m
from rllib_moe.models.losses import gate_entropy

BINS = 20


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of values between limits."""

    limits: list[float]
    """Upper limits of the bins [BINS], increasing; the first bin begins at 0."""
    counts: list[int]
    """Values in each bin [BINS]."""
    least: float
    """Smallest value."""
    most: float
    """Largest value."""
    total: float
    """Sum of the values."""
    squares: float
    """Sum of their squares."""


def gate_histograms(gate: Tensor) -> dict[str, Histogram]:
    """Histograms by the keys of `metrics.py`.

    Args:
        gate: Gate [B, K], without a gradient. States whose gate is not finite are left out.

    Returns:
        One for the weight of each expert, from 0 to 1, and one for the entropy, from 0 to ln K nats; none for an empty
        batch.
    """
    weights = gate.double().cpu().numpy()
    entropies = gate_entropy(gate).double().cpu().numpy()
    finite = np.isfinite(weights).all(1)
    if not finite.any():
        return {}
    num_experts = weights.shape[1]
    top = math.log(num_experts) if num_experts > 1 else 1.0
    histograms = {m.ALPHA_ENTROPIES.key: _histogram(entropies[finite], top)}
    for index in range(num_experts):
        histograms[m.gate_weight(index).key] = _histogram(weights[finite, index], 1.0)
    return histograms


def _histogram(values: np.ndarray, top: float) -> Histogram:
    values = values.clip(0, top)  # sums in float32 go a little beyond
    counts, edges = np.histogram(values, BINS, (0, top))
    return Histogram(
        limits=edges[1:].tolist(),
        counts=counts.tolist(),
        least=float(values.min()),
        most=float(values.max()),
        total=float(values.sum()),
        squares=float((values**2).sum()),
    )
