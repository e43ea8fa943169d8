from types import SimpleNamespace

import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.nethack.actions import EAT, FIRST_MOVE, NUM_ACTIONS
from rllib_moe.envs.nethack.corpses import FRESH_TURNS, safe_corpses
from rllib_moe.envs.nethack.features import feature_names
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.survival import (
    PRAYER_INTERVAL,
    SURVIVAL_ACTIONS,
    SURVIVAL_FEATURES,
    SurvivalAction,
    SurvivalMemory,
    low_hit_points,
    type_keys,
)
from tests.envs.nethack.conftest import QUIET_SEED, monster
from tests.envs.nethack.watch import BESIDE, HERO, Watch


@pytest.fixture
def game(tmp_path):
    made = Game(character="mon-hum-neu-mal", temp_root=str(tmp_path))
    made.start(1, 1)
    yield made
    made.close()


def watching():
    return Watch(SurvivalMemory("mon-hum-neu-mal"), SURVIVAL_FEATURES, SURVIVAL_ACTIONS)


def test_rest_passes_turns_in_one_step(make_env):
    env = make_env(actions="extended")
    env.reset(seed=2)
    before = env._game.living_blstats[nethack.NLE_BL_TIME]
    env.step(SurvivalAction.REST)
    assert 10 <= env._game.living_blstats[nethack.NLE_BL_TIME] - before <= 20


def test_hunger_is_met_from_the_pack_and_then_by_prayer(make_env):
    env = make_env(actions="extended", max_steps=1000)
    observation, _ = env.reset(seed=QUIET_SEED)
    hunger = env._game.living_blstats[nethack.NLE_BL_HUNGER :][:1]
    while hunger < 2:
        assert not observation["action_mask"][[SurvivalAction.EAT_PACK, SurvivalAction.PRAY]].any()
        observation, *_ = env.step(SurvivalAction.REST)
    assert observation["action_mask"][SurvivalAction.EAT_PACK]
    nutrition = env._game.internal[7]
    observation, *_ = env.step(SurvivalAction.EAT_PACK)
    assert env._game.internal[7] > nutrition
    while hunger < 3:
        assert not observation["action_mask"][SurvivalAction.PRAY]
        observation, _, terminated, truncated, _ = env.step(SurvivalAction.REST)
        assert not terminated
        assert not truncated
    assert observation["action_mask"][SurvivalAction.PRAY]
    observation, *_ = env.step(SurvivalAction.PRAY)
    assert hunger == 1
    assert not observation["action_mask"][SurvivalAction.PRAY]


def test_potions_are_drunk_until_there_are_none(game):
    watch = watching()
    watch.set(HP=10)
    assert "quaff" in watch.legal()
    for _ in range(3):
        over, messages = type_keys(game, SurvivalAction.QUAFF)
        watch.happens(SurvivalAction.QUAFF, messages)
        assert not over
        assert b"You feel better" in messages
    assert "quaff" in watch.legal()
    watch.happens(SurvivalAction.QUAFF, type_keys(game, SurvivalAction.QUAFF)[1])
    assert "quaff" not in watch.legal()
    watch.happens(FIRST_MOVE, b"j - a milky potion.")
    assert "quaff" in watch.legal()


def test_the_word_counts_once_it_is_read(tmp_path):
    """A letter in 25 goes wrong, so some of many games have it and some do not."""
    written = []
    for seed in range(12):
        game = Game(character="mon-hum-neu-mal", temp_root=str(tmp_path))
        game.start(seed, seed)
        over, messages = type_keys(game, SurvivalAction.ELBERETH)
        assert not over
        assert not game.misc.any()
        game.close()
        watch = watching()
        watch.set(HP=10)
        assert watch.legal(monster_adjacent=True) == {"elbereth", "quaff"}
        watch.happens(SurvivalAction.ELBERETH, messages)
        written.append("rest" in watch.legal(monster_adjacent=True))
        assert written[-1] != ("elbereth" in watch.legal(monster_adjacent=True))
        assert written[-1] == (b'"Elbereth"' in messages)
    assert 0 < sum(written) < len(written)


@pytest.mark.parametrize("what", ["attack", "wound", "step"])
def test_the_word_is_gone_after(what):
    watch = watching()
    watch.happens(SurvivalAction.ELBERETH, b'You want to write in the dust\nYou read: "Elbereth".', HP=10)
    watch.happens(SurvivalAction.REST)
    assert "rest" in watch.legal(monster_adjacent=True)
    if what == "attack":
        watch.happens(FIRST_MOVE)
    elif what == "wound":
        watch.happens(SurvivalAction.REST, HP=9)
    else:
        watch.happens(FIRST_MOVE, X=BESIDE[1])
    assert "rest" not in watch.legal(monster_adjacent=True)


def test_the_word_is_not_tried_twice_where_it_cannot_be_written():
    watch = watching()
    watch.happens(SurvivalAction.ELBERETH, b"You can't write on the fountain.", HP=10)
    assert "elbereth" not in watch.legal(monster_adjacent=True)
    watch.happens(FIRST_MOVE, X=BESIDE[1])
    assert "elbereth" in watch.legal(monster_adjacent=True)


def test_a_question_without_an_answer_is_closed(game):
    type_keys(game, SurvivalAction.EAT_CORPSE)  # there is none, so the game asks for something in the pack
    assert not game.misc.any()


def test_prayers_are_for_trouble_and_far_between():
    watch = watching()
    watch.set(TIME=100, HP=2)
    assert watch.write()[0]["trouble"] == 1
    assert "pray" not in watch.legal()
    watch.set(TIME=101, HP=20)
    assert "pray" not in watch.legal()
    watch.set(HP=5)
    assert "pray" in watch.legal()
    watch.happens(SurvivalAction.PRAY, b"You begin praying to Anhur.\nYou feel much better.", HP=20, TIME=103)
    watch.set(TIME=103 + PRAYER_INTERVAL - 1, HUNGER=3)
    assert "pray" not in watch.legal()
    watch.set(TIME=103 + PRAYER_INTERVAL)
    assert "pray" in watch.legal()
    assert watch.write()[0]["turns_since_prayer"] == pytest.approx(PRAYER_INTERVAL / 1000)
    watch.happens(SurvivalAction.PRAY, b"You begin praying to Anhur.\nYou feel that Anhur is displeased.")
    watch.set(TIME=10_000)
    assert "pray" not in watch.legal()


@pytest.mark.parametrize("seed", range(4))
def test_a_god_who_was_asked_for_nothing_is_never_asked_again(tmp_path, seed):
    game = Game(character="mon-hum-neu-mal", temp_root=str(tmp_path))
    game.start(seed, seed)
    over, messages = type_keys(game, SurvivalAction.PRAY)
    game.close()
    assert not over
    watch = watching()
    watch.happens(SurvivalAction.PRAY, messages, HP=2, TIME=10_000)
    watch.set(TIME=20_000)
    assert watch.write()[0]["trouble"] == 1
    assert "pray" not in watch.legal()


@pytest.mark.parametrize(
    ("hp", "max_hp", "level", "low"),
    [(5, 14, 1, True), (6, 14, 1, False), (6, 30, 5, True), (6, 30, 6, False), (10, 60, 13, True), (10, 60, 14, False)],
)
def test_low_hit_points_are_those_of_the_game(hp, max_hp, level, low):
    assert low_hit_points(hp, max_hp, level) == low


def fall(watch, name, at=BESIDE, message=b"You kill it!", turn=50):
    watch.falls(name, at, message, TIME=turn)


def step_onto(watch, at=BESIDE):
    watch.glyphs[at] = nethack.GLYPH_MON_OFF + monster("monk")
    watch.happens(FIRST_MOVE, Y=at[0], X=at[1])


def test_a_corpse_is_eaten_while_it_is_fresh():
    watch = watching()
    fall(watch, "newt")
    assert "eat_corpse" not in watch.legal()
    step_onto(watch)
    assert "eat_corpse" in watch.legal()
    watch.set(HUNGER=0)
    assert "eat_corpse" not in watch.legal()
    watch.set(HUNGER=1, CONDITION=nethack.BL_MASK_HALLU)
    assert "eat_corpse" not in watch.legal()
    watch.set(CONDITION=0, TIME=50 + FRESH_TURNS)
    assert "eat_corpse" in watch.legal()
    watch.set(TIME=51 + FRESH_TURNS)
    assert "eat_corpse" not in watch.legal()


@pytest.mark.parametrize("name", ["cockatrice", "kitten", "kobold", "quantum mechanic"])
def test_harmful_corpses_are_left_alone(name):
    watch = watching()
    fall(watch, name)
    step_onto(watch)
    assert "eat_corpse" not in watch.legal()


@pytest.mark.parametrize("message", [b"You destroy the gnome zombie!", b"The kitten bites the newt."])
def test_corpses_that_the_hero_did_not_kill_are_left_alone(message):
    watch = watching()
    fall(watch, "gnome", message=message, turn=5)
    step_onto(watch)
    assert "eat_corpse" not in watch.legal()


def test_a_corpse_found_far_away_is_left_alone():
    watch = watching()
    fall(watch, "newt", at=(3, 3))
    step_onto(watch, (3, 3))
    assert "eat_corpse" not in watch.legal()


def test_a_meal_that_was_disturbed_may_go_on():
    watch = watching()
    fall(watch, "newt")
    step_onto(watch)
    watch.happens(SurvivalAction.EAT_CORPSE, b"You stop eating the newt corpse.")
    assert "eat_corpse" in watch.legal()
    watch.happens(SurvivalAction.EAT_CORPSE, b"You finish eating the newt corpse.")
    assert "eat_corpse" not in watch.legal()


@pytest.mark.parametrize(
    ("question", "eaten"),
    [
        (b"There is a food ration here; eat it? [ynq] (n)", True),
        (b"There is a newt corpse here; eat it? [ynq] (n)", False),
        (b"There are 2 eggs here; eat one? [ynq] (n)", False),
        (b"There is a tin here; eat it? [ynq] (n)", False),
        (b"What do you want to eat? [fghi or ?*]", True),
    ],
)
def test_what_is_eaten_with_what_lies_under_foot(question, eaten):
    """NetHack offers what lies under foot first."""
    game, told = SimpleNamespace(misc=np.array([1, 0, 0])), []

    def press(key):
        told.append(key)
        if len(told) == 2:
            game.misc[0] = 0
        return False

    game.press, game.message_bytes = press, lambda: question
    type_keys(game, SurvivalAction.EAT_PACK)
    assert bytes(told) == b"e" + (b"f" if b"[f" in question else b"y" if eaten else b"n")


def test_what_was_left_of_a_meal_keeps_its_age():
    watch = watching()
    fall(watch, "newt")
    step_onto(watch)
    watch.happens(SurvivalAction.EAT_CORPSE, TIME=60)
    assert "eat_corpse" not in watch.legal()
    watch.glyphs[BESIDE] = nethack.GLYPH_BODY_OFF + monster("newt")
    watch.happens(FIRST_MOVE, b"You kill it!", Y=HERO[0], X=HERO[1], TIME=70)
    step_onto(watch)
    watch.set(TIME=80)
    assert "eat_corpse" in watch.legal()
    watch.set(TIME=81)
    assert "eat_corpse" not in watch.legal()


def test_a_corpse_that_a_pet_ate_is_gone():
    watch = watching()
    fall(watch, "newt")
    watch.glyphs[BESIDE] = nethack.GLYPH_CMAP_OFF + 19
    watch.happens(FIRST_MOVE)
    step_onto(watch)
    assert "eat_corpse" not in watch.legal()


@pytest.mark.parametrize(
    ("character", "others"),
    [("mon-hum-neu-mal", {"dwarf", "gnome", "hill orc", "Green-elf"}), ("dwa-val", {"gnome", "hill orc", "Green-elf"})],
)
def test_what_is_safe(character, others):
    safe = {nethack.permonst(i).mname for i in np.flatnonzero(safe_corpses(character))}
    assert {"newt", "jackal", "lichen", "floating eye", "sewer rat"} | others <= safe
    assert not safe & {"bat", "dog", "acid blob", "werejackal", "human", "green slime", "Medusa", "disenchanter"}


def test_nobody_eats_his_own_race_nor_any_that_might_be():
    dwarf, gnome = monster("dwarf"), monster("gnome")
    assert safe_corpses("val-dwa")[[dwarf, gnome]].tolist() == [False, True]
    assert not safe_corpses("@")[[dwarf, gnome]].any()


def test_play_with_all_actions_stays_in_the_space_and_repeats(make_env):
    env = make_env(actions="extended", max_steps=300)
    assert env.action_space.n == NUM_ACTIONS + 6 == len(env.description.action_names)
    assert env.observation_space["features"].shape == (len(feature_names(path_summary=True)) + len(SURVIVAL_FEATURES),)
    rounds = []
    for _ in range(2):
        rng = np.random.default_rng(0)
        observation, _ = env.reset(seed=5)
        rounds.append([])
        while True:
            check_observation(observation, env.observation_space)
            legal = np.flatnonzero(observation["action_mask"])
            assert EAT not in legal
            further = legal[legal >= NUM_ACTIONS]
            action = int(rng.choice(further if len(further) and rng.random() < 0.3 else legal))
            rounds[-1].append((action, observation["features"].tobytes()))
            observation, _, terminated, truncated, _ = env.step(action)
            assert (
                not env._game.misc.any()
                or observation["features"][feature_names(path_summary=True).index("prompt_direction")]
            )
            if terminated or truncated:
                break
    assert rounds[0] == rounds[1]
    assert {action for action, _ in rounds[0]} & set(SurvivalAction)


def test_the_purpose_of_each_further_action_is_its_own(make_env):
    env = make_env(actions="extended")
    observation, _ = env.reset(seed=0)
    purposes = env.description.purpose_of_actions(observation)
    assert [env.description.purposes()[i] for i in purposes[NUM_ACTIONS:]] == list(SURVIVAL_ACTIONS)


def test_an_unknown_set_of_actions_is_refused(make_env):
    with pytest.raises(ValueError, match=r"actions must be one of 'score', 'macro', 'extended', got 'all'"):
        make_env(actions="all")
