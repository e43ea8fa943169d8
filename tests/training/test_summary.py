"""The summary of a run: pooled scores against numpy over all episodes, phases in order, nothing made up."""

import json
import math
from typing import Any

import numpy as np
import pytest

from rllib_moe import metrics as m
from rllib_moe.training.summary import summarize
from tests.training.rows import row_of


def row(scores: list[float], phase: str = "warmup", **changes: Any) -> dict[str, Any]:
    """A row as `EpisodeMetrics` makes it from an iteration's scores."""
    values = {
        m.PHASE: phase,
        m.ROUTING: "softmax",
        m.TEMPERATURE: 1.0,
        m.LEARNING_RATE: 1e-4,
        m.EPISODES: len(scores),
        m.EPISODES_TOTAL: len(scores),
        m.ENV_STEPS_TOTAL: 1000,
        m.WALL_SECONDS: 8.0,
        m.SKIPPED_UPDATES: 0,
        m.SCORE_MEAN: float(np.mean(scores)) if scores else math.nan,
        m.SCORE_STD: float(np.std(scores)) if scores else math.nan,
        m.SCORE_MAX: max(scores, default=math.nan),
        m.ALPHA_ENTROPY: 1.2,
        m.USAGE_ENTROPY: 1.3,
        m.MUTUAL_INFORMATION: 0.1,
        m.expert_share(0): 0.25,
        m.expert_share(1): 0.75,
    }
    return row_of(values, **changes)


def random_scores(seed: int) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [list(random.gamma(0.5, 20, size)) for size in (5, 0, 31, 1, 12)]


class TestScores:
    @pytest.mark.parametrize("parts", [[[2, 4], [7]], [[3.0]], *map(random_scores, range(5))])
    def test_equals_numpy_over_all_episodes(self, parts: list[list[float]]) -> None:
        every = np.concatenate(parts)
        (phase,) = summarize([row(part) for part in parts])["phases"]
        assert phase["episodes"] == len(every)
        assert phase["score_mean"] == pytest.approx(every.mean(), abs=1e-4)
        assert phase["score_std"] == pytest.approx(every.std(), abs=1e-4)
        assert phase["score_se"] == pytest.approx(every.std() / math.sqrt(len(every)), abs=1e-4)
        assert phase["score_max"] == pytest.approx(every.max(), abs=1e-4)

    def test_no_episode_finished(self) -> None:
        (phase,) = summarize([row([]), row([])])["phases"]
        assert phase["episodes"] == 0
        assert [phase[name] for name in ("score_mean", "score_std", "score_se", "score_max")] == [None] * 4


class TestPhases:
    def test_in_order_of_play_each_with_its_own_values(self) -> None:
        rows = [
            row([1], "warmup"),
            row([2, 2], "warmup", ALPHA_ENTROPY=1.0, LEARNING_RATE=2e-4),
            row([3], "transition", ROUTING="sparsemax", TEMPERATURE=0.75),
            row([], "a-last-one", ROUTING="entmax15"),
        ]
        phases = summarize(rows)["phases"]
        assert [phase["phase"] for phase in phases] == ["warmup", "transition", "a-last-one"]
        assert [phase["routing"] for phase in phases] == ["softmax", "sparsemax", "entmax15"]
        assert [phase["episodes"] for phase in phases] == [3, 1, 0]
        # Mean over the phase's iterations, and the last one.
        assert (phases[0]["alpha_entropy"], phases[0]["alpha_entropy_end"]) == (1.1, 1.0)
        assert phases[0]["learning_rate"] == 2e-4
        assert phases[1]["temperature"] == 0.75

    def test_shares_are_means_over_the_iterations_that_measured_them(self) -> None:
        second = row([1]) | {m.expert_share(0).key: 0.75, m.expert_share(1).key: 0.25}
        unknown = row([1], ALPHA_ENTROPY=math.nan) | {m.expert_share(index).key: math.nan for index in range(2)}
        (phase,) = summarize([row([1]), second, unknown])["phases"]
        assert phase["expert_share"] == [0.5, 0.5]
        assert (phase["alpha_entropy"], phase["alpha_entropy_end"]) == (1.2, None)


class TestTotals:
    def test_last_row_counts(self) -> None:
        first = row([1] * 5)
        last = row([1] * 5, EPISODES_TOTAL=10, ENV_STEPS_TOTAL=3000, WALL_SECONDS=12.0, SKIPPED_UPDATES=2)
        summary = summarize([first, last])
        assert summary["episodes_total"] == 10
        assert summary["env_steps_total"] == 3000
        assert summary["wall_seconds"] == 12.0
        assert summary["env_steps_per_second"] == 250.0
        assert summary["skipped_updates"] == 2

    def test_nothing_played(self) -> None:
        assert summarize([]) == {
            "episodes_total": 0,
            "env_steps_total": 0,
            "wall_seconds": 0.0,
            "env_steps_per_second": None,
            "skipped_updates": 0,
            "phases": [],
        }

    def test_is_strict_json(self) -> None:
        rows = [row([], ALPHA_ENTROPY=math.nan, MUTUAL_INFORMATION=math.nan), row([1], "transition")]
        assert json.loads(json.dumps(summarize(rows), allow_nan=False)) == summarize(rows)
