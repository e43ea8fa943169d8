"""The status vector: the hero's condition, the open question, the tiles around, the last action, the message.

Owns the order of the vector (`feature_names`) and every scale in it; all entries lie in [-1, 1]. With
``path_summary`` follow the first steps toward the nearest way down, frontier, monster and gold: the same facts as in
those nodes' features, for a network to find without attention. Features of further actions (``action_sets``) come
last.
"""

from typing import Final

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import (
    ACTION_NAMES,
    DIRECTION_DX,
    DIRECTION_DY,
    DIRECTION_NAMES,
    NUM_ACTIONS,
    NUM_DIRECTIONS,
)
from rllib_moe.envs.nethack.candidates import MAX_SEARCHES
from rllib_moe.envs.nethack.prompts import Prompt
from rllib_moe.envs.nethack.scene_graph import CLOSENESS, FIRST_STEP, REACHABLE, Graph
from rllib_moe.envs.nethack.state import NO_ACTION, State
from rllib_moe.runtime.numba_cache import compiled

MESSAGE_CUES: Final = (
    *(b"locked", b"closed", b"You see here", b"staircase", b"solid stone", b"wall", b"in the way", b"You hear"),
    *(b" misses", b" hits", b" bites", b"You kill", b"destroy", b"You feel", b"hungry", b"boulder", b"trap"),
    b"You find",
)
"""Phrases that say what just happened, looked for in the message line, letter by letter."""

_CONDITIONS = tuple(
    name.removeprefix("BL_MASK_").lower()
    for name in sorted(
        (name for name in vars(nethack) if name.startswith("BL_MASK_") and name != "BL_MASK_BITS"),
        key=lambda name: getattr(nethack, name),
    )
)
_STATUS_NAMES = (
    "hp_fraction",
    "hp",
    "max_hp",
    "energy_fraction",
    "depth",
    "max_depth",
    "dungeon_branch",
    "experience_level",
    "experience",
    "armor_class",
    "gold",
    "strength",
    "dexterity",
    "constitution",
    "burden",
    "score",
    "game_time",
    "steps_left",
    "no_progress",
    "clock_stands",
    "searched_here",
    "visited_here",
    "nodes_cut",
)
_UNDERFOOT_NAMES = ("stairs_down", "stairs_up", "doorway", "door", "altar", "fountain")
_SUMMARY_TARGETS = ("way_down", "frontier", "monster", "gold")

_BASE_NAMES: tuple[str, ...] = (
    *_STATUS_NAMES,
    *(f"hunger_{name}" for name in ("satiated", "normal", "hungry", "weak", "fainting", "fainted", "starved")),
    *(f"condition_{name}" for name in _CONDITIONS),
    *(f"prompt_{prompt.name.lower()}" for prompt in Prompt if prompt != Prompt.NONE),
    *(f"underfoot_{name}" for name in _UNDERFOOT_NAMES),
    *(f"passable_{name.lower()}" for name in DIRECTION_NAMES),
    *(f"monster_{name.lower()}" for name in DIRECTION_NAMES),
    *(f"last_action_{name.lower()}" for name in ACTION_NAMES),
    *(f"message_{cue.decode().strip().replace(' ', '_').lower()}" for cue in MESSAGE_CUES),
)
_SUMMARY_NAMES = tuple(
    f"path_{target}_{part}"
    for target in _SUMMARY_TARGETS
    for part in ("known", "closeness", *(name.lower() for name in DIRECTION_NAMES))
)

_HUNGER = _BASE_NAMES.index("hunger_satiated")
_CONDITION = _BASE_NAMES.index(f"condition_{_CONDITIONS[0]}")
_PROMPT = _BASE_NAMES.index("prompt_more")
_UNDERFOOT = _BASE_NAMES.index("underfoot_stairs_down")
_PASSABLE = _BASE_NAMES.index("passable_n")
_MONSTER = _BASE_NAMES.index("monster_n")
_LAST_ACTION = _BASE_NAMES.index("last_action_more")
_SUMMARY = len(_BASE_NAMES)
_MESSAGE = _SUMMARY - len(MESSAGE_CUES)
_SUMMARY_WIDTH = 2 + NUM_DIRECTIONS
_NUM_HUNGER = 7
_NUM_CONDITIONS = len(_CONDITIONS)
_NO_PROMPT = int(Prompt.NONE)


def feature_names(*, path_summary: bool) -> tuple[str, ...]:
    """Names of the status vector's entries, in order.

    Args:
        path_summary: whether the path summary is in the vector.
    """
    return _BASE_NAMES + (_SUMMARY_NAMES if path_summary else ())


@compiled
def _unit(value: float, scale: float) -> float:
    """Scale into [-1, 1]."""
    return min(max(value / scale, -1.0), 1.0)


@compiled
def _log_unit(value: float, top: float) -> float:
    """Logarithmic scale: 0 at 0, 1 at `top` and above."""
    return min(np.log1p(max(value, 0.0)) / np.log1p(top), 1.0)


@compiled
def write_features(state: State, nodes_cut: int, features: np.ndarray) -> None:
    """Write the status vector except for message cues and path summary.

    Args:
        state: of the game.
        nodes_cut: nodes that did not fit into the graph.
        features: float32 [D], zeros, written.
    """
    blstats, glyphs, passable = state.blstats, state.glyphs, state.paths.passable
    memory, circumstances, hero_y, hero_x = state.memory, state.circumstances, state.y, state.x
    status = (  # in the order of `_STATUS_NAMES`
        _unit(blstats[nethack.NLE_BL_HP], max(blstats[nethack.NLE_BL_HPMAX], 1)),
        _log_unit(blstats[nethack.NLE_BL_HP], 200.0),
        _log_unit(blstats[nethack.NLE_BL_HPMAX], 200.0),
        _unit(blstats[nethack.NLE_BL_ENE], max(blstats[nethack.NLE_BL_ENEMAX], 1)),
        _unit(blstats[nethack.NLE_BL_DEPTH], 10.0),
        _unit(circumstances.max_depth, 10.0),
        _unit(blstats[nethack.NLE_BL_DNUM], 4.0),
        _unit(blstats[nethack.NLE_BL_XP], 10.0),
        _log_unit(blstats[nethack.NLE_BL_EXP], 10000.0),
        _unit(blstats[nethack.NLE_BL_AC], 10.0),
        _log_unit(blstats[nethack.NLE_BL_GOLD], 10000.0),
        _unit(blstats[nethack.NLE_BL_STR25], 25.0),
        _unit(blstats[nethack.NLE_BL_DEX], 25.0),
        _unit(blstats[nethack.NLE_BL_CON], 25.0),
        _unit(blstats[nethack.NLE_BL_CAP], 5.0),
        _log_unit(blstats[nethack.NLE_BL_SCORE], 10000.0),
        _log_unit(blstats[nethack.NLE_BL_TIME], 10000.0),
        float(circumstances.steps_left),
        _unit(circumstances.no_progress, 1.0),
        1.0 if circumstances.clock_stands else 0.0,
        _unit(memory.searches[hero_y, hero_x], MAX_SEARCHES),
        _log_unit(memory.visits[hero_y, hero_x], 100.0),
        _unit(nodes_cut, 24.0),
    )
    for i in range(len(status)):
        features[i] = status[i]
    features[_HUNGER + min(max(blstats[nethack.NLE_BL_HUNGER], 0), _NUM_HUNGER - 1)] = 1.0
    for bit in range(_NUM_CONDITIONS):
        features[_CONDITION + bit] = (blstats[nethack.NLE_BL_CONDITION] >> bit) & 1
    if circumstances.prompt != _NO_PROMPT:
        features[_PROMPT + circumstances.prompt - 1] = 1.0
    ground = memory.terrain[hero_y, hero_x]
    features[_UNDERFOOT] = ground == g.STAIRS_DOWN
    features[_UNDERFOOT + 1] = ground == g.STAIRS_UP
    features[_UNDERFOOT + 2] = ground == g.DOORWAY
    features[_UNDERFOOT + 3] = ground in (g.OPEN_DOOR, g.CLOSED_DOOR)
    features[_UNDERFOOT + 4] = ground == g.ALTAR
    features[_UNDERFOOT + 5] = ground == g.FOUNTAIN
    for direction in range(NUM_DIRECTIONS):
        y, x = hero_y + DIRECTION_DY[direction], hero_x + DIRECTION_DX[direction]
        if 0 <= y < glyphs.shape[0] and 0 <= x < glyphs.shape[1]:
            features[_PASSABLE + direction] = passable[y, x] > 0
            features[_MONSTER + direction] = g.GLYPH_TABLE[glyphs[y, x], g.NODE_COLUMN] == g.NODE_MONSTER
    if NO_ACTION < circumstances.last_action < NUM_ACTIONS:
        features[_LAST_ACTION + circumstances.last_action] = 1.0


@compiled
def write_path_summary(graph: Graph, features: np.ndarray) -> None:
    """Write the path summary from the graph: for each target the nearest reachable node.

    Args:
        graph: the scene graph; its nodes of one type come nearest first.
        features: float32 [D], zeros in its places, written.
    """
    nodes = graph.nodes
    for i in range(1, nodes.shape[0]):
        if not graph.node_mask[i]:
            break
        node = graph.node_types[i]
        if node in (g.NODE_STAIRS_DOWN, g.NODE_HOLE):
            start = _SUMMARY
        elif node == g.NODE_FRONTIER:
            start = _SUMMARY + _SUMMARY_WIDTH
        elif node == g.NODE_MONSTER:
            start = _SUMMARY + 2 * _SUMMARY_WIDTH
        elif node == g.NODE_GOLD:
            start = _SUMMARY + 3 * _SUMMARY_WIDTH
        else:
            continue
        if nodes[i, REACHABLE] == 0.0 or features[start] > 0.0:
            continue
        features[start] = 1.0
        features[start + 1] = nodes[i, CLOSENESS]
        for direction in range(NUM_DIRECTIONS):
            features[start + 2 + direction] = nodes[i, FIRST_STEP + direction]


def write_message_cues(message: bytes, features: np.ndarray) -> None:
    """Mark the phrases that a message holds.

    Args:
        message: the message line, without padding.
        features: float32 [D], zeros in their places, written.
    """
    if message:
        for i, cue in enumerate(MESSAGE_CUES):
            if cue in message:
                features[_MESSAGE + i] = 1.0
