"""The figures of a report: scores, routing, the phase's values, losses and speed over episodes, experts by scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.colors import LIGHT, expert_color
from rllib_moe.runtime.figures import WIDTH, add_legend, fitted, panels, percent, share_bars
from rllib_moe.studies.report.curves import CONFIDENCE, metric_curve, score_curve
from rllib_moe.studies.report.overlay import (
    PANEL_NAME,
    Drawing,
    finish,
    fullest_legend,
    only_run,
    overlay,
    shade_phases,
    typical_run,
)
from rllib_moe.studies.report.runs import Group, Run
from rllib_moe.training.health import window_at
from rllib_moe.training.summary import SCORE_WINDOW

RAW = "Each point is one iteration, unsmoothed."


class NotLoggedError(ValueError):
    """The metrics of a figure were not logged."""


def score(groups: Sequence[Group]) -> Drawing:
    """Draw the score, with its confidence band."""
    figure, (axes,) = panels(1)
    label = f"mean of the last {SCORE_WINDOW} episodes, and its {percent(CONFIDENCE)} interval"
    if run := only_run(groups):
        points: Any = {"color": LIGHT.muted, "alpha": 0.45, "markersize": 4, "label": "one iteration"}
        axes.plot(run.column(m.EPISODES_TOTAL), run.column(m.SCORE_MEAN), ".", **points)
    if not overlay(axes, groups, score_curve, label):
        raise NotLoggedError(f"no episode with {m.SCORE_MEAN.key}")
    axes.set_ylabel("raw score (points)")
    caption = f"Mean raw score of the last {SCORE_WINDOW} episodes, or of all so far; whole iterations are taken."
    if run:
        caption += f" Band: {percent(CONFIDENCE)} confidence interval of that mean over the episodes of this run. "
        caption += "Points: mean of one iteration's episodes."
    return finish("score", "Score", caption, figure, groups, [m.SCORE_MEAN, m.SCORE_STD], named=True)


def alpha_entropy(groups: Sequence[Group]) -> Drawing:
    """Draw alpha entropy, in the windows where it is expected."""
    figure, (axes,) = panels(1)
    if not overlay(axes, groups, partial(metric_curve, metric=m.ALPHA_ENTROPY), "alpha entropy"):
        raise NotLoggedError(f"no {m.ALPHA_ENTROPY.key}")
    run = typical_run(groups)
    has_windows = run is not None and _draw_windows(axes, run)
    top = _draw_ceiling(axes, groups)
    axes.set_ylabel("alpha entropy (nats)")
    expected = (
        "The hatched band is what is expected: undecided in warmup (1.386 for four experts), falling to about 0.7 in "
        "transition, 0.3 to 0.5 in fine-tune; in other phases a band around the schedule's target. "
    )
    caption = (
        "Mean entropy of the gate in a state: ln K is undecided among all K experts, 0 is one expert. "
        f"{expected if has_windows else ''}{RAW}"
    )
    drawing = finish("alpha_entropy", "Alpha entropy", caption, figure, groups, [m.ALPHA_ENTROPY], named=True)
    axes.set_ylim(0, 1.06 * top)
    return drawing


def _draw_windows(axes: Axes, run: Run) -> bool:
    """Draw the expected windows, at every episode the run has been at; return whether there are any."""
    assert run.schedule is not None
    band: Any = {"facecolor": "none", "edgecolor": LIGHT.muted, "hatch": "////", "linewidth": 0.8, "alpha": 0.55}
    label = "expected"
    for span in run.phases():
        if span.name not in (phase.name for phase in run.schedule.phases):
            continue
        # The active phase changes with the iteration, so a window is drawn where the iterations were.
        phase = run.schedule.phases[span.position]
        episodes = np.linspace(span.first, span.last, 60)
        within = np.clip(episodes, phase.start, math.inf if phase.end is None else phase.end - 1)
        windows = [window_at(run.schedule, int(episode), run.num_experts) for episode in within]
        edges = np.array([(window.low, window.high) for window in windows if window])  # [episodes, 2]
        if len(edges) == len(episodes):
            axes.fill_between(episodes, edges[:, 0], edges[:, 1], label=label, **band)
            label = ""
    return not label


def _draw_ceiling(axes: Axes, groups: Sequence[Group]) -> float:
    """Draw the entropy of undecided, where all runs have as many experts; return it."""
    counts = {run.num_experts for group in groups for run in group.runs}
    top = math.log(max(2, *counts))
    if len(counts) == 1 and counts != {1}:
        axes.axhline(top, color=LIGHT.muted, linewidth=1, linestyle=":", label=f"ln {counts.pop()} = {top:.3f}")
    return top


def shares(groups: Sequence[Group]) -> Drawing:
    """Draw the shares of the experts, stacked, in a panel for each run."""
    runs = [run for group in groups for run in group.runs if run.num_experts]
    stacks = {}
    for run in runs:
        values = np.stack([run.column(m.expert_share(index)) for index in range(run.num_experts)])  # [K, iterations]
        measured = np.isfinite(values).all(0)
        if measured.any():
            stacks[run.path] = run, run.column(m.EPISODES_TOTAL)[measured], values[:, measured]
    if not stacks:
        raise NotLoggedError(f"no number in {m.expert_share(0).key}")
    figure, axes = panels(len(stacks), 1 if len(stacks) == 1 else 3, 2.6 if len(stacks) == 1 else 1.6)
    for each, (run, episodes, values) in zip(axes, stacks.values(), strict=True):
        colors = [expert_color(index) for index in range(len(values))]
        each.stackplot(episodes, values, colors=colors, labels=expert_names(len(values), run.role_names), alpha=0.9)
        shade_phases(each, run.phases(), named=len(stacks) == 1, color=LIGHT.background)
        each.set_ylim(0, 1)
        each.yaxis.set_major_formatter(percent)
        if len(stacks) > 1:
            each.set_title(fitted(run.name, *PANEL_NAME))
    legend = fullest_legend(axes)
    add_legend(figure, legend, 6)
    caption = f"Mean gate weight of each expert over the iteration's states; the shares sum to 100 %. {RAW}"
    logged = [m.expert_share(index) for index in range(len(legend))]
    return Drawing(key="shares", title="Shares of the experts", caption=caption, figure=figure, metrics=logged)


PANELS: dict[str, tuple[str, str, tuple[m.Metric, ...]]] = {
    "usage": (
        "Use of the experts",
        "Usage entropy is high when all experts are used; falling toward 0 is collapse. Mutual information, usage "
        f"entropy less alpha entropy, is how far the choice of the expert depends on the state. {RAW}",
        (m.USAGE_ENTROPY, m.MUTUAL_INFORMATION, m.MIN_EXPERT_SHARE),
    ),
    "games": (
        "Games",
        f"Means over the episodes that ended in the iteration. {RAW}",
        (m.LENGTH_MEAN, m.RETURN_MEAN),
    ),
    "applied": (
        "What the phases set",
        "Read back from the model and the optimizer in every iteration, the environment's from its episodes. An alpha "
        "entropy target that is missing is a plain bonus.",
        tuple(m.PHASE_VALUES.values()),
    ),
    "losses": (
        "Loss terms and learning",
        f"Means over the iteration's minibatches; those of the routing are raw, without their coefficients. {RAW}",
        (
            *(m.TOTAL_LOSS, m.POLICY_LOSS, m.VALUE_LOSS, m.ACTION_ENTROPY, m.ALPHA_ENTROPY_LOSS, m.LOAD_BALANCE_LOSS),
            *(m.DIVERSITY_LOSS, m.PERSISTENCE_LOSS, m.ROLE_LOSS, m.ROUTING_LOSS, m.EXPLAINED_VARIANCE, m.GRAD_NORM),
        ),
    ),
    "throughput": (
        "Throughput",
        "All are means of the last ten iterations; under APPO the time for sampling is the driver's wait in each one. "
        "What else runs on the machine shows here.",
        (m.STEPS_PER_SECOND, m.SAMPLE_SECONDS, m.LEARN_SECONDS),
    ),
}
"""Heading, caption and metrics of each figure of small panels, by key."""


def small_panels(key: str, groups: Sequence[Group]) -> Drawing:
    """Draw a panel for each metric of one of `PANELS` that was measured; with `games` the environment's own as well."""
    title, caption, metrics = PANELS[key]
    runs = [run for group in groups for run in group.runs]
    if key == "games":
        own = dict.fromkeys(name for run in runs for name in m.measures_of(run.rows[-1]))
        metrics = (*map(m.episode_measure, own), *metrics)
    if key == "losses":
        metrics = (*metrics, *dict.fromkeys(each for run in runs for each in m.raw_losses_of(run.rows[-1])))
    if key == "applied":
        metrics = (*metrics, *dict.fromkeys(each for run in runs for each in m.env_arguments_of(run.rows[-1])))
    measured = [metric for metric in metrics if any(np.isfinite(run.column(metric)).any() for run in runs)]
    if not measured:
        raise NotLoggedError(f"none of {', '.join(metric.key for metric in metrics)}")
    figure, axes = panels(len(measured), 3, 1.5)
    for each, metric in zip(axes, measured, strict=True):
        # A phase's value holds from the end of the iteration before.
        steps = "steps-pre" if metric.key.startswith("phase/") else "default"
        overlay(each, groups, partial(metric_curve, metric=metric), drawstyle=steps)
        unit = "" if metric.unit in ("", "1", "share") else f" ({metric.unit})"
        each.set_title(f"{metric.title}{unit}", fontsize=9)
        each.yaxis.set_major_formatter(percent if metric.unit == "share" else lambda value, _: f"{value:.5g}")
        each.tick_params(labelsize=9)
    return finish(key, title, caption, figure, groups, measured)


def draw_figures(groups: Sequence[Group]) -> tuple[list[Drawing], list[str]]:
    """Draw all that was logged, in the page's order.

    Returns:
        The figures, and the names of those that could not be drawn, with the reason.
    """
    makers: dict[str, Callable[[], Drawing]] = {
        **{draw.__name__: partial(draw, groups) for draw in (score, alpha_entropy, shares)},
        **{key: partial(small_panels, key, groups) for key in PANELS},
    }
    drawings, omitted = [], []
    for name, make in makers.items():
        try:
            drawings.append(make())
        except NotLoggedError as error:
            omitted.append(f"figure {name}: {error}")
    return drawings, omitted


def scene_figures(runs: Sequence[Run]) -> Iterator[Drawing]:
    """Draw for each file of evaluations the experts' shares as stacked bars, a panel for each run, a bar for a scene.

    Evaluations without an expert, of a policy without experts, or of an environment without scenes have none.
    """
    for file_name in dict.fromkeys(name for run in runs for name in run.evaluations):
        shown: dict[Run, list[tuple[str, list[float]]]] = {}
        for run in runs:
            numbers = run.evaluations.get(file_name, {})
            scenes = {"all": {"steps": numbers.get("env_steps"), **numbers}, **numbers.get("by_scene", {})}
            bars = [
                (name.replace("_", " ") + (f" ({scene['steps']:,})" if len(runs) == 1 else ""), scene["expert_share"])
                for name, scene in scenes.items()
                if _is_share(scene.get("expert_share"))
            ]
            if len(bars) > 1 and numbers.get("removed_expert") is None:
                shown[run] = bars
        if not shown:
            continue
        columns = min(3, len(shown))
        rows = math.ceil(len(shown) / columns)
        height = rows * (0.25 * max(map(len, shown.values())) + 0.5) + 0.4
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for each in axes[len(shown) :]:
            each.remove()
        labels: list[str] = []
        for place, (each, (run, bars)) in enumerate(zip(axes, shown.items(), strict=False)):
            share_bars(each, bars, expert_names(len(bars[0][1]), run.role_names))
            if len(runs) > 1:
                each.set_title(fitted(run.name, *PANEL_NAME))
            if place % columns and [name for name, _ in bars] == labels:
                each.set_yticklabels([])
            labels = [name for name, _ in bars]
        counted = " (steps of the scene in brackets)" if len(runs) == 1 else ""
        figure.supxlabel(f"share of the gate{counted}", fontsize=9.5)
        legend = fullest_legend(axes[: len(shown)])
        figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=6)
        episodes = ", ".join(dict.fromkeys(f"{run.evaluations[file_name]['episodes']:,}" for run in shown))
        yield Drawing(
            key=f"scenes-{file_name.removesuffix('.json')}",
            title=f"Expert by scene ({file_name})",
            caption=f"Mean gate weight over the steps at which the scene held, in {episodes} episodes. "
            "A step can belong to several scenes. Numbers are percentages.",
            figure=figure,
        )


def _is_share(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, (int, float)) for each in value)
