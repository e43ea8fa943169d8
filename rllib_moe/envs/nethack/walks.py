"""Two macro-actions that walk, ``descend`` and ``explore``: they read the observation, and play the 23 actions.

| action  | does                                                                   | legal where there is             |
|---------|------------------------------------------------------------------------|----------------------------------|
| descend | walks the shortest known way to the nearest way down, and takes it     | one that can be walked to        |
| explore | walks to the nearest frontier; where there is none, to the nearest     | one of these                     |
|         | dead end, and searches there                                           |                                  |

A walk is as many steps as it has keys, so an agent with the 23 alone could play the same game in as many steps. It
ends when it has arrived, when its goal comes no nearer, when a question is open, when something happens (``sight``),
or after `MAX_KEYS`. A goal that moves on with the hero, as the end of a corridor does, is followed.
Such actions are options: Sutton, Precup and Singh 1999, https://doi.org/10.1016/S0004-3702(99)00052-1.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import DOWN, FIRST_MOVE, NUM_DIRECTIONS, SEARCH
from rllib_moe.envs.nethack.features import feature_names
from rllib_moe.envs.nethack.scene_graph import CLOSENESS, CLOSENESS_SCALE, FIRST_STEP, REACHABLE, SEARCHED

WALKS: Final = ("descend", "explore")
"""Their names."""
WAYS_DOWN: Final = (g.NODE_STAIRS_DOWN, g.NODE_HOLE)
"""Node types of what leads down."""
MAX_KEYS: Final = 50
"""Keys of a walk at most."""

_ON_STAIRS_DOWN = feature_names(path_summary=False).index("underfoot_stairs_down")


class Key(NamedTuple):
    """The next key of a walk."""

    action: int
    """One of the 23."""

    left: float
    """Steps to the goal; at a dead end also the share of the searches that are left."""


def next_key(walk: str, observation: Mapping[str, np.ndarray]) -> Key | None:
    """Return the next key of a walk, None where it has no goal.

    Args:
        walk: one of `WALKS`.
        observation: of a state in which no question is open.
    """
    nodes, types = observation["nodes"], observation["node_types"]
    if walk == "descend":
        if observation["features"][_ON_STAIRS_DOWN]:
            return Key(DOWN, 0.0)
        goal = nearest(nodes, np.isin(types, WAYS_DOWN))
    else:
        goal = nearest(nodes, types == g.NODE_FRONTIER)
        if goal is None and (goal := nearest(nodes, types == g.NODE_SEARCH_SPOT)) is not None:
            return _toward(nodes[goal], searches_left=1.0 - float(nodes[goal, SEARCHED]))
    return None if goal is None else _toward(nodes[goal])


def _toward(node: np.ndarray, searches_left: float = 0.0) -> Key:
    step = first_step(node)
    steps = round(CLOSENESS_SCALE * (1 / float(node[CLOSENESS]) - 1))
    return Key(SEARCH if step < 0 else FIRST_MOVE + step, steps + searches_left)


def first_step(node: np.ndarray) -> int:
    """Return the direction of the first step to a node, -1 if there is none."""
    steps = np.flatnonzero(node[FIRST_STEP : FIRST_STEP + NUM_DIRECTIONS])
    return int(steps[0]) if steps.size else -1


def nearest(nodes: np.ndarray, wanted: np.ndarray) -> int | None:
    """Return the index of the nearest reachable node among the wanted ones, None where there is none.

    Args:
        nodes: float32 [N, F].
        wanted: bool [N].
    """
    found = np.flatnonzero(wanted & (nodes[:, REACHABLE] > 0))
    return int(found[np.argmax(nodes[found, CLOSENESS])]) if found.size else None
