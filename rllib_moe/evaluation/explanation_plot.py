"""Picture of an explanation: which expert leads in which scene, what for, looking where, and the cost of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_moe.evaluation.explanation import ALL
from rllib_moe.runtime.colors import ACCENT, LIGHT, expert_color
from rllib_moe.runtime.figures import save, share_bars, styled

_MOST_PURPOSES = 9
_MOST_SCENES = 16


@styled()
def write_plot(explain: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw what `explanation_numbers` returned into a PNG."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    figure.suptitle(title, fontweight="bold")
    (scenes, purposes), (looks, removal) = figure.subplots(2, 2)
    shown = [(name, scene) for name, scene in explain["by_scene"].items() if scene["steps"]][:_MOST_SCENES]
    share_bars(
        scenes,
        [(f"{name.replace('_', ' ')} ({scene['steps']:,})", scene["share"]) for name, scene in shown],
        explain["experts"],
    )
    scenes.set(xlabel="mean weight (states of the scene in brackets)", title="Who decides, by scene")
    _draw_purposes(purposes, explain["by_scene"][ALL], explain["experts"])
    _draw_attention(looks, explain["attention"])
    _draw_removal(removal, explain["removal"], explain["experts"])
    save(figure, path)


def _draw_purposes(axes: Axes, scene: Mapping[str, Any], experts: Sequence[str]) -> None:
    totals: dict[str, float] = {}
    for leads, purposes in zip(scene["leads"], scene["purposes"], strict=True):
        for name, share in purposes.items():
            totals[name] = totals.get(name, 0.0) + leads * share
    names = sorted(totals, key=lambda name: -totals[name])[:_MOST_PURPOSES]
    height = 0.8 / len(scene["leads"])
    for expert, purposes in enumerate(scene["purposes"]):
        places = np.arange(len(names)) - 0.4 + (expert + 0.5) * height
        label = f"{experts[expert]} (leads {100 * scene['leads'][expert]:.0f} %)"
        axes.barh(
            places, [100 * purposes.get(name, 0) for name in names], height, color=expert_color(expert), label=label
        )
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="probability where the expert leads (%)", title="What is done where an expert leads")
    _add_legend(axes, columns=2)


def _draw_attention(axes: Axes, attention: Mapping[str, Any] | None) -> None:
    if attention is None:
        axes.text(0.5, 0.5, "no attention: a mean over the nodes", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    rows = [
        *((name.replace("_", " "), row) for name, row in attention["by_class"].items()),
        *((f"distance {name}", row) for name, row in attention["by_distance"].items() if name != "itself"),
    ]
    places = np.arange(len(rows))
    axes.barh(places, [100 * row["attention"] for _, row in rows], 0.72, color=ACCENT, label="attention")
    equal = [100 * row["equal"] for _, row in rows]
    axes.plot(equal, places, "|", color=LIGHT.text, markersize=11, markeredgewidth=2, label="if all nodes had the same")
    split = len(attention["by_class"]) - 0.5
    axes.axhline(split, color=LIGHT.line, linewidth=1)
    axes.set_yticks(places, [name for name, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlabel="share of the ego node's attention (%)",
        title=f"Where it looks: by class, and by distance in {attention['distance_unit']}",
    )
    _add_legend(axes, columns=2)


def _add_legend(axes: Axes, columns: int) -> None:
    """Put the legend below the axes, where it covers nothing that is drawn."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns)


def _draw_removal(axes: Axes, removal: Sequence[Mapping[str, Any]], experts: Sequence[str]) -> None:
    axes.set_title("What it costs to lose one")
    if not removal:
        axes.text(0.5, 0.5, "one expert only", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    places = [row["expert"] for row in removal]
    values = [row["score_difference"] for row in removal]
    # 1.96 standard errors: a bar whose whisker does not reach 0 is told from 0 at the 5 % level.
    errors = [1.96 * (row["score_difference_se"] or 0) for row in removal]
    axes.bar(places, values, 0.6, color=[expert_color(place) for place in places])
    axes.errorbar(places, values, errors, fmt="none", ecolor=LIGHT.text, capsize=5)
    axes.axhline(0, color=LIGHT.muted, linewidth=1)
    labels = [
        f"without {experts[row['expert']]}\n{100 * row['changes']:.0f} % other\nactions, {row['divergence']:.2f} nats"
        for row in removal
    ]
    axes.set_xticks(places, labels, fontsize=9)
    axes.set_ylabel("score, difference on the same seeds (points, 95 % interval)")
