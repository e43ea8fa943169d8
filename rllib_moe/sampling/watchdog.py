"""A watchdog over code that may hang: interrupts Python code, and ends the process where native code hangs.

Two timers. The first is a signal (SIGALRM), which Python handles between two of its instructions: it breaks sleeps,
waits and endless loops. Native code that never returns (a game's C library) is out of its reach: for that a thread of
`faulthandler`, which needs no interpreter lock, prints the traceback and ends the process. Whoever started the process
(Ray) starts it anew.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from types import FrameType
from typing import Self

NATIVE_FACTOR = 2
"""A process is ended after so many times the limit: the signal comes first."""
_REARM_SECONDS = 1.0
"""Interval at which the second timer is set anew: it costs a thread each time."""


class HungError(RuntimeError):
    """Something took longer than it may."""


class Watchdog:
    """A context in which `watch` and `rest` set and clear the timers. Outside the main thread it does nothing.

    Args:
        seconds: Time that what is watched may take.
        ends_process: End the process where native code hangs. Only for processes that are started anew.
    """

    def __init__(self, seconds: float, *, ends_process: bool = False) -> None:
        self._seconds = seconds
        self._ends_process = ends_process
        self._rearm_at = 0.0
        self._rearm_seconds = min(_REARM_SECONDS, seconds / 4)
        self._previous: signal._HANDLER = None
        self._works = False
        self._watches = False

    def __enter__(self) -> Self:
        # Signals are the main thread's, which is where Ray runs an actor's methods.
        self._works = threading.current_thread() is threading.main_thread()
        if self._works:
            self._previous = signal.signal(signal.SIGALRM, self._interrupt)
            self._rearm_at = 0.0
        return self

    def __exit__(self, *raised: object) -> None:
        if self._works:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._stop_ending()
            signal.signal(signal.SIGALRM, self._previous)

    def watch(self) -> None:
        """Limit the time of what follows, until `rest`.

        Raises:
            HungError: it does; raised wherever the code then is, and again for each further limit that passes.
        """
        if not self._works:
            return
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)
        self._watches = True  # after it: an alarm of the rest that is still to be handled is handled as such
        if self._ends_process and (now := time.monotonic()) >= self._rearm_at:
            self._rearm_at = now + self._rearm_seconds
            faulthandler.dump_traceback_later(NATIVE_FACTOR * self._seconds + self._rearm_seconds, exit=True, file=2)

    def rest(self) -> None:
        """Nothing is watched any more."""
        if self._works:
            self._watches = False
            # Only a rest that lasts stops the second timer: steps follow each other quickly, and it costs a thread.
            signal.setitimer(signal.ITIMER_REAL, self._rearm_seconds if self._ends_process else 0)

    def _stop_ending(self) -> None:
        """Stop the second timer; the next `watch` sets it."""
        if self._ends_process:
            faulthandler.cancel_dump_traceback_later()
            self._rearm_at = 0.0

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._watches:
            self._stop_ending()
            return
        raise HungError(f"no answer within {self._seconds:g} s")
