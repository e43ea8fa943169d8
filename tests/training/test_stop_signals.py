"""Stopping a real training process by signal: what it leaves on disk, its exit status, and no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rllib_moe import metrics as m
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run_directory import RunDirectory

PATIENCE = 120
"""Seconds until a test gives up waiting, many times what is needed."""


class Process:
    """`scripts/train.py` as a process, told from all others by a variable that its children inherit."""

    def __init__(self, flags: Sequence[str]) -> None:
        self.mark = f"RLLIB_MOE_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "scripts/train.py", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, name: value, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        self.output = ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, as a terminal or a job scheduler would."""
        self.process.send_signal(number)

    def read_until(self, text: str) -> None:
        """Read its output until a line holds a text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n{self.output}")

    def status(self) -> int:
        """Read the rest and return the exit status."""
        self.output += self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode

    def relatives(self) -> list[str]:
        """Command lines of all living processes that descend from it, itself left out."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if int(directory.name) != self.process.pid and self.mark.encode() in (
                    directory / "environ"
                ).read_bytes().split(b"\0"):
                    found.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # gone meanwhile, or somebody else's
                continue
        return found

    def wait_until_alone(self) -> None:
        """Wait until no process of the run is left."""
        deadline = time.monotonic() + 10
        while relatives := self.relatives():
            assert time.monotonic() < deadline, f"still there: {relatives}"
            time.sleep(0.2)


Start = Callable[..., Process]


@pytest.fixture
def start(small_flags: tuple[str, ...], tmp_path: Path) -> Iterator[Start]:
    """Start an endless run with one rollout worker; what is left of it when the test ends is killed."""
    started: list[Process] = []

    def begin(exp_name: str, *flags: str) -> Process:
        place = ("--output-dir", str(tmp_path), "--exp-name", exp_name, "--episodes", "1000000")
        started.append(Process([*small_flags, "--num-workers", "1", *place, *flags]))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_first_signal_saves_and_stops(
    number: signal.Signals, start: Start, train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run = tmp_path / "mine"
    process = start("mine")
    process.read_until("episode 8/")
    assert any("raylet" in command for command in process.relatives())
    process.send(number)
    assert process.status() == 128 + number, process.output
    process.wait_until_alone()

    stopped, rows = load_checkpoint(run), RunDirectory(run).rows()
    assert stopped.episodes == rows[-1][m.EPISODES_TOTAL.key] >= 8
    assert json.loads((run / "summary.json").read_text())["episodes_total"] == stopped.episodes
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best",
        f"episode_{stopped.episodes:06d}",
        "latest",
    ]
    assert f"summary: {run / 'summary.json'}\n" in process.output

    resumed = train("mine", stopped.episodes + 8, "--num-workers", "0", resume=run)
    assert resumed["episodes_total"] == stopped.episodes + 8
    assert [row[m.ITERATION.key] for row in RunDirectory(run).rows()] == list(range(1, len(rows) + 2))


def test_a_second_signal_exits_at_once(start: Start) -> None:
    process = start("mine", "--batch-size", "20480", "--num-epochs", "50")  # an iteration of minutes
    process.read_until("Episode 0,")
    process.send(signal.SIGTERM)
    process.read_until("once more to exit at once")
    began = time.monotonic()
    process.send(signal.SIGINT)
    assert process.status() == 128 + signal.SIGINT
    assert time.monotonic() - began < 5
    process.wait_until_alone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_ray_starts_leaves_nothing(number: signal.Signals, start: Start, tmp_path: Path) -> None:
    process = start("mine")
    while not any("gcs_server" in command for command in process.relatives()):
        assert process.process.poll() is None
        time.sleep(0.01)
    process.send(number)
    assert process.status() == 128 + number, process.output
    process.wait_until_alone()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "nothing to save" in process.output
    assert "Traceback" not in process.output
