"""Any gymnasium environment with a ``spaces.Graph`` observation, as a graph observation of fixed shape.

Owns the conversion of spaces and of each observation, and refuses what it cannot carry; the contract it produces is
:mod:`rllib_moe.envs.graph_space`'s. Accepted are a bare Graph, or a Dict of exactly one Graph and any Boxes:

* Box nodes are flattened into ``nodes``; Discrete nodes become ``node_types`` and a ``nodes`` column of ones.
* Discrete edges become the types 1..R; without an edge space every edge has type 1. ``edge_links[k] = (source,
  target)`` lets the target attend to the source. Of several edges between the same two nodes the last one counts.
* A Box ``features``, ``action_mask`` or ``roles`` takes its place in the contract, other Boxes are extras. Without
  ``features`` the status vector is the share of the places for nodes which is taken.
* Integers bounded within 0..255 stay categories (uint8); all else becomes float32, divided by its largest bound where
  that is finite and above 1.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rllib_moe.envs.graph_space import graph_space

_MAX_EDGE_TYPES = 255
_VECTORS = ("features", "action_mask", "roles")
"""Boxes with a place in the contract."""


class GraphObservation(gymnasium.Wrapper[dict[str, np.ndarray], Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Turns Graph observations into the contract's Dict.

    A graph of more than ``max_nodes`` nodes is cut to the first ``max_nodes``; an empty one is all zeros.
    ``info["nodes_cut"]`` and ``info["edges_cut"]`` count what was left out (edges also where two share a place).

    Args:
        env: Environment observing a Graph, or a Dict of one Graph and Boxes.
        max_nodes: N, room for nodes.

    Raises:
        ValueError: The observation space cannot be converted; every error in one message.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, max_nodes: int = 32) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, max_nodes=max_nodes)
        super().__init__(env)
        leaves = _leaves(env.observation_space)
        graphs = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, spaces.Graph)}
        boxes = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, spaces.Box)}
        errors = [
            f"leaf '{name}' must be a Box or a Graph, got {leaf}"
            for name, leaf in leaves.items()
            if name not in graphs and name not in boxes
        ]
        if len(graphs) != 1:
            errors.append(f"expected one Graph, got {len(graphs)}")
        for graph in graphs.values():
            errors += _graph_errors(graph)
        for name in boxes.keys() & _VECTORS:
            if len(boxes[name].shape) != 1:
                errors.append(f"leaf '{name}' must have rank 1, got shape {boxes[name].shape}")
        if "action_mask" in boxes and _bounds(boxes["action_mask"]) != (0, 1):
            errors.append(f"leaf 'action_mask' must be bounded by 0 and 1, got {boxes['action_mask']}")
        if errors:
            raise ValueError("cannot convert this observation space: " + "; ".join(errors))

        self.max_nodes = max_nodes
        self._graph_name, self._graph = next(iter(graphs.items()))
        self._is_bare = not isinstance(env.observation_space, spaces.Dict)
        nodes, edges = self._graph.node_space, self._graph.edge_space
        self._node_scale = _scale(nodes) if isinstance(nodes, spaces.Box) else np.ones(1, np.float32)
        self._boxes = boxes
        self._converted = {name: _converted_box(name, box) for name, box in boxes.items()}
        self.observation_space = graph_space(
            max_nodes=max_nodes,
            node_features=self._node_scale.size,
            features=boxes["features"].shape[0] if "features" in boxes else 1,
            num_edge_types=int(edges.n) if isinstance(edges, spaces.Discrete) else 1,
            num_node_types=int(nodes.n) if isinstance(nodes, spaces.Discrete) else None,
            num_actions=boxes["action_mask"].shape[0] if "action_mask" in boxes else None,
            num_roles=boxes["roles"].shape[0] if "roles" in boxes else None,
            extras={name: box for name, box in self._converted.items() if name not in _VECTORS},
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset the environment and convert its observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._convert(observation, info)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], Any, bool, bool, dict[str, Any]]:
        """Step the environment and convert its observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        converted, info = self._convert(observation, info)
        return converted, reward, terminated, truncated, info

    def _convert(self, observation: Any, info: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Convert one observation, and add the counts of what was cut to ``info``.

        Raises:
            ValueError: The observation breaks its own space: the error is named.
        """
        leaves = {self._graph_name: observation} if self._is_bare else observation
        converted = {name: self._convert_box(name, leaves[name]) for name in self._boxes}
        graph, num_nodes, edges_cut = self._convert_graph(leaves[self._graph_name])
        if "features" not in converted:
            converted["features"] = np.array([min(num_nodes, self.max_nodes) / self.max_nodes], np.float32)
        cut = {"nodes_cut": max(0, num_nodes - self.max_nodes), "edges_cut": edges_cut}
        return {**converted, **graph}, {**info, **cut}

    def _convert_graph(self, graph: spaces.GraphInstance) -> tuple[dict[str, np.ndarray], int, int]:
        """Convert the graph: its leaves, the number of nodes before cutting, and the number of edges lost."""
        num_nodes = len(graph.nodes)
        kept = min(num_nodes, self.max_nodes)
        leaves: dict[str, np.ndarray] = {
            "nodes": np.zeros((self.max_nodes, self._node_scale.size), np.float32),
            "node_mask": np.zeros(self.max_nodes, np.uint8),
            "edges": np.zeros((self.max_nodes, self.max_nodes), np.uint8),
        }
        leaves["node_mask"][:kept] = 1
        if isinstance(self._graph.node_space, spaces.Discrete):
            leaves["node_types"] = np.zeros(self.max_nodes, np.uint8)
            types = _categories("nodes", graph.nodes, self._graph.node_space)
            leaves["node_types"][:kept] = types[:kept]
            leaves["nodes"][:kept] = 1.0
        elif num_nodes:
            expected = (num_nodes, *(self._graph.node_space.shape or ()))
            if np.shape(graph.nodes) != expected:
                raise ValueError(f"graph nodes must have shape {expected}, got {np.shape(graph.nodes)}")
            numbers = _finite("graph nodes", np.asarray(graph.nodes, np.float32).reshape(num_nodes, -1))
            leaves["nodes"][:kept] = numbers[:kept] * self._node_scale

        links = np.zeros((0, 2), np.int64) if graph.edge_links is None else np.asarray(graph.edge_links)
        if links.size == 0:
            links = links.reshape(0, 2).astype(np.int64)
        if links.ndim != 2 or links.shape[1] != 2 or not np.issubdtype(links.dtype, np.integer):
            raise ValueError(f"graph edge_links must be integer [E, 2], got {links.dtype} {list(links.shape)}")
        outside = ((links < 0) | (links >= num_nodes)).any(axis=1)
        if outside.any():
            first = int(np.argmax(outside))
            raise ValueError(
                f"graph edge_links[{first}] = {links[first].tolist()} names a node outside 0..{num_nodes - 1}"
            )
        types = self._edge_types(graph, len(links))
        inside = (links < self.max_nodes).all(axis=1)
        sources, targets = links[inside].T
        leaves["edges"][targets, sources] = types[inside]
        return leaves, num_nodes, len(links) - int(np.count_nonzero(leaves["edges"]))

    def _edge_types(self, graph: spaces.GraphInstance, num_edges: int) -> np.ndarray:
        """Types 1..R of the edges, uint8 [E]."""
        if not isinstance(self._graph.edge_space, spaces.Discrete):
            return np.ones(num_edges, np.uint8)
        edges = np.zeros(0, np.int64) if graph.edges is None else graph.edges
        if len(edges) != num_edges:
            raise ValueError(f"graph edges and edge_links differ in length: {len(edges)} and {num_edges}")
        return _categories("edges", edges, self._graph.edge_space) + np.uint8(1)

    def _convert_box(self, name: str, value: Any) -> np.ndarray:
        """Convert one Box leaf: a new array of the converted dtype."""
        box = self._boxes[name]
        if np.shape(value) != box.shape:
            raise ValueError(f"leaf '{name}' must have shape {box.shape}, got {np.shape(value)}")
        if self._converted[name].dtype == np.uint8:
            numbers = np.asarray(value)
            if not ((numbers >= box.low) & (numbers <= box.high)).all():
                raise ValueError(f"leaf '{name}' holds a value outside its bounds {list(_bounds(box))}")
            return np.array(value, np.uint8)
        numbers = _finite(f"leaf '{name}'", np.asarray(value, np.float32))
        return numbers * _scale(box).reshape(box.shape)


def holds_graph(space: spaces.Space[Any]) -> bool:
    """Return whether a space is a Graph or a Dict with one inside, so that :class:`GraphObservation` is called for."""
    return any(isinstance(leaf, spaces.Graph) for leaf in _leaves(space).values())


def _leaves(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """The leaves of a Dict, or the space itself under the name ``graph``."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"graph": space}


def _graph_errors(graph: spaces.Graph) -> list[str]:
    """Return the reasons why a Graph space cannot be converted."""
    errors = []
    nodes, edges = graph.node_space, graph.edge_space
    if isinstance(nodes, spaces.Discrete):
        if int(nodes.n) > 256:
            errors.append(f"the graph's node space may have at most 256 categories, got {nodes.n}")
    elif not isinstance(nodes, spaces.Box) or 0 in nodes.shape:
        errors.append(f"the graph's node space must be Discrete or a Box that is not empty, got {nodes}")
    if isinstance(edges, spaces.Discrete):
        if int(edges.n) > _MAX_EDGE_TYPES:
            errors.append(f"the graph's edge space may have at most {_MAX_EDGE_TYPES} types, got {edges.n}")
    elif edges is not None:
        errors.append(f"the graph's edge space must be Discrete or None: edges carry types only, got {edges}")
    return errors


def _converted_box(name: str, box: spaces.Box) -> spaces.Box:
    """The space of a Box leaf after conversion."""
    low, high = _bounds(box)
    is_integer = np.issubdtype(box.dtype, np.integer) or box.dtype == np.bool_
    if name == "action_mask" or (is_integer and name not in _VECTORS and low >= 0 and high <= 255):
        return spaces.Box(box.low.astype(np.uint8), box.high.astype(np.uint8), dtype=np.uint8)
    return spaces.Box(-np.inf, np.inf, box.shape, np.float32)


def _bounds(box: spaces.Box) -> tuple[float, float]:
    """Least and greatest value of any element."""
    return float(np.min(box.low)), float(np.max(box.high))


def _scale(box: spaces.Box) -> np.ndarray:
    """Factors which bring numbers bounded beyond [-1, 1] into it, float32 [number of elements]."""
    bound = np.maximum(np.abs(box.low.astype(np.float64)), np.abs(box.high.astype(np.float64))).ravel()
    return np.where(np.isfinite(bound) & (bound > 1), 1 / np.maximum(bound, 1), 1).astype(np.float32)


def _categories(name: str, values: Any, space: spaces.Discrete) -> np.ndarray:
    """Values of a Discrete space counted from 0, uint8 [number of values]."""
    given = np.asarray(values).reshape(-1)
    numbers = given.astype(np.int64) - int(space.start)
    outside = (numbers < 0) | (numbers >= int(space.n)) | (numbers + int(space.start) != given)
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(f"graph {name}[{first}] = {given[first]} is not in {space}")
    return numbers.astype(np.uint8)


def _finite(name: str, numbers: np.ndarray) -> np.ndarray:
    """``numbers``, once it is sure that they are finite."""
    if not np.isfinite(numbers).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(numbers))[0]]
        raise ValueError(f"{name} hold NaN or infinity, first at {where}")
    return numbers
