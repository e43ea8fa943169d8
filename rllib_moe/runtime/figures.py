"""The look of every figure, panels of one size, and the one way to write them.

`save` writes a picture on white, `svg` gives an element whose text and lines follow the theme of the page around it.
SVG text is drawn as paths: it needs no font, and is as wide in every browser.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rllib_moe.runtime.colors import LIGHT, expert_color, ink_on
from rllib_moe.runtime.files import atomic_write

WIDTH = 7.2
"""Inches of a figure: its smallest text has 9 px on a page of 600 px."""
PNG_DPI = 150
MIN_LABELED = 0.07
"""Share from which a bar is wide enough for its number."""

STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": LIGHT.text,
    "axes.edgecolor": LIGHT.muted,
    "axes.titlecolor": LIGHT.text,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.ymargin": 0.06,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
    "text.color": LIGHT.text,
    "xtick.color": LIGHT.muted,
    "ytick.color": LIGHT.muted,
    "grid.color": LIGHT.line,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "figure.titlesize": 11,
    "svg.fonttype": "path",
    "svg.hashsalt": "rllib_moe",
}
THEMED = {LIGHT.text: "var(--text)", LIGHT.muted: "var(--muted)", LIGHT.line: "var(--line)"}
"""Colors that the page's theme replaces."""


styled = partial(mpl.rc_context, STYLE)
"""Context manager, and decorator, that applies the style."""


def panels(count: int, columns: int = 1, height: float = 2.6, *, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes over episodes.

    Args:
        columns: Maximum number of axes beside each other.
        height: Inches of a row.
        shared: Whether all have the same axes.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, rows * height + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).flat)
    for each in axes[count:]:
        each.remove()
    for each in axes[:count]:
        each.xaxis.set_major_locator(MaxNLocator(nbins=8 if columns == 1 else 4, integer=True))
        each.tick_params(labelbottom=not shared or each in axes[max(0, count - columns) : count])
    figure.supxlabel("episodes", fontsize=9.5, color=LIGHT.muted)
    return figure, axes[:count]


def add_legend(figure: Figure, legend: Mapping[str, Any], columns: int = 4) -> None:
    """Put one legend of all axes above them."""
    rows = math.ceil(len(legend) / columns)
    figure.set_figheight(figure.get_figheight() + 0.21 * rows)
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=math.ceil(len(legend) / rows))


def fitted(name: str, letters: int, lines: int = 1) -> str:
    """Return a name in so many lines of so many letters at most; of a longer one, its middle is left out."""
    room = letters * lines
    if len(name) > room:
        begin = room // 2
        name = f"{name[:begin]}…{name[len(name) - (room - begin - 1) :]}"
    return "\n".join(name[place : place + letters] for place in range(0, len(name), letters)) if lines > 1 else name


def percent(share: float, _: object = None) -> str:
    """Return a share in percent, as a label of an axis."""
    return f"{100 * share:.3g} %"


def share_bars(axes: Axes, bars: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]) -> None:
    """Draw stacked horizontal bars of the experts' shares, the first on top, with their percentages.

    Args:
        bars: Label of each bar, and the share of each expert [K].
        names: Names of the experts [K].
    """
    left = np.zeros(len(bars))
    for expert, name in enumerate(names):
        widths = np.array([share[expert] for _, share in bars])
        drawn = axes.barh(range(len(bars)), widths, 0.78, left=left, color=expert_color(expert), label=name)
        labels = [f"{100 * width:.0f}" if width >= MIN_LABELED else "" for width in widths]
        axes.bar_label(drawn, labels, label_type="center", fontsize=9, color=ink_on(expert_color(expert)))
        left += widths
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT.text)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(percent)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file on white."""
    _lay_out(figure)
    with atomic_write(path) as partial_file:
        look: Any = {"dpi": PNG_DPI, "facecolor": LIGHT.background, "metadata": {"Software": None}}
        figure.savefig(partial_file, format="png", **look)


def svg(figure: Figure, key: str) -> str:
    """Return the figure as an SVG element for a page that defines `--text`, `--muted` and `--line`.

    Args:
        key: Prefix of all ids, unique on the page.
    """
    stream = io.StringIO()
    _lay_out(figure)
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", text)
    for color, variable in THEMED.items():
        text = re.sub(re.escape(color), variable, text, flags=re.IGNORECASE)
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1
    ).strip()


def _lay_out(figure: Figure) -> None:
    """Place everything once for both forms, which takes longer than the drawing itself."""
    if figure.get_layout_engine() is not None:
        figure.set_dpi(PNG_DPI)  # at another resolution, letters have other widths
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
