"""APPO: no difference to PPO without lag, and whole asynchronous runs."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.appo import APPO
from ray.rllib.algorithms.impala.vtrace_torch import from_importance_weights
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.sgd import standardized
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_moe import metrics as m
from rllib_moe.algorithms.appo import (
    LearnerFailedError,
    MoEAPPO,
    MoEAPPOPolicy,
    NoSamplesError,
    learner_threads,
)
from rllib_moe.algorithms.policy import NonFiniteUpdatesError
from rllib_moe.algorithms.vtrace import vtrace
from rllib_moe.callbacks.curriculum import CurriculumCallbacks
from rllib_moe.sampling.guarded_environments import Observation
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.algorithm_state import capture
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run_directory import RunDirectory, TrainingStoppedError
from scripts.evaluate import main as evaluate
from tests.conftest import SmallConfig

LENGTH = 32
"""Steps of a fragment in the small configuration: 128 rows of 4 environments."""


@pytest.fixture
def algorithm(small_config: SmallConfig) -> Iterator[MoEAPPO]:
    built = small_config(num_workers=0, algo="appo").build_algo()
    yield built
    built.stop()


@pytest.fixture
def batch(algorithm: MoEAPPO) -> SampleBatch:
    """A fragment of every environment; episodes of 16 steps end within it, all of them truncated."""
    sampled = algorithm.env_runner.sample().policy_batches["default_policy"]
    assert sampled[SampleBatch.TRUNCATEDS].any()
    return sampled


@pytest.fixture
def bootstrap_obs(algorithm: MoEAPPO, batch: SampleBatch) -> Observation:
    """Observations that no row holds: at the end of each of 2 episodes of 4 environments."""
    del batch  # sampled is all that is asked of it
    observations = algorithm.env_runner.sampler.bootstrap_obs
    assert {len(leaf) for leaf in observations.values()} == {8}
    return observations


def rows_as_bytes(observations: Observation) -> list[bytes]:
    rows = zip(*map(np.asarray, observations.values()), strict=True)
    return sorted(b"".join(leaf.tobytes() for leaf in row) for row in rows)


def test_without_lag_a_batch_is_ppos(algorithm: MoEAPPO, batch: SampleBatch, bootstrap_obs: Observation) -> None:
    sampled = deepcopy(dict(batch))
    assert vtrace(algorithm.get_policy(), batch, bootstrap_obs) == pytest.approx(1, abs=1e-4)
    for key in ("action_logp", "action_dist_inputs", "vf_preds", Postprocessing.VALUE_TARGETS):
        np.testing.assert_allclose(batch[key], sampled[key], atol=1e-4, err_msg=key)
    expected = standardized(sampled[Postprocessing.ADVANTAGES])
    np.testing.assert_allclose(batch[Postprocessing.ADVANTAGES], expected, atol=1e-4)


@pytest.mark.parametrize("ends", ["truncated", "terminated"])
def test_with_lag_a_batch_is_rllibs_v_trace(
    algorithm: MoEAPPO, batch: SampleBatch, bootstrap_obs: Observation, ends: str
) -> None:
    """Truncated episodes are bootstrapped in the reward: RLlib's V-trace knows ends without a value only."""
    if ends == "terminated":
        batch["terminateds"], batch["truncateds"] = batch["truncateds"], batch["terminateds"]
    policy, sampled = algorithm.get_policy(), deepcopy(dict(batch))
    policy.config["lambda"] = 1.0
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    kept = vtrace(policy, batch, bootstrap_obs if ends == "truncated" else None)

    with torch.no_grad():
        logits, _ = policy.model({"obs": convert_to_torch_tensor(sampled["obs"])})
        values = policy.model.value_function()
        logp = torch.log_softmax(logits, -1).gather(1, torch.from_numpy(sampled["actions"])[:, None]).squeeze(1)
        policy.model({"obs": convert_to_torch_tensor(bootstrap_obs)})
        bootstrap_values = policy.model.value_function()
    log_ratios = logp - torch.from_numpy(sampled["action_logp"])
    assert log_ratios.abs().max() > 0.05
    assert kept == pytest.approx(float(log_ratios.exp().clamp(max=1).mean()), abs=1e-5)
    # By the critic that learns, which the sampler's was before: every episode of 16 steps ends in one.
    bootstraps = torch.zeros(len(values))
    if ends == "truncated":
        bootstraps[torch.from_numpy(sampled["truncateds"])] = bootstrap_values
        assert (bootstraps - torch.from_numpy(sampled[SampleBatch.VALUES_BOOTSTRAPPED])).abs()[15::16].min() > 1e-4

    def by_time(values: Any) -> torch.Tensor:
        return torch.as_tensor(values).reshape(-1, LENGTH).T

    ended = by_time(sampled["terminateds"] | sampled["truncateds"])
    bootstrap = by_time(bootstraps)
    expected = from_importance_weights(
        log_rhos=by_time(log_ratios),
        discounts=policy.config["gamma"] * (~ended).float(),
        rewards=by_time(sampled["rewards"]) + policy.config["gamma"] * bootstrap * ended,
        values=by_time(values),
        bootstrap_value=bootstrap[-1],
    )
    np.testing.assert_allclose(by_time(batch[Postprocessing.VALUE_TARGETS]), expected.vs, atol=1e-4)
    np.testing.assert_allclose(
        batch[Postprocessing.ADVANTAGES], standardized(expected.pg_advantages.T.reshape(-1).numpy()), atol=1e-4
    )
    np.testing.assert_allclose(batch["action_logp"], logp, atol=1e-5)


def test_rows_keep_together_and_minibatches_cover_the_batch(
    algorithm: MoEAPPO, batch: SampleBatch, bootstrap_obs: Observation
) -> None:
    policy: MoEAPPOPolicy = algorithm.get_policy()
    seen: list[bytes] = []
    sizes: list[int] = []
    learn = policy.learn_on_loaded_batch

    def note(offset: int = 0, buffer_index: int = 0) -> Any:
        rows = policy._loaded_batches[buffer_index][0][offset : offset + policy.config["minibatch_size"]]
        seen.extend(rows_as_bytes(rows["obs"]))
        sizes.append(len(rows))
        return learn(offset, buffer_index)

    policy.learn_on_loaded_batch = note  # type: ignore[method-assign]
    observations = rows_as_bytes(batch["obs"])
    results = policy.update(batch, bootstrap_obs)
    epochs = policy.config["num_epochs"]
    assert sorted(seen) == sorted(observations * epochs)
    assert len(sizes) == epochs * len(observations) // policy.config["minibatch_size"]
    assert math.isfinite(results["learner_stats"]["policy_loss"])


def test_a_phase_waits_until_the_batch_is_learned(
    algorithm: MoEAPPO, batch: SampleBatch, bootstrap_obs: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the callback, in the middle of an update; what is reported is what the batch was learned under."""
    policy: MoEAPPOPolicy = algorithm.get_policy()
    learn, seen = policy.learn_on_loaded_batch, []
    result = {"training_iteration": 1, "time_this_iter_s": 1.0, "env_runners": {"num_episodes": 24}}

    def note(*args: Any) -> Any:
        seen.append(policy.model.network.phase.routing)
        if len(seen) == 1:
            CurriculumCallbacks().on_train_result(algorithm=algorithm, result=result)
        return learn(*args)

    monkeypatch.setattr(policy, "learn_on_loaded_batch", note)
    policy.update(batch, bootstrap_obs)
    assert seen == ["softmax"] * len(seen)
    assert len(seen) > 1
    phase = algorithm.schedule.at(24)
    assert policy.model.network.phase.routing == phase.routing == "sparsemax"
    assert policy._optimizers[0].param_groups[0]["lr"] == policy.cur_lr == phase.learning_rate

    result["env_runners"] = {"num_episodes": 24}
    CurriculumCallbacks().on_train_result(algorithm=algorithm, result=result)
    row = result["moe"]
    assert (row["phase/name"], row["phase/routing"], row["phase/learning_rate"]) == ("warmup", "softmax", 1e-4)
    assert policy.model.network.phase.episodes == 48, "at once, where nothing is being learned"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_phases_change_at_the_right_episode_and_rows_are_whole(small_config: SmallConfig, num_workers: int) -> None:
    config = small_config(num_workers=num_workers, algo="appo")
    schedule = PhaseSchedule.from_dict(config.schedule)
    algorithm = config.build_algo()
    rows = []
    while not rows or rows[-1]["phase/name"] != "fine-tune":
        rows.append(algorithm.train()["moe"])
    algorithm.stop()
    assert not algorithm._learner_thread.is_alive()
    totals = [0, 0, *(row["run/episodes_total"] for row in rows)]
    for row, begun, begins in zip(rows, totals, totals[1:], strict=False):
        # The batch was begun in this iteration or in the one before; all of the phase is of one moment.
        assert (row["phase/name"], row["phase/learning_rate"], pytest.approx(row["phase/temperature"])) in [
            (each.name, each.learning_rate, each.temperature) for each in map(schedule.at, (begun, begins))
        ]
        assert 0 < row["loss/weight_kept"] <= 1
        assert row["run/env_steps_total"] > 0
        may_lack = {"phase/alpha_entropy_target"}
        may_lack |= {key for key in row if key.startswith("score/")} if not row["run/episodes"] else set()
        assert [key for key, value in row.items() if value != value and key not in may_lack] == []
    assert rows[-1]["run/episodes_total"] < 96
    assert {m.expert_share(k).key for k in range(4)} <= rows[0].keys()
    assert algorithm.get_policy().model.network.phase.episodes == rows[-1]["run/episodes_total"]
    assert sum(row["run/skipped_updates"] for row in rows) == 0


def test_a_run_changes_from_ppo_to_appo_and_back_resumes_and_can_be_evaluated(train: Any, trained: Path) -> None:
    train("mine", 24, "--algo", "appo", resume=trained)
    between = train("mine", 48, resume=trained)["episodes_total"]
    summary = train("mine", between + 24, "--algo", "ppo", resume=trained)
    rows = RunDirectory(trained).rows()
    totals = [row["run/episodes_total"] for row in rows]
    assert totals == sorted(totals)
    assert totals[-1] == summary["episodes_total"] >= between + 24
    assert [row["run/iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert [phase["phase"] for phase in summary["phases"]] == ["warmup", "transition", "fine-tune"]
    assert evaluate(f"--checkpoint {trained} --episodes 4 --num-workers 0".split())["episodes"] == 4


def test_a_learner_that_fails_ends_the_run_and_does_not_hang(
    algorithm: MoEAPPO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", Mock())
    monkeypatch.setattr(algorithm.get_policy(), "update", Mock(side_effect=ValueError("no more")))
    with pytest.raises(LearnerFailedError, match=r"the learner's thread died: ValueError\('no more'\)"):
        algorithm.train()


def test_updates_that_are_never_finite_end_the_run_with_their_diagnosis(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the learner's thread's, what is told is its own; the iterations before it are saved."""
    monkeypatch.setattr(threading, "excepthook", Mock())
    update, updates = MoEAPPOPolicy.update, itertools.count()

    def spoilt(policy: MoEAPPOPolicy, *args: Any) -> Any:
        if next(updates) < 2:
            return update(policy, *args)
        raise NonFiniteUpdatesError("20 gradient steps in a row were not finite (diversity_loss = nan)")

    monkeypatch.setattr(MoEAPPOPolicy, "update", spoilt)
    with pytest.raises(TrainingStoppedError, match=r"iteration \d: 20 gradient .* \(diversity_loss = nan\)"):
        train("mine", 800, "--algo", "appo")
    assert load_checkpoint(tmp_path / "mine").iteration == len(RunDirectory(tmp_path / "mine").rows()) > 0


def test_without_samples_it_gives_up(small_config: SmallConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = small_config(num_workers=0, algo="appo").env_runners(sample_timeout_s=0.5).build_algo()
    time.sleep(1.5)  # between iterations it does not count
    algorithm.train()
    time.sleep(1.5)
    algorithm.train()
    monkeypatch.setattr(APPO, "_get_samples_from_workers_old_api_stack", Mock(return_value=[]))
    with pytest.raises(NoSamplesError, match=r"no rollout worker has given a sample for 1 s"):
        algorithm.train()
    algorithm.stop()


def test_a_checkpoint_is_of_one_moment(algorithm: MoEAPPO) -> None:
    """While another thread changes all weights, a few at a time within a lock, as a gradient step does."""
    policy, done = algorithm.get_policy(), threading.Event()

    def learn() -> None:
        while not done.is_set():
            with policy._lock, torch.no_grad():
                for parameter in policy.model.parameters():
                    parameter.add_(1)
            time.sleep(0.001)

    for parameter in policy.model.parameters():
        parameter.data.fill_(0)
    learner = threading.Thread(target=learn)
    learner.start()
    weights = capture(algorithm).weights
    done.set()
    learner.join()
    values = torch.cat([weights[name].flatten() for name, _ in policy.model.network.named_parameters()])
    assert len(values.unique()) == 1


def test_weights_given_away_are_copies(algorithm: MoEAPPO) -> None:
    policy = algorithm.get_policy()
    algorithm.train()
    weights = policy.get_weights()
    for name, parameter in policy.model.named_parameters():
        assert not np.shares_memory(weights[name], parameter.detach().numpy())


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_learns_and_specializes_on_regimes(train: Any, num_workers: int) -> None:
    """As the synchronous algorithm does in as many episodes: 14.5 of 16 points, mutual information 1.0."""
    flags = "--num-envs-per-worker 16 --batch-size 512 --minibatch-size 128 --phase-boundaries 400,900"
    flags += f" --algo appo --num-workers {num_workers} --gamma 0 --set *.learning_rate=2e-3"
    summary = train("learns", 1500, *flags.split())
    first, _, last = summary["phases"]
    print(f"score {first['score_mean']:.1f} to {last['score_mean']:.1f}, MI {last['mutual_information']:.2f}")
    assert first["score_mean"] < 5  # chance is 4
    assert last["score_mean"] > 12
    assert last["mutual_information"] > 0.8


@pytest.mark.parametrize(
    ("cores", "num_workers", "expected"), [(1, 1, 1), (2, 1, 1), (2, 2, 1), (16, 4, 12), (16, 15, 8), (16, 1000, 8)]
)
def test_the_learner_leaves_cores_to_the_workers(cores: int, num_workers: int, expected: int) -> None:
    assert learner_threads(cores, num_workers) == expected
