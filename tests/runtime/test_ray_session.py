"""Ray as a run starts it on this machine: no dashboard, and apart from a cluster that runs here already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rllib_moe.runtime.ray_session import JOB_CONFIG_VARIABLE, package_for_workers, ray_session, start
from rllib_moe.validation.errors import ConfigError, FailedError

ROOT = Path(__file__).parents[2]
SESSION = """
import json, os, psutil, ray
from rllib_moe.runtime.ray_session import ray_session, start

with ray_session(None, 1):
    listening = [
        (connection.laddr.ip, connection.laddr.port, process.name(), process.pid)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    url = ray._private.worker.global_worker.node.webui_url
    print(json.dumps({"url": url, "listening": listening}))
"""


TOO_SLOW = """
import time
import ray._private.services as services

get_node = services.get_node

def too_late(*args, **kwargs):
    services.get_node = get_node
    time.sleep(31)
    raise RuntimeError("not registered yet")

services.get_node = too_late
"""
"""Makes Ray's first start fail as on a busy machine: its processes run, and it gives up waiting for them."""


def run(script: str) -> tuple[dict[str, Any], str]:
    """Return what a script prints last, and what it says besides."""
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1]), process.stderr


@pytest.mark.slow
def test_ray_starts_after_it_gave_up_without_a_dashboard_or_a_fixed_port() -> None:
    found, told = run(TOO_SLOW + SESSION)
    names = [name for name, _ in {(name, pid) for _, _, name, pid in found["listening"]}]
    print(found)
    assert "another attempt (2 of 4)" in told
    assert names.count("raylet") == names.count("gcs_server") == 1  # nothing is left of the first
    assert not found["url"]
    # The ports of a dashboard and of a job agent, which a head on this machine needs to take jobs.
    assert not [port for _, port, _, _ in found["listening"] if port in (8265, 52365)]


def test_a_machine_that_is_too_busy_for_ray_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def give_up(**options: Any) -> None:
        attempts.append(options)
        raise RuntimeError("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.init", give_up)
    with pytest.raises(FailedError, match=r"^Ray did not start in time, 4 attempts in a row: .* less busy$"):
        start({"num_cpus": 1})
    assert len(attempts) == 4


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "localhost:99999", "a..b:6379"])
def test_an_address_where_nothing_answers_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=f"address: no Ray cluster answers at '{address}'"), ray_session(address, 1):
        pass


def test_a_cluster_that_asks_for_a_token_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's error is that of a real `ray start --head`: its cause holds a traceback as text."""
    last = "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n  File ...\n"
    last += "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing\n"

    def join(options: dict[str, Any]) -> None:
        del options
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6379") from RuntimeError(last)

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("rllib_moe.runtime.ray_session.start", join)
    told = r"'auto' \(it asks for a token: set RAY_AUTH_MODE=token"
    with pytest.raises(ConfigError, match=told), ray_session("auto", 1):
        pass


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    told = r"num_gpus: this machine has \d+ that torch can use, got 1000"
    with pytest.raises(ConfigError, match=told), ray_session(None, 1, 1000):
        pass


def test_in_a_job_the_package_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_CONFIG_VARIABLE, raising=False)
    assert package_for_workers() == {"py_modules": [str(ROOT / "rllib_moe")]}
    monkeypatch.setenv(JOB_CONFIG_VARIABLE, "{}")
    assert package_for_workers() == {}
