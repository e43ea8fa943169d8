"""PPO: RLlib's, with shuffled batches, a guard against updates that are not finite, and weights sent first thing."""

from __future__ import annotations

import math
import time
from typing import Any, Self

import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.ppo.ppo_torch_policy import PPOTorchPolicy
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_moe.algorithms.random_states import random_states, set_random_states
from rllib_moe.callbacks.episode_metrics import EpisodeMetrics
from rllib_moe.callbacks.phase_curriculum import PhaseCurriculum, send_weights
from rllib_moe.phases import PhaseSchedule
from rllib_moe.placement import spread_workers
from rllib_moe.sampling.stalled_workers import kill_stalled_workers
from rllib_moe.sampling.vector_sampler import VectorRolloutWorker

MAX_SKIPPED_IN_A_ROW = 20
"""Gradient steps in a row that were not finite after which learning stops: nothing would ever change again."""


class NonFiniteUpdatesError(RuntimeError):
    """No update is finite any more; the weights are those of the last good one. The message names the losses."""


class MoECallbacks(EpisodeMetrics, PhaseCurriculum):
    """Both callbacks as one class: RLlib's way of combining several drops the hook for recreated workers.

    The order matters: an iteration's measures are taken before the next phase is applied.
    """


class MoEPPOConfig(PPOConfig):
    """PPO's configuration with two fields more: the phase schedule in its plain form, and mixed precision."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MoEPPO)
        self.schedule: dict[str, Any] = PhaseSchedule.load("default").to_dict()
        self.mixed_precision = False
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.framework("torch")
        # Keeps the packed observation as the bytes it is.
        self.experimental(_disable_preprocessor_api=True)
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


class MoEPPOPolicy(PPOTorchPolicy):
    """PPO's policy with shuffled batches, a fused optimizer and a guard against updates that are not finite."""

    skipped_updates: int = 0
    """Gradient steps skipped so far because a gradient was NaN or infinite; saved with the policy."""
    _skipped_in_a_row: int = 0

    def __init__(self, observation_space: Any, action_space: Any, config: dict[str, Any]) -> None:
        super().__init__(observation_space, action_space, config)
        for tower in self.model_gpu_towers:
            tower.network.mixed_precision = config.get("mixed_precision", False)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over all parameters; the learning rate is the phase's."""
        return torch.optim.Adam(self.model.parameters(), lr=self.config["lr"], fused=True)

    def load_batch_into_buffer(self, batch: SampleBatch, buffer_index: int = 0) -> int:
        """Shuffle the rows first.

        RLlib permutes the order of minibatches but not their rows, so a minibatch would hold a few whole trajectories:
        correlated gradients, and load balance measured over a handful of episodes.
        """
        return super().load_batch_into_buffer(batch.shuffle(), buffer_index)

    def apply_gradients(self, gradients: Any) -> None:
        """Take the optimizer's step, unless a gradient is not finite: then weights and optimizer stay as they were.

        Raises:
            NonFiniteUpdatesError: `MAX_SKIPPED_IN_A_ROW` steps in a row were not finite.
        """
        norms = [parameter.grad.sum() for parameter in self.model.parameters() if parameter.grad is not None]
        if not norms or math.isfinite(float(torch.stack(norms).sum())):
            super().apply_gradients(gradients)
            self._skipped_in_a_row = 0
            return
        self.skipped_updates += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
            losses = {name: value for name, value in self.model.metrics().items() if not math.isfinite(value)}
            told = ", ".join(f"{name} = {value}" for name, value in losses.items()) or "all losses are finite"
            raise NonFiniteUpdatesError(
                f"{MAX_SKIPPED_IN_A_ROW} gradient steps in a row were not finite ({told}); none of them was taken"
            )

    def get_state(self) -> dict[str, Any]:
        """RLlib's state and the count of skipped updates."""
        return {**super().get_state(), "skipped_updates": self.skipped_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of `get_state`; the configuration stays this policy's own.

        RLlib takes the saved one, so that a run resumed with another clip range or critic weight would not have it
        (https://github.com/ray-project/ray/issues/62173).
        """
        self.skipped_updates = state.get("skipped_updates", 0)
        config = self.config
        super().set_state(state)
        self.num_grad_updates = state.get("num_grad_updates", 0)  # which RLlib saves and does not restore
        self.config = config


class MoEPPO(PPO):
    """PPO that never samples with stale weights, nor waits for a stalled worker twice.

    A worker killed while idle is restarted by Ray with initial weights and no callback fires: sending the weights first
    thing in every iteration (with the phase in their buffers) closes that gap.
    """

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
        """One iteration: send the weights, then what PPO does; a worker that kept it waiting too long is killed."""
        send_weights(self)
        began = time.monotonic()
        results = super().training_step()
        if self.config and time.monotonic() - began >= self.config.sample_timeout_s:
            kill_stalled_workers(self)
        return results
