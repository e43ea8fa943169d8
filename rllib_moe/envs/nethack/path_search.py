"""Walking distances over the known map: one breadth-first search from the hero.

Owns what counts as a step (eight directions, none diagonal through a door, none refused before) and the first step
of each shortest path. Which cells are passable is decided in ``level_memory``.
"""

from typing import NamedTuple

import numpy as np

from rllib_moe.envs.nethack.actions import DIRECTION_DX, DIRECTION_DY, NUM_DIRECTIONS
from rllib_moe.runtime.numba_cache import compiled

BLOCKED = 0
OPEN = 1
NO_DIAGONAL = 2
"""A door: entered and left in straight lines only."""

UNREACHABLE = -1
NO_STEP = 255


class Paths(NamedTuple):
    """Reachable cells, and the ways there."""

    passable: np.ndarray
    """uint8 [H, W] of BLOCKED, OPEN, NO_DIAGONAL."""

    distance: np.ndarray
    """int16 [H, W], steps from the hero, UNREACHABLE where there is no path."""

    first_step: np.ndarray
    """uint8 [H, W], direction 0 to 7 of the first step, NO_STEP at the hero and where there is no path."""


@compiled
def search_paths(passable: np.ndarray, refused_until: np.ndarray, now: int, hero_y: int, hero_x: int) -> Paths:
    """Find the walking distance and first step of every cell. Ties go to orthogonal first steps.

    The rule of a step is written out here and in `count_ways`: as a function of its own, inlined or not, it makes the
    search five times slower (numba keeps books of every array that is handed over).

    Args:
        passable: uint8 [H, W] of BLOCKED, OPEN, NO_DIAGONAL; the hero's own cell need not be passable.
        refused_until: int32 [8, H, W]; the first four directions are orthogonal. A step is refused while its entry is
            greater than `now`.
        now: number of the current step.
        hero_y: row of the hero.
        hero_x: column of the hero.
    """
    distance = np.full(passable.shape, UNREACHABLE, dtype=np.int16)
    first_step = np.full(passable.shape, NO_STEP, dtype=np.uint8)
    queue = np.empty(passable.size, dtype=np.int32)
    height, width = passable.shape
    distance[hero_y, hero_x] = 0
    queue[0] = hero_y * width + hero_x
    head, tail = 0, 1
    while head < tail:
        y, x = queue[head] // width, queue[head] % width
        head += 1
        for direction in range(NUM_DIRECTIONS):
            to_y, to_x = y + DIRECTION_DY[direction], x + DIRECTION_DX[direction]
            if to_y < 0 or to_x < 0 or to_y >= height or to_x >= width:
                continue
            # The cheap questions first: most neighbors were reached before, and refusals lie far apart in memory.
            if distance[to_y, to_x] != UNREACHABLE or passable[to_y, to_x] == BLOCKED:
                continue
            if direction >= 4 and (passable[to_y, to_x] == NO_DIAGONAL or passable[y, x] == NO_DIAGONAL):
                continue
            if refused_until[direction, y, x] > now:
                continue
            distance[to_y, to_x] = distance[y, x] + 1
            first_step[to_y, to_x] = direction if distance[y, x] == 0 else first_step[y, x]
            queue[tail] = to_y * width + to_x
            tail += 1
    return Paths(passable, distance, first_step)


@compiled
def count_ways(passable: np.ndarray, refused_until: np.ndarray, now: int, y: int, x: int) -> int:
    """Number of directions in which a step from (y, x) leads onto a passable cell, as `search_paths` sees it.

    Args:
        passable: uint8 [H, W] of BLOCKED, OPEN, NO_DIAGONAL.
        refused_until: int32 [8, H, W]; a step is refused while its entry is greater than `now`.
        now: number of the current step.
        y: row of departure.
        x: column of departure.
    """
    ways = 0
    for direction in range(NUM_DIRECTIONS):
        to_y, to_x = y + DIRECTION_DY[direction], x + DIRECTION_DX[direction]
        if to_y < 0 or to_x < 0 or to_y >= passable.shape[0] or to_x >= passable.shape[1]:
            continue
        has_door = passable[to_y, to_x] == NO_DIAGONAL or passable[y, x] == NO_DIAGONAL
        if passable[to_y, to_x] != BLOCKED and (direction < 4 or not has_door):
            ways += refused_until[direction, y, x] <= now
    return ways


@compiled
def path_to(paths: Paths, y: int, x: int) -> tuple[int, int]:
    """Distance and first step to a cell; to one that is not passable, by way of its nearest neighbor.

    Args:
        paths: written by `search_paths`.
        y: row of the target.
        x: column of the target.

    Returns:
        Steps until the cell is entered, or UNREACHABLE; first direction, or NO_STEP.
    """
    distance, first_step = paths.distance, paths.first_step
    if distance[y, x] != UNREACHABLE:
        return int(distance[y, x]), int(first_step[y, x])
    best, step = UNREACHABLE, NO_STEP
    if paths.passable[y, x] != BLOCKED:
        return best, step
    for direction in range(NUM_DIRECTIONS):
        from_y, from_x = y - DIRECTION_DY[direction], x - DIRECTION_DX[direction]
        if from_y < 0 or from_x < 0 or from_y >= distance.shape[0] or from_x >= distance.shape[1]:
            continue
        near = distance[from_y, from_x]
        if near != UNREACHABLE and (best == UNREACHABLE or near + 1 < best):
            best = near + 1
            step = direction if near == 0 else int(first_step[from_y, from_x])
    return best, step
