"""PPO: RLlib's, with weights sent first thing in an iteration, and stalled workers replaced."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPO, PPOConfig

from rllib_moe.algorithms.curriculum import CurriculumAlgorithm, CurriculumConfig
from rllib_moe.sampling.stalled_workers import kill_stalled_workers


class MoEPPOConfig(CurriculumConfig, PPOConfig):
    """Configuration of `MoEPPO`."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MoEPPO)


class MoEPPO(CurriculumAlgorithm, PPO):
    """PPO that never samples with stale weights, nor waits for a stalled worker twice.

    A worker killed while idle is restarted by Ray with initial weights and no callback fires: sending the weights first
    thing in every iteration (with the phase in their buffers) closes that gap.
    """

    _unanswered = 0
    """Calls that workers had not answered in time when stalled ones were last looked for."""

    @classmethod
    def get_default_config(cls) -> MoEPPOConfig:
        """Return the default configuration."""
        return MoEPPOConfig()

    def training_step(self) -> Any:
        """Run one iteration: send the weights, then what PPO does; workers that it waited for in vain are killed."""
        self._replace_stalled_workers()  # of the last iteration's collection of episodes
        self.sync_workers()
        results = super().training_step()
        self._replace_stalled_workers()
        return results

    def _replace_stalled_workers(self) -> None:
        """Kill the workers that do not answer, where RLlib has gone on without an answer since the last call."""
        group = self.worker_group
        if group.num_env_runners_dropped_lifetime() > self._unanswered:
            kill_stalled_workers(group, group.healthy_worker_ids())  # sampling is over
            self._unanswered = group.num_env_runners_dropped_lifetime()
