"""The 23 actions of ``NetHackScore-v0``: their order, their keys, their directions.

Owns the action indices; which of them are sensible in a state is the subject of ``action_mask``.
Source: https://github.com/NetHack-LE/nle/blob/main/nle/env/tasks.py
"""

from typing import Final

import numpy as np
from nle import nethack
from nle.env.tasks import TASK_ACTIONS

MORE: Final = 0
"""Carriage return: reads on, and cancels most questions."""
FIRST_MOVE: Final = 1
"""One step; eight directions in the order of `DIRECTION_NAMES`."""
FIRST_RUN: Final = 9
"""Run; the same eight directions."""
UP: Final = 17
DOWN: Final = 18
KICK: Final = 20
EAT: Final = 21
SEARCH: Final = 22
NUM_ACTIONS: Final = 23
NUM_DIRECTIONS: Final = 8
REST: Final = NUM_ACTIONS
"""Rest, the first of the actions beyond the 23, where there are any."""

DIRECTION_NAMES: Final = ("N", "E", "S", "W", "NE", "SE", "SW", "NW")
DIRECTION_DY: Final = np.array([-1, 0, 1, 0, -1, 1, 1, -1], dtype=np.int64)
"""Row offset of each direction (rows grow southwards)."""
DIRECTION_DX: Final = np.array([0, 1, 0, -1, 1, 1, -1, -1], dtype=np.int64)
"""Column offset of each direction. The first four directions are the orthogonal ones."""

ACTION_NAMES: Final = (
    "more",
    *(f"move_{name}" for name in DIRECTION_NAMES),
    *(f"run_{name}" for name in DIRECTION_NAMES),
    *("up", "down", "wait", "kick", "eat", "search"),
)

ACTION_KEYS: Final = tuple(int(action) for action in TASK_ACTIONS)
"""Key code of each action, as NetHack reads it."""

KEY_ESCAPE: Final = int(nethack.Command.ESC)
KEY_SPACE: Final = int(nethack.TextCharacters.SPACE)

_EXPECTED_KEYS = tuple(map(ord, "\rkljhunbyKLJHUNBY<>.\x04es"))
if ACTION_KEYS != _EXPECTED_KEYS:
    raise ImportError(f"the actions of NetHackScore-v0 have changed: expected {_EXPECTED_KEYS}, got {ACTION_KEYS}")


def move_direction(action: int) -> int:
    """Direction 0 to 7 of a move or run, -1 for other actions."""
    return (action - FIRST_MOVE) % NUM_DIRECTIONS if FIRST_MOVE <= action < FIRST_RUN + NUM_DIRECTIONS else -1
