import numpy as np
import pytest

from rllib_moe.envs.description import UNREACHABLE
from rllib_moe.envs.nethack.action_sets import ACTION_SETS
from rllib_moe.envs.nethack.actions import ACTION_NAMES, NUM_ACTIONS
from rllib_moe.envs.nethack.description import NetHackDescription
from rllib_moe.envs.nethack.glyphs import NODE_MONSTER, NODE_STAIRS_DOWN


def test_tells_what_actions_are_for_and_how_far_things_are(draw):
    observation, *_ = draw(
        "-----------",
        "|........>|",
        "|.d@......|",
        "|.........|",
        "-----------",
    ).observe()
    description = NetHackDescription()
    names = description.purposes()
    purposes = [names[each] for each in description.purpose_of_actions(observation)]
    by_action = dict(zip(ACTION_NAMES, purposes, strict=True))
    assert by_action["move_W"] == by_action["run_W"] == "fight"
    toward = [name for name in ACTION_NAMES if by_action[name] == "to the way down"]
    assert len(toward) == 2
    assert toward[0].removeprefix("move_") in ("E", "NE", "SE")
    assert (by_action["search"], by_action["kick"], by_action["move_SW"]) == ("search", "kick", "elsewhere")
    distances = description.distances(observation)
    types = observation["node_types"][: len(distances)]
    assert distances[0] == 0
    assert distances[types == NODE_STAIRS_DOWN].tolist() == [6]
    assert distances[types == NODE_MONSTER].tolist() == [1]


def test_out_of_reach_is_no_distance(draw):
    observation, *_ = draw("-------", "|@.|.>|", "-------").observe()
    distances = NetHackDescription().distances(observation)
    types = observation["node_types"][: len(distances)]
    assert distances[types == NODE_STAIRS_DOWN].tolist() == [UNREACHABLE]


@pytest.mark.parametrize("actions", ["macro", "extended"])
def test_the_purpose_of_each_further_action_is_its_own(make_env, actions):
    env = make_env(actions=actions)
    observation, _ = env.reset(seed=0)
    purposes = env.description.purpose_of_actions(observation)[NUM_ACTIONS:]
    assert [env.description.purposes()[each] for each in purposes] == list(ACTION_SETS[actions].names)


def test_the_screen_is_shown_on_demand_only(make_env):
    plain, shown = make_env(), make_env(render_mode="ansi")
    with pytest.raises(RuntimeError, match=r"render\(\) needs an episode: call reset\(\) first"):
        shown.render()
    first, second = plain.reset(seed=3)[0], shown.reset(seed=3)[0]
    assert plain.render() is None
    assert all(np.array_equal(first[leaf], second[leaf]) for leaf in first)
    text = shown.render()
    assert len(text.split("\n")) == 24
    assert "Dlvl:1" in "".join(part.partition("m")[2] for part in text.split("\x1b[")[1:])
    y, x = shown.node_positions()[0]
    assert text.split("\n")[y + 1].split("\x1b[")[1:][x].endswith("m@")
    with pytest.raises(ValueError, match="render_mode: expected 'ansi', got 'human'"):
        make_env(render_mode="human")
