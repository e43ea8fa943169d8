"""A recording as a moving GIF: the screen with the ego node's strongest attention, or the graph; the weights below.

Frames share one palette, so a frame costs what changes in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from rllib_moe.evaluation.replay.recording import Recording
from rllib_moe.evaluation.replay.screen import COLOR_CODES, GROUND, INVERSE_CODES, LIT, TERMINAL, Box, Line, crop
from rllib_moe.runtime.colors import DARK, expert_color

CELL = (8, 15)
"""Pixels of a character, across and down."""

_STRIP, _MARGIN, _WIDTH = 78, 8, 640
_TALLEST, _WIDEST_CELL = 330, 14
_GRAPH = 250
_MOST_MARKED = 4
_LEAST_MARKED = 0.05
_MOST_NAMED = 14
_SHADES = 4  # of a color, for smooth letters; more cost bytes and show nothing


def write_gif(recording: Recording, path: Path, milliseconds: int = 120) -> None:
    """Write a recording of one step at least as a GIF that plays for ever, each step shown for some milliseconds."""
    palette = _palette(recording.num_experts)
    frames = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in _frames(recording))
    first = next(frames)
    first.save(path, "GIF", save_all=True, append_images=frames, duration=milliseconds, loop=0, optimize=False)


def _frames(recording: Recording) -> Iterator[Image.Image]:
    stage = _ScreenStage(recording) if recording.screens else _GraphStage(recording)
    size = (stage.width, stage.height + _STRIP)
    for step in range(recording.steps):
        frame = Image.new("RGB", size, GROUND)
        stage.draw(frame, step)
        _draw_strip(ImageDraw.Draw(frame), recording, step, stage.height, size[0])
        yield frame


class _ScreenStage:
    """The explored part of the map between its lines of text, with what the ego node attends to."""

    def __init__(self, recording: Recording) -> None:
        self._nodes, self._screens = recording.nodes, recording.screens
        self._crop = crop(recording.screens, recording.description.map_lines, recording.level)
        lines, columns = self._crop.size
        self.width = max(_WIDTH, columns * CELL[0] + 2 * _MARGIN)
        self._top = _MARGIN + self._crop.lines[0] * CELL[1]
        self._end = self._top + max(box.lines * self._cell_of(box)[1] for box in self._crop.boxes)
        self.height = self._end + max(0, lines - self._crop.lines[1]) * CELL[1] + _MARGIN

    def _cell_of(self, box: Box) -> tuple[int, int]:
        """Return the pixels of a cell, as large as the part of the map leaves room for."""
        room = min((self.width - 2 * _MARGIN) // box.columns, _TALLEST * CELL[0] // (box.lines * CELL[1]))
        across = min(max(CELL[0], room), _WIDEST_CELL)
        return across, across * CELL[1] // CELL[0]

    def _corner(self, box: Box) -> tuple[int, int]:
        """Return the place of the upper left corner of the part of the map that is shown."""
        across, down = self._cell_of(box)
        return (self.width - box.columns * across) // 2, (self._top + self._end - box.lines * down) // 2

    def draw(self, frame: Image.Image, step: int) -> None:
        """Draw one step."""
        self._draw_attention(ImageDraw.Draw(frame), step)
        (first, end), box = self._crop.lines, self._crop.boxes[step]
        cell, corner = self._cell_of(box), self._corner(box)
        for row, (text, colors) in enumerate(self._screens[step]):
            if first <= row < end:
                if box.top <= row < box.top + box.lines:
                    shown = slice(box.left, box.left + box.columns)
                    place = (corner[0], corner[1] + (row - box.top) * cell[1])
                    _draw_line(frame, Line(text[shown], colors[shown]), place, cell)
            else:
                y = _MARGIN + row * CELL[1] if row < first else self._end + (row - end) * CELL[1]
                _draw_line(frame, Line(text, colors), (_MARGIN, y), CELL)

    def _draw_attention(self, pen: ImageDraw.ImageDraw, step: int) -> None:
        nodes, box = self._nodes[step], self._crop.boxes[step]
        if not nodes["cells"] or not nodes["attention"]:
            return
        attention = np.mean(nodes["attention"], axis=0)  # [n]
        (across, down), (left, top) = self._cell_of(box), self._corner(box)
        centers = [
            (left + (column - box.left + 0.5) * across, top + (row - box.top + 0.5) * down)
            for row, column in nodes["cells"]
        ]
        for place in np.argsort(-attention)[:_MOST_MARKED].tolist():
            if place == 0 or attention[place] < _LEAST_MARKED:
                continue
            x, y = centers[place]
            pen.line((*centers[0], x, y), LIT, width=1 + round(3 * float(attention[place])))
            frame = (x - across / 2 - 2, y - down / 2, x + across / 2 + 1, y + down / 2)
            pen.rectangle(frame, fill=GROUND, outline=LIT)


class _GraphStage:
    """The graph by itself: the ego node in the middle, the others around it, rays as wide as its attention.

    Edges of the first type are solid, each further type in longer dashes.
    """

    width, height = _WIDTH, _GRAPH

    def __init__(self, recording: Recording) -> None:
        self._nodes, self._names = recording.nodes, recording.description.node_type_names

    def draw(self, frame: Image.Image, step: int) -> None:
        """Draw one step."""
        pen, nodes = ImageDraw.Draw(frame), self._nodes[step]
        count, middle = len(nodes["types"]), np.array((self.width / 2, self.height / 2))
        attention = np.mean(nodes["attention"], axis=0) if nodes["attention"] else np.zeros(count)  # [n]
        angles = 2 * np.pi * (np.arange(count) - 1) / max(1, count - 1) - np.pi / 2
        ring = np.stack([np.cos(angles) * self.width * 0.34, np.sin(angles) * self.height * 0.34], 1)
        centers = [middle, *(middle + ring[1:])]
        for i, j, kind in nodes["edges"]:
            _draw_edge(pen, centers[i], centers[j], kind)
        for center, share in zip(centers[1:], attention[1:], strict=True):
            if share > 0:
                pen.line((*middle, *center), LIT, width=1 + round(9 * float(share)))
        for place, ((x, y), share, kind) in enumerate(zip(centers, attention, nodes["types"], strict=True)):
            radius = 7 + 12 * float(np.sqrt(share))
            pen.circle(
                (x, y), radius, fill=LIT if share >= 0.5 else GROUND, outline=DARK.text if place == 0 else LIT, width=2
            )
            if count > _MOST_NAMED and place and share < _LEAST_MARKED:
                continue
            name = self._names[kind].replace("_", " ") + (f" {100 * share:.0f} %" if nodes["attention"] else "")
            below = place == 0 or y >= middle[1]
            pen.text(
                (x, y + (radius + 3 if below else -radius - 3)), name, DARK.text, _font(12), "ma" if below else "md"
            )


def _draw_edge(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, kind: int) -> None:
    length = float(np.hypot(*(end - start)))
    dash = length if kind == 1 else 2 + 3 * (kind - 2)
    along = (end - start) / max(length, 1e-9)
    for at in np.arange(0, length, dash + 4):
        pen.line((*(start + at * along), *(start + min(at + dash, length) * along)), TERMINAL[0])


def _draw_line(frame: Image.Image, line: Line, place: tuple[int, int], cell: tuple[int, int]) -> None:
    for column, (character, code) in enumerate(zip(*line, strict=True)):
        if character == " " and code in COLOR_CODES:
            continue
        is_inverse = code in INVERSE_CODES
        color = TERMINAL[(INVERSE_CODES if is_inverse else COLOR_CODES).index(code)]
        frame.paste(color, (place[0] + column * cell[0], place[1]), _glyph(character, is_inverse, cell))


def _draw_strip(pen: ImageDraw.ImageDraw, recording: Recording, step: int, top: int, width: int) -> None:
    """The weights at this step as one bar, those of the whole episode below it, and what is done."""
    left, right = _MARGIN, width - _MARGIN
    name = recording.description.action_names[recording.action[step]].replace("_", " ")
    words = f"step {step}   {name}   {recording.score[step]:g} points"
    for measure, values in recording.measures.items():
        words += "" if values[step] is None else f"   {measure.replace('_', ' ')} {values[step]:g}"
    pen.text((left, top + 2), words, DARK.text, _font(13))
    x = float(left)
    for expert, share in enumerate(recording.gate[step]):
        end = x + share * (right - left)
        if end - x >= 1:
            pen.rectangle((x, top + 22, end, top + 37), fill=expert_color(expert))
            if end - x > _font(12).getlength(recording.experts[expert]) + 8:
                pen.text((x + 5, top + 22), recording.experts[expert], "#ffffff", _font(12))
        x = end
    wide = (right - left) / recording.steps
    for past in range(step + 1):
        y = top + 44.0
        for expert, share in enumerate(recording.gate[past]):
            end = y + share * 26
            if end - y >= 0.5:
                pen.rectangle((left + past * wide, y, left + (past + 1) * wide, end), fill=expert_color(expert))
            y = end


@lru_cache(maxsize=1024)
def _glyph(character: str, is_inverse: bool, cell: tuple[int, int]) -> Image.Image:
    """Return the mask of a character's cell."""
    mask = Image.new("L", cell, 255 if is_inverse else 0)
    ImageDraw.Draw(mask).text((0, 0), character, 0 if is_inverse else 255, _font(cell[1] * 13 // 15))
    return mask


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The monospaced font that comes with matplotlib: the same picture on every machine."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"), size)


def _palette(num_experts: int) -> Image.Image:
    """All colors in use, each in steps toward the ground for smooth letters."""
    colors = [*TERMINAL, LIT, DARK.text, "#ffffff", *(expert_color(k) for k in range(min(num_experts, 8)))]
    ground, *others = (np.array(ImageColor.getrgb(color)) for color in (GROUND, *colors))
    steps = np.linspace(1, 0, _SHADES, endpoint=False)[:, None]
    table = np.concatenate([*(ground + steps * (color - ground) for color in others), ground[None]])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(table).astype(int).ravel().tolist())
    return palette
