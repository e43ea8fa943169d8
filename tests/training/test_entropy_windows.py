"""The expected alpha entropy, at the phases' edges and for schedules other than the user's."""

from __future__ import annotations

import math

import pytest

from rllib_moe.phases import PhaseSchedule
from rllib_moe.training.entropy_windows import window_at

V3, DEFAULT = PhaseSchedule.load("v3"), PhaseSchedule.load("default")


@pytest.mark.parametrize("schedule", [V3, DEFAULT], ids=["v3", "default"])
@pytest.mark.parametrize(
    ("episode", "low", "high"),
    [
        (0, math.log(4) - 0.05, math.log(4)),
        (999, math.log(4) - 0.05, math.log(4)),
        (1000, math.log(4) - 0.15, math.log(4)),
        # Halfway from ln 4 = 1.386 to 0.7: 1.043.
        (2000, 0.893, 1.193),
        (3000, 0.3, 0.5),
        (10**6, 0.3, 0.5),
    ],
)
def test_the_users_windows(schedule: PhaseSchedule, episode: int, low: float, high: float) -> None:
    window = window_at(schedule, episode, 4)
    assert window is not None
    assert (window.low, window.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_windows_scale_with_the_number_of_experts() -> None:
    window = window_at(V3, 3000, 2)  # ln 2 is half of ln 4
    assert window is not None
    assert (window.low, window.high) == (pytest.approx(0.15), pytest.approx(0.25, abs=1e-5))
    assert window_at(V3, 3000, 1) is None


def test_a_target_outside_the_users_window_has_its_own() -> None:
    other = DEFAULT.with_overrides({"fine-tune.alpha_entropy_target": 0.9})
    window = window_at(other, 3000, 4)
    assert window is not None
    assert 0.9 in window
    assert 0.75 not in window


def test_a_phase_of_another_name_without_a_target_expects_nothing() -> None:
    rows = V3.to_dict()["phases"]
    rows[-1]["name"] = "settle"
    other = PhaseSchedule.from_dict({"phases": rows})
    assert window_at(other, 3000, 4) is None


def test_a_gate_that_is_undecided_to_the_last_bit_is_inside() -> None:
    assert math.log(4) + 1e-7 in (window_at(V3, 0, 4) or ())
