"""Gymnasium's Graph observations, converted; and every way they can be wrong."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import GraphInstance

from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.gym_graph import GraphObservation, holds_graph


class _Replay(gymnasium.Env):
    """Shows given observations one after the other."""

    def __init__(self, space, observations):
        self.observation_space = space
        self.action_space = spaces.Discrete(2)
        self._observations = list(observations)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self._left = iter(self._observations)
        return next(self._left), {"kept": 1}

    def step(self, action):
        assert self.action_space.contains(action)
        return next(self._left), 0.5, False, False, {}


_TYPED = spaces.Graph(spaces.Discrete(5), spaces.Discrete(3))
_VECTORS = spaces.Graph(spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 10.0]), dtype=np.float64), None)


def _links(*pairs):
    return np.array(pairs, np.int64).reshape(-1, 2)


def _convert(space, observation, **kwargs):
    env = GraphObservation(_Replay(space, [observation]), **kwargs)
    converted, info = env.reset()
    check_observation(converted, env.observation_space)
    return converted, info


def test_discrete_nodes_and_edges_become_types():
    graph = GraphInstance(np.array([4, 0]), np.array([2, 0]), _links((1, 0), (0, 1)))
    converted, info = _convert(_TYPED, graph, max_nodes=3)
    assert converted["node_types"].tolist() == [4, 0, 0]
    assert converted["node_mask"].tolist() == [1, 1, 0]
    assert converted["nodes"].tolist() == [[1.0], [1.0], [0.0]]
    # The edge 1 -> 0 has category 2, hence type 3, and lets target 0 attend to source 1.
    assert converted["edges"].tolist() == [[0, 3, 0], [1, 0, 0], [0, 0, 0]]
    assert converted["features"].tolist() == pytest.approx([2 / 3])
    assert info == {"kept": 1, "nodes_cut": 0, "edges_cut": 0}


def test_vector_nodes_are_scaled_and_untyped_edges_have_type_one():
    graph = GraphInstance(np.array([[0.5, 5.0], [-1.0, 10.0]]), None, _links((0, 1)))
    converted, _ = _convert(_VECTORS, graph, max_nodes=2)
    # The first column is within [-1, 1] already, the second is divided by its bound 10.
    assert converted["nodes"].tolist() == [[0.5, 0.5], [-1.0, 1.0]]
    assert converted["edges"].tolist() == [[0, 0], [1, 0]]
    assert "node_types" not in converted


def test_unbounded_nodes_are_left_as_they_are_and_higher_ranks_flattened():
    space = spaces.Graph(spaces.Box(-np.inf, np.inf, (2, 2), np.float32), None)
    graph = GraphInstance(np.arange(4, dtype=np.float32).reshape(1, 2, 2), None, None)
    converted, _ = _convert(space, graph, max_nodes=1)
    assert converted["nodes"].tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_roles_keep_their_place():
    space = spaces.Dict({"graph": _VECTORS, "roles": spaces.Box(0, 1, (2,), np.int8)})
    graph = GraphInstance(np.zeros((1, 2)), None, None)
    converted, _ = _convert(space, {"graph": graph, "roles": np.array([0, 1], np.int8)})
    assert converted["roles"].dtype == np.float32
    assert converted["roles"].tolist() == [0, 1]


def test_categories_may_start_anywhere():
    space = spaces.Graph(spaces.Discrete(2, start=-1), spaces.Discrete(2, start=5))
    converted, _ = _convert(space, GraphInstance(np.array([0, -1]), np.array([6]), _links((0, 1))), max_nodes=2)
    assert converted["node_types"].tolist() == [1, 0]
    assert converted["edges"].tolist() == [[0, 0], [2, 0]]


@pytest.mark.parametrize("links", [None, _links(), np.zeros(0)])
def test_an_empty_graph_is_all_zeros(links):
    for space, nodes in ((_TYPED, np.zeros(0, np.int64)), (_VECTORS, np.zeros((0, 2)))):
        converted, _ = _convert(space, GraphInstance(nodes, None, links), max_nodes=3)
        assert not any(leaf.any() for leaf in converted.values())


def test_a_graph_too_large_keeps_its_first_nodes_and_counts_the_rest():
    graph = GraphInstance(np.array([1, 2, 3, 4]), np.array([0, 1, 2]), _links((0, 1), (1, 3), (2, 0)))
    converted, info = _convert(_TYPED, graph, max_nodes=2)
    assert converted["node_types"].tolist() == [1, 2]
    assert converted["edges"].tolist() == [[0, 0], [1, 0]]
    assert converted["features"].tolist() == [1.0]
    assert (info["nodes_cut"], info["edges_cut"]) == (2, 2)


def test_of_several_edges_between_two_nodes_the_last_counts():
    graph = GraphInstance(np.array([1, 2]), np.array([0, 2, 1]), _links((0, 1), (0, 1), (1, 0)))
    converted, info = _convert(_TYPED, graph, max_nodes=2)
    assert converted["edges"].tolist() == [[0, 2], [3, 0]]
    assert info["edges_cut"] == 1


_DICT = spaces.Dict(
    {
        "world": _TYPED,
        "features": spaces.Box(-4, 4, (2,), np.float64),
        "action_mask": spaces.Box(0, 1, (2,), np.int8),
        "crop": spaces.Box(0, 9, (2, 2), np.int64),
        "count": spaces.Box(-100, 100, (1,), np.int32),
    }
)


def _dict_observation(**change):
    return {
        "world": GraphInstance(np.array([3]), None, None),
        "features": np.array([2.0, -4.0]),
        "action_mask": np.array([0, 1], np.int8),
        "crop": np.array([[9, 0], [1, 2]]),
        "count": np.array([50], np.int32),
    } | change


def test_a_dict_of_a_graph_and_boxes():
    env = GraphObservation(_Replay(_DICT, [_dict_observation()]), max_nodes=2)
    shape = GraphShape.from_space(env.observation_space)
    assert (shape.features, shape.num_actions) == (2, 2)
    assert {name: (leaf.dtype, leaf.num_categories) for name, leaf in shape.extras.items()} == {
        "crop": ("uint8", 10),
        "count": ("float32", 0),
    }
    converted, _ = env.reset()
    assert converted["features"].tolist() == [0.5, -1.0]
    assert converted["action_mask"].tolist() == [0, 1]
    assert converted["crop"].tolist() == [[9, 0], [1, 2]]
    assert converted["count"].tolist() == [0.5]


def test_steps_are_converted_too_and_share_no_memory_with_what_they_came_from():
    crop = np.zeros((2, 2), np.int64)
    env = GraphObservation(_Replay(_DICT, [_dict_observation(crop=crop)] * 2))
    first, _ = env.reset()
    second, reward, terminated, truncated, info = env.step(0)
    check_observation(second, env.observation_space)
    assert (reward, terminated, truncated, info) == (0.5, False, False, {"nodes_cut": 0, "edges_cut": 0})
    assert not any(np.shares_memory(first[name], second[name]) for name in first)
    assert not any(np.shares_memory(crop, leaf) for leaf in second.values())


def test_random_graphs_of_the_space_convert_to_the_contract():
    rng = np.random.default_rng(0)
    for space in (_TYPED, _VECTORS):
        space.seed(1)
        for _ in range(30):
            sample = space.sample(num_nodes=int(rng.integers(1, 12)))
            _convert(space, sample, max_nodes=8)


_TWO = np.array([0, 1])


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (_TYPED, GraphInstance(_TWO, _TWO[:1], _links((0, 2))), "edge_links[0] = [0, 2] names a node outside 0..1"),
        (_TYPED, GraphInstance(_TWO, _TWO[:1], _links((-1, 0))), "edge_links[0] = [-1, 0] names a node outside"),
        (_TYPED, GraphInstance(_TWO, _TWO[:1], np.zeros((1, 3), int)), "edge_links must be integer [E, 2]"),
        (_TYPED, GraphInstance(_TWO, _TWO[:1], np.zeros((1, 2))), "edge_links must be integer [E, 2]"),
        (_TYPED, GraphInstance(_TWO, _TWO, _links((0, 1))), "edges and edge_links differ in length: 2 and 1"),
        (_TYPED, GraphInstance(_TWO, None, _links((0, 1))), "edges and edge_links differ in length: 0 and 1"),
        (_TYPED, GraphInstance(np.array([0, 5]), None, None), "graph nodes[1] = 5 is not in Discrete(5)"),
        (_TYPED, GraphInstance(np.array([0, 1.5]), None, None), "graph nodes[1] = 1.5 is not in Discrete(5)"),
        (_TYPED, GraphInstance(_TWO, np.array([3]), _links((0, 1))), "graph edges[0] = 3 is not in Discrete(3)"),
        (
            _VECTORS,
            GraphInstance(np.array([[0, np.nan]]), None, None),
            "graph nodes hold NaN or infinity, first at [0, 1]",
        ),
        (_VECTORS, GraphInstance(np.zeros((1, 3)), None, None), "graph nodes must have shape (1, 2), got (1, 3)"),
        (
            _DICT,
            _dict_observation(features=np.array([np.inf, 0])),
            "leaf 'features' hold NaN or infinity, first at [0]",
        ),
        (_DICT, _dict_observation(features=np.zeros(3)), "leaf 'features' must have shape (2,), got (3,)"),
        (_DICT, _dict_observation(crop=np.full((2, 2), 10)), "leaf 'crop' holds a value outside its bounds"),
    ],
)
def test_an_observation_that_breaks_its_space_is_named(space, observation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        _convert(space, observation)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3), "expected one Graph, got 0"),
        (spaces.Dict({"a": _TYPED, "b": _TYPED}), "expected one Graph, got 2"),
        (spaces.Dict({"a": _TYPED, "b": spaces.Discrete(2)}), "leaf 'b' must be a Box or a Graph"),
        (spaces.Graph(spaces.Discrete(257), None), "node space may have at most 256 categories, got 257"),
        (spaces.Graph(spaces.Discrete(2), spaces.Discrete(256)), "edge space may have at most 255 types, got 256"),
        (spaces.Graph(spaces.Discrete(2), spaces.Box(0, 1, (1,))), "edge space must be Discrete or None"),
        (spaces.Dict({"a": _TYPED, "features": spaces.Box(0, 1, (2, 2))}), "leaf 'features' must have rank 1"),
        (spaces.Dict({"a": _TYPED, "action_mask": spaces.Box(0, 2, (2,))}), "'action_mask' must be bounded by 0 and 1"),
        (spaces.Dict({"a": _TYPED, "edges": spaces.Box(0, 1, (2,))}), "'edges' is a name of the contract"),
    ],
)
def test_a_space_that_cannot_be_carried_is_refused(space, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GraphObservation(_Replay(space, []))


def test_holds_graph():
    assert holds_graph(_TYPED)
    assert holds_graph(_DICT)
    assert not holds_graph(spaces.Discrete(2))
    assert not holds_graph(spaces.Dict({"a": spaces.Discrete(2)}))
