"""The display in a real (pseudo) terminal, read from the screen of a terminal emulator."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

from rllib_moe.training.checkpoints import load_checkpoint

ROOT = Path(__file__).parents[2]
PATIENCE = 90
"""Seconds until a test gives up waiting, many times what is needed."""


class Terminal:
    """A program in a pseudo-terminal, and the screen it draws with all that scrolled off its top."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 30) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=environment,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
        )
        os.close(slave)
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    @property
    def text(self) -> str:
        """All lines, those scrolled off first."""
        above = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display])

    def type(self, keys: bytes) -> None:
        """Press keys: the terminal's own driver makes Ctrl-C a signal."""
        os.write(self._master, keys)

    def read_until(self, wanted: str | None) -> None:
        """Follow what is drawn until a text is on the screen, or (None) to the program's end."""
        deadline = time.monotonic() + PATIENCE
        while wanted is None or wanted not in self.text:
            assert time.monotonic() < deadline, f"{wanted!r} never came:\n{self.text}"
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                drawn = os.read(self._master, 65536)
            except OSError:  # the program ended, and with it the terminal
                drawn = b""
            if not drawn:
                assert wanted is None, f"{wanted!r} never came:\n{self.text}"
                break
            self.raw += drawn
            self._stream.feed(drawn)

    def hang_up(self) -> int:
        """Close the window, and return the program's exit status."""
        os.close(self._master)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()

    def close(self) -> int:
        """The program's exit status."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            os.close(self._master)


def panels(text: str) -> list[str]:
    """The panels on the screen, from corner to corner; one that was not drawn over leaves a second."""
    return [part.partition("╰")[0] for part in text.split("╭")[1:]]


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.slow)])
def test_one_panel_below_the_log_lines_holds_what_matters(columns: int) -> None:
    terminal = Terminal("tests/training/live_program.py", "5", columns=columns)
    terminal.read_until(None)
    text = terminal.text
    assert terminal.close() == 0
    (panel,) = panels(text)
    for part in (
        "transition · sparsemax · temperature 0.95",
        "to fine-tune",
        "1150/3000",
        "to the end",
        "1150/5000",
        "left",
        "12.5 (mean of 100)",
        "404",
        "max depth  1.75",
        "1.38 (expected 1.18 to 1.39)",
        "879 steps/s",
        "survival    46 %",
        "! collapse: expert 1 has 4.0 % of the gate, below 5 %",
    ):
        assert part in panel, part
    # Each once and whole, above the panel.
    for iteration in range(1, 6):
        assert text.count(f"a line of the log, iteration {iteration}\n") == 1
        assert text.count(f"what a worker printed, {iteration}\n") == 1
    assert text.index("iteration 5") < text.index("╭") < text.index("after the display, stopped by None")
    # Bars are as long as shares: 46 of 100 of thirty columns are 14.
    assert "█" * 14 in panel
    assert "█" * 15 not in panel
    assert max(len(line) for line in text.splitlines()) <= columns


def test_ctrl_c_is_said_in_the_display_and_spoils_nothing() -> None:
    terminal = Terminal("tests/training/live_program.py", "1000")
    terminal.read_until("iteration 2")
    terminal.type(b"\x03")
    terminal.read_until("SIGINT: stopping after this iteration")
    terminal.read_until(None)
    assert terminal.close() == 0
    assert len(panels(terminal.text)) == 1
    assert "^C" not in terminal.text
    assert "after the display, stopped by SIGINT" in terminal.text
    assert not terminal.screen.cursor.hidden


def test_a_second_ctrl_c_gives_the_cursor_back() -> None:
    terminal = Terminal("tests/training/live_program.py", "1000")
    terminal.read_until("iteration 2")
    assert terminal.screen.cursor.hidden
    terminal.type(b"\x03")
    terminal.read_until("SIGINT: stopping")
    terminal.type(b"\x03")
    terminal.read_until(None)
    assert terminal.close() == 128 + signal.SIGINT
    assert not terminal.screen.cursor.hidden


@pytest.mark.slow
def test_a_closed_window_saves_and_stops(small_flags: tuple[str, ...], tmp_path: Path) -> None:
    place = ("--output-dir", str(tmp_path), "--exp-name", "mine", "--episodes", "1000000")
    terminal = Terminal("scripts/train.py", *small_flags, "--num-workers", "1", *place)
    terminal.read_until("temperature")
    assert terminal.hang_up() == 128 + signal.SIGHUP
    assert load_checkpoint(tmp_path / "mine").episodes >= 8
    assert (tmp_path / "mine" / "summary.json").exists()


def test_a_terminal_lower_than_the_panel_is_not_flooded() -> None:
    terminal = Terminal("tests/training/live_program.py", "4", lines=10)
    terminal.read_until("iteration 4")
    terminal.read_until("╭")  # it is cleared before the log line, and drawn again below it
    assert len(panels(terminal.text)) == 1
    terminal.read_until(None)
    assert terminal.close() == 0


@pytest.mark.slow
def test_a_real_training_in_a_terminal(tmp_path: Path, small_flags: tuple[str, ...]) -> None:
    place = ("--output-dir", str(tmp_path), "--exp-name", "live", "--episodes", "100000")
    terminal = Terminal("scripts/train.py", *small_flags, *place)
    terminal.read_until("to the end")
    terminal.read_until("TRANSITION from episode")
    terminal.type(b"\x03")
    terminal.read_until(None)
    print(terminal.text)  # for people: pytest -s
    assert terminal.close() == 130
    assert len(panels(terminal.text)) == 1
    assert "Phases played" in terminal.text
    assert (tmp_path / "live" / "checkpoints" / "latest").exists()
