"""Arguments that phases give the environment: every rollout worker plays with those of its phase, whatever happens."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.callbacks.curriculum import banner
from rllib_moe.callbacks.measures import of_this_iteration
from rllib_moe.metrics import env_argument
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.algorithm_state import capture, restore
from rllib_moe.validation.errors import ConfigError
from tests.callbacks.restart import restart_worker
from tests.conftest import SmallConfig

KEY = env_argument("max_steps").key
OWN = 16
"""Limit on steps of the small experiments themselves."""
LATER = {"transition.env.max_steps": [8, 12], "fine-tune.env.max_steps": 5}
EARLIER = {"warmup.env.max_steps": 8, "transition.env.max_steps": [8, 12]}
"""The limit is the environment's own in fine-tune, after phases that changed it."""


def limit(algorithm: CurriculumAlgorithm) -> int:
    """The limit on steps that the present phase asks for."""
    return round(algorithm.schedule.at(algorithm.episodes_total).env.get("max_steps", OWN))


def play(algorithm: CurriculumAlgorithm) -> list[float]:
    """Train for an iteration; the limits that its episodes say they had, which is how long they were."""
    result = algorithm.train()
    limits = of_this_iteration(result, KEY)
    assert limits == of_this_iteration(result, "episode_lengths")
    if limits:
        assert result["moe"][KEY] == pytest.approx(sum(limits) / len(limits))
    return limits


@pytest.mark.parametrize(("num_workers", "changes"), [(0, EARLIER), (1, LATER)], ids=["driver", "worker"])
def test_every_episode_has_the_arguments_of_its_phase(
    num_workers: int, changes: dict[str, Any], small_config: SmallConfig
) -> None:
    """Through all phases; then under a restored count, and in a worker that Ray restarted (two: see APPO's below)."""
    config = small_config(num_workers, **changes)
    algorithm = config.build_algo()
    before, phases = limit(algorithm), set()
    while algorithm.episodes_total < 80:
        now = limit(algorithm)
        phases.add(algorithm.schedule.at(algorithm.episodes_total).name)
        # What was begun in the last iteration ends in this one, and each environment begins two or more.
        assert now in (limits := play(algorithm))
        assert set(limits) <= {before, now}
        before = now
    assert phases == {"warmup", "transition", "fine-tune"}
    state = capture(algorithm)
    if num_workers:
        restart_worker(algorithm)
        assert set(play(algorithm)) == {5}
    algorithm.stop()

    restored = config.copy(copy_frozen=False).build_algo()
    restore(restored, state)
    assert set(play(restored)) == {limit(restored)} == {OWN if num_workers == 0 else 5}
    restored.stop()


def test_what_phases_gave_before_a_resume_and_give_no_more_is_the_environments_own_again(
    small_config: SmallConfig,
) -> None:
    algorithm = small_config(0, **EARLIER).build_algo()
    algorithm.train()
    state = capture(algorithm)
    algorithm.stop()
    resumed = small_config(0).build_algo()
    restore(resumed, state)
    assert set(of_this_iteration(resumed.train(), "episode_lengths")) == {OWN}
    resumed.stop()


@pytest.mark.slow
def test_under_appo_too(small_config: SmallConfig) -> None:
    """Workers lag behind; what they play is of some phase, in order, and the last one's in the end."""
    algorithm = small_config(2, algo="appo", **LATER).build_algo()
    seen: list[float] = []
    deadline = time.monotonic() + 600
    while not (last := play(algorithm)) or set(last) != {5}:
        seen += last
        assert time.monotonic() < deadline
    algorithm.stop()
    assert OWN in seen
    assert set(seen) <= {OWN, *range(8, 13), 5}


def test_a_number_between_the_ends_is_rounded_where_only_whole_ones_fit(small_config: SmallConfig) -> None:
    changes = {"warmup.env.max_steps": [8, 9], "warmup.env.switch_probability": [0, 1]}
    algorithm = small_config(0, **changes, phase_boundaries=[64, 128]).build_algo()
    seen = [algorithm.train()["moe"] for _ in range(5)]
    algorithm.stop()
    assert {round(8 * row[KEY]) / 8 for row in seen} >= {8.0, 9.0}
    probabilities = [row[env_argument("switch_probability").key] for row in seen]
    assert probabilities == sorted(probabilities)
    assert 0 < probabilities[2] < 1


def test_phases_that_give_nothing_leave_environments_alone(small_config: SmallConfig) -> None:
    algorithm = small_config(0).build_algo()
    assert not any(key.startswith("phase/env/") for key in algorithm.train()["moe"])
    algorithm.stop()


def test_a_worker_refuses_what_its_environment_does_not_take(small_config: SmallConfig) -> None:
    """For who builds an algorithm without the checks of a run."""
    config = small_config(0, **{"transition.env.max_stpes": 9, "fine-tune.env.max_steps": 0})
    with pytest.raises(ConfigError) as refused:
        config.build_algo()
    assert refused.value.errors == (
        "transition.env.max_stpes: may not change while the environment lives (did you mean 'max_steps'?)",
        "fine-tune.env.max_steps: expected a whole number, 1 or more, got 0",
    )


def test_banner() -> None:
    schedule = PhaseSchedule.load("progressive")
    assert banner(schedule.at(2001), 2001, 3000, 4).endswith("role_coef 0, max_steps 1250.75 =====")
    assert banner(schedule.at(4000), 4000, None, 4).endswith("role_coef 0, max_steps 5000 =====")
