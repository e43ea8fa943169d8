"""Temporary directories of NetHack games: one per process, removed at exit, swept when their process was killed.

NLE makes a directory for every game and leaks it when the process is killed. Here they all lie in one directory per
process, whose name tells the process, so that a later run can tell which are left over.
"""

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMP_ROOT_VARIABLE = "RLLIB_MOE_TEMP_ROOT"
"""Environment variable naming the root when none is given."""

_PREFIX = "rllib_moe_nethack_"
_lock = threading.Lock()
_removed_at_exit: set[Path] = set()


def temp_root(root: str | None = None) -> Path:
    """The directory that holds the processes' directories.

    Args:
        root: given by the caller; None takes `TEMP_ROOT_VARIABLE`, and without it the system's.
    """
    return Path(root or os.environ.get(TEMP_ROOT_VARIABLE) or tempfile.gettempdir())


@contextmanager
def process_directory(root: str | None = None) -> Iterator[Path]:
    """Let `tempfile` make its files in the directory of this process; NLE offers no other way to say where.

    The directory is made if need be, and removed at the process's exit. Meant for a few milliseconds at a time:
    other threads' temporary files would land there too.

    Args:
        root: as for `temp_root`.
    """
    with _lock:
        directory = temp_root(root) / f"{_PREFIX}{os.getpid()}_{_start_time(os.getpid())}"
        directory.mkdir(parents=True, exist_ok=True)
        if directory not in _removed_at_exit:
            _removed_at_exit.add(directory)
            atexit.register(_remove_own, directory, os.getpid())
        before = tempfile.tempdir
        tempfile.tempdir = str(directory)
        try:
            yield directory
        finally:
            tempfile.tempdir = before


def remove_if_empty(directory: Path) -> None:
    """Remove a process's directory once its last game is closed."""
    with _lock:
        try:
            directory.rmdir()
        except OSError:
            # Not empty (another game of this process is open) or gone already: both are fine.
            return


def sweep_stale(root: str | None = None) -> int:
    """Remove the directories of processes that no longer exist.

    Containers that share a root do not see each other's processes: give each its own root.

    Args:
        root: as for `temp_root`.

    Returns:
        Number of directories removed.
    """
    removed = 0
    for directory in temp_root(root).glob(f"{_PREFIX}*_*"):
        pid, _, started = directory.name.removeprefix(_PREFIX).partition("_")
        if pid.isdigit() and _start_time(int(pid)) != started:
            shutil.rmtree(directory, ignore_errors=True)
            removed += 1
    return removed


def _remove_own(directory: Path, pid: int) -> None:
    # A forked child inherits the exit hook; the directory is still in use by its parent.
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


def _start_time(pid: int) -> str:
    """Start of a process in clock ticks since boot, so that a reused process id is told apart; "" if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field, the command, may hold spaces and brackets: count from its end. Field 22 is the start.
    return stat.rpartition(")")[2].split()[19]
