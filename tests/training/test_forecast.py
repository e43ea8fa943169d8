"""Forecast of a run before it starts: the phases it plays, and those that may be skipped."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_moe.experiment import Experiment
from rllib_moe.training.forecast import forecast


def told(first: int, total: int, **overrides: Any) -> list[str]:
    small = {"num_workers": 2, "num_envs_per_worker": 16, "batch_size": 4096, "env": "regimes", "max_steps": 500}
    return list(forecast(Experiment().with_overrides({**small, "episodes": total, **overrides}), first))


@pytest.mark.parametrize(
    ("first", "total", "expected"),
    [
        (0, 64, "warmup 0 to 64; transition begins at 1,000 and is not reached"),
        (0, 1000, "warmup 0 to 1,000; transition begins at 1,000 and is not reached"),
        (0, 5000, "warmup 0 to 1,000, transition 1,000 to 3,000, fine-tune 3,000 to 5,000"),
        (1500, 2000, "transition 1,500 to 2,000; fine-tune begins at 3,000 and is not reached"),
        (5002, 8000, "fine-tune 5,002 to 8,000"),
    ],
)
def test_the_phases_of_a_run(first: int, total: int, expected: str) -> None:
    assert told(first, total) == [f"This run: {expected}"]


def test_what_the_phases_give_the_environment() -> None:
    assert told(0, 2000, schedule="progressive", **{"warmup.env.tasks": ["score", "gold"]}) == [
        "This run: warmup 0 to 1,000 (max_steps 500, tasks ['score', 'gold']), transition 1,000 to 2,000 (max_steps "
        "500 to 2000); fine-tune begins at 3,000 and is not reached"
    ]


def warned(
    boundaries: list[int], changes: dict[str, Any] | None = None, *, first: int = 0, total: int = 500, **training: int
) -> list[str]:
    """Return the phases that are warned of, by the words that follow their name."""
    warnings = told(first, total, phase_boundaries=boundaries, **(changes or {}), **training)[1:]
    return [line.removeprefix("warning: ").partition(" lasts")[0] for line in warnings if " lasts" in line]


def test_a_phase_shorter_than_the_episodes_of_an_iteration_is_warned_of() -> None:
    assert warned([5, 10]) == ["warmup", "transition"], "8 episodes of 500 steps"
    assert warned([7, 15]) == ["warmup"]
    assert warned([8, 16]) == []
    assert warned([8, 16], num_envs_per_worker=64) == [], "environments do not end their episodes at once"
    assert warned([40, 480], batch_size=32000) == ["warmup"], "64 episodes of 500 steps"
    shorter = {"transition.env.max_steps": [500, 64]}
    assert warned([40, 80], shorter) == ["transition"], "64 episodes of 64 steps"
    assert warned([5, 10], first=7) == ["transition"], "the warmup is over"
    assert warned([5, 10], total=7) == ["warmup"], "the transition is cut by the run's end, not skipped"
    assert warned([400, 495]) == [], "the last phase ends with the run"


@pytest.mark.parametrize(
    ("boundaries", "changes", "first", "total", "late"),
    [
        pytest.param([800, 1600], {}, 0, 2000, "", id="8 episodes of 500 steps"),
        ([799, 1600], {}, 0, 2000, "transition by 8"),
        ([400, 799], {}, 0, 2000, "transition by 8, fine-tune by 8"),
        ([400, 799], {}, 500, 2000, "fine-tune by 8"),
        pytest.param([400, 799], {}, 0, 799, "transition by 8", id="the run ends there"),
        ([800, 1600], {"transition.env.max_steps": 200}, 0, 2000, "fine-tune by 20"),
        pytest.param([5, 800], {}, 0, 2000, "", id="the warmup, which may be skipped, says more"),
    ],
)
def test_phases_that_may_begin_late_by_over_1_per_cent_are_told(
    boundaries: list[int], changes: dict[str, Any], first: int, total: int, late: str
) -> None:
    lines = [line for line in told(first, total, phase_boundaries=boundaries, **changes) if "may begin late" in line]
    expected = (
        "The phase changes between iterations, of 4,096 steps, so these may begin late: "
        f"{late.replace(',', ' episodes or more,')} episodes or more. A smaller batch_size lessens it"
    )
    assert lines == ([expected] if late else [])
