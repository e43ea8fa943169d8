"""Runs and groups of runs laid over each other: curves with their bands, shades of the phases, one legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import ACCENT, LIGHT, PHASE_OPACITY, RUN_COLORS, phase_color
from rllib_moe.runtime.figures import add_legend, fitted, percent
from rllib_moe.studies.report.curves import CONFIDENCE, Curve, mean_of
from rllib_moe.studies.report.runs import Group, PhaseSpan, Run

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 3)))
SHORT_NAME = 24
"""Letters of a name up to which four stand in a row of the legend."""
ROW = 80
"""Letters for which a row of the legend has room."""
PANEL_NAME = (26, 2)
"""Letters and lines of a name above a panel of three beside each other."""
MIN_BAND = 3
"""Runs from which the interval of their mean is drawn: that of two is thirteen times as wide as its standard error."""
SEVERAL = (
    f"Thick: mean of a group's runs, as far as its shortest run, from {MIN_BAND} runs on with the "
    f"{percent(CONFIDENCE)} confidence interval of that mean (Student's t). Thin: the runs of a group."
)
"""Caption of all figures of several runs, said once."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure of the report."""

    key: str
    """Name of its file, and of its element on the page."""
    title: str
    caption: str
    """Explanation: what a point is, what smoothing, what the bands are."""
    metrics: Sequence[m.Metric] = ()
    figure: Figure


def only_run(groups: Sequence[Group]) -> Run | None:
    """Return the run, where there is just one."""
    return groups[0].runs[0] if len(groups) == len(groups[0].runs) == 1 else None


def typical_run(groups: Sequence[Group]) -> Run | None:
    """Return the longest run, where all follow the same schedule."""
    runs = [run for group in groups for run in group.runs]
    longest = max(runs, key=lambda run: run.episodes_total)
    alike = all(run.schedule == longest.schedule and run.num_experts == longest.num_experts for run in runs)
    return longest if alike and longest.schedule is not None else None


def overlay(
    axes: Axes,
    groups: Sequence[Group],
    curve_of: Callable[[Run], Curve | None],
    label: str = "",
    drawstyle: Any = "default",
) -> bool:
    """Lay the curves of all runs and the means of the groups over each other; return whether there was any.

    Args:
        groups: The runs; a run alone is drawn with its own interval.
        curve_of: Curve of one run.
        label: Name of the curve of a run alone.
        drawstyle: As in matplotlib.
    """
    is_alone, has_curves = only_run(groups) is not None, False
    for index, group in enumerate(groups):
        curves = {run: curve for run in group.runs if (curve := curve_of(run)) is not None}
        if not curves:
            continue
        has_curves = True
        color, name = RUN_COLORS[index % len(RUN_COLORS)], group.name
        if len(groups) == 1:
            color, name = (ACCENT, label) if is_alone else (LIGHT.text, f"mean of {len(curves)} runs")
        if len(curves) > 1:
            for place, (run, curve) in enumerate(curves.items()):
                told = {"color": RUN_COLORS[place % len(RUN_COLORS)], "label": run.name}
                own: Any = told if len(groups) == 1 else {"color": color}
                axes.plot(curve.episodes, curve.mean, linewidth=0.9, alpha=0.75, drawstyle=drawstyle, **own)
        mean = next(iter(curves.values())) if is_alone else mean_of(list(curves.values()), steps=drawstyle != "default")
        if mean is None:
            continue
        if mean.half is not None and (is_alone or len(curves) >= MIN_BAND):
            low, high = mean.mean - mean.half, mean.mean + mean.half
            axes.fill_between(mean.episodes, low, high, color=color, alpha=0.22, linewidth=0)
        line: Any = {"color": color, "linestyle": DASHES[index % len(DASHES)], "drawstyle": drawstyle}
        marker = "." if len(mean.mean) < 5 else None
        axes.plot(mean.episodes, mean.mean, linewidth=1.6, marker=marker, label=name, **line)
    return has_curves


def finish(
    key: str,
    title: str,
    caption: str,
    figure: Figure,
    groups: Sequence[Group],
    metrics: Sequence[m.Metric],
    *,
    named: bool = False,
) -> Drawing:
    """Shade the phases, fit the axes, and explain the lines in one legend."""
    typical = only_run(groups) or typical_run(groups)
    for axes in figure.axes:
        axes.margins(x=0)
        if typical:
            shade_phases(axes, typical.phases(), named=named)
    if legend := fullest_legend(figure.axes):
        short = {fitted(label, ROW): handle for label, handle in legend.items()}
        legend = short if len(short) == len(legend) else legend
        longest = sorted(map(len, legend))[-2:]
        add_legend(figure, legend, 4 if longest[-1] <= SHORT_NAME else 2 if sum(longest) <= ROW else 1)
    return Drawing(key=key, title=title, caption=caption, figure=figure, metrics=metrics)


def fullest_legend(axes: Sequence[Axes]) -> dict[str, Any]:
    """Return the handles by label of the axes with the most labels: a run may have no curve in some of them."""
    handles, labels = max((each.get_legend_handles_labels() for each in axes), key=lambda legend: len(legend[1]))
    return dict(zip(labels, handles, strict=True))


def shade_phases(axes: Axes, phases: Sequence[PhaseSpan], *, named: bool, color: str = LIGHT.muted) -> None:
    """Lay each phase's shade behind the curves, with its name along the top where there is room.

    Args:
        color: Color of the lines between the phases.
    """
    begin, end = phases[0].first, max(phases[-1].last, phases[0].first + 1)
    for place, (name, first, last, position) in enumerate(phases):
        axes.axvspan(first, last, color=phase_color(position), alpha=PHASE_OPACITY, linewidth=0, zorder=0)
        if place:
            axes.axvline(first, color=color, linewidth=0.8, linestyle=(0, (1, 2)))
        # A letter is about 1.2 % of the width of a figure with one column.
        if named and (last - first) / (end - begin) > 0.012 * len(name) + 0.01:
            middle, above = ((first + last) / 2, 1), {"xytext": (0, 2), "textcoords": "offset points"}
            at: Any = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", **above}
            axes.annotate(name, middle, fontsize=9, color=LIGHT.muted, **at)
    axes.set_xlim(begin, end)
