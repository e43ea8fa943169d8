import numpy as np
import pytest

from rllib_moe.envs.nethack.scene_flags import ROLE_NAMES
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy
from tests.envs.nethack.conftest import play, random_legal

ROOM = ("-----", "|...|", "|.@.|", "|...|", "-----")  # neither a way on nor anything to see: a dead end


def roles(scene):
    return dict(zip(ROLE_NAMES, scene.observe()[0]["roles"].tolist(), strict=True))


def shares(**points):
    cubes = {name: points.get(name, 0) ** 3 for name in ROLE_NAMES}
    return pytest.approx({name: cube / sum(cubes.values()) for name, cube in cubes.items()})


def test_points_by_hand(draw):
    # A dead end, 2, and 1/2 always; then with more to see.
    assert roles(draw(*ROOM)) == shares(exploration=2, general=0.5)
    hurt = roles(draw(*ROOM, HP=4, HPMAX=16, HUNGER=2))
    assert hurt == shares(survival=6 * 3 / 4 + 3, exploration=2, general=0.5)
    assert roles(draw(*ROOM, HP=-1, HPMAX=16)) == shares(survival=6, exploration=2, general=0.5)
    # Gold is worth 1, the way down 2, a monster seen 2, one beside the hero 4 more.
    seen = roles(draw("------", "|@.$>|", "|...d|", "------"))
    assert seen == shares(combat=2, exploration=2, general=1.5)
    assert roles(draw("----", "|@d|", "----")) == shares(combat=6, exploration=2, general=0.5)
    assert roles(draw("----", "|@.:", "----")) == shares(exploration=1, general=0.5)


def test_an_open_question_is_nobodys_but_the_generalists(draw):
    scene = draw(*ROOM)
    scene = scene._replace(circumstances=scene.circumstances._replace(prompt=3))
    assert roles(scene) == shares(exploration=2, general=8.5)


@pytest.mark.parametrize("player", ["random-legal", "scripted"])
def test_each_role_leads_in_some_hundredths_of_the_states(make_env, player):
    env = make_env()
    leads = np.zeros(len(ROLE_NAMES))
    for seed in range(12):
        choose = ScriptedStairsPolicy(seed).act if player == "scripted" else random_legal(seed)
        for observation, *_ in play(env, seed, choose):
            leads[observation["roles"].argmax()] += 1
    # 60 games: 5 to 61 % (scene_flags.py).
    assert (leads / leads.sum() > 0.02).all(), leads
