"""NetHack's tasks against NLE's own task classes, key for key."""

import re
from collections import Counter

import numpy as np
import pytest
from nle.env import tasks as nle_tasks

from rllib_moe.envs.arguments import ChangeableArguments
from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.nethack.actions import DOWN, EAT, SEARCH
from rllib_moe.envs.nethack.environment import NetHackGraphEnv, episode_seeds
from rllib_moe.envs.nethack.scripted import ScriptedStairsPolicy
from rllib_moe.envs.nethack.tasks import TASKS
from rllib_moe.envs.registry import make_env as make_registered
from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.replay.replay import replay
from rllib_moe.evaluation.spec import EvaluationRequest, ReplayRequest
from tests.envs.nethack.conftest import DEADLY_SEEDS, QUICK_SEED
from tests.untrained_checkpoint import save_untrained

ALL = ",".join(TASKS)
CLASSES = {
    "score": nle_tasks.NetHackScore,
    "gold": nle_tasks.NetHackGold,
    "scout": nle_tasks.NetHackScout,
    "eat": nle_tasks.NetHackEat,
    "staircase": nle_tasks.NetHackStaircase,
}


def players(seed):
    """Return the scripted player with some random actions in between, and a hero who eats all the time."""
    rng = np.random.default_rng(seed)
    scripted = ScriptedStairsPolicy(seed)

    def explore(observation):
        return scripted.act(observation) if rng.random() < 0.8 else int(rng.integers(23))

    def eat(_observation):
        return EAT if rng.random() < 0.5 else int(rng.integers(23))

    return explore, eat


@pytest.mark.parametrize("task", CLASSES)
def test_reward_and_end_are_nles_own(make_env, task):
    unlimited = {"max_steps": 10**6, "no_progress_limit": 10**6}
    env = make_env(tasks=task, action_mask=False, dismiss_prompts=False, **unlimited)
    reference = CLASSES[task](fix_moon_phase=True, max_episode_steps=10**9)
    scale = 0.05 * TASKS[task].weight
    gains, ends = 0.0, Counter()
    for seed in (QUICK_SEED, 16):
        for player in players(seed):
            reference.seed(*episode_seeds(seed, 0), reseed=False)
            reference.reset()
            observation, info = env.reset(seed=seed)
            assert info["task"] == task
            points = 0.0
            for _ in range(300):
                action = player(observation)
                shown, expected, done, _, nle_info = reference.step(action)
                observation, reward, terminated, truncated, info = env.step(action)
                assert (terminated, truncated) == (done, False)
                assert reward == pytest.approx(scale * expected)
                # What is picked up is no longer shown: `gold` has options of its own.
                assert done or (shown["glyphs"] == env._game.glyphs).all()
                points += round(expected)  # the penalty is a hundredth
                assert info["score"] == info[f"task_{task}"] == points
                gains += max(0.0, round(expected))
                if done:
                    ends[nle_info["end_status"].name] += 1
                    break
    assert gains > 0
    assert (ends["TASK_SUCCESSFUL"] > 0) == (task == "staircase")
    reference.close()


def test_the_points_of_a_dying_step_are_nles_own(make_env):
    """NLE pays nothing for the step in which the game ends."""
    env = make_env(tasks="score", action_mask=False, dismiss_prompts=False, max_steps=10**6, no_progress_limit=10**6)
    reference = nle_tasks.NetHackScore(fix_moon_phase=True, max_episode_steps=10**9)
    for seed in DEADLY_SEEDS:
        policy = ScriptedStairsPolicy()
        reference.seed(*episode_seeds(seed, 0), reseed=False)
        reference.reset()
        observation, _ = env.reset(seed=seed)
        terminated, total = False, 0.0
        for _ in range(3000):
            action = policy.act(observation)
            _, expected, done, _, _ = reference.step(action)
            observation, reward, terminated, _, info = env.step(action)
            assert (reward, terminated) == (pytest.approx(0.05 * expected), done)
            total += round(expected)
            if terminated:
                break
        if terminated:
            break
    reference.close()
    assert terminated
    assert info["score"] == total > 0
    check_observation(observation, env.observation_space)


def test_the_task_is_drawn_for_each_episode_and_shown(make_env):
    env, other = make_env(tasks=ALL), make_env(tasks=ALL)
    drawn = []
    for seed in range(40):
        observation, info = env.reset(seed=seed)
        check_observation(observation, env.observation_space)
        assert info["score"] == info[f"task_{info['task']}"] == 0
        assert list(TASKS)[int(observation["task"].argmax())] == info["task"]
        assert observation["task"].sum() == 1
        assert not info.keys() & ({f"task_{name}" for name in TASKS} - {f"task_{info['task']}"})
        drawn.append(info["task"])
    assert set(drawn) == set(TASKS)
    # The seed decides, and a sequence goes on by itself.
    assert [other.reset(seed=seed)[1]["task"] for seed in range(5)] == drawn[:5]
    sequences = [[each.reset(seed=7)[1]["task"], *(each.reset()[1]["task"] for _ in range(8))] for each in (env, other)]
    assert sequences[0] == sequences[1]
    assert len(set(sequences[0])) > 1


def test_one_task_and_none_play_the_same_game(make_env):
    """But for the leaf: the task of the score, and without the gold's options every other, changes nothing."""
    plain, tasked = make_env(), make_env(tasks="score")
    assert "task" not in plain.observation_space.spaces
    assert tasked.observation_space["task"].shape == (1,)
    policy = ScriptedStairsPolicy()
    observation, info = plain.reset(seed=QUICK_SEED)
    assert "task" not in info
    shown, told = tasked.reset(seed=QUICK_SEED)
    for _ in range(60):
        assert all((observation[leaf] == shown[leaf]).all() for leaf in observation)
        action = policy.act(observation)
        observation, *rest, info = plain.step(action)
        shown, *same, told = tasked.step(action)
        assert rest == same
        assert info.items() <= told.items()
    assert info["score"] > 0


def test_staircase_ends_by_success_not_by_death(make_env):
    env = make_env(tasks="staircase", render_mode="ansi")
    policy = ScriptedStairsPolicy()
    observation, info = env.reset(seed=QUICK_SEED)
    terminated = False
    while not terminated:
        assert info["score"] == 0
        observation, reward, terminated, truncated, info = env.step(policy.act(observation))
        assert not truncated
    assert (info["score"], info["max_depth"], info["scene"]["on_stairs_down"]) == (1, 1, True)
    assert reward == pytest.approx(0.05 * TASKS["staircase"].weight)
    assert "Dlvl:1" in re.sub(r"\x1b\[[0-9;]*m", "", env.render())  # the game goes on
    with pytest.raises(RuntimeError, match="reset"):
        env.step(DOWN)


def test_tasks_may_change_to_some_of_those_built_with(make_env):
    env = ChangeableArguments(make_env(tasks=ALL), None, is_given=True)
    env.set_arguments(tasks="eat, gold")
    assert {env.reset(seed=seed)[1]["task"] for seed in range(12)} == {"eat", "gold"}
    assert env.observation_space["task"].shape == (5,)
    env.set_arguments(tasks="scout")
    observation, info = env.reset()
    assert (info["task"], observation["task"].tolist()) == ("scout", [0, 0, 1, 0, 0])
    some = ChangeableArguments(make_env(tasks="score,gold"), None, is_given=True)
    for bad in ("eat", "", "gold,gold", ["gold"], None):
        with pytest.raises(ValueError, match=r"tasks must be one or more of score, gold, each once.*got"):
            some.set_arguments(tasks=bad)
    with pytest.raises(ValueError, match="'tasks' may not change"):
        ChangeableArguments(make_env(), None, is_given=True).set_arguments(tasks="gold")


@pytest.mark.parametrize("bad", ["scores", "", "gold,gold", "gold;eat"])
def test_bad_tasks_are_refused_naming_the_known_ones(bad):
    known = "score, gold, scout, eat, staircase"
    with pytest.raises(ValueError, match=f"tasks must be one or more of {known}, each once.*got '{bad}'"):
        make_registered("nethack", tasks=bad)


def test_roles_may_be_the_tasks(make_env):
    env = make_env(tasks="gold,eat", roles="task")
    observation, _ = env.reset(seed=1)
    check_observation(observation, env.observation_space)
    assert GraphShape.from_space(env.observation_space).num_roles == 2
    assert observation["roles"].tolist() == observation["task"].tolist()
    assert not np.shares_memory(observation["roles"], observation["task"])
    assert describe(env).role_names == ("gold", "eat")
    assert describe(make_env(tasks="gold,eat")).role_names == describe(make_env()).role_names
    for arguments in ({"roles": "task"}, {"roles": "tasks", "tasks": "gold"}):
        with pytest.raises(ValueError, match=r"roles must be 'scene', or 'task'.*got"):
            NetHackGraphEnv(**arguments)


def test_the_description_tells_scores_apart_by_task(make_env):
    env = make_env(tasks="gold,eat")
    description = describe(env)
    assert description.labels == ("task",)
    for seed in range(6):
        _, info = env.reset(seed=seed)
        env.step(SEARCH)
        assert description.labels_of(info)["task"] == info["task"]
        values = {measure.key: measure.value(info) for measure in description.episode_measures}
        other = "eat" if info["task"] == "gold" else "gold"
        assert values[f"task_{info['task']}"] == 0
        assert np.isnan(values[f"task_{other}"])
    assert describe(make_env()).labels == ()


def test_evaluation_and_replay_tell_the_task(tmp_path):
    checkpoint = str(save_untrained(tmp_path, "nethack", max_steps=30, tasks="gold,scout"))
    numbers = evaluate(EvaluationRequest(checkpoint=checkpoint, episodes=6, seed_base=0, num_workers=0))
    told = {name: numbers["measures"][f"task_{name}_mean"]["episodes"] for name in ("gold", "scout")}
    assert sum(told.values()) == 6 > max(told.values())
    total = sum(count * numbers[f"task_{name}_mean"] for name, count in told.items())
    assert total == pytest.approx(6 * numbers["score_mean"], abs=1e-4)
    assert total > 0
    assert numbers["information"]["task"]["values"] == 2
    result = replay(ReplayRequest(checkpoint=checkpoint, seed=0, out=str(tmp_path / "page.html")))
    (played,) = (name for name in told if result["measures"][f"task_{name}"] is not None)
    page = (tmp_path / "page.html").read_text()
    assert [f"task {name}" in page for name in told] == [name == played for name in told]
