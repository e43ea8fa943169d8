"""Advantages against RLlib's own, and V-trace against its."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.impala.vtrace_torch import from_importance_weights
from ray.rllib.evaluation.postprocessing import Postprocessing

from rllib_moe.sampling.advantages import gae
from tests.sampling.played import rllib_advantages


@pytest.mark.parametrize(("gamma", "lambda_"), [(0.99, 0.95), (0.0, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_advantages_are_rllibs(gamma: float, lambda_: float) -> None:
    rng = np.random.default_rng(3)
    length, width = 40, 5
    rewards, values = rng.normal(size=(2, length, width)).astype(np.float32)
    ended = rng.random((length, width)) < 0.15
    ended[:, 0], ended[-1, 1], ended[:, 2] = False, True, True  # no end at all, one at the edge, ends only
    truncated = ended & (rng.random((length, width)) < 0.5)
    # What follows: the next value, that of the last state where it was truncated, 0 where it terminated.
    next_values = np.concatenate([values[1:], rng.normal(size=(1, width)).astype(np.float32)])
    next_values[ended] = 0
    next_values[truncated] = rng.normal(size=int(truncated.sum()))

    found = gae(rewards, values, next_values, ended, gamma, lambda_)

    for e in range(width):
        starts = [0, *(np.flatnonzero(ended[:-1, e]) + 1), length]
        for begin, end in itertools.pairwise(starts):
            expected = rllib_advantages(
                rewards[begin:end, e], values[begin:end, e], float(next_values[end - 1, e]), gamma, lambda_
            )
            np.testing.assert_allclose(found[begin:end, e], expected[Postprocessing.ADVANTAGES], rtol=1e-4, atol=1e-5)


def test_advantages_with_ratios_are_rllibs_v_trace() -> None:
    """RLlib has no lambda, and no bootstrap within a fragment: at lambda 1, with episodes that terminate."""
    rng = np.random.default_rng(1)
    length, width, gamma = 30, 6, 0.97
    rewards, values, log_ratios = rng.normal(size=(3, length, width)).astype(np.float32)
    ended = rng.random((length, width)) < 0.1
    last = rng.normal(size=width).astype(np.float32)
    next_values = np.concatenate([values[1:], last[None]]) * ~ended
    found = gae(rewards, values, next_values, ended, gamma, 1.0, np.exp(log_ratios))
    expected = from_importance_weights(
        log_rhos=torch.from_numpy(log_ratios),
        discounts=torch.from_numpy(gamma * ~ended).float(),
        rewards=torch.from_numpy(rewards),
        values=torch.from_numpy(values),
        bootstrap_value=torch.from_numpy(last),
    )
    np.testing.assert_allclose(values + found, expected.vs.numpy(), atol=1e-5)
    # At lambda 1 the policy's advantage is the target's excess over the value, but where the next action is improbable:
    # rho (r + gamma vs' - V) either way.
    np.testing.assert_allclose(found, expected.pg_advantages.numpy(), atol=1e-5)


def test_ratios_of_one_or_more_change_nothing() -> None:
    rng = np.random.default_rng(2)
    rewards, values, next_values = rng.normal(size=(3, 20, 3)).astype(np.float32)
    ended = rng.random((20, 3)) < 0.2
    arguments = (rewards, values, next_values, ended, 0.9, 0.8)
    np.testing.assert_allclose(gae(*arguments, 1 + rng.random((20, 3))), gae(*arguments), atol=1e-6)
