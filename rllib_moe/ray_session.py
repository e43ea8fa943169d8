"""Ray for as long as a run lasts: the caller's, a cluster's, or one of this machine's own."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import services

import rllib_moe

JOB_CONFIG_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set in the process of a Ray job, whose runtime environment holds the package already."""
START_SECONDS, TELL_SECONDS = 300.0, 30.0
"""How long Ray's own processes may take to start, and after how long that is told."""

logger = logging.getLogger(__name__)


@contextmanager
def ray_session(
    address: str | None, num_cpus: int, num_gpus: float = 0, *, log_to_driver: bool = True
) -> Iterator[None]:
    """Have Ray running inside the block; what was started here is stopped after it.

    Where Ray runs in this process already, that one is used and left running. A Ray started here has no dashboard.

    Args:
        address: Address of a cluster; None takes `RAY_ADDRESS`, and without it starts Ray on this machine.
        num_cpus: Processes that will work at once; a Ray started here offers as many CPUs, or the machine's if more.
        num_gpus: GPUs that a Ray started here offers; 0 leaves the count to Ray.
        log_to_driver: Whether what the processes print is printed here, too.
    """
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": log_to_driver, "logging_level": logging.ERROR}
    if found := address or os.environ.get("RAY_ADDRESS"):
        options |= {"address": found, "runtime_env": package_for_workers()}
    else:
        options |= {
            "address": "local",  # also where `ray start` was called on this machine, for another purpose
            "num_cpus": max(os.cpu_count() or 1, num_cpus),
            "num_gpus": num_gpus or None,
            "include_dashboard": False,
        }
    try:
        with patient():
            ray.init(**options)
        yield
    finally:
        ray.shutdown()


@contextmanager
def patient() -> Iterator[None]:
    """Let Ray wait longer for its own processes, which it starts inside the block.

    It gives them 30 s, which is fixed (`ray/_private/node.py`), and then fails. Where many processes wait for each core
    they take minutes.
    """
    get_node = services.get_node
    begin = time.monotonic()

    def get_node_later(*args: Any, **kwargs: Any) -> Any:
        has_told = False
        while True:
            try:
                return get_node(*args, **kwargs)
            except RuntimeError:  # not there yet
                waited = time.monotonic() - begin
                if waited > START_SECONDS:
                    raise
                if waited > TELL_SECONDS and not has_told:
                    has_told = True
                    logger.warning("Ray is slow to start; waiting for it up to %d s", START_SECONDS)
                time.sleep(0.1)

    services.get_node = get_node_later
    try:
        yield
    finally:
        services.get_node = get_node


def package_for_workers() -> dict[str, Any]:
    """Runtime environment that brings this package, as it is here, to the other nodes of a cluster.

    Returns:
        Empty in a Ray job, whose own runtime environment does that.
    """
    if os.environ.get(JOB_CONFIG_VARIABLE):
        return {}
    return {"py_modules": [str(Path(rllib_moe.__path__[0]))]}
