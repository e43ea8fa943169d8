"""Whole training iterations, timed: one algorithm, or several in turn, so that a noisy machine is noisy for all."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import (
    LEARN_ON_BATCH_TIMER,
    LOAD_BATCH_TIMER,
    SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
)

from benchmarks.timing import now

WARM_UP = 2
"""Iterations before the measured ones: compilation, first allocations, first episodes."""


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """Times of one training iteration."""

    steps_per_second: float
    """Environment steps over the wall time."""
    wall_seconds: float
    """From call to return of `train()`."""
    sample_seconds: float
    """Until the whole batch is with the learner."""
    learn_seconds: float
    """All gradient steps, loading (shuffling, copying) of the batch included."""
    sync_seconds: float
    """RLlib's sending of weights after the update."""


def iterate(algorithm: Algorithm) -> Iteration:
    """Run one iteration.

    Raises:
        RuntimeError: Nothing was sampled: every worker failed.
    """
    timers = algorithm._timers
    timers.clear()  # they hold the mean of the last ten iterations; now: of this one
    begin = now()
    result = algorithm.train()
    wall = now() - begin
    steps = result.get("num_env_steps_sampled_this_iter", 0)
    if not steps:
        raise RuntimeError("an iteration sampled nothing: all rollout workers fail (see Ray's log above)")
    return Iteration(
        steps_per_second=steps / wall,
        wall_seconds=wall,
        sample_seconds=timers[SAMPLE_TIMER].mean,
        learn_seconds=timers[LOAD_BATCH_TIMER].mean + timers[LEARN_ON_BATCH_TIMER].mean,
        sync_seconds=timers[SYNCH_WORKER_WEIGHTS_TIMER].mean,
    )


def take_turns(algorithms: Mapping[str, Algorithm], repeats: int, warm_up: int = WARM_UP) -> dict[str, list[Iteration]]:
    """Iterations of several algorithms in turn: A B A B.

    Args:
        algorithms: Built algorithms by name.
        repeats: Measured iterations of each.
        warm_up: Iterations of each that are not counted.
    """
    taken: dict[str, list[Iteration]] = {name: [] for name in algorithms}
    for turn in range(warm_up + repeats):
        for name, algorithm in algorithms.items():
            iteration = iterate(algorithm)
            if turn >= warm_up:
                taken[name].append(iteration)
    return taken


def medians(iterations: Sequence[Iteration]) -> dict[str, float]:
    """Median of every field of `Iteration`."""
    return {
        each.name: statistics.median(getattr(iteration, each.name) for iteration in iterations)
        for each in fields(Iteration)
    }


def plain(iterations: Sequence[Iteration]) -> list[dict[str, float]]:
    """Iterations as plain dicts."""
    return [asdict(iteration) for iteration in iterations]
