"""The summary of a run: what each phase played and reached, computed from the rows of progress.csv. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from rllib_moe import metrics as m
from rllib_moe.metrics import rounded

SCORE_WINDOW = 100
"""Episodes (at least) over which a recent score is averaged."""


def recent_mean(rows: Sequence[m.Row], metric: m.Metric = m.SCORE_MEAN, window: int = SCORE_WINDOW) -> float | None:
    """Mean of a metric over the last episodes, `window` of them or a few more; None when there were none."""
    total, episodes = 0.0, 0
    for row in reversed(rows):
        if row[m.EPISODES.key]:
            total += row[metric.key] * row[m.EPISODES.key]
            episodes += row[m.EPISODES.key]
        if episodes >= window:
            break
    return total / episodes if episodes else None


def best_score(rows: Sequence[m.Row]) -> float:
    """Best score of any episode, NaN before there is one."""
    return max((best for row in rows if not math.isnan(best := row[m.SCORE_MAX.key])), default=math.nan)


def summarize(rows: Sequence[m.Row]) -> dict[str, Any]:
    """Return a run's totals, and under `phases` one entry for each phase played, in order, from all rows in order.

    A value that was never measured is None.
    """
    last = rows[-1] if rows else {}
    wall = last.get(m.WALL_SECONDS.key, 0.0)
    steps = last.get(m.ENV_STEPS_TOTAL.key, 0)
    return {
        "episodes_total": last.get(m.EPISODES_TOTAL.key, 0),
        "env_steps_total": steps,
        "wall_seconds": round(wall, 3),
        "env_steps_per_second": round(steps / wall, 1) if wall else None,
        "skipped_updates": last.get(m.SKIPPED_UPDATES.key, 0),
        "phases": [_phase(str(name), list(played)) for name, played in groupby(rows, key=lambda row: row[m.PHASE.key])],
    }


def _phase(name: str, rows: list[m.Row]) -> dict[str, Any]:
    scored = [row for row in rows if row[m.EPISODES.key] > 0 and not math.isnan(row[m.SCORE_MEAN.key])]
    episodes = sum(row[m.EPISODES.key] for row in scored)
    mean = _weighted(scored, lambda row: row[m.SCORE_MEAN.key])
    spread = None
    if mean is not None:
        # Variance of the pooled episodes: within the iterations plus between them.
        variance = _weighted(scored, lambda row: row[m.SCORE_STD.key] ** 2 + (row[m.SCORE_MEAN.key] - mean) ** 2)
        spread = math.sqrt(variance or 0.0)
    measured = [each for row in rows if (each := m.shares_of(row)) and not any(map(math.isnan, each))]
    shares = list(zip(*measured, strict=True))
    numbers = {
        "phase": name,
        "routing": rows[-1][m.ROUTING.key],
        "episodes": sum(row[m.EPISODES.key] for row in rows),
        "score_mean": mean,
        "score_std": spread,
        "score_se": spread / math.sqrt(episodes) if spread is not None and episodes else None,
        "score_max": max((row[m.SCORE_MAX.key] for row in scored), default=None),
        "alpha_entropy": _mean(rows, m.ALPHA_ENTROPY),
        "alpha_entropy_end": _mean(rows[-1:], m.ALPHA_ENTROPY),
        "usage_entropy": _mean(rows, m.USAGE_ENTROPY),
        "mutual_information": _mean(rows, m.MUTUAL_INFORMATION),
        "mutual_information_end": _mean(rows[-1:], m.MUTUAL_INFORMATION),
        "expert_share": [sum(share) / len(share) for share in shares],
    }
    settings = {"temperature": rows[-1][m.TEMPERATURE.key], "learning_rate": rows[-1][m.LEARNING_RATE.key]}
    return rounded(numbers, 4) | settings


def _weighted(rows: list[m.Row], value: Callable[[m.Row], float]) -> float | None:
    """Mean over episodes of a per-iteration value."""
    episodes = sum(row[m.EPISODES.key] for row in rows)
    return sum(value(row) * row[m.EPISODES.key] for row in rows) / episodes if episodes else None


def _mean(rows: list[m.Row], metric: m.Metric) -> float:
    return m.mean_measure(row[metric.key] for row in rows)
