"""Several runs beside each other: groups by their mean over seeds with its interval, as figures and as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import RUN_COLORS
from rllib_moe.studies.report.curves import CONFIDENCE, Curve, mean_of, metric_curve, score_curve
from rllib_moe.studies.report.groups import Group
from rllib_moe.studies.report.runs import Run
from rllib_moe.studies.report.style import Drawing, new_figure
from rllib_moe.training.summary import SCORE_WINDOW

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 3)))
SHORT_NAME = 20
"""Letters of a name up to which four stand in a row of the legend."""

COMPARED: tuple[tuple[str, str, str, str, Callable[[Run], Curve | None]], ...] = (
    (
        "compared_score",
        "Score",
        "raw score (points)",
        f"mean of the last {SCORE_WINDOW} episodes of each run",
        score_curve,
    ),
    (
        "compared_alpha_entropy",
        "Alpha entropy",
        "alpha entropy (nats)",
        "unsmoothed",
        lambda run: metric_curve(run, m.ALPHA_ENTROPY),
    ),
    (
        "compared_mutual_information",
        "Mutual information",
        "mutual information (nats)",
        "unsmoothed",
        lambda run: metric_curve(run, m.MUTUAL_INFORMATION),
    ),
    (
        "compared_min_share",
        "Share of the least used expert",
        "share of the gate",
        "unsmoothed",
        lambda run: metric_curve(run, m.MIN_EXPERT_SHARE),
    ),
)
"""Key, heading, label of the y axis, smoothing in words, and the curve of one run."""


def comparison_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Draw every compared measure that at least one run has."""
    for key, title, label, smoothing, curve_of in COMPARED:
        figure, (axes,) = new_figure()
        drawn = [_draw_group(axes, index, group, curve_of) for index, group in enumerate(groups)]
        if not any(drawn):
            continue
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=min(0.0, axes.dataLim.y0))
        is_short = all(len(group.name) <= SHORT_NAME for group in groups)
        figure.legend(loc="outside lower center", ncols=4 if is_short else 1)
        yield Drawing(
            key=key,
            title=title,
            caption=f"Thick: mean of a group's runs ({smoothing}). Band: {CONFIDENCE:.0%} confidence interval of that "
            "mean over the runs (Student's t), from two runs on; a single run has none. Thin: the runs of a group. A "
            "group's mean ends where its shortest run does.",
            figure=figure,
        )


def _draw_group(axes: Axes, index: int, group: Group, curve_of: Callable[[Run], Curve | None]) -> bool:
    curves = [curve for run in group.runs if (curve := curve_of(run)) is not None]
    if not curves:
        return False
    colour, dashes = RUN_COLORS[index % len(RUN_COLORS)], DASHES[index % len(DASHES)]
    mean = mean_of(curves)
    if mean is None or len(curves) > 1:
        for curve in curves:
            axes.plot(curve.episodes, curve.mean, color=colour, linewidth=0.7, alpha=0.6)
    if mean is not None:
        axes.fill_between(mean.episodes, mean.low, mean.high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(mean.episodes, mean.mean, color=colour, linestyle=dashes, linewidth=1.8, label=group.name)
    return True


def comparison_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A line a group: means over its runs at the last episode that all runs of the report have reached."""
    runs = [run for group in groups for run in group.runs]
    at = min(float(run.column(m.EPISODES_TOTAL)[-1]) for run in runs)
    return [
        {
            "name": group.name,
            "runs": len(group.runs),
            "episode": int(at),
            "score": _at(group, at, score_curve),
            "alpha_entropy": _at(group, at, lambda run: metric_curve(run, m.ALPHA_ENTROPY)),
            "mutual_information": _at(group, at, lambda run: metric_curve(run, m.MUTUAL_INFORMATION)),
            "min_share": _at(group, at, lambda run: metric_curve(run, m.MIN_EXPERT_SHARE)),
        }
        for group in groups
    ]


def _at(group: Group, episode: float, curve_of: Callable[[Run], Curve | None]) -> tuple[float, float | None] | None:
    """Mean over a group's runs at an episode, and half of the interval's width (None for one run)."""
    curves = [curve for run in group.runs if (curve := curve_of(run)) is not None and curve.episodes[0] <= episode]
    if not curves:
        return None
    flat = [
        Curve(episodes=np.array([episode]), mean=value, low=value, high=value)
        for curve in curves
        for value in [np.array([np.interp(episode, curve.episodes, curve.mean)])]
    ]
    mean = mean_of(flat)
    if mean is None:
        return None
    return float(mean.mean[0]), None if len(flat) == 1 else float(mean.high[0] - mean.mean[0])
