"""The graph observation every environment here yields: its space, its sizes, its check.

One fixed-shape ``gymnasium.spaces.Dict``, so that observations stack into batches without further padding.
Owns the leaf names and their meaning; knows no environment, no model and no Ray. It travels through RLlib as it is,
a Dict whose leaves keep their dtypes.

Legend: N ``max_nodes``, F node features, D status features, A actions, T node types, R edge types, K roles.

| leaf          | dtype   | shape  | meaning                                                               |
|---------------|---------|--------|-----------------------------------------------------------------------|
| `nodes`       | float32 | [N, F] | node features, finite, roughly within [-1, 1]                         |
| `node_types`  | uint8   | [N]    | category 0..T-1; optional                                             |
| `node_mask`   | uint8   | [N]    | 1 = the node exists; these come first (a prefix), node 0 is the ego   |
| `edges`       | uint8   | [N, N] | `edges[i, j]`: type 1..R of the edge by which i attends to j; 0: none |
| `features`    | float32 | [D]    | status vector, finite                                                 |
| `action_mask` | uint8   | [A]    | 1 = legal; optional, at least one legal                               |
| `roles`       | float32 | [K]    | how far the state belongs to each of K named roles; optional, sums to 1 |
| anything else |         |        | an extra Box: integers are categories 0..high, floats are numbers     |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from gymnasium import spaces

_REQUIRED = ("nodes", "node_mask", "edges", "features")
_RANKS = {"nodes": 2, "node_types": 1, "node_mask": 1, "edges": 2, "features": 1, "action_mask": 1, "roles": 1}
"""Rank of every leaf with a fixed meaning; an environment may leave out those that are not required."""
_FLOAT_LEAVES = frozenset({"nodes", "features", "roles"})
_FLAG_LEAVES = frozenset({"node_mask", "action_mask"})


class ExtraLeaf(NamedTuple):
    """Size of one extra leaf."""

    shape: tuple[int, ...]
    """Shape without the batch dimension."""

    dtype: str
    """numpy dtype name."""

    num_categories: int
    """Number of categories of an integer leaf; 0 for a float leaf."""


def graph_space(
    *,
    max_nodes: int,
    node_features: int,
    features: int,
    num_edge_types: int,
    num_node_types: int | None = None,
    num_actions: int | None = None,
    num_roles: int | None = None,
    extras: Mapping[str, spaces.Box] | None = None,
) -> spaces.Dict:
    """Build the space of a graph observation.

    Args:
        max_nodes: N, nodes an observation has room for.
        node_features: F, width of a node's feature vector.
        features: D, width of the status vector.
        num_edge_types: R, edge types 1..R, at most 255; 0 means "no edge".
        num_node_types: T, node categories 0..T-1, at most 256; None leaves ``node_types`` out.
        num_actions: A, width of the action mask; None leaves ``action_mask`` out.
        num_roles: K, named roles; None leaves ``roles`` out. The network does not read them: the role loss compares the
            router's choice with them.
        extras: further leaves by name, each a Box.

    Returns:
        The space, one Box a leaf.

    Raises:
        ValueError: A size is out of range or an extra is unfit; every error in one message.
    """
    sizes = {
        "max_nodes": (max_nodes, None),
        "node_features": (node_features, None),
        "features": (features, None),
        "num_edge_types": (num_edge_types, 255),
        "num_node_types": (num_node_types, 256),
        "num_actions": (num_actions, None),
        "num_roles": (num_roles, None),
    }
    errors = [
        f"{name} must be at least 1{f' and at most {most}' if most else ''}, got {value}"
        for name, (value, most) in sizes.items()
        if value is not None and (value < 1 or (most is not None and value > most))
    ]
    extras = dict(extras or {})
    errors += [f"extras: '{name}' is a name of the contract" for name in extras if name in _RANKS]
    if errors:
        raise ValueError("not a graph observation: " + "; ".join(errors))

    leaves: dict[str, spaces.Space[Any]] = {
        "nodes": spaces.Box(-np.inf, np.inf, (max_nodes, node_features), np.float32),
        "node_mask": spaces.Box(0, 1, (max_nodes,), np.uint8),
        "edges": spaces.Box(0, num_edge_types, (max_nodes, max_nodes), np.uint8),
        "features": spaces.Box(-np.inf, np.inf, (features,), np.float32),
    }
    if num_node_types is not None:
        leaves["node_types"] = spaces.Box(0, num_node_types - 1, (max_nodes,), np.uint8)
    if num_actions is not None:
        leaves["action_mask"] = spaces.Box(0, 1, (num_actions,), np.uint8)
    if num_roles is not None:
        leaves["roles"] = spaces.Box(0, 1, (num_roles,), np.float32)
    space = spaces.Dict({**leaves, **extras})
    GraphShape.from_space(space)
    return space


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """Sizes of a graph observation: what a model must know to be built."""

    max_nodes: int
    """N, nodes an observation has room for."""

    node_features: int
    """F, width of a node's feature vector."""

    num_node_types: int
    """T, node categories; 0 when the leaf ``node_types`` is absent."""

    num_edge_types: int
    """R, edge types 1..R, so an embedding needs R + 1 rows."""

    features: int
    """D, width of the status vector."""

    num_actions: int | None
    """A, width of the action mask; None when the leaf is absent."""

    num_roles: int = 0
    """K, named roles; 0 when the leaf ``roles`` is absent."""

    extras: Mapping[str, ExtraLeaf] = field(default_factory=dict, hash=False)
    """Further leaves by name, in alphabetical order."""

    @classmethod
    def from_space(cls, space: spaces.Space[Any]) -> Self:
        """Read the sizes back from a space.

        Args:
            space: A graph observation space.

        Returns:
            The sizes.

        Raises:
            ValueError: The space is not a graph observation; every error in one message.
        """
        errors = _space_errors(space)
        if errors:
            raise ValueError("not a graph observation space: " + "; ".join(errors))
        assert isinstance(space, spaces.Dict)
        leaves: dict[str, Any] = dict(space.spaces)
        return cls(
            max_nodes=leaves["nodes"].shape[0],
            node_features=leaves["nodes"].shape[1],
            num_node_types=int(leaves["node_types"].high.max()) + 1 if "node_types" in leaves else 0,
            num_edge_types=int(leaves["edges"].high.max()),
            features=leaves["features"].shape[0],
            num_actions=leaves["action_mask"].shape[0] if "action_mask" in leaves else None,
            num_roles=leaves["roles"].shape[0] if "roles" in leaves else 0,
            extras={
                name: ExtraLeaf(
                    tuple(box.shape),
                    box.dtype.name,
                    int(box.high.max()) + 1 if np.issubdtype(box.dtype, np.integer) else 0,
                )
                for name, box in sorted(leaves.items())
                if name not in _RANKS
            },
        )


def _space_errors(space: spaces.Space[Any]) -> list[str]:
    """Everything that keeps a space from being a graph observation space."""
    if not isinstance(space, spaces.Dict):
        expected = "expected a gymnasium.spaces.Dict of a graph's leaves, or a gymnasium.spaces.Graph"
        hint = "wrap the environment in one that makes a graph of what it observes (docs/guide/environments.md)"
        return [f"{expected}, got {space}; {hint}"]
    errors = [f"leaf '{name}' is missing" for name in _REQUIRED if name not in space.spaces]
    boxes: dict[str, spaces.Box] = {}
    for name, leaf in space.spaces.items():
        if not isinstance(leaf, spaces.Box):
            errors.append(f"leaf '{name}' must be a Box, got {leaf}")
        elif 0 in leaf.shape:
            errors.append(f"leaf '{name}' is empty: shape {leaf.shape}")
        elif name in _RANKS and len(leaf.shape) != _RANKS[name]:
            errors.append(f"leaf '{name}' must have rank {_RANKS[name]}, got shape {leaf.shape}")
        else:
            boxes[name] = leaf

    max_nodes = boxes["nodes"].shape[0] if "nodes" in boxes else None
    for name, leaf in boxes.items():
        if name in _RANKS:
            expected = "float32" if name in _FLOAT_LEAVES else "uint8"
            if leaf.dtype != expected:
                errors.append(f"leaf '{name}' must be {expected}, got {leaf.dtype}")
        elif not np.issubdtype(leaf.dtype, np.integer) and not np.issubdtype(leaf.dtype, np.floating):
            errors.append(f"leaf '{name}' must be integer or float, got {leaf.dtype}")
        elif np.issubdtype(leaf.dtype, np.integer) and leaf.low.min() < 0:
            errors.append(f"leaf '{name}' holds categories, which start at 0, got low {leaf.low.min()}")
        if name in _FLAG_LEAVES and leaf.high.max() != 1:
            errors.append(f"leaf '{name}' must have high 1, got {leaf.high.max()}")
        expected_shape = {"node_types": (max_nodes,), "node_mask": (max_nodes,), "edges": (max_nodes,) * 2}
        if max_nodes is not None and name in expected_shape and leaf.shape != expected_shape[name]:
            errors.append(f"leaf '{name}' must have shape {expected_shape[name]}, got {leaf.shape}")
    if "edges" in boxes and boxes["edges"].high.max() < 1:
        errors.append("leaf 'edges' must have high 1 or more (the number of edge types), got 0")
    return errors


def check_observation(observation: Mapping[str, Any], space: spaces.Dict) -> None:
    """Check one observation against its space and the contract; for tests and debugging, not for every step.

    Args:
        observation: Leaf name to array, without a batch dimension.
        space: The space it must lie in.

    Raises:
        ValueError: Something is wrong; every error in one message.
    """
    if not isinstance(observation, Mapping):
        raise ValueError(f"not a valid graph observation: must map names to arrays, got {type(observation).__name__}")
    errors = [f"leaf '{name}' is missing" for name in space.spaces if name not in observation]
    errors += [f"leaf '{name}' is not in the space" for name in observation if name not in space.spaces]
    good: dict[str, np.ndarray] = {}
    for name, leaf in space.spaces.items():
        if name not in observation:
            continue
        value = observation[name]
        assert isinstance(leaf, spaces.Box)
        if not isinstance(value, np.ndarray):
            errors.append(f"leaf '{name}' must be a numpy array, got {type(value).__name__}")
        elif value.shape != leaf.shape:
            errors.append(f"leaf '{name}' must have shape {leaf.shape}, got {value.shape}")
        elif value.dtype != leaf.dtype:
            errors.append(f"leaf '{name}' must be {leaf.dtype}, got {value.dtype}")
        elif np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(value).all():
            errors.append(f"leaf '{name}' holds NaN or infinity at {_first(~np.isfinite(value))}")
        elif (outside := (value < leaf.low) | (value > leaf.high)).any():
            where = _first(outside)
            bounds = f"[{leaf.low[where]}, {leaf.high[where]}]"
            errors.append(f"leaf '{name}' holds {value[where]} at {where}, outside {bounds}")
        else:
            good[name] = value
    errors += _contract_errors(good)
    if errors:
        raise ValueError("not a valid graph observation: " + "; ".join(errors))


def _contract_errors(leaves: Mapping[str, np.ndarray]) -> list[str]:
    """Check what the space cannot say: relations between leaves. Leaves that were refused already are absent."""
    errors = []
    if "node_mask" in leaves:
        mask = leaves["node_mask"].astype(bool)
        if (mask[1:] & ~mask[:-1]).any():
            errors.append("leaf 'node_mask' is not a prefix: existing nodes must come first")
        if "edges" in leaves:
            stray = leaves["edges"].astype(bool) & ~(mask[:, None] & mask[None, :])
            if stray.any():
                errors.append(f"leaf 'edges' touches an absent node at {_first(stray)}")
    if "action_mask" in leaves and not leaves["action_mask"].any():
        errors.append("leaf 'action_mask' allows no action")
    if "roles" in leaves and abs(total := float(leaves["roles"].sum()) - 1) > 1e-3:
        errors.append(f"leaf 'roles' must sum to 1, got {total + 1:g}")
    return errors


def _first(flags: np.ndarray) -> tuple[int, ...]:
    """Index of the first true element."""
    return tuple(int(i) for i in np.argwhere(flags)[0])
