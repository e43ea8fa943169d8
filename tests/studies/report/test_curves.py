"""Curves against numbers derived by hand and against scipy's own intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rllib_moe.studies.report.curves import Curve, mean_of, score_curve
from rllib_moe.studies.report.runs import group_runs, read_run
from tests.studies.report.report_runs import write_run


def test_score_is_that_of_the_last_episodes(tmp_path: Path) -> None:
    # Ten episodes an iteration, of standard deviation 2; a window of 20 episodes is two iterations.
    curve = score_curve(read_run(write_run(tmp_path / "a", [10, 20, 40])), window=20)
    assert curve is not None
    np.testing.assert_allclose(curve.episodes, [10, 20, 30])
    np.testing.assert_allclose(curve.mean, [10, 15, 30])
    # Variance within, 4, and between, 5^2 and 10^2; 10 and 20 episodes.
    half = 1.959964 * np.sqrt(np.array([4 / 10, 29 / 20, 104 / 20]))
    assert curve.half is not None
    np.testing.assert_allclose(curve.half, half, rtol=1e-6)


def test_a_run_shorter_than_the_window_has_a_curve(tmp_path: Path) -> None:
    curve = score_curve(read_run(write_run(tmp_path / "a", [10, 20, 60])), window=100)
    assert curve is not None
    assert (curve.episodes.tolist(), curve.mean.tolist()) == ([10, 20, 30], [10, 15, 30])


def _line(start: float, end: float, slope: float) -> Curve:
    episodes = np.linspace(start, end, 7)
    return Curve(episodes=episodes, mean=slope * episodes)


def test_mean_over_seeds_where_all_have_been() -> None:
    mean = mean_of([_line(0, 100, 1.0), _line(20, 80, 2.0), _line(10, 200, 4.5)])
    assert mean is not None
    assert (mean.episodes[0], mean.episodes[-1]) == (20, 80)
    np.testing.assert_allclose(mean.mean, 2.5 * mean.episodes)
    assert mean.half is not None
    assert mean.half[-1] == pytest.approx(stats.t.interval(0.95, 2, scale=stats.sem([80, 160, 360]))[1])


def test_steps_hold_until_the_next_point() -> None:
    step = Curve(episodes=np.array([0.0, 10, 20]), mean=np.array([0.0, 0, 1]))
    mean = mean_of([step, step], steps=True)
    assert mean is not None
    np.testing.assert_array_equal(mean.mean, np.where(mean.episodes > 10, 1, 0))


def test_one_run_has_no_interval_over_seeds() -> None:
    curve = _line(0, 100, 1.0)
    mean = mean_of([curve])
    assert mean is not None
    assert mean.half is None
    assert mean.mean is curve.mean


def test_runs_without_a_common_episode_have_no_mean() -> None:
    assert mean_of([_line(0, 10, 1.0), _line(20, 30, 1.0)]) is None


def test_runs_that_differ_in_seed_only_are_a_group(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / f"s{seed}", [1, 2], seed=seed) for seed in (3, 4))
    other = write_run(tmp_path / "other", [1, 2], seed=3, gamma=0.9)
    runs = [read_run(path) for path in (first, other, second)]
    pair, alone = group_runs(runs)
    assert ([run.name for run in pair.runs], [run.name for run in alone.runs]) == (["s3", "s4"], ["other"])
    assert "seeds 3, 4" in pair.name
