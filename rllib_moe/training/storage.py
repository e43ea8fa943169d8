"""A copy of a run on storage that outlives this machine: any path or URI that pyarrow knows (file://, s3://, gs://, hdfs://).

    <storage>/<exp-name>/
      config.yaml  schedule.yaml  starts.jsonl  progress.csv  summary.json
      checkpoints/episode_000500/ ...  links.json

The local run comes first: a checkpoint is copied once it is whole on disk, and a copy that fails is reported and tried
again with the next one. The manifest of a checkpoint is copied last and `links.json` after it, so that what the links
name is whole; where it is not (an interrupted copy, a deletion), the newest checkpoint that has its manifest is taken.
Knows no Ray; verifying what was fetched is left to `checkpoints.load_checkpoint`.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from rllib_moe.training.checkpoints import BEST, CHECKPOINTS, FINAL, LATEST, MANIFEST, PARTIAL, episode_of
from rllib_moe.training.run_directory import RUN_FILES
from rllib_moe.validation.errors import ConfigError, RefusedError

LINKS = f"{CHECKPOINTS}/links.json"
LINK_NAMES = (LATEST, BEST, FINAL)
"""Links of a run's checkpoints; object stores have none, so `links.json` holds them."""

logger = logging.getLogger(__name__)


class StorageError(RefusedError):
    """Something is not on the storage, or cannot be reached. The message names the URI."""


def locate(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a URI or absolute path, and the path in it; StorageError for one unknown to pyarrow."""
    try:
        return pafs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise StorageError(f"{uri}: {_reason(error)}") from error


def is_same_place(one: str, other: str) -> bool:
    """Return whether two URIs or paths, however they are spelled, lead to the same place."""
    (filesystem, path), (another, another_path) = locate(one), locate(other)
    return bool(filesystem == another) and PurePosixPath(path) == PurePosixPath(another_path)


class RunMirror:
    """The copy of one local run directory, in a file system whose root is that of the copy."""

    def __init__(self, storage: pafs.SubTreeFileSystem, run: Path) -> None:
        self._storage, self._run = storage, run

    @classmethod
    def claim(cls, uri: str, run: Path, *, is_own: bool) -> RunMirror | None:
        """Take the place of a run on the storage.

        Args:
            uri: URI or absolute path of the copy, which bears the run's name.
            run: Local run directory.
            is_own: True where what lies there may be this run itself, which goes on.

        Returns:
            The mirror; None where the run is written to that place itself, so that there is nothing to copy.

        Raises:
            ConfigError: It cannot be reached, or holds another run.
        """
        try:
            filesystem, path = locate(uri)
            place = pafs.SubTreeFileSystem(path, filesystem)
            if isinstance(filesystem, pafs.LocalFileSystem) and Path(place.base_path).resolve() == run.resolve():
                return None
            if (_exists(place, LINKS) or _whole(place)) and not is_own:
                raise ConfigError(
                    [f"storage: {uri} holds a run {run.name} already; choose another --exp-name, or --resume it"]
                )
            place.create_dir(CHECKPOINTS)
        except (OSError, StorageError) as error:
            raise ConfigError([f"storage: cannot write to {uri} ({_reason(error)})"]) from error
        return cls(place, run)

    def copy_checkpoint(self, checkpoint: Path, keep: int) -> bool:
        """Copy a whole checkpoint, the run's files and the links, then drop all copies but `keep` and the linked ones.

        What the links name is copied too where it is not there: the copy of an earlier checkpoint may have failed.

        Returns:
            True where it is there. A storage that fails costs a warning and nothing else.
        """
        linked = {name: path for name in LINK_NAMES if (path := (checkpoint.parent / name).resolve()).is_dir()}
        try:
            self._storage.create_dir(CHECKPOINTS)  # and with it the run's directory, where that was lost
            for path in dict.fromkeys((checkpoint.resolve(), *linked.values())):
                self._copy(path)
            for name in RUN_FILES:
                if (self._run / name).exists():
                    pafs.copy_files(str(self._run / name), name, destination_filesystem=self._storage)
            links = {name: path.name for name, path in linked.items()}
            with self._storage.open_output_stream(LINKS) as stream:
                stream.write(json.dumps(links).encode())
            # Later ones, of a run taken up again earlier, stay.
            earlier = [name for name in _named(self._storage) if episode_of(name) <= episode_of(checkpoint.name)]
            for name in set(earlier[:-keep]) - set(links.values()):
                self._drop(f"{CHECKPOINTS}/{name}")
        except OSError as error:
            told = "Cannot copy %s to %s (%s). It is whole on this machine, and is copied with the next one"
            logger.warning(told, checkpoint, self._storage.base_path + CHECKPOINTS, _reason(error))
            return False
        return True

    def _copy(self, checkpoint: Path) -> None:
        """Copy a whole checkpoint, its manifest last, unless it is there."""
        target = f"{CHECKPOINTS}/{checkpoint.name}"
        if _read(self._storage, f"{target}/{MANIFEST}") != (checkpoint / MANIFEST).read_bytes():
            self._drop(target)
            self._storage.create_dir(target)
            for file in sorted(checkpoint.iterdir(), key=lambda file: file.name == MANIFEST):
                pafs.copy_files(str(file), f"{target}/{file.name}", destination_filesystem=self._storage)

    def _drop(self, checkpoint: str) -> None:
        """Delete a copied checkpoint, its manifest first: what is left of an interrupted deletion is no checkpoint."""
        if _exists(self._storage, f"{checkpoint}/{MANIFEST}"):
            self._storage.delete_file(f"{checkpoint}/{MANIFEST}")
        if _exists(self._storage, checkpoint):
            self._storage.delete_dir(checkpoint)


@dataclass(frozen=True)
class Fetched:
    """A run that was fetched to a temporary directory, which lasts as long as this object."""

    uri: str
    """URI of the run that it came from."""
    run: Path
    """Its local directory, called as the run is, with one checkpoint."""
    checkpoint: Path
    """That checkpoint."""
    _holder: tempfile.TemporaryDirectory[str]


def fetch(uri: str) -> Fetched:
    """Fetch one checkpoint and the run's files.

    Args:
        uri: A run on a storage (then its latest checkpoint, or with a warning the newest whole one where that is not
            there), or one of its checkpoints.

    Raises:
        StorageError: there is no run or no such checkpoint, or the storage cannot be reached.
    """
    filesystem, path = locate(uri)
    run, asked, run_uri = PurePosixPath(path), "", uri
    if run.parent.name == CHECKPOINTS and (run.name in LINK_NAMES or episode_of(run.name) >= 0):
        place, mark, options = uri.partition("?")
        run, asked, run_uri = run.parent.parent, run.name, place.rstrip("/").rsplit("/", 2)[0] + mark + options
    holder = tempfile.TemporaryDirectory(prefix="rllib_moe-fetched-")
    local, storage = Path(holder.name) / run.name, pafs.SubTreeFileSystem(str(run), filesystem)
    try:
        links = read_links(storage)
        checkpoint = f"{CHECKPOINTS}/{links.get(asked, asked) if asked else _latest(storage, links, run_uri)}"
        (local / checkpoint).mkdir(parents=True)  # pyarrow makes only what is below a directory
        for name in (checkpoint, *RUN_FILES):
            if name == checkpoint or _exists(storage, name):
                pafs.copy_files(name, str(local / name), storage, pafs.LocalFileSystem())
    except OSError as error:
        raise StorageError(f"{uri}: no run or checkpoint that can be read ({_reason(error)})") from error
    return Fetched(run_uri, local, local / checkpoint, holder)


def fetch_run(uri: str, target: Path) -> int:
    """Copy a run, by its URI or absolute path, to a new local directory, its links as links, to be resumed there.

    Returns:
        The number of files.

    Raises:
        StorageError: there is nothing, or it cannot be reached.
    """
    filesystem, path = locate(uri)
    try:
        if isinstance(filesystem, pafs.LocalFileSystem):  # pyarrow would copy what a link leads to
            shutil.copytree(path, target, symlinks=True, ignore=shutil.ignore_patterns(f"{PARTIAL}*"))
        else:
            pafs.copy_files(path, str(target), filesystem, pafs.LocalFileSystem())
        files = sum(file.is_file() and not file.is_symlink() for file in target.rglob("*"))
        for name, checkpoint in read_links(pafs.SubTreeFileSystem(str(target), pafs.LocalFileSystem())).items():
            if (target / CHECKPOINTS / checkpoint).exists():
                (target / CHECKPOINTS / name).symlink_to(checkpoint)
        return files
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read ({_reason(error)})") from error


def read_links(storage: pafs.FileSystem) -> dict[str, str]:
    """Return the checkpoints that `latest`, `best` and `final` are in a run; where damaged, none and a warning."""
    if (text := _read(storage, LINKS)) is None:
        return {}
    try:
        links = dict(json.loads(text))
    except (ValueError, TypeError):  # cut off: not every storage writes a file whole or not at all
        logger.warning("%s%s is damaged", storage.base_path, LINKS)
        return {}
    return {name: str(links[name]) for name in LINK_NAMES if episode_of(str(links.get(name))) >= 0}


def _latest(storage: pafs.FileSystem, links: dict[str, str], uri: str) -> str:
    """Return the checkpoint to go on from: the latest, else the newest whole one before it, else any whole one."""
    latest, whole = links.get(LATEST, ""), _whole(storage)
    if latest in whole:
        return latest
    if not whole:
        raise FileNotFoundError(f"{storage.base_path}{CHECKPOINTS} holds no whole checkpoint")
    # What is later than the latest belongs to a run that was taken up again before it.
    newest = next((name for name in reversed(whole) if episode_of(name) < episode_of(latest)), whole[-1])
    what = f"{latest} is not whole or not there" if latest else f"{LINKS} does not name the latest checkpoint"
    logger.warning("%s: %s; going back to %s", uri, what, newest)
    return newest


def _named(storage: pafs.FileSystem) -> list[str]:
    """Return the names of the checkpoints in a run, whole or not, by episode."""
    infos = storage.get_file_info(pafs.FileSelector(CHECKPOINTS, allow_not_found=True))
    return sorted((info.base_name for info in infos if episode_of(info.base_name) >= 0), key=episode_of)


def _whole(storage: pafs.FileSystem) -> list[str]:
    """Return the names of the whole checkpoints in a run, by episode."""
    return [name for name in _named(storage) if _exists(storage, f"{CHECKPOINTS}/{name}/{MANIFEST}")]


def _exists(storage: pafs.FileSystem, path: str) -> bool:
    return bool(storage.get_file_info(path).type != pafs.FileType.NotFound)


def _read(storage: pafs.FileSystem, path: str) -> bytes | None:
    """Return the content of a file, None where there is none."""
    if not _exists(storage, path):
        return None
    with storage.open_input_stream(path) as stream:
        return bytes(stream.read())


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
