"""A small configuration that samples in the driver, and its policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.algorithms.ppo import MoEPPOConfig


@pytest.fixture
def config(small_config: Callable[..., MoEPPOConfig]) -> MoEPPOConfig:
    return small_config(num_workers=0)


@pytest.fixture
def policy(config: MoEPPOConfig) -> Iterator[MoEPPOPolicy]:
    algorithm = config.build_algo()
    yield algorithm.get_policy()
    algorithm.stop()
