"""The hero's line of numbers (``blstats``): where it stands, and how hungry it is."""

from typing import Final

import numpy as np
from nle import nethack

SATIATED: Final = 0
HUNGRY: Final = 2
WEAK: Final = 3
"""Values of ``NLE_BL_HUNGER``, which grows with hunger; 1 is neither satiated nor hungry."""

Cell = tuple[int, int]
"""Row and column on a level's map."""
Level = tuple[int, int]
"""Dungeon branch, and number of the level in it."""


def cell_of(blstats: np.ndarray) -> Cell:
    """Return the cell that the hero stands on."""
    return int(blstats[nethack.NLE_BL_Y]), int(blstats[nethack.NLE_BL_X])


def level_of(blstats: np.ndarray) -> Level:
    """Return the level that the hero is on."""
    return int(blstats[nethack.NLE_BL_DNUM]), int(blstats[nethack.NLE_BL_DLEVEL])
