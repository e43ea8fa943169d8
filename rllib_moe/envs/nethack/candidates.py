"""Choice and order of the things in the scene that become graph nodes.

Tiers, nearest first by walking distance inside each: ways up and down; monsters; frontiers; everything else. Of kinds
that come in numbers only the nearest few are kept (`MOST_OF_TYPE`): the cost of the network follows the nodes, and the
seventh doorway adds nothing. Whoever has no room for all cuts from the end, so stairs never go before a frontier.

A frontier is a reachable cell the hero has not stood on, beside an unseen cell that he has not been next to. Of
frontiers within `FRONTIER_SPACING` of each other only the nearest counts. A search spot is a reachable dead end,
where a hidden passage may start.
"""

from typing import Final

import numpy as np

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import DIRECTION_DX, DIRECTION_DY, NUM_DIRECTIONS
from rllib_moe.envs.nethack.level_memory import LevelMemory
from rllib_moe.envs.nethack.path_search import UNREACHABLE, count_ways, path_to
from rllib_moe.envs.nethack.state import State
from rllib_moe.runtime.numba_cache import compiled, inlined

FRONTIER_SPACING: Final = 2
MAX_SEARCHES: Final = 20
"""Searches at a dead end after which it is given up."""

# A candidate is one integer, so that sorting orders by tier, then distance, then cell.
_UNREACHABLE_PENALTY = 1000
_TYPE_BITS, _CELL_BITS, _DISTANCE_BITS = 5, 11, 12
_CELL_SHIFT = _TYPE_BITS
_DISTANCE_SHIFT = _CELL_SHIFT + _CELL_BITS
_TIER_SHIFT = _DISTANCE_SHIFT + _DISTANCE_BITS
_TIER_WAYS, _TIER_MONSTERS, _TIER_FRONTIERS, _TIER_THINGS = 0, 1, 2, 3

MOST_OF_TYPE: Final = np.full(1 << _TYPE_BITS, 1000, dtype=np.int64)
"""Most nodes of each type."""
MOST_OF_TYPE[[g.NODE_FRONTIER, g.NODE_DOOR, g.NODE_ITEM, g.NODE_GOLD, g.NODE_SEARCH_SPOT]] = 5, 3, 6, 4, 3


@inlined
def pack(tier: int, steps: int, cell: int, node: int) -> int:
    """One candidate as an integer."""
    return (int(tier) << _TIER_SHIFT) | (int(steps) << _DISTANCE_SHIFT) | (int(cell) << _CELL_SHIFT) | int(node)


@inlined
def cell_of(candidate: int) -> int:
    """Cell number, row * width + column."""
    return (candidate >> _CELL_SHIFT) & ((1 << _CELL_BITS) - 1)


@inlined
def type_of(candidate: int) -> int:
    """Node type."""
    return candidate & ((1 << _TYPE_BITS) - 1)


@inlined
def count_unseen(memory: LevelMemory, y: int, x: int) -> int:
    """Number of the eight neighbors of (y, x) that are unseen and that the hero has not been next to."""
    terrain, witnessed = memory.terrain, memory.witnessed
    count = 0
    for direction in range(NUM_DIRECTIONS):
        at_y, at_x = y + DIRECTION_DY[direction], x + DIRECTION_DX[direction]
        if 0 <= at_y < terrain.shape[0] and 0 <= at_x < terrain.shape[1]:
            count += terrain[at_y, at_x] == g.UNKNOWN and not witnessed[at_y, at_x]
    return count


@compiled
def collect_candidates(state: State, candidates: np.ndarray) -> int:
    """List everything that may become a node.

    Args:
        state: of the game.
        candidates: int64 [2 * H * W], its head is written: what is on a cell, and the ground below it.

    Returns:
        Number of candidates, sorted ascending.
    """
    glyphs, paths, now, hero_y, hero_x = state.glyphs, state.paths, state.circumstances.now, state.y, state.x
    terrain, visits, searches = state.memory.terrain, state.memory.visits, state.memory.searches
    refused_until, passable, distance = state.memory.refused_until, paths.passable, paths.distance
    width = glyphs.shape[1]
    count = 0
    for y in range(glyphs.shape[0]):
        for x in range(width):
            ground = terrain[y, x]
            if ground == g.UNKNOWN:
                continue
            shown = int(g.NODE_NONE)
            if y != hero_y or x != hero_x:
                shown = int(g.GLYPH_TABLE[glyphs[y, x], g.NODE_COLUMN])
            below = int(g.TERRAIN_NODE[ground])
            if below == shown:
                below = int(g.NODE_NONE)
            plain = below in (g.NODE_NONE, g.NODE_DOOR) and shown in (g.NODE_NONE, g.NODE_DOOR)
            if plain and distance[y, x] != UNREACHABLE:
                # What the cell is worth walking to for by itself.
                is_passage = ground in (g.CORRIDOR, g.DOORWAY, g.OPEN_DOOR)
                if visits[y, x] == 0:
                    if count_unseen(state.memory, y, x) > 0:
                        below = int(g.NODE_FRONTIER)
                elif (
                    is_passage and searches[y, x] < MAX_SEARCHES and count_ways(passable, refused_until, now, y, x) < 2
                ):
                    below = int(g.NODE_SEARCH_SPOT)
            if shown == g.NODE_NONE and below == g.NODE_NONE:
                continue
            steps = path_to(paths, y, x)[0]
            if steps == UNREACHABLE:
                steps = _UNREACHABLE_PENALTY + max(abs(y - hero_y), abs(x - hero_x))
            for node in (shown, below):
                if node == g.NODE_NONE:
                    continue
                tier = _TIER_THINGS
                if node in (g.NODE_STAIRS_DOWN, g.NODE_STAIRS_UP, g.NODE_HOLE):
                    tier = _TIER_WAYS
                elif node == g.NODE_MONSTER:
                    tier = _TIER_MONSTERS
                elif node == g.NODE_FRONTIER:
                    tier = _TIER_FRONTIERS
                candidates[count] = pack(tier, steps, y * width + x, node)
                count += 1
    candidates[:count].sort()
    return count


@compiled
def thin(candidates: np.ndarray, count: int, width: int) -> int:
    """Keep of each kind only the nearest few, and of frontiers close together only the nearest.

    Args:
        candidates: int64 [C], sorted by `collect_candidates`; its head is rewritten, still sorted.
        count: number of candidates.
        width: columns of the map.

    Returns:
        Number of candidates left.
    """
    kept = 0
    first_frontier = -1
    num_of_type = np.zeros(1 << _TYPE_BITS, dtype=np.int64)
    for i in range(count):
        candidate = candidates[i]
        node = type_of(candidate)
        if num_of_type[node] >= MOST_OF_TYPE[node]:
            continue
        if node == g.NODE_FRONTIER:
            if first_frontier < 0:
                first_frontier = kept
            cell = cell_of(candidate)
            crowded = False
            for j in range(first_frontier, kept):
                other = cell_of(candidates[j])
                dy = abs(cell // width - other // width)
                dx = abs(cell % width - other % width)
                if max(dy, dx) <= FRONTIER_SPACING:
                    crowded = True
                    break
            if crowded:
                continue
        num_of_type[node] += 1
        candidates[kept] = candidate
        kept += 1
    return kept
