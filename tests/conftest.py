"""Shared by all tests: one torch thread a process, one Ray for the session, small experiments on `regimes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
import torch

from rllib_moe.algorithm import MoEPPOConfig, algorithm_config
from rllib_moe.config import EnvironmentConfig, ExperimentConfig, ModelConfig, TrainingConfig
from rllib_moe.phases import PhaseSchedule

torch.set_num_threads(1)  # the tests' tensors are small, and Ray's workers share the cores

EPISODE = 16
"""Steps of an episode of the small experiments."""


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray, once for all tests that need it."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def small_config(ray_session: None) -> Callable[..., MoEPPOConfig]:
    """Make a small algorithm configuration: `regimes`, 8 episodes an iteration, phases at 16 and 32."""

    def make(num_workers: int = 1, **training: Any) -> MoEPPOConfig:
        experiment = ExperimentConfig(
            model=ModelConfig(hidden_size=16, trunk_size=16, expert_hidden_size=16, critic_hidden_size=16),
            environment=EnvironmentConfig(env="regimes", max_steps=EPISODE),
            training=TrainingConfig(
                num_workers=num_workers, num_envs_per_worker=4, batch_size=8 * EPISODE, minibatch_size=64, **training
            ),
        ).check()
        return algorithm_config(experiment, PhaseSchedule.load("default").with_boundaries([16, 32]))

    return make
