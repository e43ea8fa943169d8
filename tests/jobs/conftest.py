"""A real Ray head with its dashboard and job server, on loopback and ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

PATIENCE = 400
"""Seconds until a test gives up waiting."""
STARTED = "Ray runtime started"
"""Line that `ray start` prints once the node stands and its dashboard answers."""
ATTEMPTS = 5
"""Times a head is started, at most."""


@dataclass(frozen=True)
class Head:
    """A running head."""

    pid: int
    """Its process, `ray start --block`."""
    dashboard: int
    """Port of dashboard and job server."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """Start a head of 4 CPUs; what is left of it at the end is killed by process id."""
    gcs, dashboard, agent, metrics, agent_grpc = free_ports(5)
    # Short: Ray's sockets lie in it, and their names may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="moe-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "4",
            "--node-ip-address", "127.0.0.1", "--port", str(gcs), "--dashboard-port", str(dashboard),
            "--dashboard-agent-listen-port", str(agent), "--dashboard-agent-grpc-port", str(agent_grpc),
            "--metrics-export-port", str(metrics), "--temp-dir", temp, "--disable-usage-stats",
        ]  # fmt: skip
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
        # As in an activated environment: a job is started as `python`.
        variables["PATH"] = str(Path(sys.executable).parent) + os.pathsep + variables["PATH"]
        process = None
        try:
            for _ in range(ATTEMPTS):
                with open(Path(temp) / "head.log", "wb") as log:  # noqa: PTH123
                    process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, cwd=temp)
                if _is_up(process, Path(temp) / "head.log"):
                    break
                _end(process, temp)
            else:
                pytest.fail(f"no dashboard:\n{(Path(temp) / 'head.log').read_text()}")
            yield Head(process.pid, dashboard)
        finally:
            if process:
                _end(process, temp)


def _is_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait until the head says so, or gives up: Ray does after 30 s, also when busy."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if STARTED in log.read_text():
            return True
        time.sleep(0.5)
    return False


def _end(process: subprocess.Popen[bytes], temp: str) -> None:
    """End the head, and by their id all processes that name its directory: some outlive a head that gave up."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
    family = [each for each in psutil.process_iter(["cmdline"]) if temp in " ".join(each.info["cmdline"] or ())]
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=10)
