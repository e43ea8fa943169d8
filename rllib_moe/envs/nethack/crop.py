"""The picture of the hero's neighborhood: a square of crop classes with the hero in the middle."""

from typing import Final

import numpy as np

from rllib_moe.envs.nethack.glyphs import CROP_COLUMN
from rllib_moe.runtime.numba_cache import compiled

CROP_RADIUS: Final = 4
CROP_SIZE: Final = 2 * CROP_RADIUS + 1


@compiled
def write_crop(
    glyphs: np.ndarray,
    glyph_table: np.ndarray,
    terrain_crop: np.ndarray,
    terrain: np.ndarray,
    hero_y: int,
    hero_x: int,
    crop: np.ndarray,
) -> None:
    """Write the crop classes around the hero; the middle shows the ground under foot.

    Args:
        glyphs: int16 [H, W], the map as shown.
        glyph_table: uint8 [G, 5].
        terrain_crop: uint8 [256], crop class of each terrain.
        terrain: uint8 [H, W].
        hero_y: row of the hero.
        hero_x: column of the hero.
        crop: uint8 [S, S], zeros (unseen), written.
    """
    radius = crop.shape[0] // 2
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            y, x = hero_y + dy, hero_x + dx
            if 0 <= y < glyphs.shape[0] and 0 <= x < glyphs.shape[1]:
                crop[dy + radius, dx + radius] = glyph_table[glyphs[y, x], CROP_COLUMN]
    crop[radius, radius] = terrain_crop[terrain[hero_y, hero_x]]
