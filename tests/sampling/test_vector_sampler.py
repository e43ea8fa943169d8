"""The sampler against RLlib's own advantages, and against a record of what every environment was asked and answered."""

from __future__ import annotations

from copy import deepcopy
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_moe import metrics as m
from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.algorithms.vtrace import vtrace
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.sampling.guarded_environments import GuardedEnvironments
from rllib_moe.sampling.rollout_worker import VectorRolloutWorker
from rllib_moe.sampling.vector_sampler import VectorSampler
from rllib_moe.sampling.watchdog import Watchdog
from tests.conftest import SmallConfig
from tests.sampling.played import (
    LENGTH,
    NUM_ENVS,
    Recorder,
    assert_equal,
    assert_played,
    critic,
    rows_of,
    stacked,
)


@pytest.fixture
def environments() -> list[Recorder]:
    return [Recorder(EpisodeSeeds(make_env("regimes", max_steps=9), (5, e)), e) for e in range(NUM_ENVS)]


def sampler_of(
    environments: list[Recorder], policy: MoEPPOPolicy, config: MoEPPOConfig, cuts: np.ndarray | None = None
) -> VectorSampler:
    watchdog = Watchdog(60)
    return VectorSampler(GuardedEnvironments(list(environments), Mock(), watchdog), policy, config, watchdog, cuts=cuts)


def test_a_batch_is_what_was_played(config: MoEPPOConfig, policy: MoEPPOPolicy, environments: list[Recorder]) -> None:
    """Two fragments in a row, so that episodes are cut by the fragment's end and go on."""
    sampler = sampler_of(environments, policy, config)
    batches = [sampler.get_data(), sampler.get_data()]
    ids: list[set[int]] = [set() for _ in environments]
    for number, batch in enumerate(batches):
        assert batch.count == NUM_ENVS * LENGTH
        for e, environment in enumerate(environments):
            played = environment.steps[number * LENGTH : (number + 1) * LENGTH]
            rows = rows_of(batch, e)
            for key in ("terminateds", "truncateds"):
                np.testing.assert_array_equal(rows[key], [step[key] for step in played], err_msg=key)
            assert_played(rows, played, policy, config)
            ids[e] |= set(rows["eps_id"])
    assert any(step["terminateds"] for each in environments for step in each.steps)
    assert any(step["truncateds"] and not step["terminateds"] for each in environments for step in each.steps)
    # An id for every episode, the unfinished one of each environment included; none shared.
    assert len(set.union(*ids)) == sum(map(len, ids))
    assert [len(found) for found in ids] == [
        len(each.episodes) + (not (each.steps[-1]["terminateds"] or each.steps[-1]["truncateds"]))
        for each in environments
    ]


def test_logged_probabilities_are_those_of_the_actions(
    config: MoEPPOConfig, policy: MoEPPOPolicy, environments: list[Recorder]
) -> None:
    batch = sampler_of(environments, policy, config).get_data()
    with torch.no_grad():
        policy.model.eval()
        logits, _ = policy.model({"obs": convert_to_torch_tensor(batch["obs"])})
    np.testing.assert_allclose(batch["action_dist_inputs"], logits.numpy(), atol=1e-5)
    logp = torch.log_softmax(logits, -1).gather(1, torch.as_tensor(batch["actions"])[:, None]).squeeze(1)
    np.testing.assert_allclose(batch["action_logp"], logp.numpy(), atol=1e-5)


def test_every_episode_is_counted_once(
    config: MoEPPOConfig, policy: MoEPPOPolicy, environments: list[Recorder]
) -> None:
    sampler = sampler_of(environments, policy, config)
    counted = []
    for _ in range(3):
        sampler.get_data()
        counted += [(each.episode_reward, each.episode_length) for each in sampler.get_metrics()]
        assert sampler.get_metrics() == []
    assert sorted(counted) == sorted(episode for each in environments for episode in each.episodes)


def test_batches_do_not_share_memory(config: MoEPPOConfig, policy: MoEPPOPolicy, environments: list[Recorder]) -> None:
    sampler = sampler_of(environments, policy, config)
    first = sampler.get_data()
    kept = deepcopy(dict(first))
    sampler.get_data()
    assert_equal(dict(first), kept)


@pytest.mark.parametrize(
    ("num_workers", "algo"), [(0, "ppo"), pytest.param(2, "ppo", marks=pytest.mark.slow), (0, "appo")]
)
def test_episodes_do_not_end_in_waves(small_config: SmallConfig, num_workers: int, algo: str) -> None:
    """64 environments of 32 steps, 8 in an iteration: 16 episodes each, not 64 in every fourth."""
    environments = {"max_steps": 32, "num_envs_per_worker": 64 // max(1, num_workers), "batch_size": 512}
    environments |= {"num_epochs": 1, "minibatch_size": 512}  # what is learned does not matter
    config = small_config(num_workers=num_workers, algo=algo, phase_boundaries=[40, 100], **environments)
    algorithm = config.build_algo()
    rows = [algorithm.train()["moe"] for _ in range(14)]
    algorithm.stop()
    counts = [row[m.EPISODES.key] for row in rows]
    lengths = {row[m.LENGTH_MEAN.key] for row in rows if row[m.EPISODES.key]}
    assert lengths == {32}, "an episode that was cut is none"
    assert max(counts) <= (16 if algo == "ppo" else 32), "APPO: the batches that came meanwhile"
    if algo == "ppo":
        assert counts == [0, 0, 0, 2, *[16] * 10], "two environments had their first episode whole"
        assert [row[m.ENV_STEPS_TOTAL.key] for row in rows] == [512 * n for n in range(1, 15)]
        begun = {row[m.PHASE.key]: row[m.EPISODES_TOTAL.key] - 16 for row in reversed(rows)}
        assert 40 <= begun["transition"] < 56
        assert 100 <= begun["fine-tune"] < 116


def test_a_cut_is_bootstrapped_and_counted_as_no_episode(
    config: MoEPPOConfig, policy: MoEPPOPolicy, environments: list[Recorder]
) -> None:
    """Whatever episode the step is in; one that ends there by itself is whole."""
    cuts = np.array([0, 4, 8, 20])
    sampler = sampler_of(environments, policy, config, cuts.copy())
    batch = sampler.get_data()
    own, cut = [], []
    for e, (environment, at) in enumerate(zip(environments, cuts, strict=True)):
        rows, t = rows_of(batch, e), at - 1
        ends = np.array([step["terminateds"] or step["truncateds"] for step in environment.steps])
        if at:
            (own if ends[t] else cut).append(e)
        if e in cut:
            assert (rows["truncateds"][t], rows["terminateds"][t]) == (True, False)
            last = critic(policy, stacked([environment.steps[t]["reached"]]))[0]
            assert rows["value_targets"][t] == pytest.approx(rows["rewards"][t] + config.gamma * last, abs=1e-5)
            ends[t] = True
        np.testing.assert_array_equal(rows["terminateds"] | rows["truncateds"], ends)
        np.testing.assert_array_equal(np.diff(rows["eps_id"]) != 0, ends[:-1])
    assert (own, cut) == ([2], [1, 3])
    counted = [(each.episode_reward, each.episode_length) for each in sampler.get_metrics()]
    assert sorted(counted) == sorted(episode for each in environments for episode in each.episodes)


@pytest.mark.parametrize("algo", ["ppo", "appo"])
def test_a_time_limit_is_bootstrapped_or_an_end(small_config: SmallConfig, algo: str) -> None:
    """The same 2 episodes of 16 steps in each of 4 environments: the value after the last step is the critic's, or 0.

    What is only cut (once after the start, at step 5 of environment 0) is bootstrapped either way.
    """
    batches = {}
    for limit in ("bootstrap", "terminal"):
        algorithm = small_config(num_workers=0, algo=algo, time_limit=limit).build_algo()
        policy, sampler = algorithm.get_policy(), algorithm.env_runner.sampler
        sampler._until_cut[0] = 5
        batches[limit] = batch = sampler.get_data()
        if algo == "appo":
            with policy._lock:
                vtrace(policy, batch, sampler.bootstrap_obs)
        algorithm.stop()
    first, second = batches["bootstrap"], batches["terminal"]
    assert_equal(first["obs"], second["obs"])
    np.testing.assert_array_equal(first["truncateds"], second["truncateds"])
    assert not first["terminateds"].any()
    last = [20, *(e * LENGTH + t for e in (1, 2, 3) for t in (15, 31))]
    assert np.flatnonzero(second["terminateds"]).tolist() == last
    assert np.flatnonzero(first["truncateds"]).tolist() == [4, *last]
    values = first["values_bootstrapped"]
    assert np.abs(values[last]).min() > 1e-4
    targets = {name: each["value_targets"] for name, each in batches.items()}
    np.testing.assert_allclose(targets["bootstrap"][last], first["rewards"][last] + 0.995 * values[last], atol=1e-5)
    np.testing.assert_allclose(targets["terminal"][last], second["rewards"][last], atol=1e-5)
    # Up to the step that was cut, and after the last end, nothing differs; within an episode it does.
    same = [*range(5), *range(21, LENGTH)]
    np.testing.assert_allclose(targets["bootstrap"][same], targets["terminal"][same], atol=1e-5)
    assert np.abs(targets["bootstrap"] - targets["terminal"])[5:21].min() > 1e-6


def test_a_remote_worker_has_a_thread_for_each_core_of_its_own(config: MoEPPOConfig) -> None:
    before = torch.get_num_threads()
    threads = []
    try:
        for index in (0, 1):
            torch.set_num_threads(2)  # as a worker finds it where the user set OMP_NUM_THREADS
            worker = VectorRolloutWorker(
                env_creator=lambda _: make_env("regimes", max_steps=9),
                default_policy_class=MoEPPOPolicy,
                config=config,
                worker_index=index,
                num_workers=1,
            )
            threads.append(torch.get_num_threads())
            worker.stop()
    finally:
        torch.set_num_threads(before)
    assert threads == [2, 1]
