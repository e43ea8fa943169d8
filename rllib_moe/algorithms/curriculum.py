"""PPO and APPO alike: one configuration, and the accessors by which the curriculum callback reads an algorithm."""

from __future__ import annotations

import logging
import math
from typing import Any, ClassVar, Self, cast

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.policy import Policy
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

from rllib_moe.algorithms.placement import spread_workers
from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.callbacks.curriculum import CurriculumCallbacks
from rllib_moe.callbacks.measures import ITERATIONS, REPLACED, WALL_SECONDS, of_this_iteration
from rllib_moe.sampling.rollout_worker import FIRST_EPISODE, VectorRolloutWorker
from rllib_moe.sampling.stalled_workers import wait_for_restart
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError, FailedError

EPISODES = "moe_episodes"
"""Key of the global episode count in `algorithm._counters`, which RLlib saves and restores."""
MAX_EMPTY_ITERATIONS = 10
"""Iterations in a row without a single sample after which a run stops."""

logger = logging.getLogger(__name__)


class NoSamplesError(FailedError):
    """No rollout worker gives samples any more."""


class CurriculumConfig(AlgorithmConfig):
    """RLlib's configuration with a phase schedule, `mixed_precision` and `time_limit`, and this package's defaults."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.schedule: dict[str, Any] = PhaseSchedule.load("default").to_dict()
        self.mixed_precision = False
        self.time_limit = "bootstrap"
        self.vf_clip_param = math.inf  # RLlib's clip gives large errors of the critic no gradient at all
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.framework("torch")
        self.experimental(_disable_preprocessor_api=True)  # keeps the observation's leaves and their dtypes
        self.callbacks(CurriculumCallbacks)
        self.env_runners(env_runner_cls=VectorRolloutWorker)

    def training(
        self,
        *,
        schedule: dict[str, Any] = NotProvided,  # type: ignore[assignment]
        mixed_precision: bool = NotProvided,  # type: ignore[assignment]
        time_limit: str = NotProvided,  # type: ignore[assignment]
        **kwargs: Any,
    ) -> Self:
        """Set training options.

        Args:
            schedule: Plain form of a `PhaseSchedule`.
            mixed_precision: Whether the learner's encoder computes in bfloat16.
            time_limit: As in `TrainingConfig`.
            **kwargs: RLlib's own.
        """
        super().training(**kwargs)
        if schedule is not NotProvided:
            self.schedule = schedule
        if mixed_precision is not NotProvided:
            self.mixed_precision = mixed_precision
        if time_limit is not NotProvided:
            self.time_limit = time_limit
        return self


class CurriculumAlgorithm(Algorithm):
    """An algorithm with a schedule and an episode count; its workers are spread over the nodes of a cluster."""

    policy_class: ClassVar[type[MoEPPOPolicy]] = MoEPPOPolicy
    """Class of its policies."""
    notes: list[str]
    """Lines to log before the next iteration: after the last one's row, and only if there is a next one."""
    schedule: PhaseSchedule
    """The phases."""
    has_phase = False
    """True once the curriculum's callback has activated a phase."""
    empty_iterations: int = 0
    """Iterations in a row, the last one included, that sampled nothing, as all workers failed."""

    @classmethod
    def get_default_policy_class(cls, config: Any) -> type[Policy]:
        """Return the policy class."""
        del config
        return cls.policy_class

    def setup(self, config: Any) -> None:
        """Set the algorithm up.

        Raises:
            ConfigError: The configuration's schedule is missing or holds errors, or its callbacks activate no phase.
        """
        self.schedule = PhaseSchedule.from_dict(config.get("schedule"), "the algorithm's `schedule`")
        self.notes = []
        with spread_workers():
            super().setup(config)
        if not self.has_phase:
            self.cleanup()
            given = cast(AlgorithmConfig, self.config).callbacks_class
            raise ConfigError(
                [
                    "callbacks: expected a class that derives from CurriculumCallbacks (its on_algorithm_init calls "
                    f"super()'s), or no phase would ever be active; got {getattr(given, '__name__', given)}"
                ]
            )

    def step(self) -> Any:
        """Run one iteration, after logging what there is to say about its phase."""
        for note in self.notes:
            logger.info("%s", note)
        self.notes = []
        before = self._counters[NUM_ENV_STEPS_SAMPLED]
        result = super().step()
        self.empty_iterations = 0 if self._counters[NUM_ENV_STEPS_SAMPLED] > before else self.empty_iterations + 1
        group = self.worker_group
        if self.empty_iterations and group.num_remote_env_runners() and not group.num_healthy_remote_env_runners():
            # An iteration without workers takes no time, and on a busy machine a worker's restart takes minutes.
            wait_for_restart(group, cast(AlgorithmConfig, self.config).sample_timeout_s / MAX_EMPTY_ITERATIONS)
        return result

    def check_samples(self) -> None:
        """Refuse to go on without samples.

        Raises:
            NoSamplesError: `MAX_EMPTY_ITERATIONS` in a row sampled nothing.
        """
        if self.empty_iterations >= MAX_EMPTY_ITERATIONS:
            raise NoSamplesError(
                f"{MAX_EMPTY_ITERATIONS} iterations in a row gave no sample: all rollout workers fail (see Ray's log "
                "above)"
            )

    @property
    def episodes_total(self) -> int:
        """Episodes finished over the whole run, resumed parts included."""
        config = cast(AlgorithmConfig, self.config)
        return int(self._counters.get(EPISODES, config.env_config.get(FIRST_EPISODE, 0)))

    @property
    def worker_group(self) -> EnvRunnerGroup:
        """The rollout workers, and the learner's own."""
        return cast(EnvRunnerGroup, self.env_runner_group)

    @property
    def learner_policy(self) -> MoEPPOPolicy:
        """The learner's policy; its model is a `GATMoEModel`."""
        return cast(MoEPPOPolicy, self.get_policy())

    def count_iteration(self, result: dict[str, Any]) -> None:
        """Count an iteration's episodes, time and replaced environments. The one place where episodes are counted."""
        # Absent when every worker failed in this iteration.
        self._counters[EPISODES] = self.episodes_total + result.get("env_runners", {}).get("num_episodes", 0)
        self._counters[ITERATIONS] += 1
        self._counters[WALL_SECONDS] += result["time_this_iter_s"]
        self._counters[REPLACED] += int(sum(of_this_iteration(result, "replaced_environments")))

    def sync_workers(self) -> None:
        """Send the learner's weights, with the phase in their buffers, to the remote rollout workers."""
        if self.worker_group.num_remote_env_runners():
            self.worker_group.sync_weights()
