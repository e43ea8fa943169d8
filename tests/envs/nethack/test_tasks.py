"""NetHack's tasks against NLE's own task classes, key for key."""

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

ALL = ",".join(TASKS)
CLASSES = {
    "score": nle_tasks.NetHackScore,
    "gold": nle_tasks.NetHackGold,
    "scout": nle_tasks.NetHackScout,
    "eat": nle_tasks.NetHackEat,
    "staircase": nle_tasks.NetHackStaircase,
}
QUICK_SEED = 3
"""The scripted player finds the stairs of this game in some 20 steps."""


def players(seed):
    """The scripted player with some random actions in between, and a hero who eats all the time."""
    rng = np.random.default_rng(seed)
    scripted = ScriptedStairsPolicy(seed)

    def explore(observation):
        return scripted.act(observation) if rng.random() < 0.8 else int(rng.integers(23))

    def eat(observation):
        # Sleeps through most answers: the letters of items are keys of moves.
        return EAT if rng.random() < 0.5 else int(rng.integers(23))

    return explore, eat


@pytest.mark.parametrize("task", CLASSES)
def test_reward_and_end_are_nles_own(make_env, task):
    unlimited = {"max_steps": 10**6, "no_progress_limit": 10**6}
    env = make_env(tasks=task, action_mask=False, dismiss_prompts=False, **unlimited)
    reference = CLASSES[task](fix_moon_phase=True, max_episode_steps=10**9)
    scale = 0.05 * TASKS[task].weight
    gains, ends = 0.0, Counter()
    for seed in (QUICK_SEED, 16, 10):
        for player in players(seed):
            reference.seed(*episode_seeds(seed, 0), reseed=False)
            reference.reset()
            observation, info = env.reset(seed=seed)
            assert info["task"] == task
            points = 0.0
            for _ in range(400):
                action = player(observation)
                _, expected, done, _, nle_info = reference.step(action)
                observation, reward, terminated, truncated, info = env.step(action)
                assert (terminated, truncated) == (done, False)
                assert reward == pytest.approx(scale * expected)
                points += round(expected)  # the penalty is a hundredth
                assert info["score"] == info[f"task_{task}"] == points
                gains += max(0.0, round(expected))
                if done:
                    ends[nle_info["end_status"].name] += 1
                    break
    assert gains > 0
    assert (ends["TASK_SUCCESSFUL"] > 0) == (task == "staircase")
    reference.close()
