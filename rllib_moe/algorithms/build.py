"""An experiment as RLlib's configuration: environment creator, algorithm, and every option that is passed on."""

from __future__ import annotations

import warnings
from typing import Any, cast

import gymnasium
import ray
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import register_env

from rllib_moe.algorithms.appo import MoEAPPOConfig
from rllib_moe.algorithms.curriculum import FIRST_EPISODE, CurriculumAlgorithm
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.experiment import Experiment
from rllib_moe.models.rllib_model import GATMoEModel

ENVIRONMENT_NAME = "rllib_moe"

ALGORITHMS: dict[str, type[MoEPPOConfig | MoEAPPOConfig]] = {"ppo": MoEPPOConfig, "appo": MoEAPPOConfig}
"""Configurations by the name of their algorithm, as in `TrainingConfig.algo`."""


def make_rollout_env(context: EnvContext) -> gymnasium.Env[Any, Any]:
    """Make one environment of a rollout worker: seeded for its place.

    Args:
        context: RLlib's context; its dict holds `env`, `max_steps`, `env_args`, `seed`, `first_episode` and
            `step_timeout` (which the worker reads); also `replacement`, a number above 0, where the environment takes
            the place of one that failed.
    """
    env = make_env(context["env"], max_steps=context["max_steps"], **context["env_args"])
    place = (context["seed"], context[FIRST_EPISODE], context.worker_index, context.vector_index)
    replacement = (context["replacement"],) if "replacement" in context else ()
    return EpisodeSeeds(env, (*place, _life(context.worker_index), *replacement))


def _life(worker_index: int) -> int:
    """A number of 32 bits that tells a worker from the one it replaces, whose episodes it must not play again.

    0 for one that was never restarted. A process id would not do: those of two containers are alike.
    """
    if worker_index == 0:  # the driver's own
        return 0
    context = ray.get_runtime_context()
    with warnings.catch_warnings():  # Ray's property warns of a deprecated one that it uses itself
        warnings.simplefilter("ignore")
        restarted = context.was_current_actor_reconstructed
    return int(context.get_worker_id()[:8], 16) if restarted else 0


def algorithm_config(experiment: Experiment, first_episode: int = 0) -> MoEPPOConfig | MoEAPPOConfig:
    """Translate an experiment to RLlib's configuration, ready for `build_algo()` or Tune.

    Args:
        experiment: The experiment.
        first_episode: Episodes played before this process, so that a resumed run sees new ones.
    """
    register_env(ENVIRONMENT_NAME, make_rollout_env)
    training, environment, phase = experiment.training, experiment.environment, experiment.schedule.at(first_episode)
    return (
        ALGORITHMS[training.algo]()
        .environment(
            ENVIRONMENT_NAME,
            env_config={**environment.to_dict(), "seed": training.seed, FIRST_EPISODE: first_episode},
            disable_env_checking=True,
        )
        .env_runners(
            num_env_runners=training.num_workers,
            num_envs_per_env_runner=training.num_envs_per_worker,
            rollout_fragment_length=training.batch_size // training.num_envs,
            batch_mode="truncate_episodes",
            sample_timeout_s=training.sample_timeout,
        )
        .fault_tolerance(
            restart_failed_env_runners=True,
            delay_between_env_runner_restarts_s=1,
            num_consecutive_env_runner_failures_tolerance=10,
        )
        .training(
            schedule=experiment.schedule.to_dict(),
            mixed_precision=training.mixed_precision,
            time_limit=training.time_limit,
            lr=phase.learning_rate,
            entropy_coeff=phase.entropy_coef,
            train_batch_size=training.batch_size,
            minibatch_size=training.minibatch_size,
            num_epochs=training.num_epochs,
            gamma=training.gamma,
            lambda_=training.gae_lambda,
            clip_param=training.clip_param,
            vf_loss_coeff=training.vf_loss_coef,
            grad_clip=training.grad_clip,
            use_kl_loss=False,
            model={"custom_model": GATMoEModel, "custom_model_config": experiment.model.to_dict()},
        )
        .resources(num_gpus=training.num_gpus)
        .reporting(
            metrics_num_episodes_for_smoothing=1,
            min_time_s_per_iteration=None,
            # APPO's workers answer after the batch they are at. A worker has emptied its list by a late answer, which
            # RLlib drops: those episodes would be counted nowhere.
            metrics_episode_collection_timeout_s=training.sample_timeout,
        )
        .debugging(seed=training.seed, log_level="ERROR")
    )


def build_algorithm(experiment: Experiment, first_episode: int = 0) -> CurriculumAlgorithm:
    """Build the algorithm of an experiment, with its rollout workers; arguments as for `algorithm_config`."""
    return cast(CurriculumAlgorithm, algorithm_config(experiment, first_episode).build_algo())
