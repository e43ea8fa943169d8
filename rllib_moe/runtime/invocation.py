"""Commands of this package: the form in which the user calls them, and the statuses with which they end.

2 where what was asked for is refused, 1 where it failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rllib_moe.validation.errors import FailedError, RefusedError

CONSOLE = "rllib-moe"
"""Name of the console command."""
FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def called_as(name: str, *words: str) -> list[str]:
    """Return a command line in the form in which this process was started, such that the user's shell finds it.

    Args:
        name: Name of the command, such as `train`.
    """
    called = Path(sys.argv[0])
    if called.parent.name == "scripts":
        return [_program("python"), str(called.with_name(f"{name}.py")), *words]
    return [_program(CONSOLE), name, *words]


def _program(name: str) -> str:
    """Return a program's name where the shell finds this environment's by it (that is active), else its path."""
    found, own = shutil.which(name), Path(sys.executable).with_name(name)
    if (found and Path(found).parent == own.parent) or not own.exists():
        return name
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


@contextmanager
def exit_statuses(interrupted: str | None) -> Iterator[None]:
    """End the process with the status of an error that leaves the block, its message on the error output.

    Args:
        interrupted: Message after Ctrl-C; None where it was said already.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except RefusedError as error:
        _end(REFUSED, str(error))
    except FailedError as error:
        _end(FAILED, str(error))
    except OSError as error:
        if error.filename is None:  # no file's error, but an error of the program
            raise
        _end(FAILED, f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        _end(INTERRUPTED, interrupted)


def _end(status: int, message: str | None) -> None:
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)
