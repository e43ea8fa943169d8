"""The figures of a report over scenes: which expert acts in which scene, from evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.figures import WIDTH, share_bars
from rllib_moe.studies.report.overlay import Drawing
from rllib_moe.studies.report.runs import Run


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
                each.set_title(run.name)
            if place % columns and [name for name, _ in bars] == labels:
                each.set_yticklabels([])
            labels = [name for name, _ in bars]
        counted = " (steps of the scene in brackets)" if len(runs) == 1 else ""
        figure.supxlabel(f"share of the gate{counted}", fontsize=9.5)
        widest = max(axes[: len(shown)], key=lambda each: len(each.get_legend_handles_labels()[1]))
        figure.legend(*widest.get_legend_handles_labels(), loc="outside upper center", ncols=6)
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
