"""NetHack's observations in words: actions, node types, walking distances, and where the nodes lie on the screen."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from rllib_moe.envs.description import UNREACHABLE, GraphDescription
from rllib_moe.envs.nethack.actions import ACTION_NAMES
from rllib_moe.envs.nethack.glyphs import NODE_TYPE_NAMES
from rllib_moe.envs.nethack.scene_graph import DISTANCE_SCALE, REACHABLE, WALKING_DISTANCE


class NetHackDescription(GraphDescription):
    """The description of ``NetHackGraphEnv``."""

    def __init__(self) -> None:
        super().__init__(action_names=ACTION_NAMES, node_type_names=NODE_TYPE_NAMES, distance_unit="steps to walk")

    def distances(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Steps to walk to each node, 100 at most: the observation's own saturating feature."""
        nodes = observation["nodes"][: int(observation["node_mask"].sum())]
        steps = np.rint(nodes[:, WALKING_DISTANCE] * DISTANCE_SCALE).astype(int)
        return np.where(nodes[:, REACHABLE] > 0, steps, UNREACHABLE)

    def cells(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        """Screen cells of the nodes; the map begins in the screen's second line."""
        positions: np.ndarray = env.unwrapped.node_positions()  # type: ignore[attr-defined]
        return positions + np.array([1, 0])

    def message(self, env: gymnasium.Env[Any, Any]) -> str:
        """The game's message."""
        text: bytes = env.unwrapped.message()  # type: ignore[attr-defined]
        return text.decode("latin-1")
