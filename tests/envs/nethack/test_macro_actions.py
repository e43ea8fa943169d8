"""Macro-actions: what they type, what each costs in steps, when they are legal, and what is remembered for them."""

import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.nethack.actions import ACTION_KEYS, EAT, FIRST_MOVE, KEY_ESCAPE, KEY_SPACE, NUM_ACTIONS
from rllib_moe.envs.nethack.features import feature_names
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.macro_actions import MACRO_ACTIONS, MACRO_FEATURES, MacroAction, MacroMemory
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy
from tests.envs.nethack.conftest import QUIET_SEED, monster
from tests.envs.nethack.watch import HERO, Watch

WEST = 3


def watching():
    return Watch(MacroMemory("mon-hum-neu-mal"), MACRO_FEATURES, MACRO_ACTIONS)


@pytest.fixture
def told(make_env):
    """A game with macro-actions, and the list of the keys that it is told."""
    env = make_env(actions="macro", max_steps=3000)
    env.reset(seed=QUIET_SEED)
    keys, press = [], env._game.press
    env._game.press = lambda key: keys.append(key) or press(key)
    return env, keys


def hurt(env):
    """Make the hero believe that its hit points are not whole, for as long as nothing heals."""
    env._game.blstats[nethack.NLE_BL_HPMAX] = env._game.living_blstats[nethack.NLE_BL_HPMAX] = 99


def test_rest_types_searches_and_counts_each(told):
    env, keys = told
    press = env._game.press
    env._game.press = lambda key: (press(key), hurt(env))[0]
    lengths = []
    for _ in range(3):  # the first finds a hidden door
        before = env._tally.steps
        keys.clear()
        env.step(MacroAction.REST)
        assert set(keys) == {ord("s")}
        assert env._tally.steps - before == len(keys)
        lengths.append(len(keys))
    assert lengths[0] < 20
    assert max(lengths) == 20


def test_a_rest_ends_when_the_hero_is_healed(told):
    env, keys = told
    env.step(MacroAction.REST)
    assert keys == [ord("s")]


def test_a_rest_ends_with_the_steps(make_env):
    env = make_env(actions="macro", max_steps=30)
    env.reset(seed=QUIET_SEED)
    press = env._game.press
    env._game.press = lambda key: (press(key), hurt(env))[0]
    while not env.step(MacroAction.REST)[3]:
        assert env._tally.steps < 30
    assert env._tally.steps == 30


@pytest.mark.parametrize("what", ["wound", "in sight", "beside", "hunger", "find", "question", "death", "nothing"])
def test_what_happens_ends_a_rest(what, tmp_path):
    game = Game(character="mon-hum-neu-mal", temp_root=str(tmp_path))
    game.start(1, 1)
    stats, presses = game.living_blstats, []
    stats[nethack.NLE_BL_HPMAX] = 99
    y, x = int(stats[nethack.NLE_BL_Y]), int(stats[nethack.NLE_BL_X])
    game.glyphs[0, 0] = nethack.GLYPH_MON_OFF

    def press(key):
        presses.append(key)
        if len(presses) < 3:
            return False
        if what == "wound":
            stats[nethack.NLE_BL_HP] -= 1
        elif what == "in sight":
            game.glyphs[0, len(presses)] = nethack.GLYPH_MON_OFF
        elif what == "beside":
            game.glyphs[0, 0], game.glyphs[y, x + 1] = nethack.GLYPH_CMAP_OFF, nethack.GLYPH_MON_OFF
        elif what == "hunger":
            stats[nethack.NLE_BL_HUNGER] = 2
        elif what == "find":
            game.message[:14] = np.frombuffer(b"You find a dor", np.uint8)
        elif what == "question":
            game.misc[0] = 1
        return what == "death"

    game.press = press
    played = MacroMemory("mon-hum-neu-mal").play(game, MacroAction.REST, 10)
    assert played.steps == len(presses) == (10 if what == "nothing" else 3)
    assert played.is_over == (what == "death")
    game.close()


def test_hunger_is_met_by_what_a_key_of_the_23_can_choose(told):
    env, keys = told
    hunger = env._game.living_blstats[nethack.NLE_BL_HUNGER :][:1]
    hunger[:] = 2
    observation, *_ = env._observe()
    meals = 0
    while observation["action_mask"][MacroAction.EAT_PACK]:
        keys.clear()
        env.step(MacroAction.EAT_PACK)
        meals += b"h" in bytes(keys)
        assert set(keys) <= {*ACTION_KEYS, KEY_SPACE, KEY_ESCAPE}
        hunger[:] = 2
        observation, *_ = env._observe()
    assert meals > 0
    assert keys[-1] == KEY_ESCAPE  # the rest of the food lies under other letters


def lay_newt_beside(env):
    """Let the hero believe that a fresh newt lies beside; return the direction."""
    y, x = int(env._game.living_blstats[nethack.NLE_BL_Y]), int(env._game.living_blstats[nethack.NLE_BL_X])
    corpses = env._memory.further._corpses[env._memory.place]
    observation, *_ = env._observe()
    direction = int(np.flatnonzero(observation["action_mask"][FIRST_MOVE : FIRST_MOVE + 4])[0])
    dy, dx = ((-1, 0), (0, 1), (1, 0), (0, -1))[direction]
    corpses.kind[y + dy, x + dx], corpses.since[y + dy, x + dx] = monster("newt"), 1
    observation, *_ = env._observe()
    assert observation["action_mask"][MacroAction.EAT_CORPSE]
    return direction


def test_a_corpse_beside_is_walked_to_and_eaten(told):
    env, keys = told
    direction = lay_newt_beside(env)
    env.step(MacroAction.EAT_CORPSE)
    assert keys[:2] == [ACTION_KEYS[FIRST_MOVE + direction], ACTION_KEYS[EAT]]
    assert env._tally.steps == 2  # there is none in truth, so the pack's question is closed
    assert not env._game.misc.any()
    assert not env._observe()[0]["action_mask"][MacroAction.EAT_CORPSE]


def test_a_hero_who_is_held_back_eats_nothing(told):
    env, keys = told
    direction = lay_newt_beside(env)
    press = env._game.press
    env._game.press = lambda key: press(ord("s") if key == ACTION_KEYS[FIRST_MOVE + direction] else key)  # a pit, say
    env.step(MacroAction.EAT_CORPSE)
    assert keys == [ord("s")]
    assert not env._observe()[0]["action_mask"][MacroAction.EAT_CORPSE], "it is not tried again"


def test_meals_are_eaten_and_counted(make_env):
    """In real games most meals are finished, also from piles, and the hero's count is near the game's own."""
    env = make_env(actions="macro", max_steps=1500)
    said, errors = [], []
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        player, memory, ended = ScriptedStairsPolicy(seed), env._memory.further, False
        play = memory.play

        def listen(game, action, steps_left, play=play):
            played = play(game, action, steps_left)
            if action == MacroAction.EAT_CORPSE:
                said.append(played.messages)
            return played

        memory.play = listen
        while not ended:
            observation, _, terminated, truncated, _ = env.step(player.act(observation))
            ended = terminated or truncated
            if not ended:
                errors.append(abs(memory._nutrition - env._game.internal[7]))
    finished = [message for message in said if b"finish eating" in message or b"tast" in message]
    assert len(said) >= 20
    assert len(finished) > 0.6 * len(said)
    assert any(b"several objects here" in message or b"Things that are here" in message for message in finished)
    assert np.median(errors) < 40


@pytest.mark.parametrize("steps_left", [1, 2, 3])
def test_no_meal_takes_more_steps_than_are_left(steps_left, told):
    env, _ = told
    assert env._memory.further.play(env._game, MacroAction.EAT_PACK, steps_left).steps <= steps_left
    assert not env._game.misc.any()


def test_a_rest_is_for_the_hurt():
    watch = watching()
    assert "rest" not in watch.legal()
    watch.happens(FIRST_MOVE, HP=19)
    assert "rest" in watch.legal()
    assert "rest" not in watch.legal(monster_adjacent=True)


def test_only_a_good_corpse_that_can_be_reached_is_eaten():
    watch = watching()
    assert "eat_corpse" not in watch.legal()
    watch.falls("gnome")
    assert "eat_corpse" in watch.legal()
    assert watch.write()[0]["corpse_near"] == 1
    assert "eat_corpse" not in watch.legal(moves=np.eye(8, dtype=np.uint8)[WEST])
    assert "eat_corpse" not in watch.legal(monster_adjacent=True)
    watch.happens(FIRST_MOVE, HUNGER=0)
    assert "eat_corpse" not in watch.legal()
    watch.happens(FIRST_MOVE, HUNGER=1, TIME=40)
    assert "eat_corpse" not in watch.legal(), "it is too old"
    watch.falls("kobold", (10, 39))
    assert "eat_corpse" not in watch.legal(), "it is poisonous"


def test_nutrition_is_what_the_hero_can_know():
    watch = watching()
    assert watch.write()[0]["nutrition"] == pytest.approx(0.9)
    watch.falls("gnome", TIME=101)
    assert watch.write()[0]["nutrition"] == pytest.approx(0.8)
    watch.glyphs[HERO[0], HERO[1] + 1] = nethack.GLYPH_MON_OFF + monster("monk")
    watch.happens(MacroAction.EAT_CORPSE, b"You finish eating the gnome corpse.", X=HERO[1] + 1)
    assert watch.write()[0]["nutrition"] == pytest.approx(0.9)
    watch.happens(FIRST_MOVE, TIME=601, HUNGER=2)
    assert watch.write()[0]["nutrition"] == pytest.approx(0.15), "the game says that it is hungry"
    watch.happens(MacroAction.EAT_PACK, b"That was delicious!", HUNGER=1)
    assert watch.write()[0]["nutrition"] == pytest.approx(0.23)
    assert watch.write()[0]["food_left"] == 1
    watch.happens(MacroAction.EAT_PACK, b"Never mind.", HUNGER=4)
    features = watch.write()[0]
    assert (features["nutrition"], features["food_left"], features["last_action_eat_pack"]) == (0, 0, 1)


def test_play_with_macro_actions_stays_in_the_space_and_types_keys_of_the_23(make_env):
    env = make_env(actions="macro", max_steps=1000)
    assert env.action_space.n == NUM_ACTIONS + 3 == len(env.description.action_names)
    assert env.observation_space["features"].shape == (len(feature_names(path_summary=True)) + len(MACRO_FEATURES),)
    rng, played = np.random.default_rng(0), set()
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        keys, press = [], env._game.press
        env._game.press = lambda key, keys=keys, press=press: keys.append(key) or press(key)
        ended = False
        while not ended:
            check_observation(observation, env.observation_space)
            legal = np.flatnonzero(observation["action_mask"])
            further = legal[legal >= NUM_ACTIONS]
            action = int(rng.choice(further if len(further) and rng.random() < 0.5 else legal))
            played |= {action} & set(MacroAction)
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
        assert set(keys) <= {*ACTION_KEYS, KEY_SPACE, KEY_ESCAPE}
        closing = sum(key in (KEY_SPACE, KEY_ESCAPE) for key in keys)
        assert env._tally.steps == len(keys) - closing
        env._game.press = press
    assert {MacroAction.REST, MacroAction.EAT_CORPSE} <= played


def test_the_purpose_of_each_macro_action_is_its_own(make_env):
    env = make_env(actions="macro")
    observation, _ = env.reset(seed=0)
    purposes = env.description.purpose_of_actions(observation)
    assert [env.description.purposes()[i] for i in purposes[NUM_ACTIONS:]] == list(MACRO_ACTIONS)
