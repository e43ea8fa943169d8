"""Colors of every picture: one for each expert, the same everywhere, shades of the phases, light and dark surfaces.

Experts have the colors of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any color vision tell
apart. The first four also have a contrast of 3:1 against the light and the dark surface. Pure data.
"""

from __future__ import annotations

from dataclasses import dataclass

EXPERT_COLORS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Blue, vermilion, green, purple, orange, sky blue, yellow."""

PHASE_COLORS: tuple[str, ...] = ("#8A8F98", "#6E86A8", "#A08A6A", "#7F9A86")
"""Muted, so that no phase is taken for an expert; meant as a shade behind curves (`PHASE_OPACITY`)."""

PHASE_OPACITY = 0.16
"""Opacity at which a phase's color is laid behind curves."""

RUN_COLORS: tuple[str, ...] = ("#3B8EA5", "#B5693A", "#8B70B8", "#7D8C2F", "#B85C7A", "#7C828C")
"""Colors of runs that are compared: none of an expert's; to be drawn in different dashes besides."""

ACCENT = "#3B8EA5"
"""A curve that belongs to no expert; reads on both surfaces."""

WARNING = "#D9534F"
"""Warnings; always with a word beside it."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Colors of a picture or page: its background, boxes, text, text of less weight with axes, and grid lines."""

    background: str
    panel: str
    text: str
    muted: str
    line: str


LIGHT = Surface(background="#FFFFFF", panel="#F5F6F8", text="#1B1F26", muted="#59616E", line="#D5D9E0")
DARK = Surface(background="#14171C", panel="#1D2128", text="#E8EAEE", muted="#A3ABB8", line="#3A414D")


def expert_color(index: int) -> str:
    """The color of one expert; beyond the palette they begin again."""
    return EXPERT_COLORS[index % len(EXPERT_COLORS)]


def ink_on(color: str) -> str:
    """Return black or white, whichever reads better on a color; neither is one that a page's theme replaces."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#FFFFFF"


def phase_color(index: int) -> str:
    """The color of the phase at a position of the schedule; beyond the palette they begin again."""
    return PHASE_COLORS[index % len(PHASE_COLORS)]
