"""NetHack's observations in words: what actions are for, node types, walking distances, places on the screen."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gymnasium
import numpy as np

from rllib_moe.envs.description import UNREACHABLE, EpisodeMeasure, GraphDescription
from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.action_sets import ACTION_SETS, ActionSet
from rllib_moe.envs.nethack.actions import (
    ACTION_NAMES,
    DIRECTION_DX,
    DIRECTION_DY,
    NUM_DIRECTIONS,
)
from rllib_moe.envs.nethack.scene_flags import ROLE_NAMES
from rllib_moe.envs.nethack.scene_graph import (
    ADJACENT,
    DISTANCE_SCALE,
    DX,
    DY,
    EDGE_TYPE_NAMES,
    FIRST_STEP,
    REACHABLE,
    WALKING_DISTANCE,
)
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy
from rllib_moe.envs.nethack.tasks import TASKS

_GOALS: Final = {
    g.NODE_STAIRS_UP: "to stairs up",
    g.NODE_DOOR: "to a door",
    g.NODE_SEARCH_SPOT: "to a dead end",
    g.NODE_FRONTIER: "to a frontier",
    g.NODE_ITEM: "to an item",
    g.NODE_MONSTER: "to a monster",
    g.NODE_GOLD: "to gold",
    g.NODE_HOLE: "to the way down",
    g.NODE_STAIRS_DOWN: "to the way down",
}
"""Goals that a direction may lead to; of several in one direction, the last here counts."""

_FIGHT, _ELSEWHERE = "fight", "elsewhere"
_RANKED: Final = (_ELSEWHERE, *_GOALS.values(), _FIGHT)
"""Purposes of a step or run in the order in which they count."""
_OF_MOVES: Final = tuple(dict.fromkeys((*reversed(_GOALS.values()), _FIGHT, _ELSEWHERE)))
"""The same, each once, the goals that count most first."""
_OF_RANK: Final = np.array([_OF_MOVES.index(name) for name in _RANKED])
_RANKS: Final = np.array([[*_GOALS].index(kind) + 1 if kind in _GOALS else 0 for kind in range(len(g.NODE_TYPE_NAMES))])


_MEASURES: Final = (
    EpisodeMeasure(
        key="depth2", unit="share", meaning="episodes that reached depth 2 or more", info="max_depth", at_least=2
    ),
    EpisodeMeasure(key="max_depth", unit="levels", meaning="mean deepest level"),
    EpisodeMeasure(key="experience_level", unit="levels", meaning="mean highest experience level"),
    EpisodeMeasure(key="progression", unit="share", meaning="mean BALROG progression: how often such a game is won"),
    EpisodeMeasure(key="turns", unit="turns", meaning="mean game turns"),
)


def _task_measure(task: str) -> EpisodeMeasure:
    return EpisodeMeasure(
        key=f"task_{task}", unit=TASKS[task].unit, meaning=f"mean score of the episodes of task {task}"
    )


class NetHackDescription(GraphDescription):
    """The description of ``NetHackGraphEnv``.

    Args:
        tasks: names of its tasks, if it was given any.
        role_names: names of its roles.
        further: its actions beyond the 23.
    """

    def __init__(
        self,
        tasks: Sequence[str] = (),
        role_names: Sequence[str] = ROLE_NAMES,
        further: ActionSet = ACTION_SETS["score"],
    ) -> None:
        super().__init__(
            action_names=ACTION_NAMES + further.names,
            node_type_names=g.NODE_TYPE_NAMES,
            edge_type_names=EDGE_TYPE_NAMES,
            role_names=tuple(role_names),
            distance_unit="steps to walk",
            map_lines=(1, 22),
            baselines={"scripted": ScriptedStairsPolicy},
            episode_measures=(*map(_task_measure, tasks), *_MEASURES, *further.measures),
            labels=("task",) if tasks else (),
            ending="ending",
        )

    def distances(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Steps to walk to each node, 100 at most: the observation's own saturating feature."""
        nodes = observation["nodes"][: int(observation["node_mask"].sum())]
        steps = np.rint(nodes[:, WALKING_DISTANCE] * DISTANCE_SCALE).astype(int)
        return np.where(nodes[:, REACHABLE] > 0, steps, UNREACHABLE)

    def purposes(self) -> tuple[str, ...]:
        """Return the goals of a step or run, by the shortest way to them; for other actions their own name."""
        return _OF_MOVES + tuple(name for name in self.action_names if not name.startswith(("move_", "run_")))

    def purpose_of_actions(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the purpose of each action, see :meth:`purposes`."""
        count = int(observation["node_mask"].sum())
        nodes, types = observation["nodes"][:count], observation["node_types"][:count]
        leads = nodes[:, FIRST_STEP : FIRST_STEP + NUM_DIRECTIONS] > 0  # [n, 8]
        ranks = (_RANKS[types, None] * leads).max(0)  # [8]
        for node in nodes[(types == g.NODE_MONSTER) & (nodes[:, ADJACENT] > 0)]:
            there = (np.sign(node[DX]) == DIRECTION_DX) & (np.sign(node[DY]) == DIRECTION_DY)
            ranks[there] = len(_RANKED) - 1
        known = {name: index for index, name in enumerate(self.purposes())}
        purposes = np.array([known.get(name, -1) for name in self.action_names])
        purposes[purposes < 0] = np.tile(_OF_RANK[ranks], 2)  # steps, then runs
        return purposes

    def cells(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        """Screen cells of the nodes."""
        positions: np.ndarray = env.unwrapped.node_positions()  # type: ignore[attr-defined]
        return positions + np.array([self.map_lines[0], 0])  # type: ignore[index]

    def level(self, env: gymnasium.Env[Any, Any]) -> str:
        """Dungeon branch and level."""
        return "{}.{}".format(*env.unwrapped.place())  # type: ignore[attr-defined]

    def message(self, env: gymnasium.Env[Any, Any]) -> str:
        """The game's message."""
        text: bytes = env.unwrapped.message()  # type: ignore[attr-defined]
        return text.decode("latin-1")
