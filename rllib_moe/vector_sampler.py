"""A rollout worker that samples all its environments as one array.

RLlib's old-stack sampler works row by row through connectors and collectors: 260 to 300 us a step, more than NetHack
and the network together. It also evaluates the policy for the next step before it hands out a batch, so the first
action after every weight update is still the old policy's, and PPO's ratio is not 1 there. This sampler evaluates,
steps and stores all environments at a time, and every action of a batch is by the weights of that batch.

Everything else is RLlib's: the worker, its weights, fault tolerance, metrics. RLlib's episode callbacks
(`on_episode_step` and its kin) are not called.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.evaluation.sampler import SamplerInput
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, SampleBatch
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2

_EpisodeRecord: Any = RolloutMetrics
"""A named tuple behind a decorator that type checkers cannot see through."""


class VectorRolloutWorker(RolloutWorker):
    """RLlib's rollout worker with a `VectorSampler`. Takes RolloutWorker's arguments."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.env is not None and self.async_env is not None and self.policy_map is not None:
            sampler: Any = VectorSampler(
                self.async_env.get_sub_environments(), self.policy_map[DEFAULT_POLICY_ID], self.config
            )
            self.sampler = self.input_reader = sampler


class VectorSampler(SamplerInput):
    """Plays a fragment in every environment and returns it with advantages.

    Args:
        environments: Gymnasium environments E with equal packed observation spaces.
        policy: A torch policy of the old API stack, without recurrent state.
        config: The worker's AlgorithmConfig: fragment length T, gamma, lambda.
    """

    def __init__(self, environments: list[gymnasium.Env[np.ndarray, Any]], policy: TorchPolicyV2, config: Any) -> None:
        self._environments = environments
        self._policy = policy
        self._length = config.get_rollout_fragment_length(worker_index=1)
        self._gamma, self._lambda = config.gamma, config.lambda_
        self._observations: np.ndarray | None = None
        self._returns = np.zeros(len(environments))
        self._steps = np.zeros(len(environments), dtype=np.int64)
        self._episode_ids = np.arange(len(environments), dtype=np.int64)
        self._finished: list[Any] = []

    def get_data(self) -> SampleBatch:
        """Play one fragment: E * T rows, the T of one environment after those of another."""
        length, width = self._length, len(self._environments)
        if self._observations is None:
            self._observations = np.stack([environment.reset()[0] for environment in self._environments])
        # New arrays each time: the batch refers to them.
        observations = np.empty((length + 1, *self._observations.shape), self._observations.dtype)
        observations[0] = self._observations
        rewards = np.zeros((length, width), np.float32)
        terminated, truncated = np.zeros((2, length, width), bool)
        episode_ids = np.empty((length, width), np.int64)
        values = np.empty((length + 1, width), np.float32)
        cut: list[tuple[int, int, np.ndarray]] = []  # (time, environment, last observation) of truncated episodes
        actions, outputs = [], []
        for t in range(length):
            chosen, _, extra = self._policy.compute_actions_from_input_dict({"obs": observations[t]}, explore=True)
            values[t] = extra.pop(SampleBatch.VF_PREDS)
            actions.append(chosen)
            outputs.append(extra)
            episode_ids[t] = self._episode_ids
            for e, environment in enumerate(self._environments):
                observation, rewards[t, e], terminated[t, e], truncated[t, e], info = environment.step(chosen[e])
                self._returns[e] += rewards[t, e]
                self._steps[e] += 1
                if terminated[t, e] or truncated[t, e]:
                    if not terminated[t, e]:
                        cut.append((t, e, observation))
                    observation = self._begin_episode(e, info)
                observations[t + 1, e] = observation
        self._observations = observations[length]
        # One forward pass for all that is bootstrapped: the ends of the fragment, and of truncated episodes within.
        last = self._values(np.stack([*observations[length], *(observation for _, _, observation in cut)]))
        values[length] = last[:width]
        following = values[1:] * ~(terminated | truncated)
        for (t, e, _), value in zip(cut, last[width:], strict=True):
            following[t, e] = value
        advantages = advantage_estimates(
            rewards, values[:-1], following, terminated | truncated, self._gamma, self._lambda
        )

        def rows(array: np.ndarray) -> np.ndarray:
            return array.swapaxes(0, 1).reshape(length * width, *array.shape[2:])

        return SampleBatch(
            {
                SampleBatch.OBS: rows(observations[:length]),
                SampleBatch.ACTIONS: rows(np.stack(actions)),
                SampleBatch.REWARDS: rows(rewards),
                SampleBatch.TERMINATEDS: rows(terminated),
                SampleBatch.TRUNCATEDS: rows(truncated),
                SampleBatch.EPS_ID: rows(episode_ids),
                SampleBatch.VF_PREDS: rows(values[:-1]),
                SampleBatch.VALUES_BOOTSTRAPPED: rows(following),
                Postprocessing.ADVANTAGES: rows(advantages),
                Postprocessing.VALUE_TARGETS: rows(advantages + values[:-1]),
                **{key: rows(np.stack([output[key] for output in outputs])) for key in outputs[0]},
            }
        )

    def get_metrics(self) -> list[Any]:
        """Episodes finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def get_extra_batches(self) -> list[Any]:
        """None: every row is in `get_data`."""
        return []

    def _begin_episode(self, e: int, info: dict[str, Any]) -> np.ndarray:
        """Book the episode that ended in environment `e` and begin the next."""
        total = float(self._returns[e])
        self._finished.append(_EpisodeRecord(int(self._steps[e]), total, hist_data=episode_measures(info, total)))
        self._returns[e] = 0
        self._steps[e] = 0
        self._episode_ids[e] += len(self._environments)
        return self._environments[e].reset()[0]

    @torch.no_grad()
    def _values(self, observations: np.ndarray) -> np.ndarray:
        """Critic's estimates [n] of observations [n, num_bytes]."""
        model = self._policy.model
        with self._policy._lock:  # the policy may be learning in another thread
            model.eval()
            model({SampleBatch.OBS: torch.from_numpy(observations).to(self._policy.device)})
            return model.value_function().cpu().numpy()


def episode_measures(info: dict[str, Any], total_reward: float) -> dict[str, list[float]]:
    """What is kept of an episode for RLlib's `hist_stats`, from its last `info`."""
    return {
        "score": [float(info.get("score", total_reward))],
        "max_depth": [float(info.get("max_depth", math.nan))],
    }


def advantage_estimates(
    rewards: np.ndarray,
    values: np.ndarray,
    following: np.ndarray,
    ended: np.ndarray,
    gamma: float,
    lambda_: float,
    ratios: np.ndarray | None = None,
) -> np.ndarray:
    """Generalised advantage estimation (https://arxiv.org/abs/1506.02438) over several environments at once.

    With probability ratios it is V-trace (https://arxiv.org/abs/1802.01561, with the lambda of its remark 2): the
    ratios are cut at 1, and the advantages are both what the critic's targets exceed its values by and what the policy
    is to follow.

    Args:
        rewards: Rewards [T, E].
        values: Critic's estimates of the states acted in [T, E].
        following: Estimates of the states reached [T, E]: 0 where the episode terminated, that of the last state where
            it was truncated.
        ended: Where an episode ended, bool [T, E].
        gamma: Discount.
        lambda_: Decay of the estimator.
        ratios: Probability of each action now, over that when it was taken [T, E]; None: the policy is the same.

    Returns:
        Advantages float32 [T, E].
    """
    errors = rewards + gamma * following - values
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
