"""A recording as a moving GIF: the screen with the ego node's strongest attention, the experts' weights below.

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
from rllib_moe.evaluation.replay.screen import COLOUR_CODES, GROUND, INVERSE_CODES, LIT, TERMINAL, Line
from rllib_moe.runtime.colors import DARK, expert_color

CELL = (8, 15)
"""Pixels of a character, across and down."""

_STRIP, _MARGIN, _WIDTH = 78, 8, 640
_MOST_MARKED = 4
_LEAST_MARKED = 0.05
_SHADES = 4  # of a colour, for smooth letters; more cost bytes and show nothing


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
    screens = recording.screens.screens() if recording.screens else None
    top = recording.screens.height * CELL[1] + 2 * _MARGIN if recording.screens else 0
    columns = recording.screens.width * CELL[0] + 2 * _MARGIN if recording.screens else 0
    size = (max(_WIDTH, columns), top + _STRIP)
    for step in range(recording.steps):
        frame = Image.new("RGB", size, GROUND)
        pen = ImageDraw.Draw(frame)
        if screens:
            _draw_attention(pen, recording, step)
            _draw_screen(frame, screens[step])
        _draw_strip(pen, recording, step, top, size[0])
        yield frame


def _draw_screen(frame: Image.Image, screen: list[Line]) -> None:
    for row, line in enumerate(screen):
        for column, (character, code) in enumerate(zip(line.text, line.colours, strict=True)):
            if character == " " and code in COLOUR_CODES:
                continue
            mask, is_inverse = _glyph(character, code in INVERSE_CODES), code in INVERSE_CODES
            colour = TERMINAL[(INVERSE_CODES if is_inverse else COLOUR_CODES).index(code)]
            frame.paste(colour, (_MARGIN + column * CELL[0], _MARGIN + row * CELL[1]), mask)


def _draw_attention(pen: ImageDraw.ImageDraw, recording: Recording, step: int) -> None:
    nodes = recording.nodes[step]
    if not nodes["cells"] or not nodes["attention"]:
        return
    attention = np.mean(nodes["attention"], axis=0)  # [n]
    centres = [(_MARGIN + (column + 0.5) * CELL[0], _MARGIN + (row + 0.5) * CELL[1]) for row, column in nodes["cells"]]
    for place in np.argsort(-attention)[:_MOST_MARKED].tolist():
        if place == 0 or attention[place] < _LEAST_MARKED:
            continue
        x, y = centres[place]
        pen.line((*centres[0], x, y), LIT, width=1 + round(3 * float(attention[place])))
        box = (x - CELL[0] / 2 - 2, y - CELL[1] / 2, x + CELL[0] / 2 + 1, y + CELL[1] / 2)
        pen.rectangle(box, fill=GROUND, outline=LIT)


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


@lru_cache(maxsize=512)
def _glyph(character: str, is_inverse: bool) -> Image.Image:
    """The mask of a character's cell."""
    mask = Image.new("L", CELL, 255 if is_inverse else 0)
    ImageDraw.Draw(mask).text((0, 0), character, 0 if is_inverse else 255, _font(13))
    return mask


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The monospaced font that comes with matplotlib: the same picture on every machine."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"), size)


def _palette(num_experts: int) -> Image.Image:
    """All colours in use, each in steps towards the ground for smooth letters."""
    colours = [*TERMINAL, LIT, DARK.text, "#ffffff", *(expert_color(k) for k in range(min(num_experts, 8)))]
    ground = np.array(_rgb(GROUND))
    steps = np.linspace(1, 0, _SHADES, endpoint=False)[:, None]
    table = np.concatenate([ground + steps * (np.array(_rgb(colour)) - ground) for colour in colours])
    palette = Image.new("P", (1, 1))
    palette.putpalette([*np.rint(table).astype(int).ravel().tolist(), *_rgb(GROUND)])
    return palette


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
