import numpy as np
import pytest

from rllib_moe.envs.nethack.scene_flags import ROLE_NAMES
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy

ROOM = ("-----", "|...|", "|.@.|", "|...|", "-----")  # neither a way on nor anything to see: a dead end


def roles(scene):
    return dict(zip(ROLE_NAMES, scene.observe()[0]["roles"].tolist(), strict=True))


def test_points_by_hand(draw):
    # A dead end, 2, and 1/2 always; then with more to see.
    assert roles(draw(*ROOM)) == pytest.approx({"survival": 0, "combat": 0, "exploration": 0.8, "general": 0.2})
    hurt = roles(draw(*ROOM, HP=4, HPMAX=16, HUNGER=2))  # 6 * 3/4 + 3 = 7.5
    assert hurt == pytest.approx({"survival": 0.75, "combat": 0, "exploration": 0.2, "general": 0.05})
    assert roles(draw(*ROOM, HP=-1, HPMAX=16))["survival"] == pytest.approx(6 / 8.5)
    # Gold is worth 1, the way down 2, a monster seen 2, one beside the hero 4 more.
    seen = roles(draw("------", "|@.$>|", "|...d|", "------"))
    assert seen == pytest.approx({"survival": 0, "combat": 2 / 5.5, "exploration": 2 / 5.5, "general": 1.5 / 5.5})
    beside = roles(draw("----", "|@d|", "----"))
    assert beside == pytest.approx({"survival": 0, "combat": 6 / 8.5, "exploration": 2 / 8.5, "general": 0.5 / 8.5})
    frontier = roles(draw("----", "|@.:", "----"))
    assert frontier["exploration"] == pytest.approx(1 / 1.5)


def test_an_open_question_is_nobodys_but_the_generalists(draw):
    scene = draw(*ROOM)
    scene = scene._replace(circumstances=scene.circumstances._replace(prompt=3))
    assert roles(scene)["general"] == pytest.approx(8.5 / 10.5)


@pytest.mark.parametrize("player", ["random-legal", "scripted"])
def test_each_role_leads_in_some_hundredths_of_the_states(make_env, player):
    env = make_env()
    leads = np.zeros(len(ROLE_NAMES))
    for seed in range(12):
        rng, script = np.random.default_rng(seed), ScriptedStairsPolicy(seed)
        observation, ended = env.reset(seed=seed)[0], False
        while not ended:
            leads[observation["roles"].argmax()] += 1
            legal = np.flatnonzero(observation["action_mask"])
            action = script.act(observation) if player == "scripted" else int(rng.choice(legal))
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
    # 60 games: 5 to 61 % (scene_flags.py).
    assert (leads / leads.sum() > 0.02).all(), leads
