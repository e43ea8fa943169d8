"""The scene in words: named flags for metrics (``info["scene"]``), and the roles that a state calls for.

Each thing that the hero can see gives points to one role; the leaf ``roles`` holds the shares of their cubes, so that
the role that leads has most of it.

| role        | points                                                                     |
|-------------|----------------------------------------------------------------------------|
| survival    | 6 x share of hit points lost, + 3 when hungry                              |
| combat      | 2 when a monster is seen, + 4 when one is adjacent                         |
| exploration | 1 when a frontier is near, + 2 when a way down is known, + 2 at a dead end |
| general     | 1/2 always, + 1 when an item or gold is near, + 8 when a question is open  |

States in which each leads (its mean share), 500 steps, seeds 0 to 59: random legal actions 6, 9, 51, 35 % (6, 8, 53,
34 %), the scripted player 5, 9, 61, 24 % (5, 7, 60, 28 %).
"""

from typing import Final

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import DIRECTION_DX, DIRECTION_DY, NUM_DIRECTIONS
from rllib_moe.envs.nethack.hero import HUNGRY
from rllib_moe.envs.nethack.scene_graph import CLOSENESS, CLOSENESS_SCALE, REACHABLE, Graph
from rllib_moe.envs.nethack.state import State
from rllib_moe.runtime.numba_cache import compiled

NEAR_STEPS: Final = 8
"""Walking distance within which a frontier or an item counts as near."""

HP_LOW: Final = 1 / 3
"""Share of hit points below which they are low."""

SCENE_FLAGS: Final = (
    "hp_low",
    "monster_adjacent",
    "monster_seen",
    "stairs_known",
    "stairs_reachable",
    "on_stairs_down",
    "frontier_near",
    "item_near",
    "dead_end",
    "hungry",
    "in_prompt",
)
"""stairs_*: a way down (stairs or a hole). dead_end: neither a way down nor a frontier can be walked to."""

ROLE_NAMES: Final = ("survival", "combat", "exploration", "general")

# Columns of the flags, as plain integers for the compiled functions.
(
    _HP_LOW,
    MONSTER_ADJACENT,
    _MONSTER_SEEN,
    _STAIRS_KNOWN,
    _STAIRS_REACHABLE,
    _ON_STAIRS_DOWN,
    _FRONTIER_NEAR,
    _ITEM_NEAR,
    _DEAD_END,
    _HUNGRY,
    _IN_PROMPT,
) = range(len(SCENE_FLAGS))

_NEAR = 1.0 / (1.0 + NEAR_STEPS / CLOSENESS_SCALE)


@compiled
def write_scene(state: State, graph: Graph, scene: np.ndarray, roles: np.ndarray) -> None:
    """Write the flags and the roles.

    Args:
        state: of the game.
        graph: the scene graph.
        scene: uint8 [len(SCENE_FLAGS)], written.
        roles: float32 [len(ROLE_NAMES)], written.
    """
    blstats, glyphs, hero_y, hero_x = state.blstats, state.glyphs, state.y, state.x
    scene[:] = 0
    scene[_HP_LOW] = blstats[nethack.NLE_BL_HP] < blstats[nethack.NLE_BL_HPMAX] * HP_LOW
    scene[_ON_STAIRS_DOWN] = state.memory.terrain[hero_y, hero_x] == g.STAIRS_DOWN
    scene[_HUNGRY] = blstats[nethack.NLE_BL_HUNGER] >= HUNGRY
    scene[_IN_PROMPT] = state.circumstances.prompt != 0
    scene[_DEAD_END] = 1
    for direction in range(NUM_DIRECTIONS):
        y, x = hero_y + DIRECTION_DY[direction], hero_x + DIRECTION_DX[direction]
        if 0 <= y < glyphs.shape[0] and 0 <= x < glyphs.shape[1]:
            scene[MONSTER_ADJACENT] |= g.GLYPH_TABLE[glyphs[y, x], g.NODE_COLUMN] == g.NODE_MONSTER
    for i in range(1, graph.nodes.shape[0]):
        if not graph.node_mask[i]:
            break
        node = graph.node_types[i]
        reachable = graph.nodes[i, REACHABLE] > 0.0
        near = graph.nodes[i, CLOSENESS] >= _NEAR
        if node == g.NODE_MONSTER:
            scene[_MONSTER_SEEN] = 1
        elif node in (g.NODE_STAIRS_DOWN, g.NODE_HOLE):
            scene[_STAIRS_KNOWN] = 1
            if reachable:
                scene[_STAIRS_REACHABLE] = 1
                scene[_DEAD_END] = 0
        elif node == g.NODE_FRONTIER:
            scene[_DEAD_END] = 0
            scene[_FRONTIER_NEAR] |= near
        elif node in (g.NODE_ITEM, g.NODE_GOLD):
            scene[_ITEM_NEAR] |= near
    lost = 1.0 - min(max(blstats[nethack.NLE_BL_HP], 0) / max(blstats[nethack.NLE_BL_HPMAX], 1), 1.0)
    survival = 6.0 * lost + 3.0 * scene[_HUNGRY]
    combat = 2.0 * scene[_MONSTER_SEEN] + 4.0 * scene[MONSTER_ADJACENT]
    exploration = scene[_FRONTIER_NEAR] + 2.0 * scene[_STAIRS_KNOWN] + 2.0 * scene[_DEAD_END]
    general = 0.5 + scene[_ITEM_NEAR] + 8.0 * scene[_IN_PROMPT]
    roles[0], roles[1], roles[2], roles[3] = survival**3, combat**3, exploration**3, general**3
    roles /= roles.sum()
