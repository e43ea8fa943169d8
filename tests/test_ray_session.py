"""Ray as a run starts it on this machine: no dashboard, and apart from a cluster that runs here already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray._private import services

from rllib_moe.ray_session import JOB_CONFIG_VARIABLE, package_for_workers, patient

ROOT = Path(__file__).parents[1]
SESSION = """
import json, os, psutil, ray
from rllib_moe.ray_session import ray_session

with ray_session(None, 1):
    listening = [
        (connection.laddr.ip, connection.laddr.port, process.name())
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    url = ray._private.worker.global_worker.node.webui_url
    print(json.dumps({"url": url, "listening": listening}))
"""


SLOW = """
import time
import ray._private.services as services

get_node, begin = services.get_node, time.monotonic()

def late(*args, **kwargs):
    if time.monotonic() < begin + 40:
        raise RuntimeError("not registered yet")
    return get_node(*args, **kwargs)

services.get_node = late
"""
"""Ray's processes run, but as on a busy machine it is long before they are known."""


def run(script: str) -> tuple[dict[str, Any], str]:
    """What a script prints last, and what it says besides."""
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
def test_ray_may_take_longer_than_its_own_limit() -> None:
    began = time.monotonic()
    found, told = run(SLOW + SESSION)
    print(f"started after {time.monotonic() - began:.0f} s")
    assert found["listening"]
    assert "Ray is slow to start" in told


@pytest.mark.slow
def test_a_run_starts_no_dashboard() -> None:
    found, _ = run(SESSION)
    print(found)
    assert not found["url"]
    assert found["listening"]  # Ray itself runs
    assert not [port for _, port, _ in found["listening"] if port == 8265]


def test_the_wait_for_ray_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get_node(address: str) -> str:
        asked.append(address)
        if len(asked) <= fails:
            raise RuntimeError("not registered yet")
        return "node"

    monkeypatch.setattr("ray._private.services.get_node", get_node)
    fails = 3
    with patient():
        assert services.get_node("here") == "node"
    assert asked == ["here"] * 4
    assert services.get_node is get_node

    monkeypatch.setattr("rllib_moe.ray_session.START_SECONDS", 0.3)
    fails = 10**6
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="not registered yet"), patient():
        services.get_node("here")
    assert 0.3 < time.monotonic() - began < 30
    assert services.get_node is get_node


def test_in_a_job_the_package_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_CONFIG_VARIABLE, raising=False)
    assert package_for_workers() == {"py_modules": [str(ROOT / "rllib_moe")]}
    monkeypatch.setenv(JOB_CONFIG_VARIABLE, "{}")
    assert package_for_workers() == {}
