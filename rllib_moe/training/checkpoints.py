"""Checkpoints on disk: whole or absent, and known to be what was written.

A checkpoint is a directory: RLlib's own state (`algorithm/`), the network's weights alone (`weights.pt`), what it
belongs to (`experiment.yaml`), and a manifest with the hash of every file, written last. It is made under another name,
forced to disk and renamed. `weights.pt` is read with `weights_only=True`; RLlib's part is pickled and may execute code,
so only a path that the user named is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.experiment import Experiment
from rllib_moe.validation import RefusedError

MANIFEST, EXPERIMENT, WEIGHTS, ALGORITHM = "manifest.json", "experiment.yaml", "weights.pt", "algorithm"
LATEST, BEST, FINAL = "latest", "best", "final"
PARTIAL = ".partial-"
"""Prefix of a checkpoint being written."""
REPLACED = f"{PARTIAL}replaced-"
"""Prefix of a checkpoint whose name a new one is just taking."""

logger = logging.getLogger(__name__)


class CheckpointError(RefusedError):
    """A checkpoint is missing, damaged, or does not fit. The message names the file or the field."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was verified against its manifest."""

    path: Path
    """Its directory."""
    experiment: Experiment
    """Experiment that wrote it."""
    episodes: int
    """Global episode count when it was written."""
    iteration: int
    """Training iterations when it was written."""
    score: float | None
    """Mean raw score of the episodes before it (`summary.SCORE_WINDOW`), None when there were none."""

    @property
    def algorithm_path(self) -> Path:
        """RLlib's part."""
        return self.path / ALGORITHM

    def weights(self) -> dict[str, Tensor]:
        """State dict of the policy network, on the CPU."""
        return torch.load(self.path / WEIGHTS, map_location="cpu", weights_only=True)


def save_checkpoint(
    algorithm: CurriculumAlgorithm,
    path: Path,
    experiment: Experiment,
    *,
    iteration: int,
    score: float | None,
) -> None:
    """Write a checkpoint to `path`, replacing one of that name only once the new one is whole.

    Raises:
        OSError: it cannot be written (a full disk, no permission); what was there before stays, nothing else is left.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    if partial.exists():
        shutil.rmtree(partial)
    described = {
        "episodes": algorithm.episodes_total,
        "iteration": iteration,
        "score": score,
        "experiment": experiment.to_dict(),
    }
    try:
        partial.mkdir(parents=True)
        policy = algorithm.learner_policy
        with policy._lock:  # both of one moment, between two gradient steps, where the learner has a thread of its own
            algorithm.save(str(partial / ALGORITHM))
            _save_weights(policy.model.network.state_dict(), partial / WEIGHTS)
        (partial / EXPERIMENT).write_text(yaml.safe_dump(described, sort_keys=False))
        files = sorted(file for file in partial.rglob("*") if file.is_file())
        hashes = {str(file.relative_to(partial)): _sha256(file) for file in files}
        (partial / MANIFEST).write_text(json.dumps({"sha256": hashes}, indent=1))
        _sync(partial)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    replaced = path.with_name(f"{REPLACED}{path.name}")
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # of a write that was killed after its renames
        path.rename(replaced)
    partial.rename(path)
    _sync_directory(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        torch.save(weights, path)
    except RuntimeError as error:  # torch's answer to a failed write, without the number of the error
        raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def point_best(directory: Path) -> None:
    """Make `best` a link to the periodic checkpoint with the highest score."""
    scores = {path: _score(path) for path in _periodic(directory)}
    if scored := {path: score for path, score in scores.items() if score is not None}:
        point(directory, BEST, max(scored, key=scored.__getitem__))


def _score(path: Path) -> float | None:
    try:
        return yaml.safe_load((path / EXPERIMENT).read_text())["score"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # damaged since: no reason to stop a run
        return None


def adopt(checkpoint: Path, directory: Path) -> None:
    """Take over a whole checkpoint that lies elsewhere, and make it the latest.

    Args:
        checkpoint: Its directory.
        directory: Of a run's checkpoints, without one of that name.
    """
    partial = directory / f"{PARTIAL}{checkpoint.name}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    _sync(partial)
    partial.rename(directory / checkpoint.name)
    point(directory, LATEST, directory / checkpoint.name)
    _sync_directory(directory)


def set_aside_later(resumed: Checkpoint) -> list[Path]:
    """Rename the periodic checkpoints beside `resumed` that are later: a run that goes on from it plays them again.

    They are kept, as `superseded_...`; the links no longer lead to them.

    Returns:
        Their new paths, empty when there were none.
    """
    directory = resumed.path.parent
    stamp = time.strftime("%Y%m%d-%H%M%S")
    later = [path for path in _periodic(directory) if int(path.name.removeprefix("episode_")) > resumed.episodes]
    aside = [path.rename(path.with_name(f"superseded_{path.name}_{stamp}")) for path in later]
    if aside:
        (directory / FINAL).unlink(missing_ok=True)
        point(directory, LATEST, resumed.path)
        point_best(directory)
    return aside


def point(directory: Path, name: str, target: Path) -> None:
    """Make `directory/name` a link to a checkpoint beside it, in one step."""
    link = directory / f"{PARTIAL}{name}-link"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(directory / name)


def prune(directory: Path, keep: int) -> None:
    """Remove all but the newest `keep` periodic checkpoints, and what an interrupted write left behind."""
    linked = {(directory / name).resolve() for name in (LATEST, BEST, FINAL)}
    for path in _periodic(directory)[:-keep]:
        if path.resolve() not in linked:
            shutil.rmtree(path)
    for path in directory.glob(f"{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _periodic(directory: Path) -> list[Path]:
    """Periodic checkpoints by episode, as numbers: episode_999999 comes before episode_1000000."""
    numbers = {path: re.fullmatch(r"episode_(\d+)", path.name) for path in directory.iterdir()}
    return sorted((path for path, number in numbers.items() if number), key=lambda path: int(path.name[8:]))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Find, verify and describe a checkpoint. Nothing is unpickled.

    Args:
        path: A checkpoint directory, or a run directory: then its newest checkpoint that is whole, with a warning where
            a newer one is not.

    Raises:
        CheckpointError: it is missing or damaged (of a run directory: all of them are); names the first file that is at
            fault.
    """
    path = Path(path)
    directory = path / "checkpoints"
    if not directory.is_dir():
        return _verified(path)
    faults: list[CheckpointError] = []
    for candidate in _newest_first(directory):
        try:
            checkpoint = _verified(candidate)
        except CheckpointError as error:
            faults.append(error)
            continue
        for fault in faults:
            logger.warning("%s; going back to %s", fault, candidate)
        return checkpoint
    if faults:
        raise CheckpointError(f"{faults[0]} (and no other checkpoint of the run is whole)") from faults[0]
    raise CheckpointError(f"checkpoint {directory}: the run has none (it ended before its first one)")


def _newest_first(directory: Path) -> list[Path]:
    """Periodic checkpoints, the newest first; one that lost its name to an interrupted write comes in its place."""
    names = {path: re.fullmatch(rf"({re.escape(REPLACED)})?episode_(\d+)", path.name) for path in directory.iterdir()}
    return sorted(
        (path for path, name in names.items() if name),
        key=lambda path: (int(path.name.rpartition("_")[2]), not path.name.startswith(REPLACED)),
        reverse=True,
    )


def _verified(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path}: no such directory")
    path = path.resolve()
    for name, expected in _hashes(path).items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"checkpoint {path}: {name} is missing")
        if _sha256(file) != expected:
            raise CheckpointError(f"checkpoint {path}: {name} is damaged (its hash is not that of the manifest)")
    return _describe(path)


def _hashes(path: Path) -> dict[str, str]:
    """The hash of every file, from the manifest."""
    try:
        hashes = json.loads((path / MANIFEST).read_text())["sha256"]
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is missing, so it is no (whole) checkpoint") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is damaged") from error
    if not isinstance(hashes, dict) or not {EXPERIMENT, WEIGHTS} <= hashes.keys():
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is damaged")
    return hashes


def _describe(path: Path) -> Checkpoint:
    try:
        described: Mapping[str, Any] = yaml.safe_load((path / EXPERIMENT).read_text())
        return Checkpoint(
            path=path,
            experiment=Experiment.from_dict(described["experiment"]),
            episodes=int(described["episodes"]),
            iteration=int(described["iteration"]),
            score=described["score"],
        )
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:  # ConfigError is a ValueError
        raise CheckpointError(f"checkpoint {path}: {EXPERIMENT} was written by another version: {error}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        else:
            _sync_directory(path)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
