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
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from rllib_moe.validation import ConfigError, RefusedError

LINKS, MANIFEST, CHECKPOINTS = "links.json", "manifest.json", "checkpoints"
LINK_NAMES = ("latest", "best", "final")
"""Links of a run's checkpoints; object stores have none, so `links.json` holds them."""
RUN_FILES = ("config.yaml", "schedule.yaml", "starts.jsonl", "progress.csv", "summary.json")
"""Files of a run that are copied beside its checkpoints."""

logger = logging.getLogger(__name__)


class StorageError(RefusedError):
    """Something is not on the storage, or cannot be reached. The message names the URI."""


def is_uri(path: str) -> bool:
    """Whether a path names a storage rather than a local directory."""
    return "://" in path


def locate(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a URI or absolute path, and the path in it.

    Raises:
        StorageError: pyarrow does not know such a URI.
    """
    try:
        return pafs.FileSystem.from_uri(uri.rstrip("/"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{uri}: {_reason(error)}") from error


def is_same_place(one: str, other: str) -> bool:
    """Whether two URIs or paths, however they are spelled, lead to the same place.

    Raises:
        StorageError: one of them leads nowhere.
    """
    (filesystem, path), (another, another_path) = locate(one), locate(other)
    return bool(filesystem == another) and PurePosixPath(path) == PurePosixPath(another_path)


class RunMirror:
    """The copy of one run.

    Args:
        filesystem: Where to.
        path: Directory of the run in it.
        run: The local run directory.
    """

    def __init__(self, filesystem: pafs.FileSystem, path: str, run: Path) -> None:
        self._filesystem, self._path, self._run = filesystem, PurePosixPath(path), run

    @classmethod
    def claim(cls, storage: str, run: Path, *, is_own: bool) -> RunMirror | None:
        """Take a run's place on the storage.

        Args:
            storage: URI below which runs lie.
            run: The local run directory; its name is the run's.
            is_own: Whether what lies there may be this run itself, which goes on.

        Returns:
            The mirror; None where the run is written to that place itself, so that there is nothing to copy.

        Raises:
            ConfigError: it cannot be reached, or holds another run.
        """
        try:
            filesystem, root = locate(storage)
            mirror = cls(filesystem, f"{root}/{run.name}", run)
            if isinstance(filesystem, pafs.LocalFileSystem) and Path(mirror._path).resolve() == run.resolve():
                return None
            if mirror._holds_run() and not is_own:
                raise ConfigError(
                    [f"storage: {storage} holds a run {run.name} already; choose another --exp-name, or --resume it"]
                )
            filesystem.create_dir(str(mirror._path / CHECKPOINTS), recursive=True)
        except (OSError, StorageError) as error:
            raise ConfigError([f"storage: cannot write to {storage} ({_reason(error)})"]) from error
        return mirror

    def copy_checkpoint(self, checkpoint: Path, keep: int) -> bool:
        """Copy a whole checkpoint, the run's files and the links, then drop the oldest copies.

        Args:
            checkpoint: Its local directory, whole.
            keep: How many checkpoints stay, linked ones not counted.

        Returns:
            Whether it is there. A storage that fails costs a warning and nothing else.
        """
        target = self._path / CHECKPOINTS / checkpoint.name
        try:
            if not self._has(checkpoint):
                self._drop(target)
                files = sorted(file for file in checkpoint.rglob("*") if file.is_file())
                for file in sorted(files, key=lambda file: file.name == MANIFEST):  # the manifest last
                    self._copy(file, target / file.relative_to(checkpoint).as_posix())
            self._copy_files()
            stored = set(_stored(self._filesystem, str(self._path)))
            links = {
                name: linked
                for name in LINK_NAMES
                if (linked := (checkpoint.parent / name).resolve().name) in stored  # its copy may have failed
            }
            with self._filesystem.open_output_stream(str(self._path / CHECKPOINTS / LINKS)) as stream:
                stream.write(json.dumps(links).encode())
            self._prune(_episode(checkpoint.name), keep, set(links.values()))
        except OSError as error:
            logger.warning(
                "Cannot copy %s to %s (%s). It is whole on this machine, and training goes on",
                checkpoint,
                target,
                _reason(error),
            )
            return False
        return True

    def copy_files(self) -> bool:
        """Copy the run's files anew; returns whether that worked."""
        try:
            self._copy_files()
        except OSError as error:
            logger.warning("Cannot copy the files of %s to %s (%s)", self._run, self._path, _reason(error))
            return False
        return True

    def _copy_files(self) -> None:
        for name in RUN_FILES:
            if (self._run / name).exists():
                self._copy(self._run / name, self._path / name)

    def _copy(self, source: Path, target: PurePosixPath) -> None:
        self._filesystem.create_dir(str(target.parent), recursive=True)
        with source.open("rb") as reading, self._filesystem.open_output_stream(str(target)) as writing:
            shutil.copyfileobj(reading, writing)

    def _holds_run(self) -> bool:
        links = str(self._path / CHECKPOINTS / LINKS)
        return _exists(self._filesystem, links) or bool(_stored(self._filesystem, str(self._path)))

    def _has(self, checkpoint: Path) -> bool:
        """Whether a checkpoint is there as it is here: its manifest names every file's hash, and is copied last."""
        manifest = str(self._path / CHECKPOINTS / checkpoint.name / MANIFEST)
        if not _exists(self._filesystem, manifest):
            return False
        with self._filesystem.open_input_stream(manifest) as stream:
            return stream.read() == (checkpoint / MANIFEST).read_bytes()

    def _prune(self, newest: int, keep: int, linked: set[str]) -> None:
        """Keep the newest copies up to this checkpoint. Later ones, of a run taken up again earlier, stay."""
        selector = pafs.FileSelector(str(self._path / CHECKPOINTS))
        names = {info.base_name for info in self._filesystem.get_file_info(selector)}
        earlier = sorted((name for name in names if 0 <= _episode(name) <= newest), key=_episode)
        for name in earlier[:-keep]:
            if name not in linked:
                self._drop(self._path / CHECKPOINTS / name)

    def _drop(self, directory: PurePosixPath) -> None:
        """Delete a copied checkpoint, its manifest first: what is left of an interrupted deletion is no checkpoint."""
        manifest = str(directory / MANIFEST)
        if _exists(self._filesystem, manifest):
            self._filesystem.delete_file(manifest)
        if _exists(self._filesystem, str(directory)):
            self._filesystem.delete_dir(str(directory))


@dataclass(frozen=True)
class Fetched:
    """A run that was fetched to a temporary directory, which lasts as long as this object."""

    uri: str
    """Where it came from: URI of the run."""
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
    run, asked, run_uri = PurePosixPath(path), None, uri.rstrip("/")
    if run.parent.name == CHECKPOINTS:
        run, asked, run_uri = run.parent.parent, run.name, run_uri.rsplit("/", 2)[0]
    holder = tempfile.TemporaryDirectory(prefix="rllib_moe-fetched-")
    local = Path(holder.name) / run.name
    try:
        links = read_links(filesystem, str(run))
        name = links.get(asked, asked) if asked else _latest(filesystem, str(run), links, run_uri)
        _fetch_tree(filesystem, str(run / CHECKPOINTS / name), local / CHECKPOINTS / name)
        for file in RUN_FILES:
            if _exists(filesystem, str(run / file)):
                _fetch_file(filesystem, str(run / file), local / file)
    except OSError as error:
        raise StorageError(f"{uri}: no run or checkpoint that can be read ({_reason(error)})") from error
    return Fetched(run_uri, local, local / CHECKPOINTS / name, holder)


def fetch_run(uri: str, target: Path) -> int:
    """Copy a run to a new local directory, its links as links, so that it can be resumed there.

    Args:
        uri: The run on a storage, or an absolute path.
        target: The new directory.

    Returns:
        The number of files.

    Raises:
        StorageError: there is nothing, or it cannot be reached.
    """
    filesystem, path = locate(uri)
    try:
        if isinstance(filesystem, pafs.LocalFileSystem):
            shutil.copytree(path, target, symlinks=True, ignore=shutil.ignore_patterns(".partial-*"))
            files = sum(file.is_file() and not file.is_symlink() for file in target.rglob("*"))
        else:
            files = _fetch_tree(filesystem, path, target)
        for name, checkpoint in read_links(pafs.LocalFileSystem(), str(target)).items():
            if (target / CHECKPOINTS / checkpoint).exists():
                (target / CHECKPOINTS / name).symlink_to(checkpoint)
        return files
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read ({_reason(error)})") from error


def read_links(filesystem: pafs.FileSystem, run: str) -> dict[str, str]:
    """What `latest`, `best` and `final` are on the storage; empty where there is no run, or with a warning no sense."""
    file = f"{run}/{CHECKPOINTS}/{LINKS}"
    if not _exists(filesystem, file):
        return {}
    with filesystem.open_input_stream(file) as stream:
        text = stream.read()
    try:
        links = dict(json.loads(text))
    except (ValueError, TypeError):  # cut off: not every storage writes a file whole or not at all
        logger.warning("%s is damaged", file)
        return {}
    return {name: str(links[name]) for name in LINK_NAMES if re.fullmatch(r"episode_\d+", str(links.get(name)))}


def _latest(filesystem: pafs.FileSystem, run: str, links: dict[str, str], uri: str) -> str:
    """Name of the checkpoint to go on from: the latest, else the newest whole one before it, else any whole one."""
    latest, stored = links.get("latest", ""), _stored(filesystem, run)
    if latest in stored:
        return latest
    if not stored:
        raise FileNotFoundError(f"{run}/{CHECKPOINTS} holds no whole checkpoint")
    # What is later than the latest belongs to a run that was taken up again before it.
    newest = next((name for name in reversed(stored) if _episode(name) < _episode(latest)), stored[-1])
    what = f"{latest} is not whole or not there" if latest else f"{LINKS} does not name the latest checkpoint"
    logger.warning("%s: %s; going back to %s", uri, what, newest)
    return newest


def _stored(filesystem: pafs.FileSystem, run: str) -> list[str]:
    """Names of the whole checkpoints on the storage, by episode."""
    selector = pafs.FileSelector(f"{run}/{CHECKPOINTS}", allow_not_found=True)
    names = (info.base_name for info in filesystem.get_file_info(selector))
    whole = [
        name for name in names if _episode(name) >= 0 and _exists(filesystem, f"{run}/{CHECKPOINTS}/{name}/{MANIFEST}")
    ]
    return sorted(whole, key=_episode)


def _fetch_tree(filesystem: pafs.FileSystem, path: str, target: Path) -> int:
    infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    files = [info for info in infos if info.type == pafs.FileType.File]
    for info in files:
        _fetch_file(filesystem, info.path, target / PurePosixPath(info.path).relative_to(path))
    return len(files)


def _fetch_file(filesystem: pafs.FileSystem, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.open_input_stream(path) as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing)


def _exists(filesystem: pafs.FileSystem, path: str) -> bool:
    return filesystem.get_file_info(path).type != pafs.FileType.NotFound


def _episode(name: str) -> int:
    """Episode in a checkpoint's name, -1 where there is none."""
    return int(name.removeprefix("episode_")) if re.fullmatch(r"episode_\d+", name) else -1


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
