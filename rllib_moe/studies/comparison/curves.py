"""The picture of a comparison: score over episodes, mean over each variant's seeds with the range between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rllib_moe.runtime.colors import ACCENT, LIGHT
from rllib_moe.runtime.figures import add_legend, panels, save, styled
from rllib_moe.studies.report.curves import Curve, on_grid

COLUMNS = 3
"""Panels side by side."""


@styled()
def draw_curves(
    curves: Mapping[str, Sequence[Curve]], reference: str, boundaries: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Draw all variants into a PNG file: a panel for each, the reference behind every other one.

    Args:
        curves: The score curves of each variant's runs, at least one each.
        reference: Variant that the others are compared with; it may have no curve yet.
        boundaries: First episodes of the phases after the first by variant, marked by lines.
    """
    figure, axes = panels(len(curves), COLUMNS, 1.6 if len(curves) > 1 else 2.6, shared=True)
    for each, (name, runs) in zip(axes, curves.items(), strict=True):
        for boundary in boundaries[name]:
            line = each.axvline(boundary, color=LIGHT.muted, linewidth=1, linestyle=":")
        marks: dict[str, Artist] = {"a phase begins": line} if boundaries[name] else {}
        if name != reference and reference in curves:
            marks |= {f"{reference} (reference)": _draw(each, curves[reference], LIGHT.muted)[0]}
        marks |= dict(zip(("mean over seeds", "least to most"), _draw(each, runs, ACCENT), strict=True))
        each.set_title(f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})")
    axes[0].set(xlim=(0, None))
    add_legend(figure, marks)
    figure.supylabel("score (points, raw)", fontsize=9.5)
    save(figure, path)


def _draw(axes: Axes, runs: Sequence[Curve], color: str) -> tuple[Artist, Artist]:
    """Draw the mean over a variant's runs, and the band from the least to the most."""
    grid = on_grid(runs)
    assert grid is not None  # all were trained to the end
    episodes, scores = grid
    (line,) = axes.plot(episodes, scores.mean(0), color=color, linewidth=1.6)
    return line, axes.fill_between(episodes, scores.min(0), scores.max(0), color=color, alpha=0.2, linewidth=0)
