"""Files written whole or not at all, numbers as JSON takes them, and checks that a place can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
