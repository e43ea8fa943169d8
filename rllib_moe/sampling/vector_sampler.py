"""A sampler that plays all environments of a rollout worker as one array.

RLlib's old-stack sampler works row by row through connectors and collectors: 260 to 300 us a step, more than NetHack
and the network together. It also evaluates the policy for the next step before it hands out a batch, so the first
action after every weight update is still the old policy's, and PPO's ratio is not 1 there. This sampler evaluates,
steps and stores all environments at a time, and every action of a batch is by the weights of that batch.

An environment that fails is replaced (`guarded_environments`): its unfinished episode is cut after its last good step,
as at a time limit, and a new environment plays the step instead. So batches are full, and hold only what was played.

RLlib's episode callbacks (`on_episode_step` and its kin) are not called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.evaluation.sampler import SamplerInput
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_moe import metrics as m
from rllib_moe.sampling.advantages import gae
from rllib_moe.sampling.guarded_environments import GuardedEnvironments, Observation
from rllib_moe.sampling.watchdog import Watchdog

_EpisodeRecord: Any = RolloutMetrics
"""A named tuple behind a decorator that type checkers cannot see through."""


_KEPT = ("_observations", "_returns", "_steps", "_until_cut", "_episode_ids", "_replaced_and_told")
"""Attributes that hold the episodes under way in a sampler."""


class VectorSampler(SamplerInput):
    """Plays a fragment in every environment and returns it with advantages.

    The observation after the last step of a fragment or of a truncated episode is in no row (its value alone is, as
    `VALUES_BOOTSTRAPPED`). It is kept in `bootstrap_obs`, for a learner whose critic is not the one that sampled.

    Args:
        environments: Environments E.
        policy: A torch policy of the old API stack, without recurrent state.
        config: The worker's AlgorithmConfig: fragment length T, gamma, lambda, and `time_limit` as in `TrainingConfig`.
        watchdog: The one that watches the environments.
        worker_index: Number of the worker: episodes of two workers never have the same number.
        cuts: Step of each environment after which its episode is cut once, 0 for never [E]; None: never.
    """

    def __init__(
        self,
        environments: GuardedEnvironments,
        policy: TorchPolicyV2,
        config: Any,
        watchdog: Watchdog,
        worker_index: int = 0,
        cuts: np.ndarray | None = None,
    ) -> None:
        self._environments = environments
        self._measures = environments.measures
        self._policy = policy
        self._watchdog = watchdog
        self._length = config.get_rollout_fragment_length(worker_index=1)
        self._gamma, self._lambda = config.gamma, config.lambda_
        self._limit_is_end = config.time_limit == "terminal"
        self._observations: Observation | None = None
        self._returns = np.zeros(len(environments))
        self._steps = np.zeros(len(environments), dtype=np.int64)
        self._until_cut = self._steps.copy() if cuts is None else cuts
        self._episode_ids = (worker_index << 40) + np.arange(len(environments), dtype=np.int64)
        self._finished: list[Any] = []
        self.bootstrap_obs: Observation | None = None
        """Observations, a leaf [n, ...] by its name, that follow those rows of the last fragment, in their order, that
        are not terminated and are truncated or an environment's last; None before the first."""
        self._replaced_and_told = 0

    def get_data(self) -> SampleBatch:
        """Play one fragment: E * T rows, the T of one environment after those of another.

        Raises:
            EnvironmentsFailError: an environment fails again and again.
        """
        with self._watchdog:
            return self._play()

    def _play(self) -> SampleBatch:
        length, width = self._length, len(self._environments)
        if self._observations is None:
            begun = [self._environments.begin(e) for e in range(width)]
            self._observations = {name: np.stack([each[name] for each in begun]) for name in begun[0]}
        # New arrays each time: the batch refers to them.
        observations = _empty(self._observations, length + 1, width)
        _write(observations, 0, self._observations)
        rewards = np.zeros((length, width), np.float32)
        ends = np.zeros((length, 2, width), bool)
        episode_ids = np.empty((length, width), np.int64)
        values = np.empty((length, width), np.float32)
        bootstrap: dict[tuple[int, int], Observation] = {}  # by (environment, time): where no row follows
        actions, outputs = [], []
        infos: list[dict[str, Any]] = [{}] * width
        for t in range(length):
            obs, next_obs = _at(observations, t), _at(observations, t + 1)
            chosen, values[t], output = self._act(obs)
            stepped: Sequence[int] = range(width)
            while failures := self._environments.step(stepped, chosen, next_obs, rewards[t], ends[t], infos):
                stepped = sorted(failures)
                for e in stepped:
                    if t and not ends[t - 1, :, e].any():
                        ends[t - 1, 1, e] = True
                        bootstrap[e, t - 1] = _at(obs, e, copy=True)
                    self._forget_episode(e)
                    ends[t, :, e] = False
                    _write(obs, e, self._environments.replace(e, failures[e]))
                chosen[stepped], values[t, stepped], new_output = self._act(_at(obs, stepped))
                for key, column in output.items():
                    column[stepped] = new_output[key]
            actions.append(chosen)
            outputs.append(output)
            episode_ids[t] = self._episode_ids
            self._returns += rewards[t]
            self._steps += 1
            if self._limit_is_end:
                ends[t, 0] |= ends[t, 1]
            self._until_cut -= 1
            is_cut = (self._until_cut == 0) & ~ends[t].any(0)
            ends[t, 1] |= is_cut
            for e in np.flatnonzero(ends[t].any(0)).tolist():
                if not ends[t, 0, e]:
                    bootstrap[e, t] = _at(next_obs, e, copy=True)
                if not is_cut[e]:
                    self._book_episode(e, infos[e])
                self._forget_episode(e)
                _write(next_obs, e, self._environments.begin(e))
        terminated, truncated = ends[:, 0], ends[:, 1]
        self._observations = _at(observations, length)
        bootstrap |= {(e, length - 1): _at(self._observations, e) for e in np.flatnonzero(~ends[-1].any(0)).tolist()}
        next_values = np.zeros_like(values)
        next_values[:-1] = values[1:] * ~ends[:-1].any(1)
        places = sorted(bootstrap)
        self.bootstrap_obs = _empty(self._observations, len(places))
        for row, place in enumerate(places):
            _write(self.bootstrap_obs, row, bootstrap[place])
        if places:  # one forward pass for all of them
            environments, times = np.transpose(places)
            next_values[times, environments] = self._values(self.bootstrap_obs)
        advantages = gae(rewards, values, next_values, terminated | truncated, self._gamma, self._lambda)

        def rows(array: np.ndarray) -> np.ndarray:
            return array.swapaxes(0, 1).reshape(length * width, *array.shape[2:])

        return SampleBatch(
            {
                SampleBatch.OBS: {name: rows(leaf[:length]) for name, leaf in observations.items()},
                SampleBatch.ACTIONS: rows(np.stack(actions)),
                SampleBatch.REWARDS: rows(rewards),
                SampleBatch.TERMINATEDS: rows(terminated),
                SampleBatch.TRUNCATEDS: rows(truncated),
                SampleBatch.EPS_ID: rows(episode_ids),
                SampleBatch.VF_PREDS: rows(values),
                SampleBatch.VALUES_BOOTSTRAPPED: rows(next_values),
                Postprocessing.ADVANTAGES: rows(advantages),
                Postprocessing.VALUE_TARGETS: rows(advantages + values),
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

    def get_state(self) -> dict[str, Any] | None:
        """Return the episodes under way with their environments; None where there are none, or one cannot be saved."""
        environments = None if self._observations is None else self._environments.get_state()
        return environments and {"environments": environments, **{name: getattr(self, name) for name in _KEPT}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state by `get_state`; ignored where the environments are others."""
        if self._environments.set_state(state["environments"]):
            vars(self).update({name: state[name] for name in _KEPT if name in state})

    def _act(self, observations: Observation) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return actions [n], critic's estimates [n] and the rest of the policy's output for n observations."""
        answer: Any = self._policy.compute_actions_from_input_dict({SampleBatch.OBS: observations})
        chosen, _, output = answer
        return chosen, output.pop(SampleBatch.VF_PREDS), output

    def _book_episode(self, e: int, info: dict[str, Any]) -> None:
        """Keep what is reported of the episode that ended in environment `e`."""
        total = float(self._returns[e])
        measures = {"score": [float(info.get("score", total))]}
        measures |= {m.episode_measure(each.name).key: [each.value(info)] for each in self._measures}
        measures |= {m.env_argument(name).key: [value] for name, value in self._environments.numbers(e).items()}
        # Told with the next episode: RLlib has no other channel to the driver that loses and repeats nothing.
        measures["replaced_environments"] = [float(self._environments.replaced - self._replaced_and_told)]
        self._replaced_and_told = self._environments.replaced
        self._finished.append(_EpisodeRecord(int(self._steps[e]), total, hist_data=measures))

    def _forget_episode(self, e: int) -> None:
        """Begin the books of environment `e` anew."""
        self._returns[e] = 0
        self._steps[e] = 0
        self._episode_ids[e] += len(self._environments)

    @torch.no_grad()
    def _values(self, observations: Observation) -> np.ndarray:
        """Return the critic's estimates [n] of n observations."""
        model = self._policy.model
        with self._policy._lock:  # the policy may be learning in another thread
            model.eval()
            model({SampleBatch.OBS: convert_to_torch_tensor(observations, self._policy.device)})
            return model.value_function().cpu().numpy()


def _empty(batch: Mapping[str, np.ndarray], *lead: int) -> Observation:
    """Return new arrays of a batch's leaves, with other dimensions in place of the first."""
    return {name: np.empty((*lead, *leaf.shape[1:]), leaf.dtype) for name, leaf in batch.items()}


def _at(batch: Mapping[str, np.ndarray], index: Any, *, copy: bool = False) -> Observation:
    """Return an index of every leaf: views where numpy gives one, unless copies are asked for."""
    return {name: leaf[index].copy() if copy else leaf[index] for name, leaf in batch.items()}


def _write(batch: Mapping[str, np.ndarray], index: int, observation: Mapping[str, np.ndarray]) -> None:
    """Write an observation, or a batch of them, to an index of every leaf."""
    for name, leaf in batch.items():
        leaf[index] = observation[name]
