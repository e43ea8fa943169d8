"""Walks: where they lead, what ends them, and that the 23 actions play the same game in as many steps."""

import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.nethack.actions import DOWN, FIRST_MOVE, NUM_ACTIONS, SEARCH
from rllib_moe.envs.nethack.candidates import MAX_SEARCHES
from rllib_moe.envs.nethack.glyphs import CORRIDOR, STAIRS_DOWN
from rllib_moe.envs.nethack.prompts import Prompt
from rllib_moe.envs.nethack.walks import MAX_KEYS, WALKS, next_key
from tests.envs.nethack.conftest import QUICK_SEED, play, random_legal

DESCEND, EXPLORE = NUM_ACTIONS, NUM_ACTIONS + 1
EAST = FIRST_MOVE + 1


def key(scene, walk):
    return next_key(walk, scene.observe()[0])


def test_descend_walks_to_the_nearest_way_down_and_takes_it(draw):
    assert key(draw("|>.....@..>|"), "descend") == (EAST, 3)
    assert key(draw("|O@.......>|"), "descend") == (FIRST_MOVE + 3, 1), "a hole leads down too"
    assert key(draw("|..@...|"), "descend") is None
    scene = draw("|..@.>|")
    scene.memory.terrain[scene.blstats[1], scene.blstats[0]] = STAIRS_DOWN
    assert key(scene, "descend") == (DOWN, 0)


def test_explore_walks_to_the_nearest_frontier_and_else_searches_a_dead_end(draw):
    ahead = key(draw("-----", "|@..#", "-----"), "explore")
    assert (ahead.action, ahead.left) == (EAST, 3)
    scene = draw("-----", "|.@.|", "-----")
    assert key(scene, "explore") is None, "a room without ways out has no dead end"
    scene = draw("---", ":@|", "---")
    scene.memory.visits[scene.blstats[1], scene.blstats[0] - 1] = 1
    spot = key(scene, "explore")
    assert (spot.action, spot.left) == (FIRST_MOVE + 3, 2)


def test_what_is_left_of_a_search_grows_less_until_the_dead_end_is_given_up(draw):
    scene = draw("#@")
    here = int(scene.blstats[1]), int(scene.blstats[0])
    scene.memory.terrain[here] = CORRIDOR
    scene.memory.visits[:] = 1
    left = []
    while (following := key(scene, "explore")).action == SEARCH:
        left.append(following.left)
        scene.memory.search(*here)
    assert left[0] == 1
    assert len(set(left)) == MAX_SEARCHES
    assert left == sorted(left, reverse=True)
    assert following.left > left[-1], "the next dead end ends the walk"


@pytest.fixture
def told(make_env):
    """A game with walks, and the list of the actions among the 23 that it is told."""
    env = make_env(actions="score", walks=True, max_steps=2000)
    played, play_one = [], env._play
    env._play = lambda action: played.append(action) or play_one(action)
    return env, played


def choose_walk(observation):
    legal = np.flatnonzero(observation["action_mask"])
    return int(legal[-1]) if len(legal) and legal[-1] >= NUM_ACTIONS else SEARCH


def test_walks_alone_lead_to_the_second_level(told):
    env, played = told

    def down_first(observation):
        return DESCEND if observation["action_mask"][DESCEND] else choose_walk(observation)

    lengths = [len(played)]
    for *_, info in play(env, QUICK_SEED, down_first):
        lengths.append(len(played))
        if info["max_depth"] == 2:
            break
    assert info["max_depth"] == 2
    assert played[-1] == DOWN
    assert info["steps"] == len(played)
    assert max(np.diff(lengths)) > 3


@pytest.mark.parametrize("actions", ["score", "macro", "extended"])
def test_the_23_play_the_same_game_in_as_many_steps(actions, make_env):
    """Rewards, observations and info are those of the keys one by one, so that scores are comparable."""
    options = {"actions": actions, "max_steps": 400, "depth_bonus": 2.5, "tile_bonus": 0.1}
    env, other = make_env(walks=True, **options), make_env(**options)
    played, play_one = [], env._play
    env._play = lambda action: played.append(action) or play_one(action)
    choose, walked = random_legal(1, further=0.7), 0
    first, _ = other.reset(seed=QUICK_SEED)
    for observation, reward, terminated, truncated, info in play(env, QUICK_SEED, choose):
        check_observation(observation, env.observation_space)
        total, shaping, dismissed = 0.0, 0.0, 0
        for action in played:
            first, one, *ends, other_info = other.step(action)
            total, shaping = total + one, shaping + other_info["shaping"]
            dismissed += other_info["prompts_dismissed"]
        walked += len(played) > 1
        played.clear()
        assert reward == pytest.approx(total)
        assert ends == [terminated, truncated]
        assert info == other_info | {"shaping": pytest.approx(shaping), "prompts_dismissed": dismissed}
        for leaf in first:
            same = observation[leaf][: len(first[leaf])] if leaf == "action_mask" else observation[leaf]
            np.testing.assert_array_equal(same, first[leaf])
    assert walked > 5


@pytest.mark.parametrize("what", ["wound", "hunger", "in sight", "question", "held back"])
def test_what_happens_ends_a_walk(what, told):
    env, played = told
    env.reset(seed=QUICK_SEED)
    game, press = env._game, env._game.press

    def interfere(code):
        if what == "held back" and len(played) == 2:
            return press(ord("s"))
        is_over = press(code)
        if len(played) == 2:
            for stats in (game.blstats, game.living_blstats):
                stats[nethack.NLE_BL_HP] -= what == "wound"
                stats[nethack.NLE_BL_HUNGER] += what == "hunger"
            if what == "in sight":
                game.glyphs[0, :5] = nethack.GLYPH_MON_OFF
        return is_over

    long_walk = find_long_walk(env)
    if what == "question":
        play_one = env._play

        def ask(action):
            result = play_one(action)
            if len(played) == 2:
                env._prompt = Prompt.EAT
            return result

        env._play = ask
    game.press = interfere
    played.clear()
    env.step(long_walk)
    assert len(played) == 2


def find_long_walk(env):
    """Walk until the next walk is a way of five steps or more on a quiet level, and return it."""
    for _ in range(50):
        observation = env._observation
        for walk in (EXPLORE, DESCEND):
            following = next_key(WALKS[walk - NUM_ACTIONS], observation)
            if following is not None and following.left >= 5:
                return walk
        env.step(choose_walk(observation))
    raise AssertionError("no long walk found")


def test_a_walk_ends_with_the_steps_and_is_never_longer_than_it_may(make_env, told):
    env = make_env(walks=True, max_steps=3)
    env.reset(seed=QUICK_SEED)
    while not (truncated := env.step(EXPLORE)[3]):
        pass
    assert truncated
    assert env._tally.steps == 3
    env, played = told
    env.reset(seed=0)
    longest = 0
    for _ in range(60):
        played.clear()
        env.step(choose_walk(env._observation))
        longest = max(longest, len(played))
    assert 1 < longest <= MAX_KEYS


def test_a_walk_without_a_goal_is_one_search(told):
    env, played = told
    observation, _ = env.reset(seed=QUICK_SEED)
    assert not observation["action_mask"][DESCEND]
    env.step(DESCEND)
    assert played == [SEARCH]


def test_no_walk_is_legal_while_a_question_is_open(make_env):
    env = make_env(walks=True)
    observation, _ = env.reset(seed=QUICK_SEED)
    assert observation["action_mask"][EXPLORE]
    observation, *_ = env.step(20)  # kick
    assert env._prompt == Prompt.DIRECTION
    assert not observation["action_mask"][NUM_ACTIONS:].any()


@pytest.mark.parametrize("actions", ["score", "macro", "extended"])
def test_walks_are_named_and_steps_measured(actions, make_env):
    plain, env = make_env(actions=actions), make_env(actions=actions, walks=True)
    assert env.description.action_names == plain.description.action_names + WALKS
    assert env.action_space.n == plain.action_space.n + 2
    assert env.observation_space["features"] == plain.observation_space["features"]
    assert [each.key for each in env.description.episode_measures].count("steps") == 1
    assert {*WALKS} < {*env.description.purposes()}
