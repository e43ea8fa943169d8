from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rllib_moe.envs.nethack.actions import DIRECTION_DX, DIRECTION_DY
from rllib_moe.envs.nethack.path_search import (
    BLOCKED,
    NO_DIAGONAL,
    NO_STEP,
    OPEN,
    UNREACHABLE,
    Paths,
    path_to,
    search_paths,
)

SHAPE = (7, 9)
maps = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([BLOCKED, OPEN, OPEN, NO_DIAGONAL]))
refusals = hnp.arrays(np.int32, (8, *SHAPE), elements=st.sampled_from([0, 0, 0, 9]))
cells = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))


def plain_distances(passable: np.ndarray, refused: np.ndarray, start: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Breadth-first search on a dictionary."""
    distances, queue = {start: 0}, deque([start])
    while queue:
        y, x = queue.popleft()
        for direction, (dy, dx) in enumerate(zip(DIRECTION_DY.tolist(), DIRECTION_DX.tolist(), strict=True)):
            to = (y + dy, x + dx)
            inside = 0 <= to[0] < SHAPE[0] and 0 <= to[1] < SHAPE[1]
            if not inside or to in distances or passable[to] == BLOCKED or refused[direction, y, x] > 1:
                continue
            if dy and dx and NO_DIAGONAL in (passable[to], passable[y, x]):
                continue
            distances[to] = distances[y, x] + 1
            queue.append(to)
    return distances


def search(passable: np.ndarray, refused: np.ndarray, hero: tuple[int, int]) -> Paths:
    return search_paths(passable, refused, 1, *hero)


@settings(max_examples=150, deadline=None)
@given(maps, refusals, cells)
def test_distances_agree_with_a_plain_search(passable, refused, hero):
    paths = search(passable, refused, hero)
    expected = plain_distances(passable, refused, hero)
    assert (paths.distance != UNREACHABLE).sum() == len(expected)
    for cell in np.ndindex(SHAPE):
        assert paths.distance[cell] == expected.get(cell, UNREACHABLE)


@settings(max_examples=60, deadline=None)
@given(maps, refusals, cells)
def test_first_steps_begin_a_shortest_path(passable, refused, hero):
    paths = search(passable, refused, hero)
    for cell in np.argwhere(paths.distance > 0):
        direction = paths.first_step[tuple(cell)]
        neighbor = (hero[0] + int(DIRECTION_DY[direction]), hero[1] + int(DIRECTION_DX[direction]))
        rest = plain_distances(passable, refused, neighbor)
        assert rest[tuple(cell)] == paths.distance[tuple(cell)] - 1
    assert paths.first_step[hero] == NO_STEP


def test_no_diagonal_through_a_door():
    # Hero at the corner of an L: the door lies diagonally, so two steps instead of one.
    passable = np.zeros(SHAPE, dtype=np.uint8)
    passable[0, 0] = passable[0, 1] = OPEN
    passable[1, 1] = NO_DIAGONAL
    refused = np.zeros((8, *SHAPE), dtype=np.int32)
    paths = search(passable, refused, (0, 0))
    assert paths.distance[1, 1] == 2
    passable[1, 1] = OPEN
    paths = search(passable, refused, (0, 0))
    assert paths.distance[1, 1] == 1


def test_a_blocked_target_is_approached_by_its_nearest_neighbor():
    # Hero at x = 0, target at x = 4 in a corridor: three steps to its neighbor, a fourth onto it.
    passable = np.zeros(SHAPE, dtype=np.uint8)
    passable[3, 0:4] = OPEN
    paths = search(passable, np.zeros((8, *SHAPE), dtype=np.int32), (3, 0))
    assert path_to(paths, 3, 4) == (4, 1)
    assert path_to(paths, 3, 8) == (UNREACHABLE, NO_STEP)
