"""Output for a person: plain lines on standard output, where a display may redraw what is below them."""

from __future__ import annotations

import logging
import os
import sys

from rich.console import Console

LOG_WIDTH = 160
"""Columns of the output when it is no terminal (a log)."""


def standard_console() -> Console:
    """Return standard output as a console, on which text stays as it is: a path or a name may hold brackets.

    It is as wide as the terminal, or `LOG_WIDTH` where there is none and `COLUMNS` names no width.
    """
    is_told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_told else LOG_WIDTH, markup=False, emoji=False, highlight=False)


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
