"""Advantages of several environments at once: generalized advantage estimation, and V-trace. Pure."""

from __future__ import annotations

import numpy as np


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    ended: np.ndarray,
    gamma: float,
    lambda_: float,
    ratios: np.ndarray | None = None,
) -> np.ndarray:
    """Generalized advantage estimation (https://arxiv.org/abs/1506.02438) over several environments at once.

    With probability ratios it is V-trace (https://arxiv.org/abs/1802.01561, with the lambda of its remark 2): the
    ratios are cut at 1, and the result serves both learners: the critic's targets are its values plus the advantages,
    and the policy follows the advantages.

    Args:
        rewards: Rewards [T, E].
        values: Critic's estimates of the states acted in [T, E].
        next_values: Estimates of the next states [T, E]: 0 where the episode terminated, that of the last state where
            it was truncated.
        ended: Where an episode ended, bool [T, E].
        gamma: Discount.
        lambda_: Decay of the estimator.
        ratios: Probability of each action now, over that when it was taken [T, E]; None: the policy is the same.

    Returns:
        Advantages float32 [T, E].
    """
    errors = rewards + gamma * next_values - values
    decay = gamma * lambda_ * ~ended
    if ratios is not None:
        weights = np.minimum(ratios, 1)
        errors, decay = weights * errors, weights * decay
    advantages = np.zeros_like(errors, dtype=np.float32)
    running = np.zeros(errors.shape[1], np.float32)
    for t in reversed(range(len(errors))):
        running = errors[t] + decay[t] * running
        advantages[t] = running
    return advantages
