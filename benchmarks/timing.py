"""Time of a call, and the number of torch threads it may use."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def seconds(call: Callable[[], Any], repeats: int, warm_up: int = 1) -> float:
    """Median seconds of a call, work on a GPU included.

    Args:
        call: What is measured.
        repeats: Measured calls.
        warm_up: Calls before them.
    """
    for _ in range(warm_up):
        call()
    taken = []
    for _ in range(repeats):
        begin = now()
        call()
        taken.append(now() - begin)
    return statistics.median(taken)


def now() -> float:
    """Seconds on a clock, once the GPU is done with what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
