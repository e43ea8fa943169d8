import numpy as np

from rllib_moe.envs.description import UNREACHABLE, GraphDescription, describe, expert_names
from rllib_moe.envs.registry import make_env


def test_distances_follow_the_edges_that_are_attended_along():
    # 0 attends to 1, 1 to 2; 3 attends to 0, but nobody to 3; node 4 does not exist.
    edges = np.zeros((5, 5), np.uint8)
    edges[0, 1] = edges[1, 2] = edges[3, 0] = 1
    observation = {"node_mask": np.array([1, 1, 1, 1, 0], np.uint8), "edges": edges}
    description = GraphDescription(action_names=("a_1", "a_2", "b"))
    assert description.distances(observation).tolist() == [0, 1, 2, UNREACHABLE]
    assert description.purposes() == ("a", "b")
    assert description.purpose_of_actions(observation).tolist() == [0, 0, 1]
    empty = {"node_mask": np.zeros(5, np.uint8), "edges": edges * 0}
    assert description.distances(empty).tolist() == []


def test_environments_without_a_description_get_numbers():
    env = make_env("regimes")
    assert describe(env).node_type_names == ("ego", "plain", "beacon 0", "beacon 1", "beacon 2", "beacon 3")
    assert describe(env).edge_type_names == ("tie", "decoy")
    del env.unwrapped.description
    assert describe(env).action_names == ("0", "1", "2", "3")
    assert describe(env).node_type_names == tuple(f"type {kind}" for kind in range(6))
    assert describe(env).edge_type_names == ("type 1", "type 2")


class Rooms(GraphDescription):
    """A description with arguments of its own."""

    def __init__(self, rooms: int) -> None:
        super().__init__(role_names=tuple(f"room {number}" for number in range(rooms)))


def test_a_subclass_may_have_arguments_of_its_own() -> None:
    env = make_env("regimes")
    env.unwrapped.description = Rooms(2)
    assert describe(env).action_names == ("0", "1", "2", "3")
    assert (describe(env).role_names, describe(env).without_roles().role_names) == (("room 0", "room 1"), ())


def test_experts_bear_the_roles_names_where_there_are_as_many() -> None:
    roles = ("fight", "go_down")
    assert expert_names(2, roles) == ["fight", "go down"]
    assert expert_names(3, roles) == ["expert 0", "expert 1", "expert 2"]
    assert expert_names(1) == ["expert 0"]
