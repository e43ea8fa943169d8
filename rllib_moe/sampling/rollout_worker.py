"""RLlib's rollout worker with a sampler for all its environments at once.

Owns the environments' arguments by phase, the replacement of one that fails, and the step at which each is cut once:
environments begin together, and episodes that last up to the limit of steps would end together for ever, none for
several iterations, then all. So once after its start each environment's episode is cut, at a step of its own, as at a
time limit; what is left of it is learned from, but no episode.

Everything else is RLlib's: weights, fault tolerance, metrics.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID

from rllib_moe.sampling.guarded_environments import Env, GuardedEnvironments
from rllib_moe.sampling.vector_sampler import VectorSampler
from rllib_moe.sampling.watchdog import Watchdog
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError

FIRST_EPISODE = "first_episode"
"""Key in `env_config` of the episode that a run goes on from."""


class VectorRolloutWorker(RolloutWorker):
    """RLlib's rollout worker with a `VectorSampler`. Takes RolloutWorker's arguments."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.worker_index > 0:
            # Ray sees to it by OMP_NUM_THREADS, unless that is set already: then it is meant for the learner, and the
            # threads of several workers would wait for each other's cores: 1,600 steps/s in place of 2,300 on two.
            torch.set_num_threads(max(1, int(self.config.num_cpus_per_env_runner)))
        self._schedule = PhaseSchedule.from_dict(cast(Any, self.config).schedule)
        # In evaluation RLlib counts whole episodes, which its own sampler plays.
        if self.async_env is not None and self.policy_map is not None and not self.config.in_evaluation:
            if self._schedule.env_names and (errors := self.env.get_wrapper_attr("phase_errors")(self._schedule)):
                raise ConfigError(errors)
            # Ray starts a remote worker anew when it ends; nobody would start the driver anew.
            watchdog = Watchdog(self.env_context["step_timeout"], ends_process=self.worker_index > 0)
            self._environments = GuardedEnvironments(
                self.async_env.get_sub_environments(), self._make_another, watchdog
            )
            policy, cuts = self.policy_map[DEFAULT_POLICY_ID], self._cuts(len(self._environments))
            sampler: Any = VectorSampler(self._environments, policy, self.config, watchdog, self.worker_index, cuts)
            self.sampler = self.input_reader = sampler

    def sample(self, **kwargs: Any) -> Any:
        """Return one fragment of every environment; what begins in it has the arguments of the phase of its weights."""
        if self._schedule.env_names and isinstance(self.sampler, VectorSampler):
            episodes = int(cast(Any, self.get_policy()).model.network.phase.episodes)
            self._environments.arguments = self.env.get_wrapper_attr("phase_arguments")(self._schedule, episodes)
        return super().sample(**kwargs)

    def get_episodes(self) -> dict[str, Any] | None:
        """Return the episodes under way, None where this worker has none or its environments cannot be saved."""
        state = self.sampler.get_state() if isinstance(self.sampler, VectorSampler) else None
        return state and {**state, "env_config": self._env_config}

    def set_episodes(self, state: dict[str, Any]) -> None:
        """Go on with the episodes of a state by `get_episodes`.

        They begin anew where environments are asked for otherwise than in the state, or other workers play them.
        """
        sampler, is_alone = self.sampler, self.num_workers == 0
        if isinstance(sampler, VectorSampler) and is_alone and state["env_config"] == self._env_config:
            sampler.set_state(state)

    def _cuts(self, width: int) -> np.ndarray:
        """Return the step after which each environment's episode is cut once: [width], spread evenly over an episode.

        0 is never: where every fragment holds the same number of longest episodes anyway.
        """
        limit, is_constant = self.env_context["max_steps"], "max_steps" not in self._schedule.env_names
        is_even = is_constant and self.config.get_rollout_fragment_length(worker_index=1) % limit == 0
        if is_even:
            return np.zeros(width, np.int64)
        limit = round(self._schedule.at(self.env_context.get(FIRST_EPISODE, 0)).env.get("max_steps", limit))
        num_workers = max(1, self.num_workers)
        places = np.arange(width) * num_workers + max(1, self.worker_index)  # 1 and up, in turn among the workers
        return -(-limit * places // (width * num_workers))

    @property
    def _env_config(self) -> dict[str, Any]:
        # An argument that phases gave before, and give no more, would stay as it was.
        given = {"given_by_phases": list(self._schedule.env_names)} if self._schedule.env_names else {}
        return dict(self.env_context) | {FIRST_EPISODE: 0, **given}

    def _make_another(self, e: int, number: int) -> Env:
        """Make the replacement of environment `e`; `number` tells its seeds from those of the one before."""
        context = self.env_context.copy_with_overrides(vector_index=e)
        context["replacement"] = number
        environment: Any = self.env_creator(context)
        return environment
