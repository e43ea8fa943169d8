"""Algorithms beside each other for equal wall time: how fast each samples, and what it learned by then.

An asynchronous algorithm goes on working while another one's iteration is timed, so iterations in turn would not be
fair. Each is built, warmed up, trained for so long and stopped, in turn: A B A B.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.config import BenchmarkConfig
from benchmarks.iterations import stopped_after
from benchmarks.timing import medians, now
from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm

LAST_SHARE = 4
"""Score and return are the mean of this last part of the iterations: a quarter."""


def compare_algorithms(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Train each of `config.algorithms` for `config.minutes`, `config.num_rounds` times in turn.

    Returns:
        A row a run: `algorithm`, `round`, `steps_per_second` (without the first iteration), `env_steps`, `episodes`,
        and of the last quarter of the iterations `score`, `return`, `explained_variance`, `mutual_information`.
    """
    return [
        {"algorithm": name, "round": turn + 1, **_train(config, name)}
        for turn in range(config.num_rounds)
        for name in config.algorithms
    ]


def median_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the rounds of each algorithm."""
    measured: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        numbers = {name: value for name, value in row.items() if name not in ("algorithm", "round")}
        measured.setdefault(row["algorithm"], []).append(numbers)
    return [{"algorithm": name, **medians(rounds)} for name, rounds in measured.items()]


def _train(config: BenchmarkConfig, name: str) -> dict[str, float]:
    with stopped_after(build_algorithm(config.with_overrides(algo=name))) as algorithm:
        first = algorithm.train()["moe"]
        begin, rows = now(), [first]
        while now() - begin < 60 * config.minutes or len(rows) < 2:
            rows.append(algorithm.train()["moe"])
        seconds = now() - begin
    steps = rows[-1][m.ENV_STEPS_TOTAL.key] - first[m.ENV_STEPS_TOTAL.key]
    return {
        "steps_per_second": steps / seconds,
        "env_steps": rows[-1][m.ENV_STEPS_TOTAL.key],
        "episodes": rows[-1][m.EPISODES_TOTAL.key],
        "score": _late(rows, m.SCORE_MEAN),
        "return": _late(rows, m.RETURN_MEAN),
        "explained_variance": _late(rows, m.EXPLAINED_VARIANCE),
        "mutual_information": _late(rows, m.MUTUAL_INFORMATION),
    }


def _late(rows: list[m.Row], metric: m.Metric) -> float:
    """Mean of a metric over the last rows; those without one (no episode ended) are left out."""
    values = [row[metric.key] for row in rows[-max(1, len(rows) // LAST_SHARE) :]]
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan
