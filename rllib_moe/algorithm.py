"""Where the parts become an RLlib algorithm: environment creator, policy, algorithm and its configuration.

RLlib does the sampling, the learning and the distribution. What is added here closes gaps of the old API stack: rows of
a batch are shuffled, updates that are not finite are skipped, and weights are sent before every sampling.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from typing import Any, Self

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.ppo.ppo_torch_policy import PPOTorchPolicy
from ray.rllib.env.env_context import EnvContext
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch
from ray.tune.registry import register_env

from rllib_moe.callbacks.episode_metrics import EpisodeMetrics
from rllib_moe.callbacks.phase_curriculum import PhaseCurriculum, send_weights
from rllib_moe.config import ExperimentConfig
from rllib_moe.envs.packing import PackObservation
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.models.rllib_model import GATMoEModel
from rllib_moe.phases import PhaseSchedule
from rllib_moe.placement import spread_workers
from rllib_moe.random_states import random_states, set_random_states
from rllib_moe.stalled_workers import kill_stalled_workers
from rllib_moe.vector_sampler import VectorRolloutWorker

ENVIRONMENT_NAME = "rllib_moe"


MAX_SKIPPED_IN_A_ROW = 20
"""Gradient steps in a row that were not finite after which learning stops: nothing would ever change again."""


class NonFiniteUpdatesError(RuntimeError):
    """No update is finite any more; the weights are those of the last good one. The message names the losses."""


class MoECallbacks(EpisodeMetrics, PhaseCurriculum):
    """Both callbacks as one class: RLlib's way of combining several drops the hook for recreated workers.

    The order matters: an iteration's measures are taken before the next phase is applied.
    """


class MoEPPOConfig(PPOConfig):
    """PPO's configuration with one field more, the phase schedule in its plain form."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MoEPPO)
        self.schedule: dict[str, Any] = PhaseSchedule.load("default").to_dict()
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.framework("torch")
        # Keeps the packed observation as the bytes it is.
        self.experimental(_disable_preprocessor_api=True)
        self.callbacks(MoECallbacks)
        self.env_runners(env_runner_cls=VectorRolloutWorker)

    def training(self, *, schedule: dict[str, Any] = NotProvided, **kwargs: Any) -> Self:  # type: ignore[assignment]
        """Set training options: PPO's, and `schedule` (the plain form of a `PhaseSchedule`)."""
        super().training(**kwargs)
        if schedule is not NotProvided:
            self.schedule = schedule
        return self


class MoEPPOPolicy(PPOTorchPolicy):
    """PPO's policy with shuffled batches, a fused optimizer and a guard against updates that are not finite."""

    skipped_updates: int = 0
    """Gradient steps skipped so far because a gradient was NaN or infinite; saved with the policy."""
    _skipped_in_a_row: int = 0

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


ALGORITHMS = {"ppo": MoEPPOConfig}
"""Configurations by the name of their algorithm, as in `TrainingConfig.algo`."""


def make_rollout_env(context: EnvContext) -> gymnasium.Env[np.ndarray, Any]:
    """Make one environment of a rollout worker: seeded for its place, with packed observations.

    Args:
        context: RLlib's context; its dict holds `env`, `max_steps`, `env_args`, `seed` and `first_episode`, and
            `replacement`, a number above 0, where the environment takes the place of one that failed.
    """
    env = make_env(context["env"], max_steps=context["max_steps"], **context["env_args"])
    place = (context["seed"], context["first_episode"], context.worker_index, context.vector_index)
    # A restarted worker must not replay the episodes of the one it replaces; its process id tells them apart.
    with warnings.catch_warnings():  # Ray's property warns of a deprecated one that it uses itself
        warnings.simplefilter("ignore")
        restarted = context.worker_index > 0 and ray.get_runtime_context().was_current_actor_reconstructed
    replacement = (context["replacement"],) if "replacement" in context else ()
    return PackObservation(EpisodeSeeds(env, (*place, os.getpid() if restarted else 0, *replacement)))


def algorithm_config(config: ExperimentConfig, schedule: PhaseSchedule, first_episode: int = 0) -> MoEPPOConfig:
    """Translate an experiment's configuration to RLlib's.

    Args:
        config: A checked configuration.
        schedule: The phases.
        first_episode: Episodes played before this process, so that a resumed run sees new ones.

    Returns:
        The configuration, ready for `build_algo()` or Tune.
    """
    register_env(ENVIRONMENT_NAME, make_rollout_env)
    training, environment = config.training, config.environment
    num_envs = max(1, training.num_workers) * training.num_envs_per_worker
    return (
        ALGORITHMS[training.algo]()
        .environment(
            ENVIRONMENT_NAME,
            env_config={
                **environment.to_dict(),
                "step_timeout": environment.step_timeout,
                "seed": training.seed,
                "first_episode": first_episode,
            },
            disable_env_checking=True,
        )
        .env_runners(
            num_env_runners=training.num_workers,
            num_envs_per_env_runner=training.num_envs_per_worker,
            rollout_fragment_length=training.batch_size // num_envs,
            batch_mode="truncate_episodes",
            sample_timeout_s=training.sample_timeout,
        )
        .fault_tolerance(
            restart_failed_env_runners=True,
            delay_between_env_runner_restarts_s=1,
            num_consecutive_env_runner_failures_tolerance=10,
        )
        .training(
            schedule=schedule.to_dict(),
            lr=schedule.at(first_episode).learning_rate,
            entropy_coeff=schedule.at(first_episode).entropy_coef,
            train_batch_size=training.batch_size,
            minibatch_size=training.minibatch_size,
            num_epochs=training.num_epochs,
            gamma=training.gamma,
            lambda_=training.gae_lambda,
            clip_param=training.clip_param,
            vf_loss_coeff=training.vf_loss_coef,
            vf_clip_param=math.inf,  # RLlib's clip gives large errors of the critic no gradient at all
            grad_clip=training.grad_clip,
            use_kl_loss=False,
            model={"custom_model": GATMoEModel, "custom_model_config": config.model.to_dict()},
        )
        .resources(num_gpus=training.num_gpus)
        .reporting(metrics_num_episodes_for_smoothing=1, min_time_s_per_iteration=None)
        .debugging(seed=training.seed, log_level="ERROR")
    )
