"""The working tree as one zip file: what a job needs and no more."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Set
from pathlib import Path

SENT_WHERE_NAMED = frozenset({"pretrained"})
"""Directories at the top of the tree that a job needs only where its flags name them."""
LEFT_OUT = SENT_WHERE_NAMED | {"results", "docs", "tests", "node_modules", "build", "dist", "venv", "shared"}
"""Directories at the top of the tree that are left out; those that begin with a dot are everywhere."""
LEFT_OUT_EVERYWHERE = ("__pycache__", ".egg-info")
"""Endings of directory names that are left out wherever they are."""
NEEDED = ("rllib_moe", "scripts/train.py")
"""What a tree must hold to train from."""


class PackageError(ValueError):
    """A working tree cannot be sent. The message says why."""


def files_of(tree: Path, named: Set[str] = frozenset()) -> list[Path]:
    """Files to send, sorted; links to directories are not followed.

    Args:
        tree: The repository's root.
        named: Which of `SENT_WHERE_NAMED` to send.
    """
    return sorted(_walk(tree, LEFT_OUT - named))


def _walk(tree: Path, left_out: Set[str]) -> Iterator[Path]:
    for place, directories, names in os.walk(tree):
        is_top = Path(place) == tree
        directories[:] = [
            name
            for name in directories
            if not name.startswith(".") and not name.endswith(LEFT_OUT_EVERYWHERE) and not (is_top and name in left_out)
        ]
        for name in names:
            path = Path(place) / name
            if not name.startswith(".") and not name.endswith((".log", ".pyc")) and path.is_file():
                yield path


def write_package(tree: Path, target: Path, max_mb: float, named: Set[str] = frozenset()) -> float:
    """Zip a working tree.

    Args:
        tree: The repository's root.
        target: The zip file to write.
        max_mb: Largest sum of the files, MB before compression.
        named: Which of `SENT_WHERE_NAMED` to send.

    Returns:
        Size of the zip file, MB.

    Raises:
        PackageError: the tree is not this project's, or too large; names the largest entries.
    """
    missing = [name for name in NEEDED if not (tree / name).exists()]
    if missing:
        raise PackageError(f"tree: {tree} has no {' and no '.join(missing)}; expected the root of the repository")
    files = files_of(tree, named)
    sizes = {path: path.stat().st_size / 1e6 for path in files}
    if (total := sum(sizes.values())) > max_mb:
        entries: dict[str, float] = {}
        for path, size in sizes.items():
            entry = path.relative_to(tree).parts[0]
            entries[entry] = entries.get(entry, 0) + size
        largest = sorted(entries, key=entries.__getitem__, reverse=True)[:3]
        raise PackageError(
            f"tree: {tree} has {total:.1f} MB to send, more than --max-mb {max_mb:g}; the largest entries are "
            + ", ".join(f"{entry} ({entries[entry]:.1f} MB)" for entry in largest)
        )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in files:
            archive.write(path, path.relative_to(tree))
    return target.stat().st_size / 1e6
