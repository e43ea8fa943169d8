"""Stopping by signal (Ctrl-C, SIGTERM, closed terminal): the first ends a run after its iteration, a second at once.

While a run has nothing to save yet, the first ends it at once too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

import psutil  # type: ignore[import-untyped]

from rllib_moe.runtime.console import leave_terminal


def stopping() -> list[signal.Signals]:
    """Return the signals that ask a command to stop: SIGHUP (a closed terminal) unless `nohup` ignores it."""
    hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hangup]


class StopSignals:
    """A context in which the signals of `stopping` are noted. True once one was received.

    A second signal ends the process and all its children without further ado.
    """

    notice: bytes = b"\nStopping after this iteration; everything will be saved. Once more to exit at once.\n"
    """Written to standard error at the first signal; empty while a display says it."""
    farewell: bytes = b""
    """Written to standard output at the second one; a display has hidden the cursor."""

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the first signal."""
        self._previous: dict[int, signal._HANDLER] = {}
        self._interrupts = False

    def __bool__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> Self:
        self._previous = {number: signal.getsignal(number) for number in stopping()}
        self.listen()
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals again, from whoever took them since (`ray.init` takes SIGTERM)."""
        for number in self._previous:
            signal.signal(number, self._receive)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let the first signal raise KeyboardInterrupt inside the block, where there is nothing to save."""
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def note(self, number: int) -> None:
        """Book a signal that somebody else received."""
        self.received = self.received or signal.Signals(number).name

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            leave_terminal()
        if self.received:
            # Ray's agents would linger for a minute, waiting for a cluster that is gone.
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
            _write(1, self.farewell)
            os._exit(128 + number)
        self.note(number)
        if self._interrupts:
            raise KeyboardInterrupt
        _write(2, self.notice)


def _write(descriptor: int, text: bytes) -> None:
    """Write at once, unless the reader has gone: Ctrl-C ends the `tee` behind a pipe as well."""
    with suppress(OSError):
        os.write(descriptor, text)
