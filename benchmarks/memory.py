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


def resident(algorithm: Algorithm) -> dict[str, float]:
    """Resident memory in MB of each process, and `total` (pages that processes share are counted for each)."""
    memory = {
        name: psutil.Process(process["pid"]).memory_info().rss / MEGABYTE
        for name, process in processes(algorithm).items()
    }
    return {**memory, "total": sum(memory.values())}


def soak(algorithm: Algorithm, minutes: float, save: Callable[[], object]) -> dict[str, Any]:
    """Train for some minutes, save now and then, and watch what grows.

    Args:
        algorithm: What is trained.
        minutes: How long.
        save: Writes a checkpoint.

    Returns:
        `minutes`, `iterations`, `checkpoints`, `steps_per_second` (over all of it), `warm_up_minutes`, and `processes`:
        for each, and for `rss_mb`, `open_files` and `temporary_directories`, `..._begin` (after the warm-up), `..._end`
        and `..._per_minute` (least squares; None below 3 readings). `total` is the processes' sum, but for
        `temporary_directories`: there it is all that lie in `temp_root()`, whoever made them.
    """
    begin = time.perf_counter()
    readings: dict[str, dict[str, list[tuple[float, float]]]] = {}  # by process and thing: (minute, value)
    iterations, checkpoints, steps = 0, 0, 0.0
    while not iterations or time.perf_counter() - begin < 60 * minutes:
        iteration = iterate(algorithm)
        iterations += 1
        steps += iteration.steps_per_second * iteration.wall_seconds
        if iterations % SAVE_EVERY == 1:
            save()
            checkpoints += 1
        minute = (time.perf_counter() - begin) / 60
        if minute < WARM_UP_SHARE * minutes:
            continue
        things = _open_things(algorithm)
        for name, value in resident(algorithm).items():
            things[name]["rss_mb"] = value
        for name, values in things.items():
            for thing, value in values.items():
                readings.setdefault(name, {}).setdefault(thing, []).append((minute, value))
    taken = time.perf_counter() - begin
    return {
        "minutes": taken / 60,
        "warm_up_minutes": WARM_UP_SHARE * minutes,
        "iterations": iterations,
        "checkpoints": checkpoints,
        "steps_per_second": steps / taken,
        "processes": {
            name: {key: number for thing, read in things.items() for key, number in growth(thing, read).items()}
            for name, things in readings.items()
        },
    }


def growth(thing: str, read: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """First and last value of a thing and its slope, from pairs of minute and value, at least one."""
    times, values = zip(*read, strict=True)
    return {
        f"{thing}_begin": values[0],
        f"{thing}_end": values[-1],
        f"{thing}_per_minute": slope(times, values),
    }


def slope(minutes: Sequence[float], values: Sequence[float]) -> float | None:
    """Least-squares slope of values over minutes; None below 3 readings."""
    if len(values) < 3:
        return None
    return float(np.polyfit(minutes, values, 1)[0])


def _open_things(algorithm: Algorithm) -> dict[str, dict[str, float]]:
    """Open file descriptors and temporary directories of each process, and `total` (as in `soak`)."""
    found: dict[str, dict[str, float]] = {
        name: {
            "open_files": psutil.Process(process["pid"]).num_fds(),
            "temporary_directories": _temporary_directories(process["pid"]),
        }
        for name, process in processes(algorithm).items()
    }
    found["total"] = {
        "open_files": sum(things["open_files"] for things in found.values()),
        "temporary_directories": sum(path.is_dir() for path in temp_root().iterdir()),
    }
    return found


def _temporary_directories(pid: int) -> int:
    """Directories below the one which NetHack's games of a process have for themselves (its name holds the id)."""
    roots = temp_root().glob(f"*_nethack_{pid}_*")
    return sum(path.is_dir() for root in roots for path in root.iterdir())
