"""Colors: experts that read on both surfaces, and begin again."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_moe.runtime.colors import DARK, EXPERT_COLORS, LIGHT, expert_color

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def _linear(color: str) -> np.ndarray:
    channels = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


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
