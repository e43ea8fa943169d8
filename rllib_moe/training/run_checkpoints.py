"""The checkpoints of a run beside each other: links to the latest, best and final one, and those that stay."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import yaml

from rllib_moe.runtime.files import sync
from rllib_moe.training.checkpoints import (
    BEST,
    EXPERIMENT,
    FINAL,
    LATEST,
    PARTIAL,
    Checkpoint,
    episode_of,
    periodic,
    written_whole,
)


def point(directory: Path, name: str, target: Path) -> None:
    """Make `directory/name` a link to a checkpoint beside it, in one step."""
    link = directory / f"{PARTIAL}{name}-link"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(directory / name)


def point_best(directory: Path) -> None:
    """Make `best` a link to the periodic checkpoint with the highest score."""
    scores = {path: _score(path) for path in periodic(directory)}
    if scored := {path: score for path, score in scores.items() if score is not None}:
        point(directory, BEST, max(scored, key=scored.__getitem__))


def _score(path: Path) -> float | None:
    try:
        return yaml.safe_load((path / EXPERIMENT).read_text())["score"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # damaged since: no reason to stop a run
        return None


def prune(directory: Path, keep: int) -> None:
    """Remove all but the newest `keep` periodic checkpoints, and what an interrupted write left behind."""
    linked = {(directory / name).resolve() for name in (LATEST, BEST, FINAL)}
    for path in periodic(directory)[:-keep]:
        if path.resolve() not in linked:
            shutil.rmtree(path)
    for path in directory.glob(f"{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def adopt(checkpoint: Path, directory: Path) -> None:
    """Copy a whole checkpoint that lies elsewhere to a run's checkpoints, and make it the latest."""
    with written_whole(directory / checkpoint.name) as partial:
        shutil.copytree(checkpoint, partial, dirs_exist_ok=True)
    point(directory, LATEST, directory / checkpoint.name)
    sync(directory)


def set_aside_later(resumed: Checkpoint) -> list[Path]:
    """Rename the periodic checkpoints beside `resumed` that are later: a run that goes on from it plays them again.

    They are kept, as `superseded_...`; the links no longer lead to them.

    Returns:
        Their new paths, empty when there were none.
    """
    directory = resumed.path.parent
    stamp = time.strftime("%Y%m%d-%H%M%S")
    later = [path for path in periodic(directory) if episode_of(path.name) > resumed.episodes]
    aside = [path.rename(path.with_name(f"superseded_{path.name}_{stamp}")) for path in later]
    if aside:
        (directory / FINAL).unlink(missing_ok=True)
        point(directory, LATEST, resumed.path)
        point_best(directory)
    return aside
