import numpy as np

from rllib_moe.envs.nethack.actions import DOWN, FIRST_MOVE, KICK, MORE, NUM_ACTIONS, SEARCH
from rllib_moe.envs.nethack.glyphs import STAIRS_DOWN
from rllib_moe.envs.nethack.scripted import _HP, ScriptedStairsPolicy
from rllib_moe.envs.nethack.survival import SurvivalAction
from tests.envs.nethack.conftest import play, random_legal

SEEDS = range(100, 110)
EAST, SOUTH = FIRST_MOVE + 1, FIRST_MOVE + 2


def act(scene):
    return ScriptedStairsPolicy().act(scene.observe()[0])


def test_walks_to_stairs_and_descends(draw):
    scene = draw("|@..>|")
    assert act(scene) == EAST
    scene.memory.terrain[scene.blstats[1], scene.blstats[0]] = STAIRS_DOWN
    assert act(scene) == DOWN


def test_fights_first_and_leaves_floating_eyes_alone(draw):
    assert act(draw("|@..>|", "|d|   ")) == SOUTH
    assert act(draw("|@..>|", "|e|   ")) == EAST


def test_kicks_locked_doors_and_answers_the_direction(draw):
    scene = draw("----", "|@+ ", "----")
    scene.memory.lock(int(scene.blstats[1]), int(scene.blstats[0]), 1)
    assert act(scene) == KICK


def test_searches_when_nothing_is_left(draw):
    assert act(draw("---", "|@|", "---")) == SEARCH


def test_accepts_an_all_zero_observation(draw):
    observation = {leaf: np.zeros_like(value) for leaf, value in draw("@").observe()[0].items()}
    observation["action_mask"][MORE] = 1
    assert ScriptedStairsPolicy().act(observation) == MORE


def mean_score(env, choose):
    return np.mean([list(play(env, seed, choose))[-1][-1]["score"] for seed in SEEDS])


def test_beats_random_on_a_fixed_list(make_env):
    policy = ScriptedStairsPolicy()
    scripted = mean_score(make_env(), policy.act)
    unmasked = mean_score(make_env(action_mask=False), policy.act)
    random = mean_score(make_env(), random_legal(0))
    uniform = mean_score(make_env(action_mask=False), random_legal(0))
    # Reference means: uniform 10, masked random 28, scripted 240.
    assert scripted > 3 * random
    assert random > uniform
    assert unmasked > 3 * uniform


def test_sees_to_itself_first_where_it_can(make_env):
    env = make_env(actions="extended")
    observation, _ = env.reset(seed=2)
    player = ScriptedStairsPolicy()
    assert player.act(observation) < NUM_ACTIONS
    observation["features"][_HP] = 0.5
    assert player.act(observation) == SurvivalAction.REST
    for action in (SurvivalAction.EAT_PACK, SurvivalAction.PRAY):
        observation["action_mask"][action] = 1
        assert player.act(observation) == action


def test_with_macro_actions_it_rests_and_eats_by_their_own_numbers(make_env):
    env = make_env(actions="macro")
    observation, _ = env.reset(seed=2)
    player = ScriptedStairsPolicy()
    observation["features"][_HP] = 0.5
    observation["action_mask"][-3:] = 1, 0, 0
    assert env.description.action_names[player.act(observation)] == "rest"
    observation["action_mask"][-1] = 1
    assert env.description.action_names[player.act(observation)] == "eat_corpse"
