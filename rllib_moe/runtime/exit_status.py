"""How a script ends: 2 where what was asked for is refused, 1 where it failed, 130 after Ctrl-C, and why in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rllib_moe.config import ConfigError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130

Errors = tuple[type[Exception], ...]


@contextmanager
def exit_statuses(interrupted: str | None, *, refused: Errors = (ConfigError,), failed: Errors = ()) -> Iterator[None]:
    """End the process with the status of an error that leaves the block, its message on the error output.

    Args:
        interrupted: What to say after Ctrl-C; None where it was said already.
        refused: Errors of what was asked for.
        failed: Errors of what was done.
    """
    try:
        yield
    except refused as error:
        _end(REFUSED, str(error))
    except failed as error:
        _end(FAILED, str(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED, interrupted)


def _end(status: int, message: str | None) -> None:
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)
