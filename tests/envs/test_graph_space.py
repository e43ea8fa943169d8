"""The graph observation space: built, read back, and every error named."""

import re

import numpy as np
import pytest
from gymnasium import spaces

from rllib_moe.envs.graph_space import ExtraLeaf, GraphShape, check_observation, graph_space


def _space() -> spaces.Dict:
    return graph_space(
        max_nodes=4,
        node_features=3,
        features=2,
        num_edge_types=5,
        num_node_types=6,
        num_actions=7,
        extras={
            "crop": spaces.Box(0, 8, (3, 2), np.uint8),
            "heat": spaces.Box(-1, 1, (2,), np.float32),
        },
    )


def _observation() -> dict[str, np.ndarray]:
    edges = np.zeros((4, 4), np.uint8)
    edges[0, 1] = 5
    return {
        "nodes": np.zeros((4, 3), np.float32),
        "node_types": np.array([5, 0, 0, 0], np.uint8),
        "node_mask": np.array([1, 1, 0, 0], np.uint8),
        "edges": edges,
        "features": np.zeros(2, np.float32),
        "action_mask": np.array([0, 0, 0, 1, 0, 0, 0], np.uint8),
        "crop": np.full((3, 2), 8, np.uint8),
        "heat": np.zeros(2, np.float32),
    }


def test_sizes_are_read_back_as_they_were_given():
    assert GraphShape.from_space(_space()) == GraphShape(
        max_nodes=4,
        node_features=3,
        num_node_types=6,
        num_edge_types=5,
        features=2,
        num_actions=7,
        extras={"crop": ExtraLeaf((3, 2), "uint8", 9), "heat": ExtraLeaf((2,), "float32", 0)},
    )


def test_absent_optional_leaves_read_as_zero_types_and_no_mask():
    shape = GraphShape.from_space(graph_space(max_nodes=1, node_features=1, features=1, num_edge_types=1))
    assert (shape.num_node_types, shape.num_actions, shape.extras) == (0, None, {})


def test_leaves_keep_the_contract_dtypes():
    floats = {"nodes", "features", "heat"}
    assert {name: leaf.dtype.name for name, leaf in _space().items()} == {
        name: "float32" if name in floats else "uint8" for name in _observation()
    }


def test_unfit_sizes_are_named_together():
    with pytest.raises(ValueError, match="max_nodes must be at least 1, got 0") as error:
        graph_space(
            max_nodes=0,
            node_features=-1,
            features=0,
            num_edge_types=256,
            num_node_types=257,
            num_actions=0,
            extras={"edges": spaces.Box(0, 1, (1,), np.uint8)},
        )
    for part in ("node_features", "features", "num_edge_types", "num_node_types", "num_actions", "'edges'"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("leaf", "box", "message"),
    [
        ("edges", None, "leaf 'edges' is missing"),
        ("nodes", spaces.Discrete(3), "leaf 'nodes' must be a Box"),
        ("nodes", spaces.Box(-1, 1, (4,), np.float32), "leaf 'nodes' must have rank 2, got shape (4,)"),
        ("nodes", spaces.Box(-1, 1, (4, 3), np.float64), "leaf 'nodes' must be float32, got float64"),
        ("node_mask", spaces.Box(0, 1, (3,), np.uint8), "leaf 'node_mask' must have shape (4,), got (3,)"),
        ("node_mask", spaces.Box(0, 2, (4,), np.uint8), "leaf 'node_mask' must have high 1, got 2"),
        ("edges", spaces.Box(0, 5, (4, 4), np.int64), "leaf 'edges' must be uint8, got int64"),
        ("edges", spaces.Box(0, 0, (4, 4), np.uint8), "leaf 'edges' must have high 1 or more"),
        ("crop", spaces.Box(-1, 8, (3, 2), np.int8), "leaf 'crop' holds categories, which start at 0"),
        ("crop", spaces.Box(0, 8, (0,), np.uint8), "leaf 'crop' is empty"),
        ("heat", spaces.Box(0, 1, (2,), np.bool_), "leaf 'heat' must be integer or float, got bool"),
    ],
)
def test_a_space_which_is_no_graph_observation_is_refused(leaf, box, message):
    leaves = dict(_space().spaces)
    leaves.pop(leaf)
    if box is not None:
        leaves[leaf] = box
    with pytest.raises(ValueError, match=re.escape(message)):
        GraphShape.from_space(spaces.Dict(leaves))


def test_a_space_which_is_no_dict_is_refused_and_all_faults_come_together():
    with pytest.raises(ValueError, match=r"expected a gymnasium\.spaces\.Dict of a graph's leaves, .* got Discrete"):
        GraphShape.from_space(spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"'nodes' is missing; .*'node_mask'.*'edges'.*'features'"):
        GraphShape.from_space(spaces.Dict({}))


def test_a_right_observation_passes():
    check_observation(_observation(), _space())


def _changed(name, index, value):
    observation = _observation()
    observation[name][index] = value
    return observation


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (_changed("nodes", (1, 2), np.nan), "leaf 'nodes' holds NaN or infinity at (1, 2)"),
        (_changed("features", 0, np.inf), "leaf 'features' holds NaN or infinity at (0,)"),
        (_changed("node_types", 1, 6), "leaf 'node_types' holds 6 at (1,), outside [0, 5]"),
        (_changed("edges", (1, 0), 6), "leaf 'edges' holds 6 at (1, 0), outside [0, 5]"),
        (_changed("node_mask", 3, 1), "leaf 'node_mask' is not a prefix"),
        (_changed("node_mask", 0, 0), "leaf 'node_mask' is not a prefix"),
        (_changed("edges", (1, 2), 1), "leaf 'edges' touches an absent node at (1, 2)"),
        (_changed("edges", (2, 1), 1), "leaf 'edges' touches an absent node at (2, 1)"),
        (_changed("action_mask", 3, 0), "leaf 'action_mask' allows no action"),
        (_observation() | {"crop": np.zeros(6, np.uint8)}, "leaf 'crop' must have shape (3, 2), got (6,)"),
        (_observation() | {"crop": np.zeros((3, 2), np.int64)}, "leaf 'crop' must be uint8, got int64"),
        (_observation() | {"heat": [0.0, 0.0]}, "leaf 'heat' must be a numpy array, got list"),
        (_observation() | {"more": np.zeros(1)}, "leaf 'more' is not in the space"),
        ({k: v for k, v in _observation().items() if k != "edges"}, "leaf 'edges' is missing"),
    ],
)
def test_every_fault_of_an_observation_is_named(observation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_observation(observation, _space())


def test_roles_sum_to_one():
    space = graph_space(max_nodes=2, node_features=1, features=1, num_edge_types=1, num_roles=3)
    observation = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in space.spaces.items()}
    check_observation(observation | {"roles": np.array([0.5, 0.2, 0.3], np.float32)}, space)
    with pytest.raises(ValueError, match=r"leaf 'roles' must sum to 1, got 0\.9"):
        check_observation(observation | {"roles": np.array([0.5, 0.2, 0.2], np.float32)}, space)
    with pytest.raises(ValueError, match=r"leaf 'roles' holds 1\.5 at \(0,\), outside \[0\.0, 1\.0\]"):
        check_observation(observation | {"roles": np.array([1.5, -0.5, 0], np.float32)}, space)
    assert GraphShape.from_space(space).num_roles == 3
    assert GraphShape.from_space(space).extras == {}, "the network would read them"


def test_several_faults_come_in_one_message():
    observation = _changed("nodes", (0, 0), np.nan)
    observation["action_mask"][:] = 0
    del observation["heat"]
    with pytest.raises(ValueError, match=r"'heat' is missing; .*'nodes' holds NaN.*; .*'action_mask'"):
        check_observation(observation, _space())
