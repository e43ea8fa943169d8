import numpy as np
import pytest

from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack import scene_graph
from rllib_moe.envs.nethack.actions import DIRECTION_NAMES
from rllib_moe.envs.nethack.candidates import FRONTIER_SPACING, MAX_SEARCHES, MOST_OF_TYPE
from rllib_moe.envs.nethack.observation import ObservationBuilder
from rllib_moe.envs.nethack.scene_graph import (
    ADJACENT,
    AVOID,
    CLOSED,
    CLOSENESS,
    DX,
    DY,
    EDGE_EGO,
    EDGE_NEAR,
    EDGE_TOUCHING,
    FIRST_STEP,
    LOCKED,
    NEAREST_OF_TYPE,
    REACHABLE,
    WALKING_DISTANCE,
)


def node(observation, node_type):
    """The only node of a type."""
    (index,) = np.flatnonzero(observation["node_types"] == node_type)
    return observation["nodes"][index]


def step_name(row):
    steps = np.flatnonzero(row[FIRST_STEP : FIRST_STEP + 8])
    return DIRECTION_NAMES[steps[0]] if steps.size else None


def test_column_constants_match_their_names():
    single = [name for name in scene_graph.NODE_FEATURE_NAMES if not name.startswith("first_step_")]
    for name in single:
        assert scene_graph.NODE_FEATURE_NAMES[getattr(scene_graph, name.upper())] == name
    assert scene_graph.NODE_FEATURE_NAMES[FIRST_STEP] == "first_step_n"


def test_stairs_around_a_wall(draw):
    scene = draw(
        "-------",
        "|.@|>.|",
        "|..|..|",
        "|.....|",
        "-------",
    )
    observation, flags, cut, _ = scene.observe()
    stairs = node(observation, g.NODE_STAIRS_DOWN)
    # (1,2) S (2,2) SE (3,3) NE (2,4) N (1,4): four steps; two columns east, same row.
    assert stairs[WALKING_DISTANCE] == pytest.approx(4 / 100)
    assert stairs[CLOSENESS] == pytest.approx(1 / (1 + 4 / 8))
    assert step_name(stairs) == "S"
    assert stairs[DX] == pytest.approx(2 / 78)
    assert stairs[DY] == 0
    assert flags["stairs_known"]
    assert flags["stairs_reachable"]
    assert not flags["dead_end"]
    assert cut == 0
    check_observation(observation, ObservationBuilder(max_nodes=32).space)


def test_everything_becomes_a_node_of_its_type(draw):
    scene = draw(
        "----------",
        "|d.f.$.%.|",
        "|@.<.>._.|",
        "|{.^.0.O.|",
        "----+-----",
    )
    observation, flags, _, _ = scene.observe()
    present = set(observation["node_types"][observation["node_mask"] == 1].tolist())
    expected = {
        *(g.NODE_EGO, g.NODE_MONSTER, g.NODE_PET, g.NODE_GOLD, g.NODE_ITEM, g.NODE_STAIRS_UP, g.NODE_STAIRS_DOWN),
        *(g.NODE_ALTAR, g.NODE_FOUNTAIN, g.NODE_TRAP, g.NODE_BOULDER, g.NODE_HOLE, g.NODE_DOOR),
    }
    # The closed door is also the one frontier: nobody has looked behind it.
    assert present == expected | {g.NODE_FRONTIER}
    assert observation["node_types"][0] == g.NODE_EGO
    assert flags["monster_adjacent"]
    assert node(observation, g.NODE_MONSTER)[ADJACENT] == 1
    assert step_name(node(observation, g.NODE_MONSTER)) == "N"
    # A trap door cannot be walked across, but walked into.
    assert node(observation, g.NODE_HOLE)[REACHABLE] == 1
    assert node(observation, g.NODE_DOOR)[CLOSED] == 1


def test_edges(draw):
    scene = draw("-----------------", "|@.$%..........<|", "-----------------")
    observation, *_ = scene.observe()
    types, edges = observation["node_types"], observation["edges"]
    gold, food, stairs = (int(np.flatnonzero(types == t)[0]) for t in (g.NODE_GOLD, g.NODE_ITEM, g.NODE_STAIRS_UP))
    count = int(observation["node_mask"].sum())
    assert (edges[0, 1:count] == EDGE_EGO).all()
    assert edges[gold, food] == EDGE_TOUCHING
    # Gold is 12 columns from the stairs, out of reach; a cell between would be near.
    assert edges[gold, stairs] == 0
    assert (edges == edges.T).all()
    assert (np.diag(edges) == 0).all()
    assert not edges[count:].any()
    near = draw("-------", "|@$..%|", "-------").observe()[0]
    assert EDGE_NEAR in near["edges"]


def test_walls_door_and_frontier(draw):
    # A closed room with one doorway; beyond it nothing has been seen.
    scene = draw("-----", "|...|", "|.@.:", "|...|", "-----")
    observation, flags, _, _ = scene.observe()
    frontier = node(observation, g.NODE_FRONTIER)
    assert step_name(frontier) == "E"
    assert frontier[WALKING_DISTANCE] == pytest.approx(2 / 100)
    assert flags["frontier_near"]


def test_visited_frontier_is_gone_and_a_searched_dead_end_given_up(draw):
    scene = draw("   ", "##@", "   ")
    hero_y, hero_x = int(scene.blstats[1]), int(scene.blstats[0])
    # The hero has run along the corridor from the west: both its ends are search spots now, neither a frontier.
    scene.memory.arrive(hero_y, hero_x - 2, None)
    scene.memory.arrive(hero_y, hero_x, (hero_y, hero_x - 2))
    scene.memory.terrain[hero_y, hero_x] = g.CORRIDOR

    def spots():
        observation, *_ = scene.observe()
        assert g.NODE_FRONTIER not in observation["node_types"]
        found = observation["nodes"][observation["node_types"] == g.NODE_SEARCH_SPOT]
        return sorted(round(float(row[DX]) * 78) for row in found)

    assert spots() == [-2, 0]
    for _ in range(MAX_SEARCHES):
        scene.memory.search(hero_y, hero_x)
    assert spots() == [-2]


def test_too_many_nodes_are_cut_nearest_first_and_counted(draw):
    # 30 pieces of food nearer than the stairs; room for 8 nodes.
    scene = draw("@" + "%" * 30 + ">")
    observation, _, cut, _ = scene.observe(max_nodes=8)
    assert observation["node_mask"].sum() == 8
    types = observation["node_types"].tolist()
    assert types[0] == g.NODE_EGO
    assert types[1] == g.NODE_STAIRS_DOWN
    full, _, none_cut, _ = scene.observe(max_nodes=64)
    assert none_cut == 0
    assert cut == full["node_mask"].sum() - 8
    distances = observation["nodes"][2:8, WALKING_DISTANCE]
    items = observation["node_types"][2:8] == g.NODE_ITEM
    assert (np.diff(distances[items]) > 0).all()
    again, *_ = scene.observe(max_nodes=8)
    assert all((again[leaf] == observation[leaf]).all() for leaf in observation)


def test_frontiers_do_not_crowd_out(draw):
    # A dark hall: every cell two steps away borders the unseen; only spaced ones become nodes.
    rows = ["." * 40 for _ in range(11)]
    rows[5] = "." * 20 + "@" + "." * 19
    observation, *_ = draw(*rows).observe()
    frontiers = observation["nodes"][observation["node_types"] == g.NODE_FRONTIER]
    assert len(frontiers) == MOST_OF_TYPE[g.NODE_FRONTIER]
    cells = np.stack([np.rint(frontiers[:, DX] * 78), np.rint(frontiers[:, DY] * 20)], axis=1)
    gaps = np.abs(cells[:, None] - cells[None]).max(-1)
    assert gaps[~np.eye(len(cells), dtype=bool)].min() > FRONTIER_SPACING


def test_locked_door_and_harmful_monster(draw):
    scene = draw("------", "|...e|", "|@+$ |", "------")
    hero_y, hero_x = int(scene.blstats[1]), int(scene.blstats[0])
    scene.memory.lock(hero_y, hero_x, 1)
    observation, *_ = scene.observe()
    assert node(observation, g.NODE_DOOR)[LOCKED] == 1
    assert node(observation, g.NODE_MONSTER)[AVOID] == 1
    # A door no longer closed is no longer locked.
    scene.glyphs[hero_y, hero_x + 1] = 2359 + 12
    observation, *_ = scene.observe()
    assert not scene.memory.locked.any()


def test_nearest_of_type_marks_the_first_of_each(draw):
    observation, *_ = draw("@$$$").observe()
    gold = observation["nodes"][observation["node_types"] == g.NODE_GOLD]
    assert gold[:, NEAREST_OF_TYPE].tolist() == [1, 0, 0]


def test_features_stay_within_one(draw):
    scene = draw("@.>$d", HP=900, HPMAX=900, AC=-20, GOLD=10**9, SCORE=10**9, XP=30, DEPTH=50, HUNGER=6, CONDITION=8191)
    observation, *_ = scene.observe()
    assert np.abs(observation["features"]).max() <= 1
    assert np.abs(observation["nodes"]).max() <= 1
