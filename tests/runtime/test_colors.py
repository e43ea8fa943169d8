"""Colors: experts that color-blind readers tell apart, and that read on both surfaces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rllib_moe.runtime.colors import DARK, EXPERT_COLORS, LIGHT, expert_color

# How linear RGB appears to a person without one kind of cone: Machado, Oliveira and Fernandes 2009, severity 1,
# https://www.inf.ufrgs.br/~oliveira/pubs_files/CVD_Simulation/CVD_Simulation.html
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
JUST_NOTICEABLE = 2.3
"""Distance in CIELAB at which two colors are just told apart, side by side."""


def _linear(color: str) -> np.ndarray:
    channels = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_of_four_experts_are_told_apart(vision: str) -> None:
    seen = [_lab(np.array(VISIONS[vision]) @ _linear(color)) for color in EXPERT_COLORS[:4]]
    least = min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
    assert least > 6 * JUST_NOTICEABLE


@pytest.mark.parametrize("background", [LIGHT.background, DARK.background])
def test_four_experts_have_enough_contrast_for_graphics(background: str) -> None:
    # WCAG 2.1, 1.4.11: 3:1 for graphical objects.
    below = LUMINANCE @ _linear(background) + 0.05
    for color in EXPERT_COLORS[:4]:
        above = LUMINANCE @ _linear(color) + 0.05
        assert max(above, below) / min(above, below) >= 3


def test_colors_begin_again_beyond_the_palette() -> None:
    assert expert_color(len(EXPERT_COLORS)) == expert_color(0)
    assert len({expert_color(index) for index in range(len(EXPERT_COLORS))}) == len(EXPERT_COLORS)
