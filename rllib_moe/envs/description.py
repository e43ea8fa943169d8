"""Names, places, baselines and measures that an environment brings along. Nothing that learns reads them.

An environment, or a wrapper of it, may have an attribute ``description``: a :class:`GraphDescription` or a subclass of
its own. All that it leaves out has a default, and without a description names are numbers.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import gymnasium
import numpy as np

from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.metrics import GENERAL_MEANS

UNREACHABLE = -1
"""Distance of a node that no way leads to."""


FLAG = "scene/"
"""Prefix of a scene flag among the labels of a state."""

SCENE, ACTION, ROLE = "scene", "action", "role"
"""Labels of every state beside those that an environment names: all flags of the scene together, the purpose of the
action taken, the role that the state belongs to most."""

Label = int | str | bool
"""Value of a label in a state."""

GENERAL_POLICIES = ("checkpoint", "random", "random-legal")
"""Policies of every environment: a trained network, uniform over all actions, uniform over the legal ones."""


class BaselinePlayer(Protocol):
    """Plays one episode of an environment without learning."""

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """Choose an action.

        Args:
            observation: Graph observation, without a batch dimension.
        """


@dataclass(frozen=True, kw_only=True)
class EpisodeMeasure:
    """A number that an episode's last `info` tells, reported by training, evaluation and comparison."""

    key: str
    """Short name, reported as ``<key>_mean`` or ``<key>_rate``."""
    unit: str
    """Unit of what is reported."""
    meaning: str
    """Description in a line."""
    info: str | None = None
    """Entry of `info`, a number or a flag; by default the one named `key`."""
    at_least: float | None = None
    """Report the share of episodes with this value or more (a rate) instead of the mean value."""

    def __post_init__(self) -> None:
        if not self.key.isidentifier() or self.name in GENERAL_MEANS:
            taken = ", ".join(name.removesuffix("_mean") for name in GENERAL_MEANS)
            raise ValueError(f"key: expected a word of letters, digits and _ other than {taken}, got {self.key!r}")

    @property
    def name(self) -> str:
        """Name under which it is reported."""
        return f"{self.key}_{'mean' if self.at_least is None else 'rate'}"

    @property
    def entry(self) -> str:
        """Entry of `info` that it reads."""
        return self.info or self.key

    def value(self, info: Mapping[str, Any]) -> float:
        """Return what an episode adds to the mean (to a rate 1 or 0), NaN where its last `info` lacks the entry.

        Raises:
            ValueError: The entry is no number.
        """
        value = info.get(self.entry)
        if value is None:
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"info[{self.entry!r}]: expected a number for {self.name}, got {value!r}") from error
        return number if self.at_least is None or math.isnan(number) else float(number >= self.at_least)


@dataclass(frozen=True, kw_only=True)
class GraphDescription:
    """Names, and distances by the graph's own edges. Subclass it where an environment knows better.

    Raises:
        ValueError: A baseline has the name of a general policy, two measures are reported under one name, or a label
            has no name of its own.
    """

    action_names: tuple[str, ...] = ()
    """One for each action; empty for numbers. What stands before the first ``_`` is the action's kind (``move_N`` is
    a ``move``)."""
    node_type_names: tuple[str, ...] = ()
    """One for each node type, a single one where nodes have no types; empty for numbers."""
    edge_type_names: tuple[str, ...] = ()
    """One for each edge type, the first that of type 1; empty for numbers."""
    role_names: tuple[str, ...] = ()
    """One for each entry of the leaf ``roles``, none without it. Experts bear these names where there are as many."""
    distance_unit: str = "edges"
    """Unit of :meth:`distances`."""
    map_lines: tuple[int, int] | None = None
    """First line of the rendered text that belongs to a map, and the line after its last; None where all are alike."""
    baselines: Mapping[str, Callable[[int], BaselinePlayer]] = dataclasses.field(default_factory=dict)
    """Makers of players by name: each makes the player of one episode from the episode's seed."""
    episode_measures: tuple[EpisodeMeasure, ...] = ()
    """Numbers of an episode to report beside score, return and length."""
    labels: tuple[str, ...] = ()
    """Entries of `info` that say what a state is about (a regime, a task), each an int, str or bool in every state:
    evaluation measures how much the experts tell of them. The flags of `info["scene"]` are labels without being named
    here."""

    ending: str | None = None
    """Entry of an episode's last `info` that says in words how it ended: evaluation counts them. Where it is absent the
    episode was `terminated` or `truncated`."""

    def __post_init__(self) -> None:
        if taken := [name for name in self.baselines if name in GENERAL_POLICIES]:
            raise ValueError(f"baselines: {', '.join(taken)} is the name of a policy that every environment has")
        names = [measure.name for measure in self.episode_measures]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"episode_measures: expected different keys, {', '.join(twice)} would be reported twice")
        taken = [name for name in self.labels if name in (SCENE, ACTION, ROLE) or name.startswith(FLAG)]
        if taken or len(set(self.labels)) < len(self.labels):
            raise ValueError(
                f"labels: expected different names, none of them {SCENE}, {ACTION}, {ROLE} or {FLAG}..., got "
                + ", ".join(self.labels)
            )

    def without_roles(self) -> Self:
        """Return the description without the roles' names."""
        return self._with(role_names=())

    def _with(self, **names: tuple[str, ...]) -> Self:
        """Return the description with other names. A subclass need not take them as arguments."""
        other = copy.copy(self)
        for field, value in names.items():
            object.__setattr__(other, field, value)
        return other

    @property
    def measured(self) -> tuple[str, ...]:
        """Entries of `info` that the episode measures read, each once."""
        return tuple(dict.fromkeys(measure.entry for measure in self.episode_measures))

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of all policies that can play: the general ones and the baselines."""
        return (*GENERAL_POLICIES, *self.baselines)

    def labels_of(self, info: Mapping[str, Any]) -> dict[str, Label]:
        """Return the labels that `info` has for a state: those that are named, and each flag of the scene.

        Raises:
            ValueError: A label is missing or no int, str or bool.
        """
        found: dict[str, Label] = {}
        for name in self.labels:
            value = info.get(name)
            value = value.item() if isinstance(value, np.generic) else value
            if not isinstance(value, int | str):
                told = f"got {value!r}" if name in info else "which is missing"
                raise ValueError(f"info[{name!r}]: expected an int, str or bool for the label {name}, {told}")
            found[name] = value
        return found | {FLAG + name: bool(holds) for name, holds in info.get("scene", {}).items()}

    def ending_of(self, info: Mapping[str, Any], *, terminated: bool) -> str:
        """Return the ending of an episode by its last `info`: in words where they are given, else its kind."""
        words = None if self.ending is None else info.get(self.ending)
        return str(words or ("terminated" if terminated else "truncated"))

    def distances(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the distance of each node from the ego node: here the edges on the way.

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
        """Return the places of the nodes of the environment's latest observation in the text it renders.

        Returns:
            int [n, 2], line and column; None where nodes have no place.
        """
        return None

    def level(self, env: gymnasium.Env[Any, Any]) -> str:  # noqa: ARG002
        """Return the name of the level that the map shows; empty where there is only one."""
        return ""

    def message(self, env: gymnasium.Env[Any, Any]) -> str:  # noqa: ARG002
        """Return the environment's message; empty where it has none."""
        return ""

    def purposes(self) -> tuple[str, ...]:
        """Return the names of all purposes of actions: here their kinds."""
        return tuple(dict.fromkeys(self._kinds()))

    def purpose_of_actions(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: ARG002
        """Return the purpose of each action in a state.

        Args:
            observation: A graph observation, without a batch dimension.

        Returns:
            int [A], positions in :meth:`purposes`.
        """
        names = self.purposes()
        return np.array([names.index(kind) for kind in self._kinds()])

    def _kinds(self) -> list[str]:
        return [name.partition("_")[0] for name in self.action_names]


def expert_names(num_experts: int, role_names: Sequence[str] = ()) -> list[str]:
    """Return a name for each expert: the roles', where there are as many, else numbers."""
    if len(role_names) == num_experts:
        return [name.replace("_", " ") for name in role_names]
    return [f"expert {index}" for index in range(num_experts)]


def describe(env: gymnasium.Env[Any, Any]) -> GraphDescription:
    """Return the description of an environment or its outermost wrapper that has one, numbers for missing names."""
    description = _own_description(env)
    if not description.action_names:
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        names = tuple(str(action) for action in range(int(env.action_space.n)))
        description = description._with(action_names=names)
    if not description.node_type_names:
        types = GraphShape.from_space(env.observation_space).num_node_types
        names = tuple(f"type {kind}" for kind in range(types)) or ("node",)
        description = description._with(node_type_names=names)
    if not description.edge_type_names:
        types = GraphShape.from_space(env.observation_space).num_edge_types
        description = description._with(edge_type_names=tuple(f"type {kind}" for kind in range(1, types + 1)))
    return description


def name_errors(env: gymnasium.Env[Any, Any]) -> Iterator[str]:
    """Return the names in an environment's description that are not as many as what they name, in words."""
    shape = GraphShape.from_space(env.observation_space)
    description = _own_description(env)
    counts = {
        "node_type_names": max(1, shape.num_node_types),
        "edge_type_names": shape.num_edge_types,
        "role_names": shape.num_roles,
    }
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        counts["action_names"] = int(env.action_space.n)
    for field, count in counts.items():
        if (names := getattr(description, field)) and len(names) != count:
            yield f"description: expected {count} {field}, got {len(names)}"


def _own_description(env: gymnasium.Env[Any, Any]) -> GraphDescription:
    own = env.get_wrapper_attr("description") if env.has_wrapper_attr("description") else None
    return own if isinstance(own, GraphDescription) else GraphDescription()
