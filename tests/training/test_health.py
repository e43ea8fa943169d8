"""Warnings of a training: each at its threshold, and none in a healthy run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rllib_moe import metrics as m
from rllib_moe.phases import PhaseSchedule
from rllib_moe.schedule_overrides import override_schedule
from rllib_moe.training.health import concerns
from rllib_moe.training.run_directory import read_rows

SCHEDULE = override_schedule(PhaseSchedule.load("default"), {"phase_boundaries": [400, 1200]})


def row(**changes: Any) -> dict[str, Any]:
    values: dict[m.Metric, Any] = {m.EPISODES_TOTAL: 300, m.ALPHA_ENTROPY: 1.38, m.SKIPPED_UPDATES: 0}
    values |= {m.LOST_WORKERS: 0} | {m.expert_share(index): 0.25 for index in range(4)}
    return {metric.key: value for metric, value in values.items()} | {getattr(m, k).key: v for k, v in changes.items()}


def texts(**changes: Any) -> list[str]:
    return [concern.text for concern in concerns(row(**changes), SCHEDULE, 5000)]


def test_a_healthy_iteration() -> None:
    assert texts() == []


@pytest.mark.parametrize(("share", "is_collapse"), [(0.05, False), (0.0499, True), (0.0, True)])
def test_collapse_is_a_share_below_5_per_cent(share: float, is_collapse: bool) -> None:
    found = concerns(row() | {m.expert_share(2).key: share}, SCHEDULE, 5000)
    assert [concern.kind for concern in found] == (["collapse 2"] if is_collapse else [])
    assert all("expert 2" in concern.text for concern in found)


def test_one_expert_cannot_collapse() -> None:
    single = {key: value for key, value in row(ALPHA_ENTROPY=0.0).items() if not key.startswith("moe/expert_share")}
    assert concerns(single | {m.expert_share(0).key: 1.0}, SCHEDULE, 5000) == []


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
    schedule = override_schedule(PhaseSchedule.load("default"), {"phase_boundaries": [40, 80]})
    found = {
        played: [each.kind for each in concerns(row(EPISODES_TOTAL=played, ALPHA_ENTROPY=1.0), schedule, 120)]
        for played in (10, 20, 90, 100, 120)
    }
    assert found == {10: [], 20: ["entropy"], 90: [], 100: ["entropy"], 120: ["entropy"]}


def test_skipped_updates_and_lost_workers_come_first() -> None:
    found = texts(SKIPPED_UPDATES=1, LOST_WORKERS=2, ALPHA_ENTROPY=0.0)
    assert found[:2] == [
        "2 rollout workers lost; Ray starts new ones",
        "1 gradient step skipped so far, as not finite",
    ]
    assert len(found) == 3


def test_the_published_run_was_warned_of_only_while_entropy_came_down() -> None:
    rows = read_rows(Path(__file__).parents[2] / "results" / "published" / "nethack-2000" / "progress.csv")
    warned = [each[m.EPISODES_TOTAL.key] for each in rows if concerns(each, SCHEDULE, 5000)]
    assert warned
    assert min(warned) >= 1300
    assert max(warned) < 1500
