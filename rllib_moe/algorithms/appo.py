"""APPO: rollout workers go on sampling while the learner learns, in a thread of its own.

The asynchronous part is RLlib's APPO (old API stack): who samples, what is queued, when weights are sent. The update is
this project's PPO with V-trace in place of plain advantages (https://arxiv.org/abs/1802.01561), since rows are one to
two updates old when they are learned. RLlib's own APPO loss is not used: it needs whole trajectories in each minibatch,
so rows would be correlated and load balance measured over a handful of episodes; it evaluates a second, target
network in every minibatch; and it lets values leak over the end of truncated episodes. Here the policy before an update
takes the target network's place, evaluated once a batch, and without lag a batch is learned as PPO learns it.

An update has one policy before it and one phase: a phase that comes while a batch is learned waits until that is done.
So the gate under which a row was sampled may be an older one than that under which it is learned; V-trace
corrects for that through the action's probability alone.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.algorithms.appo import APPO, APPOConfig
from ray.rllib.execution.minibatch_buffer import MinibatchBuffer
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import SAMPLE_TIMER
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY, LearnerInfoBuilder

from rllib_moe.algorithms.curriculum import CurriculumAlgorithm, CurriculumConfig, NoSamplesError
from rllib_moe.algorithms.policy import ActivePhase, MoEPPOPolicy
from rllib_moe.algorithms.vtrace import vtrace
from rllib_moe.sampling.guarded_environments import Observation
from rllib_moe.sampling.rollout_worker import VectorRolloutWorker
from rllib_moe.sampling.stalled_workers import BatchClock, kill_stalled_workers
from rllib_moe.sampling.vector_sampler import VectorSampler
from rllib_moe.schedule.phases import PhaseConfig
from rllib_moe.validation.errors import FailedError

POLL_SECONDS = 0.1
"""Seconds that the driver waits for samples, and for room in the learner's queue, before it looks around again."""

SILENT_TIMEOUTS = 2
"""A run ends after so many `sample_timeout_s` without a batch by any worker: the first has stalled workers replaced."""

BOOTSTRAP_OBS = "bootstrap_obs"
"""Key in a batch, beside the policy's rows, of the observations by that name of `VectorSampler`."""


class LearnerFailedError(FailedError):
    """The learner's thread died of an error, which is the cause."""


class MoEAPPOConfig(CurriculumConfig, APPOConfig):
    """Configuration of `MoEAPPO`.

    An iteration is as many steps as a batch has, sampled and learned; so that no sample is too old, one batch waits
    while one is learned, and workers wait beyond that.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MoEAPPO)
        self.use_critic = True
        self.env_runners(env_runner_cls=MoEAPPOWorker)
        # RLlib's learner thread that hands whole batches to the worker; minibatches and epochs are the policy's here.
        self.simple_optimizer = True
        self.learner_queue_size = 1
        self.learner_queue_timeout = 1
        self.timeout_s_sampler_manager = POLL_SECONDS

    def validate(self) -> None:
        """Check the options as RLlib does, and set the steps of an iteration."""
        super().validate()
        self.min_sample_timesteps_per_iteration = self.min_train_timesteps_per_iteration = self.train_batch_size


class MoEAPPOWorker(VectorRolloutWorker):
    """Rollout worker whose batches RLlib's APPO takes, and whose update on the learner is a whole one."""

    failure: Exception | None = None
    """Error that the learner's thread died of."""

    def sample(self, **kwargs: Any) -> MultiAgentBatch:
        """Return one fragment of every environment in the form that IMPALA's book-keeping asks for.

        RLlib counts the observations to bootstrap from among its "agent steps", which nothing here reads.
        """
        sampled = super().sample(**kwargs)
        if not isinstance(self.sampler, VectorSampler):
            return sampled
        rows = cast(SampleBatch, sampled)
        bootstrap = SampleBatch({SampleBatch.OBS: self.sampler.bootstrap_obs})
        return MultiAgentBatch({DEFAULT_POLICY_ID: rows, BOOTSTRAP_OBS: bootstrap}, rows.count)

    def learn_on_batch(self, samples: MultiAgentBatch) -> dict[str, Any]:  # type: ignore[override]
        """Learn a batch: called in the learner's thread, which dies of what this raises."""
        policy, batches = cast(MoEAPPOPolicy, self.get_policy()), samples.policy_batches
        try:
            bootstrap_obs = batches[BOOTSTRAP_OBS].get(SampleBatch.OBS)
            return {DEFAULT_POLICY_ID: policy.update(batches[DEFAULT_POLICY_ID], bootstrap_obs)}
        except Exception as error:
            self.failure = error
            raise


class MoEAPPOPolicy(MoEPPOPolicy):
    """The policy of `MoEPPO`, corrected for rows by older policies, and safe to be read while it learns.

    The learner's thread holds the policy's lock during a gradient step; whoever reads or writes weights takes it too.
    """

    _learned_under: ActivePhase | None = None
    _is_learning = False
    _next_phase: tuple[PhaseConfig, int] | None = None

    def request_phase(self, phase: PhaseConfig, episodes: int) -> None:
        """Activate a phase, at once or when the batch that is being learned is done."""
        with self._lock:
            if self._is_learning:
                self._next_phase = phase, episodes
            else:
                super().request_phase(phase, episodes)

    @property
    def learned_under(self) -> ActivePhase:
        """The phase that the last whole batch was learned under; a later one may be active by now."""
        return self._learned_under or super().learned_under

    @contextmanager
    def _one_phase(self) -> Iterator[None]:
        """A block within which no phase begins."""
        with self._lock:
            self._is_learning = True
        try:
            yield
        finally:
            with self._lock:
                self._is_learning = False
                self._learned_under = deepcopy(super().learned_under)
                if self._next_phase:
                    super().request_phase(*self._next_phase)
                    self._next_phase = None

    def update(self, batch: SampleBatch, bootstrap_obs: Observation | None) -> dict[str, Any]:
        """Learn all epochs of a batch of whole fragments, under one phase; arguments as for `vtrace`.

        Returns:
            RLlib's results of a learning step, averaged over the minibatches, with `weight_kept` among its statistics.
        """
        with self._one_phase():
            with self._lock:
                kept = vtrace(self, batch, bootstrap_obs)
            num_rows = self.load_batch_into_buffer(batch)
            size = min(self.config["minibatch_size"], num_rows)
            results = LearnerInfoBuilder(num_devices=1)
            for _ in range(self.config["num_epochs"]):
                for index in np.random.permutation(num_rows // size):
                    with self._lock:
                        results.add_learn_on_batch_results(self.learn_on_loaded_batch(index * size))
        learned = results.finalize()[DEFAULT_POLICY_ID]
        learned[LEARNER_STATS_KEY]["weight_kept"] = kept
        return learned

    def update_target(self) -> None:
        """Nothing: there is no target network (see the module). RLlib's APPO calls this."""

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return a copy: RLlib's own result shares memory with weights that go on changing."""
        with self._lock:
            return {name: value.copy() for name, value in super().get_weights().items()}

    def set_weights(self, weights: Any) -> None:
        """Set the weights, between two gradient steps."""
        with self._lock:
            super().set_weights(weights)


class MoEAPPO(CurriculumAlgorithm, APPO):
    """APPO with one learner thread; see the module."""

    policy_class = MoEAPPOPolicy

    @classmethod
    def get_default_config(cls) -> MoEAPPOConfig:
        """Return the default configuration."""
        return MoEAPPOConfig()

    def setup(self, config: Any) -> None:
        """Set the algorithm up; until `cleanup`, torch has as many threads here as `learner_threads` says."""
        self._threads_before = torch.get_num_threads()
        if "OMP_NUM_THREADS" not in os.environ:
            # Before the learner's thread is made: a new thread takes over torch's number of threads.
            torch.set_num_threads(learner_threads(len(os.sched_getaffinity(0)), config.num_env_runners))
        super().setup(config)
        self._clock = BatchClock()
        thread = self._learner_thread
        # RLlib would hand out a batch `num_epochs` times; `MoEAPPOPolicy.update` does all epochs at once.
        thread.minibatch_buffer = MinibatchBuffer(thread.inqueue, size=1, timeout=1, num_passes=1)
        self._waited = 0.0

    def step(self) -> Any:
        """One iteration, as many training steps as it takes."""
        with self._clock.going():
            return super().step()

    def training_step(self) -> Any:
        """Take the samples that are there, queue them, send weights to the workers that gave them.

        A worker that has given no batch for `sample_timeout_s` of the `BatchClock`, and does not answer, is killed; Ray
        starts it anew.

        Raises:
            NoSamplesError: No worker has given a batch for `SILENT_TIMEOUTS` times that; RLlib would wait for ever.
            NonFiniteUpdatesError: No update is finite any more.
            LearnerFailedError: The learner's thread died of any other error.
        """
        self._check_learner()
        results = super().training_step()
        limit = cast(MoEAPPOConfig, self.config).sample_timeout_s
        kill_stalled_workers(self.worker_group, self._clock.late(self.worker_group.healthy_worker_ids(), limit))
        if self._clock.silence() > SILENT_TIMEOUTS * limit:
            raise NoSamplesError(f"no rollout worker has given a sample for {SILENT_TIMEOUTS * limit:g} s")
        return results

    def _get_samples_from_workers_old_api_stack(self, *args: Any, **kwargs: Any) -> list[tuple[int, Any]]:
        """Return RLlib's samples, and note who gave some.

        While no rollout worker is healthy there are none: RLlib would sample in the driver meanwhile, and then fail to
        send weights to a worker 0.
        """
        if self.worker_group.num_remote_env_runners() and not self.worker_group.num_healthy_remote_env_runners():
            time.sleep(POLL_SECONDS)
            return []
        samples = super()._get_samples_from_workers_old_api_stack(*args, **kwargs)
        self._clock.note(index for index, _ in samples)
        return samples

    def _check_learner(self) -> None:
        """Raise what the learner's thread died of, if it did."""
        if not self._learner_thread.is_alive():
            error = cast(MoEAPPOWorker, self.env_runner).failure
            if isinstance(error, FailedError):
                raise error
            raise LearnerFailedError(f"the learner's thread died: {error!r}") from error

    def cleanup(self) -> None:
        """Let the learner's thread end: RLlib leaves it running."""
        self._learner_thread.stopped = True
        super().cleanup()
        self._learner_thread.join(timeout=60)
        torch.set_num_threads(self._threads_before)

    def _place_processed_samples_on_learner_thread_queue(self) -> None:
        """Queue every batch, waiting for room. RLlib drops batches, and waits for ever on a thread that died."""
        waiting = self.data_to_place_on_learner
        while waiting:
            self._check_learner()
            # However long the learner takes, it is no worker's delay.
            with self._clock.standing(), suppress(queue.Full):
                self._learner_thread.inqueue.put(waiting[0], timeout=POLL_SECONDS)
                del waiting[0]

    def _compile_iteration_results_old_api_stack(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's results, with the timers that a synchronous algorithm has."""
        result = super()._compile_iteration_results_old_api_stack(*args, **kwargs)
        total = self._timers[SAMPLE_TIMER]._total_time  # of many short waits
        result["timers"]["sample_time_ms"] = 1000 * (total - self._waited)
        result["timers"]["learn_time_ms"] = result["info"]["timing_breakdown"]["learner_grad_time_ms"]
        self._waited = total
        return result


def learner_threads(cores: int, num_workers: int) -> int:
    """Return torch's threads for a learner beside workers that never wait: the cores they leave it, at least half."""
    return max(1, cores - min(num_workers, cores // 2))
