"""The stock reference: what RLlib gives without any of this project.

PPO of the old API stack with its default fully connected network (two layers of 256, tanh) on the 27 numbers of
`NetHackScore-v0`'s `blstats`, through RLlib's own sampler. Another environment is taken with its own observation,
flattened.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import register_env

from benchmarks.config import StockConfig
from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.registry import make_env

ENVIRONMENT_NAME = "rllib_moe_stock"
NETHACK_TASK = "nle:NetHackScore-v0"


def make_stock_env(context: EnvContext | dict[str, Any]) -> gymnasium.Env[np.ndarray, Any]:
    """Make one environment of the stock reference.

    Args:
        context: Holds `env` and `max_steps`.
    """
    if context["env"] != "nethack":
        env = make_env(context["env"], max_steps=context["max_steps"])
        return gymnasium.wrappers.FlattenObservation(env)
    # Without gymnasium's checker, which looks at every step: to the reference's advantage.
    task = gymnasium.make(
        NETHACK_TASK, observation_keys=("blstats",), max_episode_steps=context["max_steps"], disable_env_checker=True
    )
    assert isinstance(task.observation_space, spaces.Dict)
    numbers = spaces.Box(-np.inf, np.inf, task.observation_space["blstats"].shape, np.float32)
    return gymnasium.wrappers.TransformObservation(task, lambda seen: seen["blstats"].astype(np.float32), numbers)


def stock_config(environment: EnvironmentConfig, stock: StockConfig, seed: int) -> PPOConfig:
    """RLlib's configuration of the stock reference."""
    register_env(ENVIRONMENT_NAME, make_stock_env)
    return (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        .framework("torch")
        .environment(
            ENVIRONMENT_NAME,
            env_config={"env": environment.env, "max_steps": environment.max_steps},
            disable_env_checking=True,
        )
        .env_runners(
            num_env_runners=stock.num_workers,
            num_envs_per_env_runner=stock.num_envs_per_worker,
            rollout_fragment_length="auto",
        )
        .training(train_batch_size=stock.batch_size, minibatch_size=stock.minibatch_size, num_epochs=stock.num_epochs)
        .reporting(min_time_s_per_iteration=None)
        .debugging(seed=seed, log_level="ERROR")
    )
