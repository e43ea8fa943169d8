"""PPO: RLlib's, with this project's policy and callbacks, and weights sent first thing."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.policy.policy import Policy

from rllib_moe.algorithms.placement import spread_workers
from rllib_moe.algorithms.policy import MoEPPOPolicy  # older checkpoints know it, and MoECallbacks, by this module
from rllib_moe.algorithms.random_states import random_states, set_random_states
from rllib_moe.callbacks.moe_callbacks import MoECallbacks
from rllib_moe.callbacks.phase_curriculum import send_weights
from rllib_moe.phases import PhaseSchedule
from rllib_moe.sampling.stalled_workers import kill_stalled_workers
from rllib_moe.sampling.vector_sampler import VectorRolloutWorker


class MoEPPOConfig(PPOConfig):
    """PPO's configuration with two fields more: the phase schedule in its plain form, and mixed precision."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MoEPPO)
        self.schedule: dict[str, Any] = PhaseSchedule.load("default").to_dict()
        self.mixed_precision = False
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.framework("torch")
        self.experimental(_disable_preprocessor_api=True)  # keeps the observation's leaves and their dtypes
        self.callbacks(MoECallbacks)
        self.env_runners(env_runner_cls=VectorRolloutWorker)

    def training(
        self,
        *,
        schedule: dict[str, Any] = NotProvided,  # type: ignore[assignment]
        mixed_precision: bool = NotProvided,  # type: ignore[assignment]
        **kwargs: Any,
    ) -> Self:
        """Set training options: PPO's, `schedule` (the plain form of a `PhaseSchedule`) and `mixed_precision`."""
        super().training(**kwargs)
        if schedule is not NotProvided:
            self.schedule = schedule
        if mixed_precision is not NotProvided:
            self.mixed_precision = mixed_precision
        return self


class MoEPPO(PPO):
    """PPO that never samples with stale weights, nor waits for a stalled worker twice.

    A worker killed while idle is restarted by Ray with initial weights and no callback fires: sending the weights first
    thing in every iteration (with the phase in their buffers) closes that gap.
    """

    _unanswered = 0
    """Calls that workers had not answered in time when stalled ones were last looked for."""

    @property
    def _seed(self) -> int | None:
        return self.config.seed if self.config else None

    def __getstate__(self) -> dict[str, Any]:
        """RLlib's state, and that of the random generators, so that a resumed run draws what this one would."""
        return {**super().__getstate__(), "random_states": {"seed": self._seed, **random_states()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Inverse of `__getstate__`; with another seed than the checkpoint's, the generators stay as seeded."""
        super().__setstate__(state)
        saved = state.get("random_states")
        if saved and saved["seed"] == self._seed:
            set_random_states(saved)

    @classmethod
    def get_default_config(cls) -> MoEPPOConfig:
        """Default configuration."""
        return MoEPPOConfig()

    @classmethod
    def get_default_policy_class(cls, config: Any) -> type[Policy]:
        """The policy class."""
        del config
        return MoEPPOPolicy

    def setup(self, config: Any) -> None:
        """What PPO does, with the rollout workers spread over the nodes of a cluster."""
        with spread_workers():
            super().setup(config)

    def training_step(self) -> Any:
        """One iteration: send the weights, then what PPO does; workers that it waited for in vain are killed."""
        self._replace_stalled_workers()  # of the last iteration's collection of episodes
        send_weights(self)
        results = super().training_step()
        self._replace_stalled_workers()
        return results

    def _replace_stalled_workers(self) -> None:
        """Kill the workers that do not answer, where RLlib has gone on without an answer since the last call."""
        group = self.env_runner_group
        if group is not None and group.num_env_runners_dropped_lifetime() > self._unanswered:
            kill_stalled_workers(self)
            self._unanswered = group.num_env_runners_dropped_lifetime()
