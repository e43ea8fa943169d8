"""A scripted player: walk to the nearest way down and take it, else explore. The bar a learned policy has to clear.

With further actions it also prays, drinks, eats, and rests while it is hurt.

Reads nothing but the observation, so it also shows that the graph holds what is needed to play.
"""

from collections.abc import Mapping

import numpy as np

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.action_sets import ACTION_SETS
from rllib_moe.envs.nethack.actions import DOWN, FIRST_MOVE, KICK, MORE, NUM_ACTIONS, NUM_DIRECTIONS, SEARCH
from rllib_moe.envs.nethack.features import feature_names
from rllib_moe.envs.nethack.scene_graph import (
    ADJACENT,
    AVOID,
    CLOSENESS,
    CLOSENESS_SCALE,
    FIRST_STEP,
    LOCKED,
    REACHABLE,
)

_FEATURES = feature_names(path_summary=False)
_ON_STAIRS_DOWN = _FEATURES.index("underfoot_stairs_down")
_ASKED_DIRECTION = _FEATURES.index("prompt_direction")
_ASKED = slice(_FEATURES.index("prompt_more"), _FEATURES.index("prompt_choice") + 1)

_HP = _FEATURES.index("hp_fraction")
_FIRST_AID = ("pray", "quaff", "elbereth", "eat_pack", "eat_corpse")
_FURTHER = {NUM_ACTIONS + len(each.names): each.names for each in ACTION_SETS.values()}
assert len(_FURTHER) == len(ACTION_SETS), "sets are told apart by their sizes"

REST_BELOW = 0.7
"""Share of the hit points below which the player rests."""

MAX_GOLD_DETOUR = 12
"""Steps the player goes out of its way for gold."""


class ScriptedStairsPolicy:
    """Path-to-stairs player of one episode.

    Args:
        seed: of the random moves made when nothing else is left.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._idle = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """Choose an action.

        Args:
            observation: a NetHack graph observation, with or without ``action_mask``.

        Returns:
            The action, a legal one where there is a mask; without one, of the 23.
        """
        mask = observation.get("action_mask")
        legal = np.ones(NUM_ACTIONS, dtype=bool) if mask is None else mask.astype(bool)
        needs = [*_FIRST_AID, *(["rest"] if observation["features"][_HP] < REST_BELOW else [])]
        further = _FURTHER[len(legal)]
        care = [NUM_ACTIONS + further.index(need) for need in needs if need in further]
        for action in (*care, *self._preferences(observation)):
            if legal[action]:
                return action
        moves = np.flatnonzero(legal[FIRST_MOVE : FIRST_MOVE + NUM_DIRECTIONS])
        if moves.size:
            return FIRST_MOVE + int(self._rng.choice(moves))
        return int(np.flatnonzero(legal)[0])

    def _preferences(self, observation: Mapping[str, np.ndarray]) -> list[int]:
        """Actions in order of preference."""
        features, nodes, types = observation["features"], observation["nodes"], observation["node_types"]
        locked_doors = np.flatnonzero((types == g.NODE_DOOR) & (nodes[:, LOCKED] > 0) & (nodes[:, REACHABLE] > 0))
        beside = [i for i in locked_doors if nodes[i, ADJACENT] and _first_step(nodes[i]) < 4]
        if features[_ASKED_DIRECTION]:
            return [FIRST_MOVE + _first_step(nodes[i]) for i in beside]
        if features[_ASKED].any():
            return [MORE]
        if features[_ON_STAIRS_DOWN]:
            return [DOWN]

        foes = (types == g.NODE_MONSTER) & (nodes[:, ADJACENT] > 0) & (nodes[:, AVOID] == 0)
        # -1: beside, but not to be reached, such as a peaceful one that was refused just now.
        preferences = [FIRST_MOVE + step for i in np.flatnonzero(foes) if (step := _first_step(nodes[i])) >= 0]
        gold = _nearest(nodes, types == g.NODE_GOLD)
        if gold is not None and nodes[gold, CLOSENESS] >= 1 / (1 + MAX_GOLD_DETOUR / CLOSENESS_SCALE):
            preferences.append(FIRST_MOVE + _first_step(nodes[gold]))
        for targets in ((g.NODE_STAIRS_DOWN, g.NODE_HOLE), (g.NODE_FRONTIER,)):
            target = _nearest(nodes, np.isin(types, targets))
            if target is not None:
                preferences.append(FIRST_MOVE + _first_step(nodes[target]))
        if not preferences:
            if beside:
                return [KICK]
            if locked_doors.size:
                return [FIRST_MOVE + _first_step(nodes[locked_doors[0]])]
            return self._search(nodes, types)
        return preferences

    def _search(self, nodes: np.ndarray, types: np.ndarray) -> list[int]:
        """Look for hidden passages: at dead ends first, then here and there."""
        spot = _nearest(nodes, types == g.NODE_SEARCH_SPOT)
        if spot is not None:
            step = _first_step(nodes[spot])
            return [SEARCH if step < 0 else FIRST_MOVE + step]
        self._idle += 1
        # Ten searches, then ten random moves to search elsewhere.
        return [SEARCH] if self._idle % 20 < 10 else []


def _first_step(node: np.ndarray) -> int:
    """Direction of the first step to a node, -1 if there is none."""
    steps = np.flatnonzero(node[FIRST_STEP : FIRST_STEP + NUM_DIRECTIONS])
    return int(steps[0]) if steps.size else -1


def _nearest(nodes: np.ndarray, wanted: np.ndarray) -> int | None:
    """Index of the nearest reachable node among the wanted ones."""
    found = np.flatnonzero(wanted & (nodes[:, REACHABLE] > 0))
    return int(found[np.argmax(nodes[found, CLOSENESS])]) if found.size else None
