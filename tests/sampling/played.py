"""A batch held against a record of what every environment was asked and answered, and RLlib's own advantages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
import torch
import tree
from ray.rllib.evaluation.postprocessing import Postprocessing, compute_advantages
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.algorithms.ppo import MoEPPOConfig

NUM_ENVS = 4
LENGTH = 32
"""Steps of a fragment, from the small configuration's batch of 128 rows."""
Step = dict[str, Any]


class Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps a record of every step, and may end episodes at random.

    Args:
        env: The environment.
        seed: Seed of the ends; None leaves them to the environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int | None = None) -> None:
        super().__init__(env)
        self.steps: list[Step] = []
        self.episodes: list[tuple[float, int]] = []
        self._rng = None if seed is None else np.random.default_rng(seed)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self._observation, info = self.env.reset(**options)
        self._total, self._length = 0.0, 0
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        asked = deepcopy(self._observation)
        answer = self.env.step(action)
        if getattr(self.env.unwrapped, "_spoilt", False):  # a fault is no step
            return answer
        self._observation, reward, _, truncated, info = answer
        terminated = self._rng is not None and bool(self._rng.random() < 0.1)
        self._total, self._length = self._total + float(reward), self._length + 1
        self.steps.append(
            {
                "obs": asked,
                "actions": int(action),
                "rewards": reward,
                "terminateds": terminated,
                "truncateds": truncated,
                "reached": deepcopy(self._observation),
            }
        )
        if terminated or truncated:
            self.episodes.append((self._total, self._length))
        return self._observation, reward, terminated, truncated, info


def stacked(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    """Compare columns of a batch, leaf by leaf where they are nested."""
    tree.assert_same_structure(found, expected)
    for one, other in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=where)


def rows_of(batch: SampleBatch, e: int) -> Any:
    """Columns of environment `e`, leaf by leaf where they are nested."""
    return tree.map_structure(lambda column: column[e * LENGTH : (e + 1) * LENGTH], dict(batch))


def critic(policy: MoEPPOPolicy, observations: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        policy.model.eval()
        policy.model({"obs": convert_to_torch_tensor(observations)})
        return policy.model.value_function().numpy()


def rllib_advantages(rewards: Any, values: Any, last: float, gamma: float, lambda_: float) -> SampleBatch:
    """RLlib's advantages of one episode (or its part within a fragment), bootstrapped with `last`."""
    batch = SampleBatch({SampleBatch.REWARDS: np.asarray(rewards), SampleBatch.VF_PREDS: np.asarray(values)})
    return compute_advantages(batch, last, gamma, lambda_, use_gae=True, use_critic=True)


def assert_played(rows: Any, played: Sequence[Step], policy: MoEPPOPolicy, config: MoEPPOConfig) -> None:
    """Check that an environment's rows are what it played, with RLlib's advantages of each episode between ends."""
    assert len(played) == LENGTH
    assert_equal(rows["obs"], stacked([step["obs"] for step in played]))
    for key in ("actions", "rewards"):
        np.testing.assert_array_equal(rows[key], [step[key] for step in played], err_msg=key)
    values, last = critic(policy, rows["obs"]), critic(policy, stacked([step["reached"] for step in played]))
    np.testing.assert_allclose(rows["vf_preds"], values, atol=1e-5)
    ends = np.flatnonzero(rows["terminateds"] | rows["truncateds"])
    for begin, end in itertools.pairwise(sorted({0, *(ends + 1).tolist(), LENGTH})):
        bootstrap = 0.0 if rows["terminateds"][end - 1] else float(last[end - 1])
        expected = rllib_advantages(
            rows["rewards"][begin:end], values[begin:end], bootstrap, config.gamma, config.lambda_
        )
        for key in (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS):
            np.testing.assert_allclose(rows[key][begin:end], expected[key], atol=1e-4, err_msg=key)
        assert len(set(rows["eps_id"][begin:end])) == 1
    assert len(set(rows["eps_id"])) == len(set(ends) - {LENGTH - 1}) + 1
