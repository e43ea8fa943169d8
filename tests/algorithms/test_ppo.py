"""Additions to RLlib's PPO: the guard against updates that are not finite, shuffled rows, keys, seeds."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.env.env_context import EnvContext
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.torch_policy_v2 import _directStepOptimizerSingleton

from rllib_moe.algorithms.build import ALGORITHMS, algorithm_config, make_rollout_env
from rllib_moe.algorithms.policy import MAX_SKIPPED_IN_A_ROW, MoEPPOPolicy, NonFiniteUpdatesError, shuffled_pairs
from rllib_moe.algorithms.ppo import MoEPPO, MoEPPOConfig
from rllib_moe.experiment import Experiment
from rllib_moe.models.rllib_model import IS_FOLLOWED
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError
from tests.conftest import SmallConfig


@pytest.fixture
def algorithm(small_config: SmallConfig) -> Iterator[MoEPPO]:
    """An algorithm after one iteration, so that the optimizer has a state."""
    built = small_config(num_workers=0).build_algo()
    built.train()
    yield built
    built.stop()


@pytest.fixture
def policy(algorithm: MoEPPO) -> MoEPPOPolicy:
    return algorithm.get_policy()


def state_of(policy: MoEPPOPolicy) -> tuple[dict[str, Any], dict[str, Any]]:
    return copy.deepcopy((policy.model.state_dict(), policy._optimizers[0].state_dict()))


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, NaN included, through dicts and lists."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()
    return one == other


def give_gradients(policy: MoEPPOPolicy, value: float = 0.0) -> None:
    """A gradient of 0.1 everywhere, and `value` in one place of the last parameter that has one."""
    with_gradient = [parameter for parameter in policy.model.parameters() if parameter.grad is not None]
    for parameter in with_gradient:
        parameter.grad = torch.full_like(parameter, 0.1)
    with_gradient[-1].grad.view(-1)[-1] += value  # type: ignore[union-attr]


def step(policy: MoEPPOPolicy) -> None:
    """Steps that RLlib takes after the backward pass on one device."""
    policy.apply_gradients(_directStepOptimizerSingleton)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(policy: MoEPPOPolicy, value: float) -> None:
    before = state_of(policy)
    give_gradients(policy, value)
    step(policy)
    assert equal(state_of(policy), before)
    assert policy.skipped_updates == 1

    give_gradients(policy)
    step(policy)
    assert not equal(state_of(policy), before)
    assert policy.skipped_updates == 1


def test_a_loss_that_is_not_finite_is_skipped_and_reported(
    algorithm: MoEPPO, policy: MoEPPOPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through RLlib's own training step: as many skipped as there are minibatches, then all is well again."""
    weights = copy.deepcopy(policy.model.state_dict())
    with monkeypatch.context() as patched:
        patched.setattr(policy.model, "custom_loss", _nan_losses)
        assert algorithm.train()["moe"]["run/skipped_updates"] == 8
    parameters = dict(policy.model.named_parameters())
    assert all(torch.equal(weights[name], parameter) for name, parameter in parameters.items())
    assert algorithm.train()["moe"]["run/skipped_updates"] == 8
    assert not all(torch.equal(weights[name], parameter) for name, parameter in parameters.items())
    assert all(bool(parameter.isfinite().all()) for parameter in parameters.values())


def test_many_updates_in_a_row_that_are_not_finite_stop_with_a_diagnosis(
    algorithm: MoEPPO, policy: MoEPPOPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 minibatches an iteration: the third iteration holds the 20th."""
    weights, optimizer = state_of(policy)
    monkeypatch.setattr(policy.model, "custom_loss", _nan_losses)
    monkeypatch.setattr(policy.model, "metrics", lambda: {"diversity_loss": math.nan, "load_balance_loss": 0.5})
    for _ in range(2):
        algorithm.train()
    told = rf"{MAX_SKIPPED_IN_A_ROW} gradient steps in a row were not finite \(diversity_loss = nan\)"
    with pytest.raises(NonFiniteUpdatesError, match=told):
        algorithm.train()
    assert policy.skipped_updates == MAX_SKIPPED_IN_A_ROW == 20
    parameters = dict(policy.model.named_parameters())
    assert all(torch.equal(weights[name], parameter) for name, parameter in parameters.items())
    assert equal(policy._optimizers[0].state_dict()["state"], optimizer["state"])


def test_a_good_update_between_begins_the_count_anew(policy: MoEPPOPolicy) -> None:
    for value in [math.nan] * (MAX_SKIPPED_IN_A_ROW - 1) + [0.0] + [math.inf] * (MAX_SKIPPED_IN_A_ROW - 1):
        give_gradients(policy, value)
        step(policy)
    assert policy.skipped_updates == 2 * (MAX_SKIPPED_IN_A_ROW - 1)


def _nan_losses(losses: list[torch.Tensor], inputs: Any) -> list[torch.Tensor]:
    del inputs
    return [loss * math.nan for loss in losses]


def test_rows_of_a_batch_are_shuffled_together(algorithm: MoEPPO, policy: MoEPPOPolicy) -> None:
    batch = algorithm.env_runner.sample()
    kept = copy.deepcopy(dict(batch))
    policy.load_batch_into_buffer(batch)
    (loaded,) = policy._loaded_batches[0]
    # Value and episode tell rows apart; every leaf must come along.
    place = {row: i for i, row in enumerate(zip(kept["vf_preds"].tolist(), kept["eps_id"].tolist(), strict=True))}
    order = [place[row] for row in zip(loaded["vf_preds"].tolist(), loaded["eps_id"].tolist(), strict=True)]
    assert sorted(order) == list(range(len(batch)))
    for key in ("actions", "action_logp"):
        np.testing.assert_array_equal(loaded[key], kept[key][order])
    for name, leaf in kept["obs"].items():
        np.testing.assert_array_equal(loaded["obs"][name], leaf[order])
    assert all(second == first + 1 for first, second in zip(order[::2], order[1::2], strict=True)), (
        "pairs stay together"
    )
    # Of 63 neighboring pairs in a random order about one stays a neighbor.
    assert sum(later == earlier + 2 for earlier, later in itertools.pairwise(order[::2])) < 10
    follows = [kept["eps_id"][i] == kept["eps_id"][i + 1] for i in order[::2]]
    assert loaded[IS_FOLLOWED][::2].tolist() == follows
    assert all(follows), "fragments and episodes of these sizes end between two pairs"
    assert not loaded[IS_FOLLOWED][1::2].any()


def test_no_pair_crosses_the_end_of_an_episode() -> None:
    batch = SampleBatch({"eps_id": np.array([0, 0, 0, 4, 4, 4, 1]), "t": np.arange(7)})
    for _ in range(20):
        rows = shuffled_pairs(batch)
        assert sorted(rows["t"]) == list(range(7))
        first = rows["t"][rows[IS_FOLLOWED]]
        assert sorted(first) == [0, 4], "2 and 3 are of two episodes, 6 has no next"
        places = {t: place for place, t in enumerate(rows["t"].tolist())}
        assert all(places[t + 1] == places[t] + 1 for t in first.tolist())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_rllibs_evaluation_plays_whole_episodes(small_config: SmallConfig, name: Any) -> None:
    config = small_config(num_workers=0, algo=name)
    config.evaluation(evaluation_interval=1, evaluation_duration=6, evaluation_config={"explore": False})
    built = config.build_algo()
    played = built.train()["evaluation"]["env_runners"]["hist_stats"]
    built.stop()
    assert played["episode_lengths"] == [config.env_config["max_steps"]] * 6


def test_an_unknown_model_key_is_refused_through_rllibs_catalog(small_config: SmallConfig) -> None:
    config = small_config(num_workers=0)
    config.model["custom_model_config"]["hidden_sizes"] = 32
    with pytest.raises(ConfigError, match=r"unknown key 'hidden_sizes' .*did you mean 'hidden_size'"):
        config.build_algo()


def test_an_unknown_training_key_is_refused() -> None:
    with pytest.raises(TypeError, match="scedule"):
        MoEPPOConfig().training(scedule={})


def test_the_schedule_is_a_training_key() -> None:
    schedule = PhaseSchedule.load("v3").to_dict()
    config = MoEPPOConfig().training(schedule=schedule, lr=1e-3)
    assert (config.schedule, config.lr) == (schedule, 1e-3)
    assert config.copy().training(lr=1e-4).schedule == schedule


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithm_is_the_configurations(name: Any) -> None:
    built = algorithm_config(Experiment().with_overrides({"algo": name}))
    assert type(built) is ALGORITHMS[name]
    assert (built.minibatch_size, built.num_epochs, built.clip_param, built.vf_clip_param) == (256, 2, 0.2, math.inf)
    built.validate()
    assert built.min_sample_timesteps_per_iteration == (4096 if name == "appo" else 0)


def test_every_place_in_the_cluster_has_episodes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker, environment within it, run seed, and the episode that a resumed run begins at."""
    # What Ray says in its actors only.
    context = SimpleNamespace(was_current_actor_reconstructed=False, get_worker_id=lambda: "0123456789abcdef")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    places = itertools.product((0, 1, 2), (0, 1, 2), (0, 1), (0, 8))
    seen = [first_observations(*place) for place in places]
    assert len({episode for episodes in seen for episode in episodes}) == 2 * len(seen)
    assert first_observations(1, 0, 0, 0) == first_observations(1, 0, 0, 0) == seen[12]

    context.was_current_actor_reconstructed = True
    restarted = first_observations(1, 0, 0, 0)
    assert restarted != seen[12], "a restarted worker must not play the same episodes again"
    context.get_worker_id = lambda: "0123456889abcdef"
    again = first_observations(1, 0, 0, 0)  # in a process of the same id, as in another container
    assert len({*seen[12], *restarted, *again}) == 6
    assert first_observations(0, 0, 0, 0) == seen[0]
    context.was_current_actor_reconstructed = False
    lives = [first_observations(1, 0, 0, 0, replacement=number) for number in (1, 2)]
    assert len({episode for episodes in [*seen, *lives] for episode in episodes}) == 2 * (len(seen) + 2)


def first_observations(worker: int, vector: int, seed: int, first_episode: int, **more: int) -> tuple[bytes, ...]:
    """First observation of the first two episodes of one environment."""
    config = {"env": "regimes", "max_steps": 9, "env_args": {}, "seed": seed, "first_episode": first_episode, **more}
    context = EnvContext(config, worker_index=worker, vector_index=vector)
    env = make_rollout_env(context)
    return tuple(pickle.dumps(env.reset(seed=0)[0]) for _ in range(2))
