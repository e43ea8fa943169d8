"""Time of calls, one after the other or in turn, and their medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def now() -> float:
    """Seconds on a clock, once the GPU is done with what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, work on a GPU included."""
    begin = now()
    call()
    return now() - begin


def seconds(call: Callable[[], Any], repeats: int, warm_up: int = 1) -> float:
    """Median seconds of `repeats` calls, after `warm_up` calls that are not measured."""
    return statistics.median([timed(call) for _ in range(warm_up + repeats)][warm_up:])


def in_turn(calls: Mapping[str, Callable[[], Result]], repeats: int, warm_up: int = 1) -> dict[str, list[Result]]:
    """Results of several calls in turn (A B A B), so that a noisy machine is noisy for all; without the warm-up's."""
    rounds = [{name: call() for name, call in calls.items()} for _ in range(warm_up + repeats)]
    return {name: [each[name] for each in rounds[warm_up:]] for name in calls}


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each number of equal rows."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}
