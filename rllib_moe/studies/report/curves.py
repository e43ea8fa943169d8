"""Curves of a run and of several: smoothing by episodes, confidence intervals, means over seeds as a table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from rllib_moe import metrics as m
from rllib_moe.studies.report.runs import Group, Run
from rllib_moe.training.summary import SCORE_WINDOW

CONFIDENCE = 0.95
GRID = 200
"""Points at which the curves of several runs are compared."""
MIN_EPISODES = 10
"""Episodes of which a mean is drawn while a run has not yet played a whole window."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A mean over episodes."""

    episodes: np.ndarray
    """Global episode counts [n], increasing."""
    mean: np.ndarray
    """Means [n]."""
    half: np.ndarray | None = None
    """Half widths of the intervals around them [n]."""


def score_curve(run: Run, window: int = SCORE_WINDOW) -> Curve | None:
    """Mean score of the last `window` episodes (or a few more), with the confidence interval of that mean.

    The episodes of the window's iterations are pooled: variance within the iterations and between them.

    Returns:
        The curve at every iteration from the one in which `MIN_EPISODES` are played (the last, in a shorter run), over
        all episodes so far until `window` are played; None where no score was logged.
    """
    played, mean, std = run.column(m.EPISODES), run.column(m.SCORE_MEAN), run.column(m.SCORE_STD)
    scored = (played > 0) & np.isfinite(mean)
    if not scored.any():
        return None
    total = run.column(m.EPISODES_TOTAL)[scored]
    played, mean = played[scored], mean[scored]
    square = np.nan_to_num(std[scored]) ** 2 + mean**2
    counts = np.concatenate(([0.0], np.cumsum(played)))
    sums = np.concatenate(([0.0], np.cumsum(played * mean)))
    squares = np.concatenate(([0.0], np.cumsum(played * square)))
    last = np.arange(1, len(counts))
    # The latest start that leaves `window` episodes.
    first = np.maximum(np.searchsorted(counts, counts[last] - window, side="right") - 1, 0)
    keep = counts[last] >= min(MIN_EPISODES, window, counts[-1])
    last, first, total = last[keep], first[keep], total[keep]
    number = counts[last] - counts[first]
    average = (sums[last] - sums[first]) / number
    variance = np.maximum((squares[last] - squares[first]) / number - average**2, 0)
    half = stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(variance / number)
    return Curve(episodes=total, mean=average, half=half)


def metric_curve(run: Run, metric: m.Metric) -> Curve | None:
    """A metric as it was logged, unsmoothed, without an interval; None where it never was."""
    values = run.column(metric)
    measured = np.isfinite(values)
    if not measured.any():
        return None
    return Curve(episodes=run.column(m.EPISODES_TOTAL)[measured], mean=values[measured])


def mean_of(curves: Sequence[Curve], *, steps: bool = False) -> Curve | None:
    """Mean over runs with the confidence interval (Student's t) of that mean.

    Only where all runs have been: their first common episode to the end of the shortest.

    Args:
        curves: One for each run (seed), at least one.
        steps: Whether a value holds from the point before, rather than changing linearly.

    Returns:
        The curve; a single one as it is, without an interval (one run tells nothing of the spread over seeds); None
        where the runs have no episode in common.
    """
    if len(curves) == 1:
        return Curve(episodes=curves[0].episodes, mean=curves[0].mean)
    if (common := on_grid(curves, steps=steps)) is None:
        return None
    grid, values = common
    return Curve(episodes=grid, mean=values.mean(0), half=half_width(values))


def half_width(values: np.ndarray) -> np.ndarray:
    """Return half of the confidence interval (Student's t) of the mean over the first axis, of two values or more."""
    return np.asarray(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * stats.sem(values, axis=0))


def on_grid(curves: Sequence[Curve], *, steps: bool = False) -> tuple[np.ndarray, np.ndarray] | None:
    """Return episodes [`GRID`] from the curves' first common one to the end of the shortest, and means [runs, `GRID`].

    None where the curves have no episode in common.
    """
    first, last = max(curve.episodes[0] for curve in curves), min(curve.episodes[-1] for curve in curves)
    if first > last:
        return None
    grid = np.linspace(first, last, GRID)
    values = np.stack(  # [runs, GRID]
        [
            curve.mean[np.searchsorted(curve.episodes, grid)] if steps else np.interp(grid, curve.episodes, curve.mean)
            for curve in curves
        ]
    )
    return grid, values


COMPARED: dict[str, Callable[[Run], Curve | None]] = {
    "score": score_curve,
    "alpha_entropy": partial(metric_curve, metric=m.ALPHA_ENTROPY),
    "mutual_information": partial(metric_curve, metric=m.MUTUAL_INFORMATION),
    "min_expert_share": partial(metric_curve, metric=m.MIN_EXPERT_SHARE),
}
"""Curve of one run by the name of its column."""


def comparison_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a line for each group: means over its runs at the last episode that all runs have reached.

    Each value is the mean and half of its interval's width (None for one run); None where it was never logged.
    """
    at = min(run.episodes_total for group in groups for run in group.runs)
    return [
        {
            "name": group.name,
            "runs": len(group.runs),
            "episode": at,
            **{name: _at(group, at, curve_of) for name, curve_of in COMPARED.items()},
        }
        for group in groups
    ]


def _at(group: Group, episode: int, curve_of: Callable[[Run], Curve | None]) -> tuple[float, float | None] | None:
    curves = [curve for run in group.runs if (curve := curve_of(run)) is not None and curve.episodes[0] <= episode]
    if not curves:
        return None
    values = np.array([np.interp(episode, curve.episodes, curve.mean) for curve in curves])
    return float(values.mean()), None if len(values) == 1 else float(half_width(values))
