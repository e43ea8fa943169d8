"""An algorithm's state, written into another algorithm: what comes along, and what stays the other's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_moe.experiment import Experiment
from rllib_moe.training.algorithm_state import POLICY_COUNTS, capture, restore
from rllib_moe.training.checkpoints import AlgorithmState, load_checkpoint, save_checkpoint
from tests.conftest import SmallConfig


def assert_equal(one: AlgorithmState, other: AlgorithmState) -> None:
    for mine, yours in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
        torch.testing.assert_close(mine, yours, rtol=0, atol=0, equal_nan=True)
    np.testing.assert_equal(one.plain, other.plain)


@pytest.fixture
def build(small_config: SmallConfig) -> Any:
    """Make algorithms, which are stopped at the end."""
    built = []

    def make(**options: Any) -> Any:
        built.append(small_config(**{"num_workers": 0} | options).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


@pytest.mark.parametrize("algo", ["ppo", "appo"])
def test_by_way_of_a_checkpoint_all_of_it_comes_back(algo: str, build: Any, tmp_path: Path) -> None:
    algorithm = build(algo=algo)
    for _ in range(3):
        algorithm.train()
    algorithm.get_policy().skipped_updates = 5
    algorithm.get_policy().kl_coeff = 0.1
    state = capture(algorithm)
    save_checkpoint(state, tmp_path / "episode", Experiment(), episodes=24, iteration=3, score=None)
    algorithm.stop()  # APPO's learner may have a batch left to shuffle, with the generator of the whole process
    other = build(algo=algo)
    restore(other, load_checkpoint(tmp_path / "episode").state())
    restored = capture(other)
    assert restored.weights["phase.episodes"] == state.plain["counters"]["moe_episodes"] >= 24
    if algo == "appo":  # whose phase waited for the end of an update when it was captured
        for name in [name for name in state.weights if name.startswith("phase.")]:
            del state.weights[name], restored.weights[name]
    assert_equal(restored, state)
    assert all(state.plain["policy"][name] for name in POLICY_COUNTS)
    assert state.optimizer.keys() == dict(other.get_policy().model.network.named_parameters()).keys()


def test_a_state_is_a_copy_from_which_runs_go_on_alike(build: Any) -> None:
    algorithm = build()
    algorithm.train()
    state = capture(algorithm)
    kept = copy.deepcopy(state)
    algorithm.train()
    went_on = []
    for other in (build(), build()):
        restore(other, state)
        other.train()
        went_on.append(capture(other))
        del went_on[-1].plain["counters"]["moe_wall_seconds"]
    assert_equal(*went_on)
    assert_equal(state, kept)


def test_settings_and_seed_are_the_algorithms_own(build: Any) -> None:
    """As a run resumed with another clip range, or a copy in a population, asks for them."""
    algorithm = build()
    algorithm.train()
    other = build(clip_param=0.05, vf_loss_coef=2.0, grad_clip=0.1, seed=7)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    restore(other, capture(algorithm))
    policy = other.get_policy()
    assert [policy.config[key] for key in ("clip_param", "vf_loss_coeff", "grad_clip")] == [0.05, 2.0, 0.1]
    assert torch.equal(torch.get_rng_state(), before)
    weights = algorithm.get_policy().get_weights()
    np.testing.assert_equal(policy.get_weights(), weights)


def test_rollout_workers_get_weights_and_phase(build: Any) -> None:
    algorithm = build()
    for _ in range(3):
        algorithm.train()
    other = build(num_workers=1)
    restore(other, capture(algorithm))
    (weights,) = other.env_runner_group.foreach_env_runner(
        lambda worker: worker.get_policy().get_weights(), local_env_runner=False
    )
    np.testing.assert_equal(weights, algorithm.get_policy().get_weights())
    assert weights["network.phase.episodes"] == 24
