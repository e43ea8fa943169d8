"""Knowledge of one level: ground, visits, refused moves, searches, locked doors.

NetHack's map already shows remembered glyphs; this adds what a glyph hides or never says. One `LevelMemory` a
level, kept for the length of an episode.
"""

from typing import NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import DIRECTION_DX, DIRECTION_DY, NUM_DIRECTIONS
from rllib_moe.envs.nethack.hero import Cell
from rllib_moe.envs.nethack.path_search import BLOCKED, NO_DIAGONAL, OPEN
from rllib_moe.runtime.numba_cache import compiled

MAP_SHAPE: tuple[int, int] = nethack.DUNGEON_SHAPE
"""Rows and columns of a level: (21, 79)."""

MAX_VISITS = 65535
"""Visits are counted up to here."""

REFUSAL_STEPS = 30
"""Steps for which a move that had no effect is not tried again; finite because its cause may pass (a pit, a pet)."""


def neighbor(y: int, x: int, direction: int) -> Cell | None:
    """Return the cell next to (y, x) in a direction, None off the map."""
    to_y, to_x = y + int(DIRECTION_DY[direction]), x + int(DIRECTION_DX[direction])
    return (to_y, to_x) if 0 <= to_y < MAP_SHAPE[0] and 0 <= to_x < MAP_SHAPE[1] else None


class LevelMemory(NamedTuple):
    """Memory of one level; a tuple of arrays, because that is what numba takes whole."""

    terrain: np.ndarray
    """uint8 [H, W], terrain categories of ``glyphs``."""

    visits: np.ndarray
    """uint16 [H, W], steps the hero has spent on each cell."""

    witnessed: np.ndarray
    """uint8 [H, W], 1 = the hero has stood on the cell or next to it, so that nothing passable there can have gone
    unnoticed (secret doors and corridors apart)."""

    searches: np.ndarray
    """uint8 [H, W], searches made while standing on the cell."""

    locked: np.ndarray
    """uint8 [H, W], 1 = a door found locked."""

    refused_until: np.ndarray
    """int32 [8, H, W], step number until which a move (direction, from cell) is not tried again."""

    @classmethod
    def blank(cls) -> "LevelMemory":
        """Memory of a level just entered."""
        return cls(
            terrain=np.zeros(MAP_SHAPE, dtype=np.uint8),
            visits=np.zeros(MAP_SHAPE, dtype=np.uint16),
            witnessed=np.zeros(MAP_SHAPE, dtype=np.uint8),
            searches=np.zeros(MAP_SHAPE, dtype=np.uint8),
            locked=np.zeros(MAP_SHAPE, dtype=np.uint8),
            refused_until=np.zeros((NUM_DIRECTIONS, *MAP_SHAPE), dtype=np.int32),
        )

    def arrive(self, y: int, x: int, previous: tuple[int, int] | None) -> None:
        """Record the hero's position.

        Args:
            y: row.
            x: column.
            previous: (y, x) of the step before when it was on this level.
        """
        from_y, from_x = (y, x) if previous is None else previous
        _record_visit(self.visits, self.witnessed, y, x, from_y, from_x)

    def refuse(self, y: int, x: int, direction: int, now: int) -> None:
        """Record that the move from (y, x) had no effect at step `now`."""
        self.refused_until[direction, y, x] = now + REFUSAL_STEPS

    def lock(self, y: int, x: int, direction: int) -> None:
        """Record that the door next to (y, x) in this direction is locked."""
        if cell := neighbor(y, x, direction):
            self.locked[cell] = 1

    def search(self, y: int, x: int, times: int = 1) -> None:
        """Record searches made at (y, x)."""
        self.searches[y, x] = min(int(self.searches[y, x]) + times, 255)


@compiled
def _record_visit(visits: np.ndarray, witnessed: np.ndarray, y: int, x: int, from_y: int, from_x: int) -> None:
    """Count a visit of (y, x) and of the cells run through on a straight line from (from_y, from_x).

    With ``runmode:teleport`` the game shows only the end of a run.
    """
    dy, dx = y - from_y, x - from_x
    straight = dy == 0 or dx == 0 or abs(dy) == abs(dx)
    length = max(abs(dy), abs(dx)) if straight else 0
    for back in range(max(length, 1)):
        at_y, at_x = y - back * np.sign(dy), x - back * np.sign(dx)
        if visits[at_y, at_x] < MAX_VISITS:
            visits[at_y, at_x] += 1
        for near_y in range(max(at_y - 1, 0), min(at_y + 2, visits.shape[0])):
            for near_x in range(max(at_x - 1, 0), min(at_x + 2, visits.shape[1])):
                witnessed[near_y, near_x] = 1


@compiled
def learn_map(glyphs: np.ndarray, memory: LevelMemory, passable: np.ndarray) -> int:
    """Bring the remembered ground up to date and say where one can walk.

    Args:
        glyphs: int16 [H, W], the map as shown.
        memory: its ``terrain`` is brought up to date, and ``locked``: a door no longer closed is not locked.
        passable: uint8 [H, W], written: BLOCKED, OPEN or NO_DIAGONAL for each cell.

    Returns:
        Number of walkable cells not known before.
    """
    terrain, locked = memory.terrain, memory.locked
    num_new = 0
    for y in range(glyphs.shape[0]):
        for x in range(glyphs.shape[1]):
            glyph = glyphs[y, x]
            shown = g.GLYPH_TABLE[glyph, g.TERRAIN_COLUMN]
            before = terrain[y, x]
            if shown == g.KEEP:
                if before == g.UNKNOWN:
                    terrain[y, x] = g.ASSUMED
            elif shown != g.UNKNOWN:
                terrain[y, x] = shown
            ground = terrain[y, x]
            if ground == g.UNKNOWN:
                passable[y, x] = BLOCKED
                continue
            if before == g.UNKNOWN and ground not in (g.WALL, g.HAZARD):
                num_new += 1
            if ground != g.CLOSED_DOOR:
                locked[y, x] = 0
            if (
                ground in (g.WALL, g.HAZARD, g.TRAP, g.HOLE)
                or locked[y, x]
                or g.GLYPH_TABLE[glyph, g.NODE_COLUMN] == g.NODE_BOULDER
                or g.GLYPH_TABLE[glyph, g.AVOID_COLUMN]
            ):
                passable[y, x] = BLOCKED
            else:
                passable[y, x] = NO_DIAGONAL if ground in (g.CLOSED_DOOR, g.OPEN_DOOR) else OPEN
    return num_new
