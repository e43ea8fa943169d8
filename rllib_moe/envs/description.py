"""What an observation's parts are called and where they lie, for people: names, distances, places on the screen.

An environment may have an attribute ``description``, a :class:`GraphDescription` or a subclass of its own; without one
the names are numbers. Nothing that learns reads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from rllib_moe.envs.graph_space import GraphShape

UNREACHABLE = -1
"""Distance of a node that no way leads to."""


@dataclass(frozen=True, kw_only=True)
class GraphDescription:
    """Names, and distances by the graph's own edges. Subclass it where an environment knows better."""

    action_names: tuple[str, ...]
    """One for each action. What stands before the first ``_`` is the action's kind (``move_N`` is a ``move``)."""
    node_type_names: tuple[str, ...] = ("node",)
    """One for each node type; a single one where nodes have no types."""
    distance_unit: str = "edges"
    """What :meth:`distances` counts."""
    map_lines: tuple[int, int] | None = None
    """First line of the rendered text that belongs to a map, and the line after its last; None where all are alike."""

    def distances(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """How far each node is from the ego node: here the edges on the way.

        Args:
            observation: A graph observation, without a batch dimension.

        Returns:
            int [n] for the n nodes that exist; `UNREACHABLE` where no way leads.
        """
        count = int(observation["node_mask"].sum())
        adjacent = observation["edges"][:count, :count] > 0
        distances = np.full(count, UNREACHABLE)
        reached = np.zeros(count, bool)
        reached[:1] = True
        steps = 0
        while (fresh := reached & (distances == UNREACHABLE)).any():
            distances[fresh] = steps
            reached = adjacent[fresh].any(0)  # row i: whom i attends to
            steps += 1
        return distances

    def cells(self, env: gymnasium.Env[Any, Any]) -> np.ndarray | None:  # noqa: ARG002
        """Where the nodes of the environment's latest observation lie in the text it renders.

        Returns:
            int [n, 2], line and column; None where nodes have no place.
        """
        return None

    def level(self, env: gymnasium.Env[Any, Any]) -> str:  # noqa: ARG002
        """Return the name of the level that the map shows; empty where there is only one."""
        return ""

    def message(self, env: gymnasium.Env[Any, Any]) -> str:  # noqa: ARG002
        """What the environment says, in words; empty where it says nothing."""
        return ""

    def purposes(self) -> tuple[str, ...]:
        """What actions may be for: here their kinds."""
        return tuple(dict.fromkeys(self._kinds()))

    def purpose_of_actions(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: ARG002
        """What each action is for in a state.

        Args:
            observation: A graph observation, without a batch dimension.

        Returns:
            int [A], positions in :meth:`purposes`.
        """
        names = self.purposes()
        return np.array([names.index(kind) for kind in self._kinds()])

    def _kinds(self) -> list[str]:
        return [name.partition("_")[0] for name in self.action_names]


def describe(env: gymnasium.Env[Any, Any]) -> GraphDescription:
    """An environment's own description, or one with numbers for names."""
    own = getattr(env.unwrapped, "description", None)
    if isinstance(own, GraphDescription):
        return own
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    types = GraphShape.from_space(env.observation_space).num_node_types
    return GraphDescription(
        action_names=tuple(str(action) for action in range(int(env.action_space.n))),
        node_type_names=tuple(f"type {kind}" for kind in range(types)) or ("node",),
    )
