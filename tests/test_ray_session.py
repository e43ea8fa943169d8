"""Ray as a run starts it on this machine: no dashboard, and apart from a cluster that runs here already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_moe.ray_session import JOB_CONFIG_VARIABLE, package_for_workers

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


@pytest.mark.slow
def test_a_run_starts_no_dashboard() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SESSION],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    found = json.loads(process.stdout.splitlines()[-1])
    print(found)
    assert not found["url"]
    assert found["listening"]  # Ray itself runs
    assert not [port for _, port, _ in found["listening"] if port == 8265]


def test_in_a_job_the_package_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_CONFIG_VARIABLE, raising=False)
    assert package_for_workers() == {"py_modules": [str(ROOT / "rllib_moe")]}
    monkeypatch.setenv(JOB_CONFIG_VARIABLE, "{}")
    assert package_for_workers() == {}
