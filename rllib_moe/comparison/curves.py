"""The picture of a comparison: score over episodes, mean over each variant's seeds with the range between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rllib_moe import metrics as m

NUM_BINS = 50
"""Points of a curve: each is the mean over all episodes that ended in its stretch of the training."""

Curve = tuple[np.ndarray, np.ndarray]
"""Episodes [P] and scores [P]."""


def mean_scores(rows: Sequence[m.Row], episodes: int) -> Curve:
    """Mean raw score in `NUM_BINS` equal stretches of the training, NaN where no episode ended.

    Args:
        rows: A run's progress.
        episodes: Episodes of the whole training.
    """
    edges = np.linspace(0, episodes, NUM_BINS + 1)
    played = [row for row in rows if row[m.EPISODES.key]]
    places = np.clip(np.searchsorted(edges, [row[m.EPISODES_TOTAL.key] for row in played]) - 1, 0, NUM_BINS - 1)
    counts, sums = np.zeros(NUM_BINS), np.zeros(NUM_BINS)
    np.add.at(counts, places, [row[m.EPISODES.key] for row in played])
    np.add.at(sums, places, [row[m.EPISODES.key] * row[m.SCORE_MEAN.key] for row in played])
    scores = np.divide(sums, counts, out=np.full(NUM_BINS, np.nan), where=counts > 0)
    return (edges[:-1] + edges[1:]) / 2, scores


def draw_curves(curves: Mapping[str, Sequence[Curve]], boundaries: Sequence[int], path: Path) -> None:
    """Draw all variants into a PNG file.

    Args:
        curves: The curves of each variant's runs, at least one each.
        boundaries: First episodes of the phases after the first, marked by lines.
        path: The file.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, runs in curves.items():
        episodes, scores = runs[0][0], np.array([run[1] for run in runs])
        known = ~np.isnan(scores).any(0)
        label = f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"
        (line,) = axes.plot(episodes[known], scores.mean(0)[known], label=label)
        low, high = scores.min(0)[known], scores.max(0)[known]
        axes.fill_between(episodes[known], low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    lowest = min(float(np.nanmin(run[1], initial=0)) for runs in curves.values() for run in runs)
    for boundary in boundaries:
        axes.axvline(boundary, color="0.6", linewidth=1, linestyle=":")
    axes.set(xlabel="training episodes", ylabel="score (points, raw)", ylim=(lowest, None), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=150)
