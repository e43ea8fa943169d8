"""The reward against NLE's own score task, key for key."""

import pytest
from nle import nethack
from nle.env.tasks import NetHackScore

from tests.envs.nethack.conftest import play_beside, random_legal


@pytest.mark.parametrize("seed", [0, 3, 21])
def test_reward_is_the_score_tasks_own_scaled(make_env, seed):
    task = NetHackScore(observation_keys=("glyphs", "blstats", "message"), fix_moon_phase=True, max_episode_steps=10**9)
    env = make_env(action_mask=False, dismiss_prompts=False, max_steps=10**6, no_progress_limit=10**6)
    rewarded = 0.0
    for theirs, (_, reward, terminated, _, info) in play_beside(env, task, seed, random_legal(seed), 400):
        expected, task_reward, task_done, *_ = theirs
        assert terminated == task_done
        if terminated:
            # The task's penalty compares clocks across death, ours does not: no score moves either way.
            assert reward == 0.0
            break
        assert reward == pytest.approx(0.05 * task_reward)
        assert info["score"] == expected["blstats"][nethack.NLE_BL_SCORE]
        rewarded += abs(reward)
    assert rewarded > 0
    task.close()
