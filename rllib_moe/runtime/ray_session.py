"""Ray for as long as a run lasts: the caller's, a cluster's, or one of this machine's own."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
import ray._private.parameter
from ray.exceptions import AuthenticationError

import rllib_moe
from rllib_moe.validation.errors import ConfigError, FailedError

JOB_CONFIG_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set in the process of a Ray job, whose runtime environment holds the package already."""
ATTEMPTS = 4
"""Times Ray is started on this machine, at most."""
TOO_SLOW = "timed out during startup"
"""Message of Ray when its own processes took too long."""
TOKEN_ADVICE = (
    "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the content of ~/.ray/auth_token of the "
    "cluster's head node"
)
"""Message of a cluster that takes no calls without its token."""
CONNECT_SECONDS = 10
"""Time for a cluster's head to take a connection. Ray itself would try for minutes, a warning a second."""

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

    Raises:
        ConfigError: the cluster at the address cannot be joined, or this machine lacks the GPUs; nothing was started.
    """
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": log_to_driver, "logging_level": logging.ERROR}
    if found := address or os.environ.get("RAY_ADDRESS"):
        _check_address(found)
        options |= {"address": found, "runtime_env": package_for_workers()}
    else:
        if num_gpus:
            import torch  # late: a job is sent without it

            if num_gpus > (num_usable := torch.cuda.device_count()):
                raise ConfigError([f"num_gpus: this machine has {num_usable} that torch can use, got {num_gpus:g}"])
        options |= {
            "address": "local",  # also where `ray start` was called on this machine, for another purpose
            "num_cpus": max(os.cpu_count() or 1, num_cpus),
            "num_gpus": math.ceil(num_gpus) or None,  # Ray offers whole ones, and gives out parts
            "include_dashboard": False,
        }
    try:
        try:
            start(options)
        except ConnectionError as error:  # Ray's for an address alone; its cause says why
            raise ConfigError([f"address: cannot join the Ray cluster at {found!r} ({_reason(error)})"]) from error
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse the address of a head node that takes no connection.

    Raises:
        ConfigError: Nothing takes the connection.
    """
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if not found:  # `auto`, and whatever else Ray can read
        return
    try:
        socket.create_connection((found[1], int(found[2])), CONNECT_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # no such port, no host's name
        raise ConfigError([f"address: no Ray cluster answers at {address!r} ({error})"]) from error


def _reason(error: ConnectionError) -> str:
    told = str(error.__cause__ or error).strip()  # Ray's last error, as a traceback
    if AuthenticationError.__name__ in told:
        return f"{TOKEN_ADVICE}; on a node of the cluster itself, --address auto does that"
    return told.splitlines()[-1]


def start(options: dict[str, Any]) -> None:
    """Start or join Ray, and try again where its own processes took too long.

    Its raylet gives its agents 15 s, and it gives the raylet 30; both are fixed (`WaitForPersistedPort` in
    `ray/util/port_persistence.h`, `ray/_private/node.py`). Where many processes wait for each core that is too little.

    Raises:
        FailedError: It took too long each time.
    """
    for attempt in range(ATTEMPTS):
        before = set(_children())
        try:
            with _any_agent_port(), _hangup_ignored():
                ray.init(**options)
            return
        except Exception as error:  # Ray's answer is no more than that
            if TOO_SLOW not in str(error):
                raise
            if attempt == ATTEMPTS - 1:
                raise FailedError(
                    f"Ray did not start in time, {ATTEMPTS} attempts in a row: too many processes wait for this "
                    "machine's cores; try again when it is less busy"
                ) from error
        logger.warning("Ray did not start in time; another attempt (%d of %d)", attempt + 2, ATTEMPTS)
        late = [process for process in _children() if process not in before]
        for process in late:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(late, timeout=10)


@contextmanager
def _any_agent_port() -> Iterator[None]:
    """Let Ray choose the port of its job agent inside the block; `ray.init` has no option for it, as `ray start` has.

    Its fixed 52365 would keep a head that `ray start` makes on this machine from taking jobs while a run lasts.
    """
    module: Any = ray._private.parameter  # `ray.init` looks the class up in it
    original = module.RayParams
    module.RayParams = partial(original, dashboard_agent_listen_port=None)
    try:
        yield
    finally:
        module.RayParams = original


@contextmanager
def _hangup_ignored() -> Iterator[None]:
    """Let Ray's processes inherit that they ignore SIGHUP, which a closed terminal sends to them too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def package_for_workers() -> dict[str, Any]:
    """Runtime environment that brings this package, as it is here, to the other nodes of a cluster.

    Returns:
        Empty in a Ray job, whose own runtime environment does that.
    """
    if os.environ.get(JOB_CONFIG_VARIABLE):
        return {}
    return {"py_modules": [str(Path(rllib_moe.__path__[0]))]}
