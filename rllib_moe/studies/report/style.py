"""The look of the figures, and their form in files: PNG on white, and SVG whose text follows the page's theme.

SVG text is drawn as paths: no font is needed, and nothing is wider in one browser than in another.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rllib_moe.runtime.colors import LIGHT, PHASE_OPACITY, phase_color
from rllib_moe.studies.report.runs import PhaseSpan

WIDTH = 9.0
"""Inches of a figure."""
PNG_DPI = 144

RC: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": LIGHT.text,
    "axes.edgecolor": LIGHT.muted,
    "axes.titlecolor": LIGHT.text,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": LIGHT.text,
    "xtick.color": LIGHT.muted,
    "ytick.color": LIGHT.muted,
    "grid.color": LIGHT.line,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "rllib_moe",
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
}
THEMED = {LIGHT.text: "var(--text)", LIGHT.muted: "var(--muted)", LIGHT.line: "var(--line)"}
"""Colours that the page's theme replaces."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure of the report."""

    key: str
    """Name of its file, and of its element on the page."""
    title: str
    """Heading."""
    caption: str
    """What is drawn: what a point is, what smoothing, what the bands are."""
    figure: Figure
    """The figure."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style inside the block."""
    with mpl.rc_context(RC):
        yield


def new_figure(rows: int = 1, columns: int = 1, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of axes, in reading order, all over episodes.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        height: Inches of a row.
    """
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for index, each in enumerate(axes):
        each.xaxis.set_major_locator(MaxNLocator(nbins=6 if columns == 1 else 4, integer=True))
        if index >= (rows - 1) * columns:
            each.set_xlabel("episodes")
    return figure, axes


def shade_phases(axes: Axes, phases: Sequence[PhaseSpan], *, named: bool = True) -> None:
    """Lay each phase's shade behind the curves, with its name along the top where there is room.

    Args:
        axes: Axes over episodes.
        phases: The phases played.
        named: Whether to write the names.
    """
    if not phases:
        return
    begin, end = phases[0].first, max(phases[-1].last, phases[0].first + 1)
    for place, (name, first, last, position) in enumerate(phases):
        axes.axvspan(first, last, color=phase_color(position), alpha=PHASE_OPACITY, linewidth=0, zorder=0)
        if place:
            axes.axvline(first, color=LIGHT.muted, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        # A letter is about 0.9 % of the width of a figure with one column.
        if named and (last - first) / (end - begin) > 0.009 * len(name) + 0.01:
            axes.annotate(
                name,
                ((first + last) / 2, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8.5,
                color=LIGHT.muted,
            )
    axes.set_xlim(begin, end)


def png(figure: Figure) -> bytes:
    """The figure as a picture on white."""
    _lay_out(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=PNG_DPI, facecolor=LIGHT.background, metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Figure, key: str) -> str:
    """The figure as an SVG element for a page that defines `--text`, `--muted` and `--line`.

    Args:
        figure: The figure.
        key: Prefix of all ids, which must not be those of another figure on the page.
    """
    _lay_out(figure)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', text)
    for colour, variable in THEMED.items():
        text = re.sub(re.escape(colour), variable, text, flags=re.IGNORECASE)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    return text.strip()


def _lay_out(figure: Figure) -> None:
    """Place everything once, which takes longer than the drawing itself."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
