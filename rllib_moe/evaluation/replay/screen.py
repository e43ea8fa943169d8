"""Screens of text in color: read from ANSI text, and cropped to what is explored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.ansi import AnsiDecoder
from rich.style import Style
from rich.text import Text

COLOR_CODES = "0123456789abcdef"
"""A cell's color is one character: black, red, green, yellow, blue, magenta, cyan, white, then the same bright."""

INVERSE_CODES = "ghijklmnopqrstuv"
"""The same colors as the cell's ground."""

TERMINAL = (
    *("#5c6370", "#e05c5c", "#5fb565", "#b58a45", "#6a8cf0", "#c678dd", "#4fb8c4", "#b9c0cb"),
    *("#7a8290", "#ff8f5a", "#8be28f", "#ffd866", "#8fb4ff", "#f19bff", "#86e6ee", "#f4f6fa"),
)
"""Colors of the terminal; black is lifted so that it shows."""

GROUND = "#0c0e11"
"""Background of a screen, on a light page too."""

LIT = "#8fd3e8"
"""Color of attention: no expert's, and no letter's."""

MARGIN = (1, 3)
"""Lines and columns around what is shown of a map."""

LEAST = (9, 30)
"""Lines and columns shown of a map at least: a room has its surroundings."""

_DEFAULT = 7


class Line(NamedTuple):
    """One line of a screen, without the blanks at its end."""

    text: str
    """The characters."""
    colors: str
    """A code of `COLOR_CODES` or `INVERSE_CODES` for each."""


Screen = list[Line]
"""A screen of text, from the top."""


def parse_ansi(text: str) -> Screen:
    """Read text with ANSI colors; other escape sequences are left out, and colors beyond the sixteen."""
    decoder = AnsiDecoder()
    return [_line(decoder.decode_line(row)) for row in text.split("\n")]


def _line(text: Text) -> Line:
    characters = "".join(each if each.isprintable() else " " for each in text.plain)
    codes = [COLOR_CODES[_DEFAULT]] * len(characters)
    for start, end, style in text.spans:
        if isinstance(style, Style):
            codes[start:end] = _code(style) * (end - start)
    kept = len(characters) if any(code in INVERSE_CODES for code in codes) else len(characters.rstrip())
    return Line(characters[:kept], "".join(codes[:kept]))


def _code(style: Style) -> str:
    ground, color = (each.number if each else None for each in (style.bgcolor, style.color))
    if ground is not None and ground < len(INVERSE_CODES):
        return INVERSE_CODES[ground]
    color = _DEFAULT if color is None or color >= len(COLOR_CODES) else color
    return COLOR_CODES[color + 8 if style.bold and color < 8 else color]


class Box(NamedTuple):
    """A part of the screen."""

    top: int
    """First line."""
    left: int
    """First column."""
    lines: int
    """Number of lines."""
    columns: int
    """Number of columns."""


class Crop(NamedTuple):
    """The part of the map that is shown: what its level shows in all its steps."""

    size: tuple[int, int]
    """Lines of the tallest screen, columns of the widest line."""
    lines: tuple[int, int]
    """First line of the map, and the line after its last; the other lines are text and shown whole."""
    boxes: list[Box]
    """The part shown in each step."""


def crop(screens: Sequence[Screen], map_lines: tuple[int, int] | None, levels: Sequence[str]) -> Crop:
    """Find the part of the map that is worth showing, by the name of each step's level.

    Args:
        screens: Each step's screen.
        map_lines: First line of the map, and the line after its last; None shows everything.
        levels: Each step's level.
    """
    height = max(map(len, screens))
    width = max(len(line.text) for screen in screens for line in screen)
    if map_lines is None:
        return Crop((height, width), (0, height), [Box(0, 0, height, width)] * len(levels))
    first, end = map_lines
    edges: dict[str, tuple[int, int, int, int]] = {}
    for screen, level in zip(screens, levels, strict=True):
        for row, (text, _) in enumerate(screen[first:end], first):
            if text.strip():
                top, left, bottom, right = edges.get(level, (row, width, row, 0))
                left, right = min(left, len(text) - len(text.lstrip())), max(right, len(text))
                edges[level] = min(top, row), left, max(bottom, row + 1), right
    whole = Box(first, 0, end - first, width)
    return Crop((height, width), map_lines, [_box(edges[each], whole) if each in edges else whole for each in levels])


def _box(edges: tuple[int, int, int, int], whole: Box) -> Box:
    """Return what is within the edges, with a margin and at least `LEAST` large, as far as the whole map reaches.

    The edges are first line and column, and the line and column after the last.
    """
    top, left, bottom, right = edges
    lines = min(whole.lines, max(LEAST[0], bottom - top + 2 * MARGIN[0]))
    columns = min(whole.columns, max(LEAST[1], right - left + 2 * MARGIN[1]))
    first = min(max((top + bottom - lines) // 2, whole.top), whole.top + whole.lines - lines)
    return Box(first, min(max((left + right - columns) // 2, 0), whole.columns - columns), lines, columns)
