"""Files of a run: configuration, schedule, starts, progress, TensorBoard events, summary, checkpoints.

    results/<exp-name>/
      config.yaml  schedule.yaml  starts.jsonl  progress.csv  summary.json  events.out.tfevents.*
      checkpoints/episode_000500/ ...  latest  best  final

Knows the layout and the rows of measures; no Ray.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_moe import metrics as m
from rllib_moe.config import RunConfig
from rllib_moe.experiment import Experiment
from rllib_moe.runtime.files import atomic_write, directory_errors, write_whole
from rllib_moe.training.checkpoints import CHECKPOINTS, LATEST, periodic
from rllib_moe.validation.errors import ConfigError, FailedError

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

CONFIG, SCHEDULE, STARTS = "config.yaml", "schedule.yaml", "starts.jsonl"
PROGRESS, SUMMARY = "progress.csv", "summary.json"
RUN_FILES = (CONFIG, SCHEDULE, STARTS, PROGRESS, SUMMARY)
"""Files of a run beside its checkpoints."""
TEXT_KEYS = (m.PHASE.key, m.ROUTING.key)
"""Columns that are words, also where a phase is called 1."""


class TrainingStoppedError(FailedError):
    """Training cannot go on; what was learned is saved. The message says why."""


class CannotWriteError(TrainingStoppedError):
    """A disk is full or read-only. The message says what could not be written, and what is safe."""


class RunDirectory:
    """The directory of one run, made when missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._progress = path / PROGRESS
        self._starts = path / STARTS
        self._writer: SummaryWriter | None = None
        self._words: dict[str, str] = {}

    @classmethod
    def claim(cls, run: RunConfig, resumed_from: Path | None) -> RunDirectory:
        """Take a run's directory: a new one, that of the run which is resumed, or one whose run came to nothing.

        Raises:
            ConfigError: it holds another run, or nothing can be written there.
        """
        path = run.directory
        own = resumed_from is not None and path.resolve() == resumed_from.parent.parent
        try:
            if path.exists() and not own and not _came_to_nothing(path):
                how = f"go on with it by --resume {path}"
                if not periodic(path / CHECKPOINTS):  # it was killed
                    how = "move it away: it ended before its first checkpoint, so nothing can be resumed"
                raise ConfigError([f"exp_name: {path} holds a run already; choose another name, or {how}"])
            directory = cls(path)
        except OSError as error:
            raise ConfigError([f"output_dir: cannot make {path} ({error.strerror})"]) from error
        places = (path, directory.checkpoints)
        if errors := [error for place in places for error in directory_errors("output_dir", place)]:
            raise ConfigError(errors)
        return directory

    def describe(self, experiment: Experiment, command: Iterable[str]) -> None:
        """Write the experiment, from which the run can be repeated, and its schedule."""
        write_whole(self.path / CONFIG, f"# {shlex.join(command)}\n{experiment.to_yaml()}")
        write_whole(self.path / SCHEDULE, experiment.schedule.to_yaml())

    def add_start(self, start: Mapping[str, Any]) -> None:
        """Add a line to starts.jsonl: how and by what the run was begun or resumed, in plain values."""
        before = self._starts.read_text() if self._starts.exists() else ""
        write_whole(self._starts, f"{before}{json.dumps(start)}\n")

    def rows(self) -> list[m.Row]:
        """All rows written so far (see `read_rows`)."""
        return read_rows(self._progress) if self._progress.exists() else []

    def adopt(self, run: Path) -> None:
        """Take over rows and starts from the directory of a run that was fetched from a storage and goes on here."""
        for own in (self._progress, self._starts):
            if (run / own.name).exists() and not own.exists():
                with atomic_write(own) as partial:
                    shutil.copyfile(run / own.name, partial)

    def keep_rows_until(self, iteration: int) -> list[m.Row]:
        """Drop rows after an iteration: a resumed run plays them again. Returns the rows kept."""
        kept = [row for row in self.rows() if row[m.ITERATION.key] <= iteration]
        if self._progress.exists():
            self._rewrite(kept)
        return kept

    def append(self, row: Mapping[str, Any], histograms: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Add one iteration's measures to progress.csv and TensorBoard.

        Args:
            row: The measures by key.
            histograms: For TensorBoard alone: the fields of a `gate_histograms.Histogram` by key.
        """
        if self._writer is None:
            from tensorboardX import SummaryWriter  # late: a refusal must not wait for it

            kept = self.rows()
            # What is later than the rows kept, of a run that was resumed, is played again.
            purge_step = kept[-1][m.EPISODES_TOTAL.key] + 1 if kept else 0
            self._writer = SummaryWriter(str(self.path), purge_step=purge_step)
        columns = self._columns()
        if row.keys() <= set(columns):
            with self._progress.open("a", newline="") as stream:
                csv.DictWriter(stream, columns, restval=math.nan).writerow(row)
        else:
            self._rewrite([*self.rows(), row])
        episodes = row[m.EPISODES_TOTAL.key]
        for key, value in row.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._writer.add_scalar(key, value, episodes)
            elif isinstance(value, str) and self._words.get(key) != value:  # a word, where it changes
                self._words[key] = value
                self._writer.add_text(key, value, episodes)
        for key, histogram in (histograms or {}).items():
            self._writer.add_histogram_raw(
                key,
                min=histogram["least"],
                max=histogram["most"],
                num=sum(histogram["counts"]),
                sum=histogram["total"],
                sum_squares=histogram["squares"],
                bucket_limits=histogram["limits"],
                bucket_counts=histogram["counts"],
                global_step=episodes,
            )
        self._writer.flush()

    def _columns(self) -> list[str]:
        if not self._progress.exists():
            return []
        with self._progress.open(newline="") as stream:
            return next(csv.reader(stream), [])

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write progress.csv anew, in one step; what a row lacks is NaN."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_write(self._progress) as partial, partial.open("w", newline="") as stream:
            if rows:
                writer = csv.DictWriter(stream, columns, restval=math.nan)
                writer.writeheader()
                writer.writerows(rows)

    def write_summary(self, summary: Mapping[str, Any]) -> Path:
        """Write summary.json in one step and return its path."""
        path = self.path / SUMMARY
        write_whole(path, json.dumps(summary, indent=2) + "\n")
        return path

    def remove_if_empty(self) -> None:
        """Remove the directory where nothing was written to it."""
        with suppress(OSError):
            if list(self.path.iterdir()) == [self.checkpoints]:
                self.checkpoints.rmdir()
                self.path.rmdir()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_rows(progress: Path) -> list[m.Row]:
    """Read a progress.csv, numbers as numbers.

    A row that is cut off (still being written, full disk, power failure) is left out: one with too few columns, or a
    last one without its line's end.
    """
    with progress.open(newline="", encoding="utf-8") as stream:
        text = stream.read()
    whole = text[: text.rfind("\n") + 1]
    return [
        {key: value if key in TEXT_KEYS else _parsed(value) for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(whole, newline=""))
        if None not in row.values() and None not in row
    ]


def count_lines(progress: Path) -> int:
    """Return the number of a progress.csv's lines after the first that were written to their end, cut rows included."""
    with progress.open(encoding="utf-8") as stream:
        return max(0, sum(line.endswith("\n") and line != "\n" for line in stream) - 1)


def _came_to_nothing(path: Path) -> bool:
    """Return whether a directory holds only what a run leaves that failed before its first iteration and checkpoint."""
    known = {CHECKPOINTS, CONFIG, SCHEDULE, STARTS}
    return (
        path.is_dir() and {entry.name for entry in path.iterdir()} <= known and not any((path / CHECKPOINTS).glob("*"))
    )


def _parsed(value: str) -> Any:
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        return value


@contextmanager
def write_errors(directory: RunDirectory) -> Iterator[None]:
    """Turn an error in writing to a run's directory into words.

    Raises:
        CannotWriteError: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        latest = directory.checkpoints / LATEST
        safe = f"the last checkpoint is whole: {latest.resolve()}" if latest.exists() else "there is no checkpoint yet"
        raise CannotWriteError(f"cannot write to {directory.path}: {error}; {safe}") from error
