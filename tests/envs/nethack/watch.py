"""A hero who stands still on bare ground while things happen around, for the tests of what further actions remember."""

from __future__ import annotations

from typing import Any

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.actions import FIRST_MOVE
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE
from tests.envs.nethack.conftest import monster

HOME = (0, 1)
HERO, BESIDE = (10, 40), (10, 41)
ALL_MOVES = np.ones(8, np.uint8)
FLOOR = nethack.GLYPH_CMAP_OFF + 19


class Watch:
    """Tells a memory what happens.

    Args:
        memory: The memory, of the features and actions named.
    """

    def __init__(self, memory: Any, features: tuple[str, ...], actions: tuple[str, ...]) -> None:
        self.memory, self._features, self._actions = memory, features, actions
        self.glyphs = np.full(MAP_SHAPE, nethack.GLYPH_CMAP_OFF, np.int16)
        self.glyphs[8:13, 38:43] = FLOOR
        self.stats = np.zeros(nethack.BLSTATS_SHAPE, np.int64)
        self.happens(None, Y=HERO[0], X=HERO[1], HP=20, HPMAX=20, HUNGER=1, TIME=1, XP=1)

    def set(self, **values: int) -> None:
        """Change status numbers."""
        for name, value in values.items():
            self.stats[getattr(nethack, f"NLE_BL_{name}")] = value

    def happens(self, action: int | None, message: bytes = b"", **values: int) -> None:
        """An action, what the game says of it, and the status after it."""
        self.set(**values)
        self.memory.record(action, self.stats, self.glyphs, message, HOME)

    def write(
        self, moves: np.ndarray = ALL_MOVES, *, monster_adjacent: bool = False
    ) -> tuple[dict[str, float], set[str]]:
        """Return the features by name, and the legal actions."""
        features, mask = np.zeros(len(self._features), np.float32), np.zeros(len(self._actions), np.uint8)
        self.memory.write(self.stats, features, mask, moves, monster_adjacent=monster_adjacent)
        legal = {name for name, each in zip(self._actions, mask, strict=True) if each}
        return dict(zip(self._features, features.tolist(), strict=True)), legal

    def legal(self, moves: np.ndarray = ALL_MOVES, *, monster_adjacent: bool = False) -> set[str]:
        """Return the legal actions."""
        return self.write(moves, monster_adjacent=monster_adjacent)[1]

    def falls(self, name: str, at: tuple[int, int] = BESIDE, message: bytes = b"You kill it!", **values: int) -> None:
        """Kill a monster, which leaves its corpse somewhere."""
        self.glyphs[at] = nethack.GLYPH_BODY_OFF + monster(name)
        self.happens(FIRST_MOVE, message, **values)
