"""The picture of a comparison: score over episodes, mean over each variant's seeds with the range between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import ACCENT, LIGHT

COLUMNS = 4
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


def draw_curves(curves: Mapping[str, Sequence[Curve]], boundaries: Sequence[int], path: Path) -> None:
    """Draw all variants into a PNG file: a panel for each, the first variant behind every other one.

    Args:
        curves: The curves of each variant's runs, at least one each; the first variant is the reference.
        boundaries: First episodes of the phases after the first, marked by lines.
        path: The file.
    """
    reference, *others = curves
    panels = others or [reference]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1 + 2.8 * columns, 0.8 + 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, panels, strict=False):
        for boundary in boundaries:
            axes.axvline(boundary, color=LIGHT.muted, linewidth=1, linestyle=":")
        if others:
            _draw(axes, curves[reference], LIGHT.muted)
        _draw(axes, curves[name], ACCENT)
        axes.set_title(_title(name, curves), fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    lowest = min(float(np.nanmin(run[1], initial=0)) for runs in curves.values() for run in runs)
    grid[0, 0].set(ylim=(lowest, None), xlim=(0, None))
    figure.supxlabel("training episodes", fontsize=10)
    figure.supylabel("score (points, raw)", fontsize=10)
    if others:
        legend = (f"grey: {_title(reference, curves)}", "band: least to most over seeds", "dotted: a phase begins")
        figure.suptitle(("; " if columns > 1 else "\n").join(legend), fontsize=10)
    figure.savefig(path, dpi=150)


def _title(name: str, curves: Mapping[str, Sequence[Curve]]) -> str:
    num_runs = len(curves[name])
    return f"{name} ({num_runs} seed{'s' if num_runs > 1 else ''})"


def _draw(axes: Axes, runs: Sequence[Curve], colour: str) -> None:
    """The mean over a variant's runs, and the band from the least to the most."""
    episodes, scores = runs[0][0], np.array([run[1] for run in runs])
    known = ~np.isnan(scores).any(0)
    axes.plot(episodes[known], scores.mean(0)[known], color=colour, linewidth=1.6)
    low, high = scores.min(0)[known], scores.max(0)[known]
    axes.fill_between(episodes[known], low, high, color=colour, alpha=0.2, linewidth=0)
