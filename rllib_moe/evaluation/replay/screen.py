"""Screens of text in color: read from ANSI text, kept by the lines that change, cropped to what is explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


def parse_ansi(text: str) -> list[Line]:
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

    lines: tuple[int, int]
    """First line of the map, and the line after its last; the other lines are text and shown whole."""
    boxes: list[Box]
    """The part shown in each step."""


@dataclass
class Screens:
    """The screens of an episode: every line once, and for each step the lines that changed."""

    lines: dict[Line, int] = field(default_factory=dict)
    """Number of each line."""
    changes: list[list[tuple[int, int]]] = field(default_factory=list)
    """For each step, place on the screen and number of every line that is another than before."""
    height: int = 0
    """Lines of the tallest screen."""
    width: int = 0
    """Columns of the widest line."""

    def __post_init__(self) -> None:
        self._shown: list[Line] = []

    def add(self, screen: list[Line]) -> None:
        """Add the next step's screen."""
        blank = Line("", "")
        self.height = max(self.height, len(screen))
        self.width = max([self.width, *(len(line.text) for line in screen)])
        after = screen + [blank] * (self.height - len(screen))
        before = self._shown + [blank] * (self.height - len(self._shown))
        self.changes.append(
            [
                (row, self.lines.setdefault(line, len(self.lines)))
                for row, line in enumerate(after)
                if line != before[row]
            ]
        )
        self._shown = after

    def screens(self) -> list[list[Line]]:
        """Every step's screen, whole."""
        known = list(self.lines)
        shown = [Line("", "")] * self.height
        whole = []
        for changes in self.changes:
            shown = list(shown)
            for row, number in changes:
                shown[row] = known[number]
            whole.append(shown)
        return whole

    def crop(self, map_lines: tuple[int, int] | None, levels: Sequence[str]) -> Crop:
        """Find the part of the map that is worth showing.

        Args:
            map_lines: First line of the map, and the line after its last; None shows everything.
            levels: Name of each step's level.
        """
        if map_lines is None:
            return Crop((0, self.height), [Box(0, 0, self.height, self.width)] * len(levels))
        first, end = map_lines
        edges: dict[str, tuple[int, int, int, int]] = {}
        for screen, level in zip(self.screens(), levels, strict=True):
            for row, (text, _) in enumerate(screen[first:end], first):
                if text.strip():
                    top, left, bottom, right = edges.get(level, (row, self.width, row, 0))
                    left, right = min(left, len(text) - len(text.lstrip())), max(right, len(text))
                    edges[level] = min(top, row), left, max(bottom, row + 1), right
        whole = Box(first, 0, end - first, self.width)
        return Crop(map_lines, [_box(edges[level], whole) if level in edges else whole for level in levels])

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "height": self.height,
            "width": self.width,
            "lines": [list(line) for line in self.lines],
            "changes": self.changes,
        }


def _box(edges: tuple[int, int, int, int], whole: Box) -> Box:
    """Return what is within the edges, with a margin and at least `LEAST` large, as far as the whole reaches.

    Args:
        edges: First line and column, and the line and column after the last.
        whole: The map.
    """
    top, left, bottom, right = edges
    lines = min(whole.lines, max(LEAST[0], bottom - top + 2 * MARGIN[0]))
    columns = min(whole.columns, max(LEAST[1], right - left + 2 * MARGIN[1]))
    first = min(max((top + bottom - lines) // 2, whole.top), whole.top + whole.lines - lines)
    return Box(first, min(max((left + right - columns) // 2, 0), whole.columns - columns), lines, columns)
