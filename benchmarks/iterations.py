"""Algorithms that are stopped after their measurement, and one whole training iteration, timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil  # type: ignore[import-untyped]
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import (
    LEARN_ON_BATCH_TIMER,
    LOAD_BATCH_TIMER,
    SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
)

from benchmarks.timing import now

A = TypeVar("A", bound=Algorithm)

WARM_UP = 2
"""Iterations before the measured ones: compilation, first allocations, first episodes."""


@contextmanager
def stopped_after(algorithm: A) -> Iterator[A]:
    """Stop an algorithm and its workers at the end of the block."""
    try:
        yield algorithm
    finally:
        algorithm.stop()


def iterate(algorithm: Algorithm) -> dict[str, float]:
    """Run one iteration.

    Returns:
        `steps_per_second` (environment steps over the wall time), `wall_seconds` (of `train()`), `sample_seconds`
        (until the whole batch is with the learner), `learn_seconds` (all gradient steps, with loading and shuffling of
        the batch), `sync_seconds` (RLlib's sending of weights after the update), `core_us` (core time a step of this
        process and all below it, a Ray that was started here and its workers included).

    Raises:
        RuntimeError: Nothing was sampled: every worker failed.
    """
    timers = algorithm._timers
    timers.clear()  # they hold the mean of the last ten iterations; now: of this one
    core_begin, begin = core_seconds(), now()
    result = algorithm.train()
    wall, core = now() - begin, core_seconds() - core_begin
    steps = result.get("num_env_steps_sampled_this_iter", 0)
    if not steps:
        raise RuntimeError("an iteration sampled nothing: all rollout workers fail (see Ray's log above)")
    return {
        "steps_per_second": steps / wall,
        "wall_seconds": wall,
        "sample_seconds": timers[SAMPLE_TIMER].mean,
        "learn_seconds": timers[LOAD_BATCH_TIMER].mean + timers[LEARN_ON_BATCH_TIMER].mean,
        "sync_seconds": timers[SYNCH_WORKER_WEIGHTS_TIMER].mean,
        "core_us": 1e6 * core / steps,
    }


def core_seconds() -> float:
    """Core time so far of this process and all below it."""
    this, taken = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            times = process.cpu_times()
            taken += times.user + times.system
    return taken
