"""Memory of the driver and its rollout workers, at a moment and over a long run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from ray.rllib.algorithms.algorithm import Algorithm

from benchmarks.iterations import iterate
from rllib_moe.envs.nethack.temp_dirs import temp_root

MEGABYTE = 1e6
"""Bytes."""
SAVE_EVERY = 10
"""Iterations of a soak between two checkpoints; the first iteration has one."""
WARM_UP_SHARE = 0.2
"""Share of a soak that is left out of the slopes: buffers, games and caches fill up."""


def processes(algorithm: Algorithm) -> dict[str, dict[str, int]]:
    """Process id `pid` and torch `threads` of the driver and of each rollout worker, by name."""
    found = {"driver": {"pid": os.getpid(), "threads": torch.get_num_threads()}}
    group: Any = algorithm.env_runner_group
    for index, pid, threads in group.foreach_env_runner(
        lambda worker: (worker.worker_index, os.getpid(), torch.get_num_threads()), local_env_runner=False
    ):
        found[f"worker {index}"] = {"pid": pid, "threads": threads}
    return found


def read(algorithm: Algorithm) -> dict[str, dict[str, float]]:
    """Read memory, open files and temporary directories.

    Returns:
        `rss_mb` (resident; pages that processes share are counted for each), `open_files` and `temporary_directories`
        (of NetHack's games) of each process, and `total`: their sums, but for the directories all that lie in
        `temp_root()`, whoever made them.
    """
    found: dict[str, dict[str, float]] = {
        name: {
            "rss_mb": psutil.Process(process["pid"]).memory_info().rss / MEGABYTE,
            "open_files": psutil.Process(process["pid"]).num_fds(),
            # The name of the directory in which NetHack's games of a process have theirs holds the process's id.
            "temporary_directories": _directories(f"*_nethack_{process['pid']}_*/*"),
        }
        for name, process in processes(algorithm).items()
    }
    sums = {thing: sum(each[thing] for each in found.values()) for thing in ("rss_mb", "open_files")}
    return {**found, "total": {**sums, "temporary_directories": _directories("*")}}


def soak(algorithm: Algorithm, minutes: float, save: Callable[[], object]) -> dict[str, Any]:
    """Train for some minutes, save now and then, and watch what grows.

    Args:
        algorithm: The algorithm to train.
        minutes: Time of training.
        save: Function that writes a checkpoint.

    Returns:
        `minutes`, `iterations`, `checkpoints`, `steps_per_second` (over all of it), `warm_up_minutes`, and `processes`:
        for each, and for each thing of `read`, `..._begin` (after the warm-up), `..._end` and `..._per_minute` (least
        squares; None below 3 readings).
    """
    begin = time.perf_counter()
    readings: list[tuple[float, dict[str, dict[str, float]]]] = []  # minutes, and what was read
    iterations, checkpoints, steps = 0, 0, 0.0
    while not iterations or time.perf_counter() - begin < 60 * minutes:
        iteration = iterate(algorithm)
        iterations += 1
        steps += iteration["steps_per_second"] * iteration["wall_seconds"]
        if iterations % SAVE_EVERY == 1:
            save()
            checkpoints += 1
        minute = (time.perf_counter() - begin) / 60
        if minute >= WARM_UP_SHARE * minutes:
            readings.append((minute, read(algorithm)))
    taken = time.perf_counter() - begin
    watched: dict[str, dict[str, float | None]] = {}
    for name, things in readings[-1][1].items():
        watched[name] = {}
        for thing in things:
            watched[name] |= growth(thing, [(minute, each[name][thing]) for minute, each in readings if name in each])
    return {
        "minutes": taken / 60,
        "warm_up_minutes": WARM_UP_SHARE * minutes,
        "iterations": iterations,
        "checkpoints": checkpoints,
        "steps_per_second": steps / taken,
        "processes": watched,
    }


def growth(thing: str, values: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """First and last value of a thing and its slope, from pairs of minute and value, at least one."""
    return {
        f"{thing}_begin": values[0][1],
        f"{thing}_end": values[-1][1],
        f"{thing}_per_minute": slope(*zip(*values, strict=True)),
    }


def slope(minutes: Sequence[float], values: Sequence[float]) -> float | None:
    """Least-squares slope of values over minutes; None below 3 readings."""
    return float(np.polyfit(minutes, values, 1)[0]) if len(values) >= 3 else None


def _directories(pattern: str) -> int:
    """Number of directories below `temp_root()` whose path matches a pattern."""
    return sum(path.is_dir() for path in temp_root().glob(pattern))
