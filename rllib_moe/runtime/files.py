"""Files written whole or not at all, numbers as JSON takes them, and checks that a place can be written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Another name to write to, renamed to `path` once all is written; nothing is left of a write that fails.

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


def rounded(value: Any, digits: int = 6) -> Any:
    """Return plain data for JSON, with its floats rounded and None for those that are not finite.

    Args:
        value: Plain data, arrays or tensors, also within mappings and lists.
        digits: Decimals.
    """
    if isinstance(value, Mapping):
        return {key: rounded(each, digits) for key, each in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [rounded(each, digits) for each in value]
    if isinstance(value, float):
        return round(value, digits) + 0.0 if math.isfinite(value) else None  # -0.0 + 0.0 is 0.0
    return value


def file_faults(name: str, file: str) -> Iterator[str]:
    """Why a file cannot be written, in words.

    Args:
        name: Of the option that asks for it.
        file: Where; directories on the way may be missing.
    """
    path = Path(file)
    if path.is_dir():
        yield f"{name}: expected a file, {file!r} is a directory"
    elif path.exists() and not path.is_file():
        yield f"{name}: expected a file, {file!r} is none"
    elif path.exists() and not os.access(path, os.W_OK):
        yield f"{name}: cannot write {file!r} (it is read-only)"
    else:
        yield from directory_faults(name, path.parent)


def directory_faults(name: str, directory: Path) -> Iterator[str]:
    """Why a directory cannot be made, or nothing can be written in it, in words.

    Args:
        name: Of the option that asks for it.
        directory: Where; it and directories on the way may be missing.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        yield f"{name}: cannot write to {str(directory)!r} ({existing} is no directory)"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{name}: cannot write to {str(directory)!r} (no permission in {existing})"
