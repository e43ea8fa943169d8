"""Warnings of a training, each at its threshold and none in a healthy run, and the alpha entropy that is expected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rllib_moe import metrics as m
from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.health import warnings_after, window_at
from rllib_moe.training.run_directory import read_rows
from tests.training.rows import healthy_row

V3, DEFAULT = PhaseSchedule.load("v3"), PhaseSchedule.load("default")
SCHEDULE = override_schedule(V3, {"phase_boundaries": [400, 1200]})


def texts(**changes: Any) -> list[str]:
    return [warning.text for warning in warnings_after(healthy_row(**changes), SCHEDULE, 5000)]


def test_a_healthy_iteration() -> None:
    assert texts() == []


@pytest.mark.parametrize(("share", "is_collapse"), [(0.05, False), (0.0499, True), (0.0, True)])
def test_collapse_is_a_share_below_5_per_cent(share: float, is_collapse: bool) -> None:
    found = list(warnings_after(healthy_row() | {m.expert_share(2).key: share}, SCHEDULE, 5000))
    assert [warning.kind for warning in found] == (["collapse 2"] if is_collapse else [])
    assert all("expert 2" in warning.text for warning in found)


def test_one_expert_cannot_collapse() -> None:
    row = healthy_row(ALPHA_ENTROPY=0.0)
    single = {key: value for key, value in row.items() if not key.startswith("moe/expert_share")}
    assert list(warnings_after(single | {m.expert_share(0).key: 0.01}, SCHEDULE, 5000)) == []


@pytest.mark.parametrize(
    ("episode", "entropy", "warned"),
    [
        (300, 1.3, "below its window, 1.34 to 1.39"),
        (1299, 0.6, None),  # fine-tune began 99 episodes ago, and may still come from 0.7
        (1300, 0.6, "above its window, 0.30 to 0.50"),
        (1300, 0.4, None),
        (1300, 0.2, "below its window, 0.30 to 0.50"),
        (1300, math.nan, None),
    ],
)
def test_entropy_out_of_its_window(episode: int, entropy: float, warned: str | None) -> None:
    found = texts(EPISODES_TOTAL=episode, ALPHA_ENTROPY=entropy)
    assert len(found) == (warned is not None)
    assert warned is None or warned in found[0]


def test_entropy_of_a_compressed_run_is_watched_from_the_middle_of_each_phase() -> None:
    schedule = override_schedule(V3, {"phase_boundaries": [40, 80]})
    rows = {played: healthy_row(EPISODES_TOTAL=played, ALPHA_ENTROPY=1.0) for played in (10, 20, 90, 100, 120)}
    found = {played: [each.kind for each in warnings_after(row, schedule, 120)] for played, row in rows.items()}
    assert found == {10: [], 20: ["entropy"], 90: [], 100: ["entropy"], 120: ["entropy"]}


def test_skipped_updates_and_lost_workers_come_first() -> None:
    first, second, third = texts(SKIPPED_UPDATES=1, LOST_WORKERS=2, ALPHA_ENTROPY=0.0)
    assert first == "2 rollout workers lost; Ray starts new ones"
    assert second == "1 gradient step skipped so far, as not finite"
    assert third.startswith("alpha entropy 0.00 is below")


def test_the_published_run_was_warned_of_only_while_entropy_came_down() -> None:
    rows = read_rows(Path(__file__).parents[2] / "results" / "published" / "nethack-2000" / "progress.csv")
    warned = [each[m.EPISODES_TOTAL.key] for each in rows if list(warnings_after(each, SCHEDULE, 5000))]
    assert warned
    assert min(warned) >= 1300
    assert max(warned) < 1500


TOP = math.log(4)


@pytest.mark.parametrize(
    ("episode", "num_experts", "expected"),
    [
        (0, 4, (TOP - 0.05, TOP)),
        (999, 4, (TOP - 0.05, TOP)),
        (1000, 4, (TOP - 0.15, TOP)),
        (2000, 4, (0.893, 1.193)),  # halfway from ln 4 = 1.386 to 0.7: 1.043
        (3000, 4, (0.3, 0.5)),
        (10**6, 4, (0.3, 0.5)),
        (3000, 2, (0.15, 0.25)),  # ln 2 is half of ln 4
        (3000, 1, None),
    ],
)
def test_the_users_windows(episode: int, num_experts: int, expected: tuple[float, float] | None) -> None:
    window = window_at(V3, episode, num_experts)
    assert window == (expected and pytest.approx(expected, abs=1e-3))


def test_a_schedule_that_pays_nothing_for_entropy_expects_nothing_of_it() -> None:
    assert [window_at(DEFAULT, episode, 4) for episode in (0, 2000, 3000)] == [None] * 3


def test_a_target_outside_the_users_window_has_its_own() -> None:
    window = window_at(override_schedule(V3, {"fine-tune.alpha_entropy_target": 0.9}), 3000, 4)
    assert window == pytest.approx((0.8, 1.0), abs=1e-3)


def test_a_phase_of_another_name_without_a_target_expects_nothing() -> None:
    rows = V3.to_dict()["phases"]
    rows[-1]["name"] = "settle"
    assert window_at(PhaseSchedule.from_dict({"phases": rows}), 3000, 4) is None


def test_a_gate_that_is_undecided_to_the_last_bit_is_inside() -> None:
    window = window_at(V3, 0, 4)
    assert window is not None
    assert window.high > TOP + 1e-7
