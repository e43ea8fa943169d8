"""Cost of sending the weights, with the phase in their buffers, to many rollout workers.

The call pattern is that of RLlib's `EnvRunnerGroup.sync_weights` on the old API stack: the weights once into the object
store, one call a worker with the reference, no waiting; then the driver asks every worker for something, as sampling
does, and waits. A stand-in worker takes the weights out of the store and copies them into arrays of its own. It holds
no torch, network or environment, so a machine has room for many, and what is measured is what grows with their number.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import ray

from rllib_moe.validation.errors import ConfigError

WORKER_MB = 80
"""Memory of one stand-in, generously: an idle Ray worker process with numpy."""
SPARE_MB = 2000
"""Memory that is left to the machine."""
CPUS = 0.001
"""Of a stand-in: so that any number fits on a machine."""


@ray.remote(num_cpus=CPUS)
class StandIn:
    """A rollout worker as far as weights go."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = {name: np.zeros_like(value) for name, value in weights.items()}

    def set_weights(self, weights: list[ray.ObjectRef]) -> None:
        """Take the weights out of the store, as a worker does, and copy them."""
        for name, value in ray.get(weights[0]).items():
            np.copyto(self._weights[name], value)

    def resident_mb(self) -> float:
        """Memory of this process alone; also what the driver waits for."""
        return psutil.Process().memory_info().rss / 1e6


def phase_push(weights: dict[str, np.ndarray], counts: Sequence[int], repeats: int) -> list[dict[str, float]]:
    """Measure the push with so many workers, one count after the other.

    Args:
        weights: The policy's, as `policy.get_weights()` gives them.
        counts: Numbers of workers.
        repeats: Measured pushes of each count, after two that are not.

    Returns:
        Rows `workers`, `start_seconds` (until all stood), `put_ms` (into the store), `calls_ms` (sending the calls: the
        driver is busy so long), `arrived_ms` (until the last worker has the weights), `answer_ms` (one empty round of
        calls, which sampling pays for anyway), medians, `megabytes` of the weights, `worker_mb`.

    Raises:
        ConfigError: the machine has not enough memory free for the largest count.
    """
    free = psutil.virtual_memory().available / 1e6
    needed = max(counts) * WORKER_MB + SPARE_MB
    if needed > free:
        raise ConfigError([f"phase_push: {max(counts)} workers need about {needed} MB, {free:.0f} MB are free"])
    return [_measure(weights, count, repeats) for count in counts]


def _measure(weights: dict[str, np.ndarray], count: int, repeats: int) -> dict[str, float]:
    began = time.perf_counter()
    reference = ray.put(weights)
    workers = [StandIn.remote(reference) for _ in range(count)]  # type: ignore[attr-defined]
    try:
        resident = ray.get([worker.resident_mb.remote() for worker in workers])
        started = time.perf_counter() - began
        rounds = [_push(weights, workers) for _ in range(2 + repeats)][2:]
    finally:
        for worker in workers:
            ray.kill(worker)
    return {
        "workers": count,
        "start_seconds": started,
        **{f"{name}_ms": 1e3 * median(each[name] for each in rounds) for name in rounds[0]},
        "megabytes": sum(value.nbytes for value in weights.values()) / 1e6,
        "worker_mb": median(resident),
    }


def _push(weights: dict[str, np.ndarray], workers: Sequence[Any]) -> dict[str, float]:
    """Seconds of one push, and of a round of calls that carries nothing."""
    begin = time.perf_counter()
    reference = ray.put(weights)
    put = time.perf_counter()
    for worker in workers:
        worker.set_weights.remote([reference])
    called = time.perf_counter()
    ray.get([worker.resident_mb.remote() for worker in workers])
    arrived = time.perf_counter()
    ray.get([worker.resident_mb.remote() for worker in workers])
    answered = time.perf_counter()
    return {"put": put - begin, "calls": called - put, "arrived": arrived - begin, "answer": answered - arrived}
