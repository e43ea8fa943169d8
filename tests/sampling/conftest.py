"""A small configuration that samples in the driver, and its policy."""

from __future__ import annotations

import pytest
import torch

from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.envs.registry import make_env
from rllib_moe.schedule.phases import PhaseSchedule
from tests.conftest import SmallConfig


@pytest.fixture
def config(small_config: SmallConfig) -> MoEPPOConfig:
    return small_config(num_workers=0)


@pytest.fixture
def policy(config: MoEPPOConfig) -> MoEPPOPolicy:
    """The policy alone, as its algorithm starts it: building that takes most of a second more."""
    env = make_env("regimes", max_steps=config.env_config["max_steps"])
    torch.manual_seed(0)
    made = MoEPPOPolicy(env.observation_space, env.action_space, config.to_dict())
    made.request_phase(PhaseSchedule.from_dict(config.schedule).at(0), 0)
    return made
