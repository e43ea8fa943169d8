import numpy as np
import pytest

from rllib_moe.envs.nethack.action_mask import mask_answers
from rllib_moe.envs.nethack.actions import (
    ACTION_NAMES,
    FIRST_MOVE,
    FIRST_RUN,
    MORE,
    SEARCH,
    move_direction,
)
from rllib_moe.envs.nethack.glyphs import GLYPH_TABLE, NODE_COLUMN, NODE_MONSTER, NODE_PET, STAIRS_DOWN, STAIRS_UP
from rllib_moe.envs.nethack.level_memory import LevelMemory, neighbor
from rllib_moe.envs.nethack.prompts import Prompt
from tests.envs.nethack.conftest import play, random_legal


def legal(scene):
    return {ACTION_NAMES[i] for i in np.flatnonzero(scene.observe()[0]["action_mask"])}


def test_walls_unseen_rock_and_floor(draw):
    assert legal(draw("---", "|@.", "   ")) == {"move_E", "run_E", "search"}


def test_stairs_only_under_foot_and_never_up_from_the_first_level(draw):
    for terrain, depth, expected in (
        (STAIRS_DOWN, 1, {"down"}),
        (STAIRS_UP, 1, set()),
        (STAIRS_UP, 2, {"up"}),
    ):
        scene = draw("@", DEPTH=depth)
        scene.memory.terrain[scene.blstats[1], scene.blstats[0]] = terrain
        assert legal(scene) == {"search"} | expected


def test_doors_are_taken_straight(draw):
    # Closed door east: a step (it opens), no run. Open door diagonally: nothing.
    assert legal(draw("|@+", "--'")) == {"move_E", "search"}
    # A doorway without a door may be taken diagonally.
    assert legal(draw("|@|", "--:")) == {"move_SE", "run_SE", "search"}


def test_locked_door_is_kicked_not_walked_into(draw):
    scene = draw("|@+", "---")
    scene.memory.lock(int(scene.blstats[1]), int(scene.blstats[0]), 1)
    assert legal(scene) == {"kick", "search"}


def test_monsters(draw):
    # A jackal is attacked by a step; a floating eye is left alone; a pet is swapped with by a step.
    assert legal(draw("|@d", "---")) == {"move_E", "search"}
    assert legal(draw("|@e", "---")) == {"search"}
    assert legal(draw("|@f", "---")) == {"move_E", "search"}
    assert legal(draw("|@0", "---")) == {"move_E", "search"}


def test_hunger_allows_eating(draw):
    assert legal(draw("@", HUNGER=2)) == {"search", "eat"}


def test_refused_moves_return_after_a_while(draw):
    scene = draw("|@.", "---")
    scene.memory.refuse(int(scene.blstats[1]), int(scene.blstats[0]), 1, 0)
    assert legal(scene) == {"search"}
    later = scene._replace(circumstances=scene.circumstances._replace(now=100))
    assert legal(later) == {"move_E", "run_E", "search"}


@pytest.mark.parametrize(
    ("prompt", "message", "expected"),
    [
        (Prompt.EAT, b"What do you want to eat? [fgh or ?*]", {"more", "move_W"}),
        (Prompt.EAT, b"There is a newt corpse here; eat it? [ynq] (n)", {"more", "move_NW", "move_SE"}),
        (Prompt.CHOICE, b"Really attack? [yn] (n)", {"more", "move_NW", "move_SE"}),
        (Prompt.DIRECTION, b"In what direction?", {"more", *ACTION_NAMES[FIRST_MOVE:FIRST_RUN]}),
        (Prompt.CHOICE, b"Shall I hang yellow lights up?", {"more"}),  # offers nothing
        (Prompt.MORE, b"--More--", {"more"}),
        (Prompt.TEXT, b"Call it:", {"more"}),
    ],
)
def test_answers(prompt, message, expected):
    mask = mask_answers(prompt, message, LevelMemory.blank().locked, 5, 5)
    assert {ACTION_NAMES[i] for i in np.flatnonzero(mask)} == expected


def test_kick_goes_towards_the_locked_door():
    memory = LevelMemory.blank()
    memory.lock(5, 5, 2)
    mask = mask_answers(Prompt.DIRECTION, b"In what direction?", memory.locked, 5, 5)
    assert np.flatnonzero(mask).tolist() == [MORE, FIRST_MOVE + 2]


def replay(env, seed, actions):
    observation, _ = env.reset(seed=seed)
    for action in actions:
        observation, *_ = env.step(action)
    return observation


@pytest.mark.parametrize("seed", range(4))
def test_masked_out_moves_do_nothing_in_a_real_game(make_env, seed):
    """Replay the same beginnings and try each forbidden step: the hero must not move."""
    env = make_env()
    rng = np.random.default_rng(seed)
    actions: list[int] = []
    tried = 0
    for _ in range(6):
        observation = replay(env, seed, actions)
        for _ in range(15):
            actions.append(int(rng.choice(np.flatnonzero(observation["action_mask"]))))
            observation, *_ = env.step(actions[-1])
        mask = observation["action_mask"].copy()
        if mask[MORE] or not mask[SEARCH]:
            continue
        for action in range(FIRST_MOVE, FIRST_RUN + 8):
            if mask[action]:
                continue
            replay(env, seed, actions)
            level, place = env._memory.place, env._memory.position
            cell = neighbor(*place, move_direction(action))
            # Runs into creatures are left out for another reason: they stop, or swap like a step.
            if cell and GLYPH_TABLE[env._living_glyphs[cell], NODE_COLUMN] in (NODE_MONSTER, NODE_PET):
                continue
            env.step(action)
            assert (env._memory.place, env._memory.position) == (level, place), ACTION_NAMES[action]
            tried += 1
    assert tried > 20


def test_masked_play_hardly_wastes_steps(make_env):
    """Of uniformly random actions two thirds leave the game as it was; of legal ones few do."""
    shares = {}
    for masked in (True, False):
        env = make_env(action_mask=masked, max_steps=200)
        infos = [info for seed in range(4) for *_, info in play(env, seed, random_legal(seed))]
        shares[masked] = np.mean([info["no_progress"] > 0 for info in infos])
    # A monk is fast: one move in four comes without the clock moving, whatever it is.
    assert shares[True] < 0.35
    assert shares[False] > 0.5
