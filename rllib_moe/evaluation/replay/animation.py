"""A recording as a moving GIF: the screen with the ego node's strongest attention, or the graph; the weights below.

Frames share one palette, so a frame costs what changes in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rllib_moe.evaluation.replay.recording import Recording
from rllib_moe.evaluation.replay.screen import COLOR_CODES, GROUND, INVERSE_CODES, LIT, TERMINAL, Line, Screens
from rllib_moe.runtime.colors import DARK, expert_color

CELL = (8, 15)
"""Pixels of a character, across and down."""

_STRIP, _MARGIN, _WIDTH = 78, 8, 640
_TALLEST, _WIDEST_CELL = 330, 14
_GRAPH = 250
_MOST_MARKED = 4
_LEAST_MARKED = 0.05
_SHADES = 4  # of a color, for smooth letters; more cost bytes and show nothing


def write_gif(recording: Recording, path: Path, milliseconds: int = 120) -> None:
    """Write the recording as a GIF that plays for ever.

    Args:
        recording: The episode, of one step at least.
        path: File to write.
        milliseconds: Time that a step is shown; browsers honour 20 and more.
    """
    palette = _palette(recording.num_experts)
    frames = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in _frames(recording))
    first = next(frames)
    first.save(path, "GIF", save_all=True, append_images=frames, duration=milliseconds, loop=0, optimize=False)


def _frames(recording: Recording) -> Iterator[Image.Image]:
    stage = _ScreenStage(recording, recording.screens) if recording.screens else _GraphStage(recording)
    size = (max(_WIDTH, stage.width), stage.height + _STRIP)
    for step in range(recording.steps):
        frame = Image.new("RGB", size, GROUND)
        stage.draw(frame, step)
        _draw_strip(ImageDraw.Draw(frame), recording, step, stage.height, size[0])
        yield frame


class _ScreenStage:
    """The explored part of the map between its lines of text, with what the ego node attends to."""

    def __init__(self, recording: Recording, screens: Screens) -> None:
        self._nodes, self._screens = recording.nodes, screens.screens()
        self._crop = screens.crop(recording.description.map_lines, recording.level)
        self.width = screens.width * CELL[0] + 2 * _MARGIN
        lines, columns = self._crop.size
        room = min((max(_WIDTH, self.width) - 2 * _MARGIN) // columns, _TALLEST * CELL[0] // (lines * CELL[1]))
        across = min(max(CELL[0], room), max(CELL[0], _WIDEST_CELL))
        self._cell = across, across * CELL[1] // CELL[0]
        self._left = (max(_WIDTH, self.width) - columns * across) // 2
        self._top = _MARGIN + self._crop.lines[0] * CELL[1]
        self._end = self._top + lines * self._cell[1]
        self.height = self._end + max(0, screens.height - self._crop.lines[1]) * CELL[1] + _MARGIN

    def draw(self, frame: Image.Image, step: int) -> None:
        """Draw one step."""
        self._draw_attention(ImageDraw.Draw(frame), step)
        (first, end), (lines, columns), (top, left) = self._crop.lines, self._crop.size, self._crop.corners[step]
        for row, (text, colors) in enumerate(self._screens[step]):
            if first <= row < end:
                if top <= row < top + lines:
                    shown = slice(left, left + columns)
                    place = (self._left, self._top + (row - top) * self._cell[1])
                    _draw_line(frame, Line(text[shown], colors[shown]), place, self._cell)
            else:
                y = _MARGIN + row * CELL[1] if row < first else self._end + (row - end) * CELL[1]
                _draw_line(frame, Line(text, colors), (_MARGIN, y), CELL)

    def _draw_attention(self, pen: ImageDraw.ImageDraw, step: int) -> None:
        nodes, (top, left) = self._nodes[step], self._crop.corners[step]
        if not nodes["cells"] or not nodes["attention"]:
            return
        attention = np.mean(nodes["attention"], axis=0)  # [n]
        across, down = self._cell
        centers = [
            (self._left + (column - left + 0.5) * across, self._top + (row - top + 0.5) * down)
            for row, column in nodes["cells"]
        ]
        for place in np.argsort(-attention)[:_MOST_MARKED].tolist():
            if place == 0 or attention[place] < _LEAST_MARKED:
                continue
            x, y = centers[place]
            pen.line((*centers[0], x, y), LIT, width=1 + round(3 * float(attention[place])))
            box = (x - across / 2 - 2, y - down / 2, x + across / 2 + 1, y + down / 2)
            pen.rectangle(box, fill=GROUND, outline=LIT)


class _GraphStage:
    """The graph by itself: the ego node in the middle, the others around it, rays as wide as its attention."""

    width, height = _WIDTH, _GRAPH

    def __init__(self, recording: Recording) -> None:
        self._nodes, self._names = recording.nodes, recording.description.node_type_names

    def draw(self, frame: Image.Image, step: int) -> None:
        """Draw one step."""
        pen, nodes = ImageDraw.Draw(frame), self._nodes[step]
        count, middle = len(nodes["types"]), (self.width / 2, self.height / 2)
        attention = np.mean(nodes["attention"], axis=0) if nodes["attention"] else np.zeros(count)  # [n]
        angles = 2 * np.pi * (np.arange(count) - 1) / max(1, count - 1) - np.pi / 2
        ring = np.stack([np.cos(angles) * self.width * 0.34, np.sin(angles) * self.height * 0.34], 1)
        centers = [middle, *(middle + ring[1:])]
        for i, j, _ in nodes["edges"]:
            if i == 0:
                pen.line((*centers[i], *centers[j]), TERMINAL[0])
        for center, share in zip(centers[1:], attention[1:], strict=True):
            if share > 0:
                pen.line((*middle, *center), LIT, width=1 + round(9 * float(share)))
        for place, ((x, y), share, kind) in enumerate(zip(centers, attention, nodes["types"], strict=True)):
            radius = 7 + 12 * float(np.sqrt(share))
            pen.circle(
                (x, y), radius, fill=LIT if share >= 0.5 else GROUND, outline=DARK.text if place == 0 else LIT, width=2
            )
            name = self._names[kind].replace("_", " ") + (f" {100 * share:.0f} %" if nodes["attention"] else "")
            below = place == 0 or y >= middle[1]
            pen.text(
                (x, y + (radius + 3 if below else -radius - 3)), name, DARK.text, _font(12), "ma" if below else "md"
            )


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
    words = f"step {step}   {name}   score {recording.score[step]:g}"
    for measure, values in recording.measures.items():
        words += "" if values[step] is None else f"   {measure.replace('_', ' ')} {values[step]:g}"
    pen.text((left, top + 2), words, DARK.text, _font(13))
    x = float(left)
    for expert, share in enumerate(recording.gate[step]):
        end = x + share * (right - left)
        if end - x >= 1:
            pen.rectangle((x, top + 22, end, top + 37), fill=expert_color(expert))
            if end - x > 60:
                pen.text((x + 5, top + 22), f"expert {expert}", "#ffffff", _font(12))
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
    """All colors in use, each in steps towards the ground for smooth letters."""
    colors = [*TERMINAL, LIT, DARK.text, "#ffffff", *(expert_color(k) for k in range(min(num_experts, 8)))]
    ground = np.array(_rgb(GROUND))
    steps = np.linspace(1, 0, _SHADES, endpoint=False)[:, None]
    table = np.concatenate([ground + steps * (np.array(_rgb(color)) - ground) for color in colors])
    palette = Image.new("P", (1, 1))
    palette.putpalette([*np.rint(table).astype(int).ravel().tolist(), *_rgb(GROUND)])
    return palette


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
