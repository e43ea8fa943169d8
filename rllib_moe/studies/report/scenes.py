"""Which expert acts in which scene, from an evaluation: the table's numbers as stacked bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rllib_moe.runtime.colors import expert_color
from rllib_moe.studies.report.style import WIDTH, Drawing

LEAST_LABELLED = 0.07
"""Share from which a bar is wide enough for its number."""


def scene_figure(file_name: str, numbers: dict[str, Any]) -> Drawing | None:
    """Stacked bars of the experts' shares, a bar a scene, those of all steps on top.

    Args:
        file_name: Name of the evaluation's file.
        numbers: What it holds.

    Returns:
        The drawing; None for a policy without experts, or an environment without scenes.
    """
    bars: list[tuple[str, list[float]]] = []
    for name, scene in numbers["by_scene"].items():
        if _is_share(scene.get("expert_share")):
            bars.append((f"{name.replace('_', ' ')} ({scene['steps']:,})", scene["expert_share"]))
    if not bars:
        return None
    if _is_share(numbers.get("expert_share")):
        bars.insert(0, (f"all steps ({numbers['env_steps']:,})", numbers["expert_share"]))
    num_experts = max(len(share) for _, share in bars)
    figure = Figure(figsize=(WIDTH, 0.32 * len(bars) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(bars), dtype=float)
    left = np.zeros(len(bars))
    for index in range(num_experts):
        widths = np.array([share[index] if index < len(share) else 0.0 for _, share in bars])
        axes.barh(places, widths, 0.78, left=left, color=expert_color(index), label=f"expert {index}")
        for place, start, width in zip(places, left, widths, strict=True):
            if width >= LEAST_LABELLED:
                axes.text(
                    start + width / 2,
                    place,
                    f"{100 * width:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=_on(expert_color(index)),
                )
        left += widths
    axes.set_yticks(places, [label for label, _ in bars])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the gate (steps of the scene in brackets)")
    figure.legend(loc="outside upper center", ncols=min(num_experts, 8))
    return Drawing(
        key=f"scenes-{file_name.removesuffix('.json')}",
        title=f"Expert by scene ({file_name})",
        caption=f"Mean gate weight over the steps at which the scene held, in {numbers['episodes']} episodes. "
        "A step can belong to several scenes. Numbers are per cent.",
        figure=figure,
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, (int, float)) for each in value)


def _on(colour: str) -> str:
    """Black or white, whichever reads better on a colour; neither is one that the page's theme replaces."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#FFFFFF"
