"""A program of this repository as a process of its own, for the tests that wait for it, signal or kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 600
"""Seconds until a test gives up waiting, many times what is needed."""


class Program:
    """A Python file with its arguments, told from all others by a variable that its children inherit.

    Args:
        file: The file.
        *arguments: Its arguments.
        cwd: Working directory.
        **environment: Further variables of its environment.
    """

    def __init__(self, file: str | Path, *arguments: str, cwd: Path = ROOT, **environment: str) -> None:
        self.mark = f"RLLIB_MOE_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(file), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group of its own, as a shell gives to a command
            # Ctrl-C is ignored by what runs in a shell's background, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**os.environ, name: value, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
            cwd=cwd,
        )
        self.output = ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, as a terminal or a job scheduler would."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send it and its children a signal, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, number)

    def read_until(self, text: str) -> None:
        """Read its output until a line holds a text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n{self.output}")

    def wait_for(self, happened: Callable[[], object]) -> None:
        """Wait until something happened while the process runs."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def status(self) -> int:
        """Read the rest and return the exit status."""
        self.output += self.process.communicate(timeout=PATIENCE)[0]
        print(self.output)
        return self.process.returncode

    def end(self) -> None:
        """Kill it, if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

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

    def wait_until_alone(self, patience: float = 10) -> None:
        """Wait until no process of the run is left, at most so many seconds."""
        deadline = time.monotonic() + patience
        while relatives := self.relatives():
            assert time.monotonic() < deadline, f"still there: {relatives}"
            time.sleep(0.2)
