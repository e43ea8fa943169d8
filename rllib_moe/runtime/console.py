"""Output for a person: plain lines on standard output, where a display may redraw what is below them."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console

LOG_WIDTH = 160
"""Columns of the output when it is no terminal (a log)."""


class _Output:
    """A stream without the error of a terminal that was just closed: SIGHUP, which stops the run, comes with it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _unless_closed():
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with _unless_closed():
            self._stream.flush()


@contextmanager
def _unless_closed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def standard_console() -> Console:
    """Return standard output as a console, on which text stays as it is: a path or a name may hold brackets.

    It is as wide as the terminal, or `LOG_WIDTH` where there is none and `COLUMNS` names no width.
    """
    is_told = sys.stdout.isatty() or "COLUMNS" in os.environ
    output = cast(IO[str], _Output(sys.stdout))
    return Console(file=output, width=None if is_told else LOG_WIDTH, markup=False, emoji=False, highlight=False)


def say(console: Console, text: str) -> None:
    """Print a line that is not broken in two: a path in it can be copied."""
    console.print(text, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Log records as lines of a console, which keeps them apart from what it redraws."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        say(self._console, self.format(record))


def leave_terminal() -> None:
    """Drop what is printed from now on where its terminal is gone: the next line would raise instead."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
