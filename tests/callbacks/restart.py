"""A rollout worker is killed and comes back."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

import ray


def restart_worker(algorithm: Any) -> None:
    """Kill the first remote worker and wait until Ray has started it anew; the algorithm is not told."""
    worker = algorithm.env_runner_group._worker_manager.actors()[1]
    before = process_id = ray.get(worker.apply.remote(lambda _: os.getpid()))
    ray.kill(worker, no_restart=False)
    while process_id == before:
        time.sleep(0.1)
        with suppress(ray.exceptions.RayActorError):  # while it is not back
            process_id = ray.get(worker.apply.remote(lambda _: os.getpid()))
