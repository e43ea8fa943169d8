"""The figures of one run over its episodes: scores, routing, the phase's values as applied, losses, speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import ACCENT, LIGHT, RUN_COLORS, expert_color
from rllib_moe.studies.report.curves import CONFIDENCE, score_curve
from rllib_moe.studies.report.runs import Run
from rllib_moe.studies.report.style import Drawing, new_figure, shade_phases
from rllib_moe.training.entropy_windows import window_at
from rllib_moe.training.summary import SCORE_WINDOW

RAW = "Each point is one iteration, unsmoothed."


class NotLoggedError(ValueError):
    """What a figure needs was not logged."""


def score(run: Run) -> Drawing:
    """Score over episodes, with its confidence band."""
    curve = score_curve(run)
    if curve is None:
        raise NotLoggedError(f"no episode with {m.SCORE_MEAN.key}")
    figure, (axes,) = new_figure()
    shade_phases(axes, run.phases())
    mean = run.column(m.SCORE_MEAN)
    axes.plot(
        run.column(m.EPISODES_TOTAL), mean, ".", color=LIGHT.muted, alpha=0.45, markersize=4, label="one iteration"
    )
    axes.fill_between(
        curve.episodes, curve.low, curve.high, color=ACCENT, alpha=0.3, linewidth=0, label=f"{CONFIDENCE:.0%} interval"
    )
    axes.plot(
        curve.episodes, curve.mean, color=ACCENT, linewidth=1.8, label=f"mean of the last {SCORE_WINDOW} episodes"
    )
    axes.set_ylabel("raw score (points)")
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(mean))))
    figure.legend(loc="outside lower center", ncols=3)
    return Drawing(
        key="score",
        title="Score",
        caption=f"Line: mean raw score of the last {SCORE_WINDOW} episodes (or a few more, as whole iterations are "
        f"taken). Band: {CONFIDENCE:.0%} confidence interval of that mean over the episodes of this run. "
        "Points: mean of one iteration's episodes.",
        figure=figure,
    )


def alpha_entropy(run: Run) -> Drawing:
    """Alpha entropy, in the windows where it is expected."""
    entropy = _measured(run, m.ALPHA_ENTROPY)
    figure, (axes,) = new_figure()
    shade_phases(axes, run.phases())
    _draw_windows(axes, run)
    axes.plot(run.column(m.EPISODES_TOTAL), entropy, color=ACCENT, linewidth=1.8, label="alpha entropy")
    _draw_ceiling(axes, run)
    axes.set_ylabel("alpha entropy (nats)")
    axes.set_ylim(0, 1.06 * max(float(np.nanmax(entropy)), math.log(max(2, run.num_experts))))
    figure.legend(loc="outside lower center", ncols=3)
    return Drawing(
        key="alpha_entropy",
        title="Alpha entropy",
        caption="Mean entropy of the gate in a state: ln K is undecided among all K experts, 0 is one expert. The "
        "hatched band is what is expected: undecided in warmup (1.386 for four experts), falling to about 0.7 in "
        f"transition, 0.3 to 0.5 in fine-tune; in other phases a band around the schedule's target. {RAW}",
        figure=figure,
    )


def _draw_windows(axes: Axes, run: Run) -> None:
    """The expected windows, at every episode the run has been at."""
    if run.schedule is None:
        return
    label: str | None = "expected"
    for span in run.phases():
        if span.name not in (phase.name for phase in run.schedule.phases):
            continue
        # The phase in force changes with the iteration, so a window is drawn where the iterations were.
        start, end = run.schedule.phases[span.position].start, run.schedule.end_of(span.position)
        episodes = np.linspace(span.first, span.last, 60)
        within = np.clip(episodes, start, math.inf if end is None else end - 1)
        windows = [window_at(run.schedule, int(episode), run.num_experts) for episode in within]
        if any(window is None for window in windows):
            continue
        axes.fill_between(
            episodes,
            [window.low for window in windows if window],
            [window.high for window in windows if window],
            facecolor="none",
            edgecolor=LIGHT.muted,
            hatch="////",
            linewidth=0.8,
            alpha=0.55,
            label=label,
        )
        label = None


def usage(run: Run) -> Drawing:
    """Usage entropy and mutual information."""
    figure, (axes,) = new_figure()
    shade_phases(axes, run.phases())
    episodes = run.column(m.EPISODES_TOTAL)
    axes.plot(
        episodes,
        _measured(run, m.USAGE_ENTROPY),
        color=RUN_COLORS[1],
        linestyle="--",
        linewidth=1.6,
        label="usage entropy",
    )
    axes.plot(episodes, _measured(run, m.MUTUAL_INFORMATION), color=ACCENT, linewidth=1.8, label="mutual information")
    _draw_ceiling(axes, run)
    axes.set_ylabel("entropy (nats)")
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(run.column(m.MUTUAL_INFORMATION)))))
    figure.legend(loc="outside lower center", ncols=3)
    return Drawing(
        key="usage",
        title="Usage entropy and mutual information",
        caption="Usage entropy is high when all experts are used; falling towards 0 is collapse. Mutual information, "
        f"usage entropy less alpha entropy, is how far the choice of the expert depends on the state. {RAW}",
        figure=figure,
    )


def _draw_ceiling(axes: Axes, run: Run) -> None:
    if run.num_experts > 1:
        top = math.log(run.num_experts)
        axes.axhline(top, color=LIGHT.muted, linewidth=1, linestyle=":", label=f"ln {run.num_experts} = {top:.3f}")


def shares(run: Run) -> Drawing:
    """Shares of the experts, stacked."""
    if run.num_experts == 0:
        raise NotLoggedError(f"no {m.expert_share(0).key}")
    values = np.stack([run.column(m.expert_share(index)) for index in range(run.num_experts)])  # [K, iterations]
    measured = np.isfinite(values).all(0)
    if not measured.any():
        raise NotLoggedError(f"no number in {m.expert_share(0).key}")
    figure, (axes,) = new_figure()
    phases = run.phases()
    shade_phases(axes, phases)
    axes.stackplot(
        run.column(m.EPISODES_TOTAL)[measured],
        values[:, measured],
        colors=[expert_color(index) for index in range(run.num_experts)],
        labels=[f"expert {index}" for index in range(run.num_experts)],
        alpha=0.9,
    )
    for span in phases[1:]:
        axes.axvline(span.first, color=LIGHT.background, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("share of the gate")
    figure.legend(loc="outside lower center", ncols=min(run.num_experts, 8))
    return Drawing(
        key="shares",
        title="Shares of the experts",
        caption=f"Mean gate weight of each expert over the iteration's states; the shares sum to 100 %. {RAW}",
        figure=figure,
    )


def applied(run: Run) -> Drawing:
    """Learning rate, temperature and coefficients as they were in force."""
    figure, axes = _panels(
        run,
        (
            m.LEARNING_RATE,
            m.TEMPERATURE,
            m.PHASE_VALUES["alpha_entropy_target"],
            m.PHASE_VALUES["entropy_coef"],
            m.PHASE_VALUES["alpha_entropy_coef"],
            m.PHASE_VALUES["load_balance_coef"],
            m.PHASE_VALUES["diversity_coef"],
        ),
        columns=4,
        steps=True,
    )
    for each in axes:
        each.set_ylim(0, 1.08 * max(1e-12, *each.dataLim.intervaly))
    return Drawing(
        key="applied",
        title="What the phases set",
        caption="Read back from the model and the optimizer in every iteration, so what was really in force. "
        "An alpha entropy target that is missing is a plain bonus.",
        figure=figure,
    )


LOSSES = (
    m.TOTAL_LOSS,
    m.POLICY_LOSS,
    m.VALUE_LOSS,
    m.ACTION_ENTROPY,
    m.ALPHA_ENTROPY_LOSS,
    m.LOAD_BALANCE_LOSS,
    m.DIVERSITY_LOSS,
    m.ROUTING_LOSS,
    m.EXPLAINED_VARIANCE,
    m.GRAD_NORM,
)


def losses(run: Run) -> Drawing:
    """All loss terms."""
    figure, _ = _panels(run, LOSSES, columns=4)
    return Drawing(
        key="losses",
        title="Loss terms and learning",
        caption=f"Means over the iteration's minibatches; the three routing losses are raw, without their "
        f"coefficients. {RAW}",
        figure=figure,
    )


def games(run: Run) -> Drawing:
    """Length and return of the episodes, and what else the environment tells of them."""
    own = [m.episode_measure(name) for name in m.measures_of(run.rows[-1])]
    figure, _ = _panels(run, (*own, m.LENGTH_MEAN, m.RETURN_MEAN), columns=min(4, len(own) + 2))
    return Drawing(
        key="games", title="Games", caption=f"Means over the episodes that ended in the iteration. {RAW}", figure=figure
    )


def throughput(run: Run) -> Drawing:
    """Speed, and where the time goes."""
    figure, _ = _panels(run, (m.STEPS_PER_SECOND, m.SAMPLE_SECONDS, m.LEARN_SECONDS), columns=3)
    return Drawing(
        key="throughput",
        title="Throughput",
        caption="All are means of the last ten iterations; under APPO the time for sampling is the driver's wait in "
        "each one. What else runs on the machine shows here.",
        figure=figure,
    )


def _panels(run: Run, metrics: Sequence[m.Metric], columns: int, *, steps: bool = False) -> tuple[Figure, list[Axes]]:
    """Small figures, one for each metric that was measured."""
    measured = [metric for metric in metrics if np.isfinite(run.column(metric)).any()]
    if not measured:
        raise NotLoggedError(f"none of {', '.join(metric.key for metric in metrics)}")
    figure, axes = new_figure(math.ceil(len(measured) / columns), columns, height=2.1)
    phases, episodes = run.phases(), run.column(m.EPISODES_TOTAL)
    for each, metric in zip(axes, measured, strict=False):
        shade_phases(each, phases, named=False)
        each.plot(
            episodes,
            run.column(metric),
            color=ACCENT,
            linewidth=1.3,
            drawstyle="steps-pre" if steps else "default",
            marker="." if len(episodes) < 5 else None,
        )
        each.set_title(metric.key, fontsize=8)
        each.set_ylabel("" if metric.unit == "1" else metric.unit, fontsize=8.5)
        each.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        each.tick_params(labelsize=8)
    for each in axes[len(measured) :]:
        each.remove()
    for each in axes[max(0, len(measured) - columns) : len(measured)]:
        each.set_xlabel("episodes")  # the lowest of its column
    return figure, axes[: len(measured)]


def _measured(run: Run, metric: m.Metric) -> np.ndarray:
    values = run.column(metric)
    if not np.isfinite(values).any():
        raise NotLoggedError(f"no {metric.key}")
    return values


RUN_FIGURES: tuple[Callable[[Run], Drawing], ...] = (
    score,
    alpha_entropy,
    usage,
    shares,
    games,
    applied,
    losses,
    throughput,
)
"""The figures of one run, in the page's order. Each raises `NotLoggedError` where its measures are missing."""
