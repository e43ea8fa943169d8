"""Files written whole or not at all, directories with one writer, and checks that a place can be written."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rllib_moe.validation.errors import ConfigError

logger = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield another name to write to, renamed to `path` once all is written; nothing is left of a write that fails.

    Args:
        path: The file; its directory is made when missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sync(*paths: Path) -> None:
    """Force files and directories to disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all; its directory is made when missing."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def file_errors(name: str, file: str) -> Iterator[str]:
    """Yield the reasons why a file cannot be written.

    Args:
        file: Path; directories on the way may be missing.
    """
    path = Path(file)
    if path.is_dir():
        yield f"{name}: expected a file, {file!r} is a directory"
    elif path.exists() and not path.is_file():
        yield f"{name}: expected a file, {file!r} is none"
    elif path.exists() and not os.access(path, os.W_OK):
        yield f"{name}: cannot write {file!r} (it is read-only)"
    else:
        yield from directory_errors(name, path.parent)


def directory_errors(name: str, directory: Path) -> Iterator[str]:
    """Yield the reasons why a directory cannot be made or written to.

    Args:
        directory: Path; it and directories on the way may be missing.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        yield f"{name}: cannot write to {str(directory)!r} ({existing} is no directory)"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{name}: cannot write to {str(directory)!r} (no permission in {existing})"


@contextmanager
def locked(name: str, directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a directory inside the block; the lock ends with the process.

    Args:
        name: What the user calls the directory's setting.
        directory: An existing directory.

    Raises:
        ConfigError: Another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError([f"{name}: another process is writing to {directory}"]) from error
    except OSError as error:  # a file system that knows no locks (some network ones): two writers are rare
        logger.warning("Cannot lock %s (%s): take care not to start a second run there", directory, error.strerror)
    try:
        yield
    finally:
        os.close(descriptor)
