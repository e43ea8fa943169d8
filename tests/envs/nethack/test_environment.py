import hashlib
import pickle
from itertools import islice

import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.nethack.actions import DOWN, MORE, SEARCH, UP
from rllib_moe.envs.nethack.environment import NetHackGraphEnv
from rllib_moe.envs.nethack.game import Game, GameStartError
from rllib_moe.envs.nethack.scene_flags import SCENE_FLAGS
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy
from tests.envs.nethack.conftest import DEADLY_SEEDS, QUICK_SEED, play, random_legal


def fingerprint(env, seed, num_steps=100):
    """Hash of every observation, reward and score of an episode of fixed actions."""
    digest = hashlib.sha256()
    for observation, reward, *_, info in islice(play(env, seed, random_legal(5)), num_steps):
        for leaf in sorted(observation):
            digest.update(observation[leaf].tobytes())
        digest.update(repr((reward, info["score"], info["scene"])).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_observations_are_in_the_space_to_the_last(make_env, masked, seed):
    env = make_env(action_mask=masked, max_steps=300)
    first, told = env.reset(seed=seed)
    for observation, reward, *_, info in [(first, 0.0, told), *play(env, seed, random_legal(seed))]:
        assert ("action_mask" in observation) == masked
        check_observation(observation, env.observation_space)
        assert env.observation_space.contains(observation)
        assert tuple(info["scene"]) == SCENE_FLAGS
        assert all(isinstance(flag, bool) for flag in info["scene"].values())
        assert {"score", "max_depth", "shaping", "nodes_cut", "prompts_dismissed"} <= set(info)
        assert np.isfinite(reward)


def test_no_buffer_is_shared_between_observations(make_env):
    env = make_env()
    seen, _ = env.reset(seed=3)
    kept = [{leaf: value.copy() for leaf, value in seen.items()}]
    given = [seen]
    for action in [SEARCH, 1, 2, 3, 4, SEARCH, SEARCH]:
        observation, *_ = env.step(action)
        given.append(observation)
        kept.append({leaf: value.copy() for leaf, value in observation.items()})
    arrays = [value for observation in given for value in observation.values()]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[i + 1 :])
    for observation, copy in zip(given, kept, strict=True):
        assert all((observation[leaf] == copy[leaf]).all() for leaf in copy)


def test_same_seed_same_episode(make_env):
    env, other = make_env(), make_env()
    first = fingerprint(env, 7)
    assert fingerprint(env, 7) == first
    assert fingerprint(other, 7) == first
    assert len({fingerprint(env, seed) for seed in range(5)}) == 5


def test_reset_without_a_seed_goes_on_with_the_sequence(make_env):
    env, other = make_env(), make_env()
    maps = []
    for game in (env, other):
        game.reset(seed=11)
        maps.append([game.reset()[0]["crop"].tobytes() + game.reset()[0]["nodes"].tobytes() for _ in range(3)])
    assert maps[0] == maps[1]
    assert len(set(maps[0])) == 3
    unseeded = [make_env().reset()[0]["nodes"].tobytes() for _ in range(3)]
    assert len(set(unseeded)) == 3


def test_pickles_before_first_use(make_env, tmp_path):
    env = pickle.loads(pickle.dumps(make_env()))
    assert list(tmp_path.iterdir()) == []
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    env.close()


def test_max_steps_truncates(make_env):
    env = make_env(max_steps=5)
    env.reset(seed=1)
    ends = [env.step(SEARCH)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]
    with pytest.raises(RuntimeError, match="reset"):
        env.step(SEARCH)


def test_nothing_but_our_own_limit_ends_a_quiet_game(make_env):
    """NLE's environment would quit the game after 5000 steps and call it terminated."""
    env = make_env(max_steps=6000, no_progress_limit=6000)
    env.reset(seed=1)
    for _ in range(5500):
        # MORE outside of a question does nothing, not even pass time.
        _, _, terminated, truncated, _ = env.step(MORE)
        assert not terminated
        assert not truncated


def test_no_progress_truncates(make_env):
    env = make_env(no_progress_limit=4)
    env.reset(seed=1)
    env.step(SEARCH)
    ends = [env.step(MORE) for _ in range(4)]
    assert [truncated for _, _, _, truncated, _ in ends] == [False, False, False, True]
    assert [info.get("ending") for *_, info in ends] == [None, None, None, "no progress"]


def test_leaving_the_dungeon_is_declined(make_env):
    env = make_env(action_mask=False)
    env.reset(seed=1)
    _, _, terminated, truncated, info = env.step(UP)
    # "Are you sure you want to leave?" is declined.
    assert not terminated
    assert not truncated
    assert info["prompts_dismissed"] >= 1


def test_score_and_depth_survive_death(make_env):
    """The scripted player dives until something kills it."""
    env = make_env(max_steps=5000)
    for seed in DEADLY_SEEDS:
        steps = list(play(env, seed, ScriptedStairsPolicy().act))
        observation, _, terminated, _, info = steps[-1]
        if terminated:
            break
    assert terminated
    last = steps[-2][-1]
    rewards = sum(reward + 0.05 * 0.01 * (info["no_progress"] > 0) for _, reward, *_, info in steps)
    assert info["ending"].startswith(("killed by ", "died of ", "petrified by ", "poisoned by ", "choked on "))
    assert info["score"] >= last["score"] > 0
    assert info["max_depth"] == last["max_depth"] > 1
    check_observation(observation, env.observation_space)
    # The return is the score, scaled: nothing was taken back at death. (One penalty at most is left in: the
    # clock of the dying step is read when it can be read no more.)
    assert rewards == pytest.approx(0.05 * info["score"], abs=0.002)


def test_shaping_is_reported_apart(make_env):
    plain, shaped = (
        [(reward, info["shaping"], info["max_depth"]) for _, reward, *_, info in islice(steps, 100)]
        for steps in (
            play(make_env(**bonus), QUICK_SEED, ScriptedStairsPolicy().act)
            for bonus in ({}, {"depth_bonus": 3.0, "tile_bonus": 0.01})
        )
    )
    for (reward, none, depth), (with_bonus, shaping, same_depth) in zip(plain, shaped, strict=True):
        assert none == 0
        assert depth == same_depth
        assert with_bonus == pytest.approx(reward + shaping)
    total = sum(shaping for _, shaping, _ in shaped)
    depths = shaped[-1][2] - 1
    assert depths >= 1
    assert total > 3.0 * depths


@pytest.mark.parametrize("bonus", [3.0, -1.0])
def test_stair_dancing_pays_once(make_env, bonus):
    env = make_env(depth_bonus=bonus)
    policy = ScriptedStairsPolicy()
    observation, info = env.reset(seed=QUICK_SEED)
    while info["max_depth"] == 1:
        observation, _, _, _, info = env.step(policy.act(observation))
    assert info["shaping"] == bonus
    for action in (UP, DOWN, UP, DOWN):
        assert observation["action_mask"][action] == 1
        observation, _, _, _, info = env.step(action)
        assert info["shaping"] == 0.0


def test_bad_arguments_are_named_all_at_once():
    with pytest.raises(ValueError, match=r"(?s)max_steps.*got 0.*reward_scale.*nan"):
        NetHackGraphEnv(max_steps=0, reward_scale=float("nan"))
    with pytest.raises(TypeError):
        NetHackGraphEnv(500)  # type: ignore[misc]


def test_bad_calls(make_env):
    env = make_env()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(SEARCH)
    with pytest.raises(ValueError, match="options"):
        env.reset(options={"level": 3})
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=-1)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="23"):
        env.step(23)


def test_a_failed_start_is_tried_again_in_a_fresh_library(make_env, monkeypatch):
    env = make_env()
    expected = env.reset(seed=2)[0]
    start, failures = Game._start, [GameStartError("first"), GameStartError("second")]

    def sometimes(self, *seeds):
        if failures:
            raise failures.pop()
        start(self, *seeds)

    monkeypatch.setattr(Game, "_start", sometimes)
    observation = env.reset(seed=2)[0]
    assert all((observation[leaf] == expected[leaf]).all() for leaf in expected)

    monkeypatch.setattr(Game, "_start", lambda *_: (_ for _ in ()).throw(GameStartError("always")))
    with pytest.raises(GameStartError, match="3 attempts"):
        env.reset(seed=2)


def test_space_is_a_graph_space(make_env):
    shape = GraphShape.from_space(make_env().observation_space)
    assert (shape.max_nodes, shape.num_actions, shape.num_edge_types) == (24, 23, 3)
    assert GraphShape.from_space(make_env(action_mask=False).observation_space).num_actions is None
    assert nethack.DUNGEON_SHAPE == (21, 79)
