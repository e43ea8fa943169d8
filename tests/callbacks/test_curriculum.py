"""The phase reaches learner and rollout workers, at the right time, whatever happens to the workers."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.callbacks import DefaultCallbacks, make_multi_callbacks
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_moe.algorithms import curriculum
from rllib_moe.algorithms.curriculum import EPISODES
from rllib_moe.algorithms.ppo import MoEPPO, MoEPPOConfig
from rllib_moe.callbacks.curriculum import CurriculumCallbacks, banner
from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import VALUES, PhaseSchedule
from rllib_moe.training.algorithm_state import capture, restore
from rllib_moe.validation.errors import ConfigError
from tests.callbacks.restart import restart_worker
from tests.conftest import SmallConfig

AT_24 = (5e-5, 5e-5, 0.02, 0.75)
"""`active_values` after 24 episodes: halfway through transition."""

# Ray's workers cannot import a test module: what it defines travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class RecordingCallbacks(CurriculumCallbacks):
    """Notes, for the first minibatch of each iteration, its phase and how far PPO's ratio is from 1."""

    records: list[tuple[str, float, float]] = []  # noqa: RUF012  # (routing, temperature, largest |ratio - 1|)
    waiting = True

    def on_learn_on_batch(self, *, policy: Any, train_batch: Any, result: dict[str, Any], **kwargs: Any) -> None:
        super().on_learn_on_batch(policy=policy, train_batch=train_batch, result=result, **kwargs)
        if RecordingCallbacks.waiting:
            RecordingCallbacks.waiting = False
            with torch.no_grad():
                logits, _ = policy.model({"obs": convert_to_torch_tensor(train_batch["obs"])})
                logp = policy.dist_class(logits, policy.model).logp(torch.as_tensor(train_batch["actions"]))
            error = (torch.exp(logp - torch.as_tensor(train_batch["action_logp"])) - 1).abs().max().item()
            phase = policy.model.network.phase
            RecordingCallbacks.records.append((phase.routing, phase.value("temperature"), error))

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any) -> None:
        super().on_train_result(algorithm=algorithm, result=result, **kwargs)
        RecordingCallbacks.waiting = True


@pytest.fixture
def records() -> list[tuple[str, float, float]]:
    RecordingCallbacks.records, RecordingCallbacks.waiting = [], True
    return RecordingCallbacks.records


def active_values(algorithm: Algorithm) -> tuple[float, float, float, float]:
    """Learning rate of the optimizer, that reported, action entropy coefficient, temperature."""
    policy = algorithm.get_policy()
    return (
        policy._optimizers[0].param_groups[0]["lr"],
        policy.cur_lr,
        policy.entropy_coeff,
        round(policy.model.network.phase.value("temperature"), 6),
    )


def play(config: MoEPPOConfig, iterations: int) -> Algorithm:
    """Train with steps so large that weights or a phase of one iteration ago would show."""
    algorithm = config.callbacks(RecordingCallbacks).training(schedule=_faster(config.schedule)).build_algo()
    for _ in range(iterations):
        algorithm.train()
    return algorithm


def test_callbacks_that_activate_no_phase_are_refused(small_config: SmallConfig) -> None:
    """RLlib's own, one that forgets `super()`; the curriculum's beside another one's is taken."""

    class Forgetful(CurriculumCallbacks):
        def on_algorithm_init(self, **_: Any) -> None:
            pass

    for given in (DefaultCallbacks, Forgetful):
        with pytest.raises(ConfigError, match=f"callbacks: expected .* CurriculumCallbacks .* got {given.__name__}"):
            small_config(num_workers=0).callbacks(given).build_algo()
    algorithm = (
        small_config(num_workers=0)
        .callbacks(make_multi_callbacks([DefaultCallbacks, CurriculumCallbacks]))
        .build_algo()
    )
    assert algorithm.has_phase
    algorithm.stop()


def test_workers_act_as_the_learner_does_whatever_happens_to_phase_router_and_worker(
    small_config: SmallConfig, records: list[tuple[str, float, float]]
) -> None:
    """The gate of every row is the learner's: across each phase change, as another candidate of the router takes over,
    and in a worker that Ray restarted.

    That one was idle when it was killed, so Ray brings it back with initial weights and tells nobody.
    """
    algorithm = play(small_config(num_workers=2), 5)
    # 8 episodes an iteration, boundaries 16 and 32: phases at 0, 8, 16, 24, 32 episodes.
    assert [(routing, temperature) for routing, temperature, _ in records] == [
        ("softmax", 1.0),
        ("softmax", 1.0),
        ("sparsemax", 1.0),
        ("sparsemax", 0.75),
        ("sparsemax", 0.5),
    ]
    states = algorithm.env_runner_group.foreach_env_runner(
        lambda worker: {
            name: value.tolist() for name, value in worker.get_policy().model.network.phase.state_dict().items()
        }
    )
    assert len(states) == 3
    assert states[0]["episodes"] == 40
    assert all(str(state) == str(states[0]) for state in states)  # as text: NaN is not equal to itself

    router = algorithm.get_policy().model.network.router
    better = (int(router.chosen) + 1) % router.num_candidates
    router.loss[better] = -1e3
    algorithm.train()
    answering = algorithm.env_runner_group.foreach_env_runner(
        lambda worker: int(worker.get_policy().model.network.router.chosen)
    )
    assert answering == [better] * 3

    restart_worker(algorithm)
    result = algorithm.train()
    assert result["moe"]["moe/router_candidate"] == better + 1
    algorithm.stop()
    assert [routing for routing, _, _ in records[5:]] == ["sparsemax"] * 2
    assert max(error for _, _, error in records) < 1e-5


class StockStepPPO(MoEPPO):
    """RLlib's own training step under our configuration: the callback by itself."""

    training_step = PPO.training_step  # type: ignore[assignment]


def test_the_callback_alone_keeps_rllibs_training_step_in_phase(
    small_config: SmallConfig, records: list[tuple[str, float, float]]
) -> None:
    config = small_config()
    config.algo_class = StockStepPPO
    play(config, 5).stop()
    assert [routing for routing, _, _ in records] == ["softmax"] * 2 + ["sparsemax"] * 3
    assert max(error for _, _, error in records) < 1e-5


def _faster(schedule: dict[str, Any]) -> dict[str, Any]:
    return override_schedule(PhaseSchedule.from_dict(schedule), {"*.learning_rate": 1e-2}).to_dict()


def test_phase_and_learning_rate_at_the_edges(small_config: SmallConfig) -> None:
    algorithm = small_config(num_workers=0).build_algo()
    assert active_values(algorithm) == (1e-4, 1e-4, 0.05, 1.0)
    seen = {}
    for count in (15, 16, 17, 31, 32, 33):
        algorithm._counters[EPISODES] = count
        CurriculumCallbacks().on_train_result(
            algorithm=algorithm, result={"training_iteration": 1, "time_this_iter_s": 1.0, "env_runners": {}}
        )
        seen[count] = active_values(algorithm)
    algorithm.stop()
    # Transition: temperature 1 - 0.5 (n - 16) / 16.
    assert seen == {
        15: (1e-4, 1e-4, 0.05, 1.0),
        16: (5e-5, 5e-5, 0.02, 1.0),
        17: (5e-5, 5e-5, 0.02, 0.96875),
        31: (5e-5, 5e-5, 0.02, 0.53125),
        32: (1e-5, 1e-5, 0.01, 0.5),
        33: (1e-5, 1e-5, 0.01, 0.5),
    }


def test_restore_brings_back_count_phase_and_learning_rate(
    small_config: SmallConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run says its own phase alone."""
    algorithm = small_config(num_workers=0).build_algo()
    for _ in range(3):
        algorithm.train()
    state = capture(algorithm)
    assert (active_values(algorithm), algorithm.episodes_total) == (AT_24, 24)
    algorithm.stop()

    lines: list[str] = []
    monkeypatch.setattr(curriculum.logger, "info", lambda text, *values: lines.append(text % values))
    config = small_config(num_workers=0)
    restored = config.environment(env_config={**config.env_config, "first_episode": 24}).build_algo()
    assert active_values(restored) == AT_24
    restore(restored, state)
    assert (active_values(restored), restored.episodes_total) == (AT_24, 24)
    restored.train()
    restored.stop()
    assert [line.split()[1] for line in lines if line.startswith("=====")] == ["TRANSITION"]
    assert not any("warmup" in line for line in lines)


def test_from_checkpoint_is_mended_at_the_first_minibatch(small_config: SmallConfig, tmp_path: Path) -> None:
    """`Algorithm.from_checkpoint` fires no hook after the state is there."""
    algorithm = small_config(num_workers=0).build_algo()
    for _ in range(3):
        algorithm.train()
    algorithm.save(str(tmp_path))
    algorithm.stop()
    restored = MoEPPO.from_checkpoint(str(tmp_path))
    row = restored.train()["moe"]
    restored.stop()
    assert (row["phase/name"], row["phase/learning_rate"], row["phase/temperature"]) == ("transition", 5e-5, 0.75)
    assert row["run/episodes_total"] == 32


def test_log_says_when_a_phase_begins(small_config: SmallConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(curriculum.logger, "info", lambda text, *values: lines.append(text % values))
    algorithm = small_config(num_workers=0).build_algo()
    for _ in range(4):
        algorithm.train()
    algorithm.stop()
    # The fourth iteration ended at the boundary of a phase that was never played.
    assert [line.split()[1] for line in lines if line.startswith("=====")] == ["WARMUP", "TRANSITION"]
    assert "Episode 0, Routing: Softmax, Phase: warmup" in lines


def test_a_phase_that_one_iteration_leaps_over_is_told(small_config: SmallConfig) -> None:
    schedule = override_schedule(PhaseSchedule.load("v3"), {"phase_boundaries": [2, 4]})
    algorithm = small_config(num_workers=0).training(schedule=schedule.to_dict()).build_algo()
    algorithm.train()
    assert algorithm.notes[0].startswith(
        f"warning: transition not played: one iteration led from episode 0 to {algorithm.episodes_total}."
    )
    algorithm.train()
    assert not any("warning" in note for note in algorithm.notes)
    algorithm.stop()


def test_banner() -> None:
    phase = PhaseSchedule.load("v3").at(1000)
    assert banner(phase, 1000, 3000, 4) == (
        "===== TRANSITION from episode 1000 to 2999: sparsemax, temperature 1, learning_rate 5e-05, entropy_coef 0.02, "
        "alpha_entropy_coef 0.05, load_balance_coef 0.01, diversity_coef 0.01, persistence_coef 0, role_coef 0 ====="
    )
    assert banner(phase, 3005, None, 4).startswith("===== TRANSITION from episode 3005 on: sparsemax")


def test_banner_says_the_target_that_can_be_reached() -> None:
    """No more than ln K can be reached, and 1.3863 is a trifle more than ln 4."""
    phase = override_schedule(PhaseSchedule.load("default"), {"*.alpha_entropy_target": 1.3863}).at(0)
    assert "alpha_entropy_target 1.39" in banner(phase, 0, 1000, 4)
    assert "alpha_entropy_target 0.693" in banner(phase, 0, 1000, 2)


def test_a_faulty_schedule_is_refused_at_build(small_config: SmallConfig) -> None:
    config = small_config(num_workers=0).training(schedule={"phases": []})
    with pytest.raises(ConfigError, match="at least one"):
        config.build_algo()


def test_a_requested_phase_is_active_everywhere(small_config: SmallConfig) -> None:
    algorithm = small_config(num_workers=0).build_algo()
    phase = algorithm.schedule.at(20)
    algorithm.learner_policy.request_phase(phase, 20)
    assert active_values(algorithm) == (5e-5, 5e-5, 0.02, 0.875)
    state = algorithm.learner_policy.model.network.phase
    assert (state.routing, int(state.episodes)) == ("sparsemax", 20)
    for name in VALUES:
        expected = getattr(phase, name)
        assert state.value(name) == pytest.approx(math.nan if expected is None else expected, nan_ok=True)
    algorithm.stop()
