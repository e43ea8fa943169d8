"""The scene as a graph: the features of its nodes and the edges between them.

Node 0 is the hero (ego); which other things become nodes is the subject of ``candidates``. All features lie in
[-1, 1]; `NODE_FEATURE_NAMES` says what each column means.
"""

from typing import Final, NamedTuple

import numpy as np

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import DIRECTION_NAMES, NUM_DIRECTIONS
from rllib_moe.envs.nethack.candidates import MAX_SEARCHES, cell_of, count_unseen, type_of
from rllib_moe.envs.nethack.path_search import NO_STEP, UNREACHABLE, path_to
from rllib_moe.envs.nethack.state import State
from rllib_moe.runtime.numba_cache import compiled

NODE_FEATURE_NAMES: Final = (
    "dx",
    "dy",
    "near_dx",
    "near_dy",
    "reachable",
    "walking_distance",
    "closeness",
    "adjacent",
    "underfoot",
    *(f"first_step_{name.lower()}" for name in DIRECTION_NAMES),
    "nearest_of_type",
    "visited",
    "searched",
    "unseen_neighbors",
    "closed",
    "locked",
    "avoid",
    "monster_level",
)
"""dx, dy: offset from the hero; near_dx, near_dy: the same, saturating 8 cells away. closeness: 1 / (1 + steps / 8), 0
if unreachable. first_step_*: one-hot, in the order of the move actions. avoid: a monster not to be walked into."""

NUM_NODE_FEATURES: Final = len(NODE_FEATURE_NAMES)

# Columns, as plain integers for the compiled functions.
(DX, DY, NEAR_DX, NEAR_DY, REACHABLE, WALKING_DISTANCE, CLOSENESS, ADJACENT, UNDERFOOT, FIRST_STEP) = range(10)
(NEAREST_OF_TYPE, VISITED, SEARCHED, UNSEEN_NEIGHBORS, CLOSED, LOCKED, AVOID, MONSTER_LEVEL) = range(
    FIRST_STEP + NUM_DIRECTIONS, NUM_NODE_FEATURES
)

EDGE_EGO: Final = 1
"""Between the hero and every other node, both ways."""
EDGE_NEAR: Final = 2
"""Between nodes at most `NEAR_RADIUS` apart (Chebyshev)."""
EDGE_TOUCHING: Final = 3
"""Between nodes on the same or on adjacent cells."""
EDGE_TYPE_NAMES: Final = ("of the hero", "near", "touching")
NUM_EDGE_TYPES: Final = len(EDGE_TYPE_NAMES)
NEAR_RADIUS: Final = 6

CLOSENESS_SCALE: Final = 8.0
"""Steps at which closeness has fallen to one half."""

# Scales that bring features into [-1, 1]; a level is 79 by 21 cells.
_WIDTH_SCALE, _HEIGHT_SCALE, _NEAR_SCALE = 78.0, 20.0, 8.0
_VISITS_SCALE, _LEVEL_SCALE = 10.0, 15.0
DISTANCE_SCALE: Final = 100.0
"""Steps at which the walking distance saturates at 1."""


class Graph(NamedTuple):
    """A graph to be written; all zeros before."""

    nodes: np.ndarray
    """float32 [N, F]."""

    node_types: np.ndarray
    """uint8 [N]."""

    node_mask: np.ndarray
    """uint8 [N]."""

    edges: np.ndarray
    """uint8 [N, N]."""

    @classmethod
    def blank(cls, max_nodes: int) -> "Graph":
        """Fresh arrays with room for `max_nodes` nodes."""
        return cls(
            nodes=np.zeros((max_nodes, NUM_NODE_FEATURES), dtype=np.float32),
            node_types=np.zeros(max_nodes, dtype=np.uint8),
            node_mask=np.zeros(max_nodes, dtype=np.uint8),
            edges=np.zeros((max_nodes, max_nodes), dtype=np.uint8),
        )


@compiled
def write_graph(state: State, candidates: np.ndarray, num_candidates: int, graph: Graph, positions: np.ndarray) -> int:
    """Write the ego node, then as many candidates as fit, then the edges.

    Args:
        state: of the game.
        candidates: int64 [C], sorted.
        num_candidates: number of candidates.
        graph: zeros, written.
        positions: int64 [N, 2], written: row and column of each node.

    Returns:
        Number of candidates cut.
    """
    glyphs, memory, hero_y, hero_x = state.glyphs, state.memory, state.y, state.x
    terrain, visits, searches, locked = memory.terrain, memory.visits, memory.searches, memory.locked
    width = glyphs.shape[1]
    count = min(num_candidates + 1, graph.nodes.shape[0])
    seen_types = np.zeros(g.NUM_NODE_TYPES, dtype=np.uint8)
    for i in range(count):
        y, x, node = hero_y, hero_x, g.NODE_EGO
        if i > 0:
            cell = cell_of(candidates[i - 1])
            y, x, node = cell // width, cell % width, type_of(candidates[i - 1])
        positions[i, 0], positions[i, 1] = y, x
        graph.node_types[i] = node
        graph.node_mask[i] = 1
        row = graph.nodes[i]
        dy, dx = y - hero_y, x - hero_x
        steps, step = path_to(state.paths, y, x)
        row[DX] = dx / _WIDTH_SCALE
        row[DY] = dy / _HEIGHT_SCALE
        row[NEAR_DX] = min(max(dx / _NEAR_SCALE, -1.0), 1.0)
        row[NEAR_DY] = min(max(dy / _NEAR_SCALE, -1.0), 1.0)
        if steps != UNREACHABLE:
            row[REACHABLE] = 1.0
            row[WALKING_DISTANCE] = min(steps / DISTANCE_SCALE, 1.0)
            row[CLOSENESS] = 1.0 / (1.0 + steps / CLOSENESS_SCALE)
        row[ADJACENT] = max(abs(dy), abs(dx)) == 1
        row[UNDERFOOT] = node != g.NODE_EGO and dy == 0 and dx == 0
        if step != NO_STEP:
            row[FIRST_STEP + step] = 1.0
        row[VISITED] = min(visits[y, x] / _VISITS_SCALE, 1.0)
        row[SEARCHED] = min(searches[y, x] / MAX_SEARCHES, 1.0)
        row[UNSEEN_NEIGHBORS] = count_unseen(memory, y, x) / NUM_DIRECTIONS
        row[CLOSED] = terrain[y, x] == g.CLOSED_DOOR
        row[LOCKED] = locked[y, x]
        if node == g.NODE_MONSTER:
            row[AVOID] = g.GLYPH_TABLE[glyphs[y, x], g.AVOID_COLUMN]
            row[MONSTER_LEVEL] = min(g.GLYPH_TABLE[glyphs[y, x], g.LEVEL_COLUMN] / _LEVEL_SCALE, 1.0)
        if not seen_types[node] and row[REACHABLE] > 0.0:
            row[NEAREST_OF_TYPE] = 1.0
            seen_types[node] = 1
    edges = graph.edges
    for i in range(count):
        for j in range(i):
            gap = max(abs(positions[i, 0] - positions[j, 0]), abs(positions[i, 1] - positions[j, 1]))
            edge = EDGE_EGO if j == 0 else EDGE_TOUCHING if gap <= 1 else EDGE_NEAR if gap <= NEAR_RADIUS else 0
            edges[i, j] = edge
            edges[j, i] = edge
    return num_candidates + 1 - count
