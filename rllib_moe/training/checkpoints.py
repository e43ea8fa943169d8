"""Checkpoints on disk: whole or absent, and known to be what was written.

A checkpoint is a directory: the network's weights (`weights.pt`), Adam's tensors by parameter (`optimizer.pt`),
counters, random generators and episodes under way (`state.json`, its arrays in `arrays.npz`), the run it belongs to
(`experiment.yaml`), and a manifest with the hash of every file, written last. It is made under another name, forced to
disk and renamed. Nothing in it can execute code: tensors are read with `weights_only=True`, arrays without pickles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from rllib_moe.experiment import Experiment
from rllib_moe.runtime.files import sync
from rllib_moe.validation.errors import RefusedError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST, EXPERIMENT = "manifest.json", "experiment.yaml"
WEIGHTS, OPTIMIZER, STATE, ARRAYS = "weights.pt", "optimizer.pt", "state.json", "arrays.npz"
FILES = {EXPERIMENT, WEIGHTS, OPTIMIZER, STATE, ARRAYS}
"""Files of a checkpoint beside the manifest."""
FORMAT = 2
"""Number of this form of a checkpoint; the first one held pickles by RLlib and had no number."""
CHECKPOINTS = "checkpoints"
"""Directory of a run's checkpoints."""
LATEST, BEST, FINAL = "latest", "best", "final"
PARTIAL = ".partial-"
"""Prefix of a checkpoint being written."""
REPLACED = f"{PARTIAL}replaced-"
"""Prefix of a checkpoint whose name a new one is just taking."""

logger = logging.getLogger(__name__)


class CheckpointError(RefusedError):
    """A checkpoint is missing, damaged, or does not fit. The message names the file or the field."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmState:
    """State of an algorithm, as `algorithm_state.py` captures and restores it."""

    weights: dict[str, Tensor]
    """State dict of the policy network, on the CPU."""
    optimizer: dict[str, dict[str, Tensor]]
    """Adam's tensors by parameter, on the CPU; empty before the first update."""
    plain: dict[str, Any]
    """The rest: numbers, strings, None, numpy arrays, and lists and dicts with string keys of these."""


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
    def run(self) -> Path:
        """Directory of the run that it belongs to, if it lies among a run's checkpoints."""
        return self.path.parent.parent

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict of the policy network, on the CPU; raise CheckpointError where it is none."""
        return self._read(WEIGHTS, _load_tensors)

    def state(self) -> AlgorithmState:
        """Return the state of the algorithm; raise CheckpointError where a file is not of its kind."""
        arrays = self._read(ARRAYS, _load_arrays)
        return AlgorithmState(
            weights=self.weights(),
            optimizer=self._read(OPTIMIZER, _load_tensors),
            plain=self._read(STATE, lambda file: _load_plain(file, arrays)),
        )

    def _read(self, name: str, load: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        try:
            return load(self.path / name)
        except Exception as error:  # torch, numpy and json have errors of their own
            told = str(error).partition("\n")[0]
            raise CheckpointError(f"checkpoint {self.path}: {name} cannot be read ({told})") from error


def save_checkpoint(
    state: AlgorithmState, path: Path, experiment: Experiment, *, episodes: int, iteration: int, score: float | None
) -> None:
    """Write a checkpoint to `path`, replacing one of that name only once the new one is whole.

    Raises:
        OSError: it cannot be written (a full disk, no permission); what was there before stays, nothing else is left.
    """
    described = {"episodes": episodes, "iteration": iteration, "score": score, "experiment": experiment.to_dict()}
    with written_whole(path) as partial:
        _save_tensors(state.weights, partial / WEIGHTS)
        _save_tensors(state.optimizer, partial / OPTIMIZER)
        _save_plain(state.plain, partial)
        (partial / EXPERIMENT).write_text(yaml.safe_dump(described, sort_keys=False))
        manifest = {"format": FORMAT, "sha256": {name: _sha256(partial / name) for name in sorted(FILES)}}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty directory, which takes the place of the checkpoint `path` once its files are all written."""
    partial = path.with_name(f"{PARTIAL}{path.name}")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True)
        yield partial
        sync(*partial.iterdir(), partial)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    replaced = path.with_name(f"{REPLACED}{path.name}")
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # of a write that was killed after its renames
        path.rename(replaced)
    partial.rename(path)
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    import torch  # late: most refusals of a checkpoint need no more than its manifest

    try:
        torch.save(tensors, path)
    except RuntimeError as error:  # torch's answer to a failed write, without the number of the error
        raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def _load_tensors(file: Path) -> dict[str, Any]:
    import torch

    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


_ARRAY = "array in arrays.npz"
"""Key that stands in state.json for an array, with its name there."""


def _save_plain(state: Mapping[str, Any], directory: Path) -> None:
    arrays: dict[str, np.ndarray] = {}

    def set_apart(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a checkpoint holds plain data and arrays only, got {value!r}")
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}

    (directory / STATE).write_text(json.dumps(state, default=set_apart, indent=1))
    np.savez(directory / ARRAYS, allow_pickle=False, **arrays)


def _load_arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(arrays)


def _load_plain(file: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        file.read_text(), object_hook=lambda value: arrays[value[_ARRAY]] if _ARRAY in value else value
    )
    return loaded


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Find, verify and describe a checkpoint.

    Args:
        path: A checkpoint directory, or a run directory: then its newest checkpoint that is whole, with a warning where
            a newer one is not.

    Raises:
        CheckpointError: it is missing, damaged or of another format (of a run directory: all of them are); names the
            first file that is at fault.
    """
    path = Path(path)
    directory = path / CHECKPOINTS
    if not directory.is_dir():
        if below := sorted(str(each.parent) for each in path.glob("*/checkpoints")):
            raise CheckpointError(f"checkpoint {path}: expected one run, this holds several: {', '.join(below)}")
        return _verified(path)
    faults: list[CheckpointError] = []
    # One that lost its name to an interrupted write comes after that which has it.
    found = [*periodic(directory), *periodic(directory, REPLACED)]
    newest_first = sorted(found, key=lambda path: episode_of(path.name.removeprefix(REPLACED)), reverse=True)
    for candidate in newest_first:
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


def periodic(directory: Path, prefix: str = "") -> list[Path]:
    """Return the periodic checkpoints by episode, as numbers: episode_999999 comes before episode_1000000."""
    episodes = {path: episode_of(path.name.removeprefix(prefix)) for path in directory.glob(f"{prefix}episode_*")}
    return sorted((path for path, episode in episodes.items() if episode >= 0), key=episodes.__getitem__)


def episode_of(name: str) -> int:
    """Return the episode in the name of a periodic checkpoint, -1 for another name."""
    return int(name.removeprefix("episode_")) if re.fullmatch(r"episode_\d+", name) else -1


def _verified(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path}: no such directory")
    path = path.resolve()
    hashes = _hashes(path)
    for name in sorted({file.name for file in path.iterdir()} - hashes.keys() - {MANIFEST}):
        raise CheckpointError(f"checkpoint {path}: {name} is not in {MANIFEST}, so it is no part of the checkpoint")
    for name, expected in hashes.items():
        if not (path / name).is_file():
            raise CheckpointError(f"checkpoint {path}: {name} is missing")
        if _sha256(path / name) != expected:
            raise CheckpointError(f"checkpoint {path}: {name} is damaged (its hash is not that of the manifest)")
    return _describe(path)


def _hashes(path: Path) -> dict[str, str]:
    """Return the hash of every file, from the manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        hashes, number = manifest["sha256"], manifest.get("format", 1)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is missing, so it is no (whole) checkpoint") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is damaged") from error
    if isinstance(hashes, dict) and number != FORMAT:
        what = "is of the first format, which held pickles by RLlib" if number == 1 else f"is of format {number!r}"
        raise CheckpointError(
            f"checkpoint {path}: {what}; this version reads format {FORMAT} alone. Go on from it with the version that "
            "wrote it (its commit is in the run's starts.jsonl), or train anew"
        )
    if not isinstance(hashes, dict) or hashes.keys() != FILES:
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
