"""The picture of a comparison: score over episodes, mean over each variant's seeds with the range between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import ACCENT, LIGHT
from rllib_moe.runtime.figures import panels, save, styled

COLUMNS = 3
"""Panels side by side."""
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


@styled()
def draw_curves(curves: Mapping[str, Sequence[Curve]], boundaries: Sequence[int], path: Path) -> None:
    """Draw all variants into a PNG file: a panel for each, the first variant behind every other one.

    Args:
        curves: The curves of each variant's runs, at least one each; the first variant is the reference.
        boundaries: First episodes of the phases after the first, marked by lines.
        path: The file.
    """
    reference = next(iter(curves))
    figure, axes = panels(len(curves), COLUMNS, 1.6 if len(curves) > 1 else 2.6, shared=True)
    for each, (name, runs) in zip(axes, curves.items(), strict=True):
        for boundary in boundaries:
            line = each.axvline(boundary, color=LIGHT.muted, linewidth=1, linestyle=":")
        marks: dict[str, Artist] = {"a phase begins": line} if boundaries else {}
        if name != reference:
            marks |= {f"{reference} (reference)": _draw(each, curves[reference], LIGHT.muted)[0]}
        marks |= dict(zip(("mean over seeds", "least to most"), _draw(each, runs, ACCENT), strict=True))
        each.set_title(f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})")
    lowest = min(float(np.nanmin(run[1], initial=0)) for runs in curves.values() for run in runs)
    axes[0].set(ylim=(lowest, None), xlim=(0, None))
    figure.supylabel("score (points, raw)", fontsize=9.5)
    figure.legend(marks.values(), marks.keys(), loc="outside upper center", ncols=4)
    save(figure, path)


def _draw(axes: Axes, runs: Sequence[Curve], color: str) -> tuple[Artist, Artist]:
    """Draw the mean over a variant's runs, and the band from the least to the most."""
    episodes, scores = runs[0][0], np.array([run[1] for run in runs])
    known = ~np.isnan(scores).any(0)
    (line,) = axes.plot(episodes[known], scores.mean(0)[known], color=color, linewidth=1.6)
    low, high = scores.min(0)[known], scores.max(0)[known]
    return line, axes.fill_between(episodes[known], low, high, color=color, alpha=0.2, linewidth=0)
