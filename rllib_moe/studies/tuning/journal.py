"""What a search writes down while it runs, one JSON object a line in each trial's directory, and how it is read.

Tune has files of this kind, but begins them anew when a search is resumed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

RESULTS = "results.jsonl"
"""What a trial reported, an iteration a line."""
CLONES = "clones.jsonl"
"""How a trial became a copy of others (PBT): which one, at which episode, and its values since."""
ITERATION = "training_iteration"
"""Tune's count in a result: it goes back when a trial goes on from a checkpoint."""


def trial_directory(trial: Trial) -> Path:
    """Where a trial's files are."""
    return Path(str(trial.path))


def trial_number(trial: Trial) -> int:
    """A trial's number in its search, from 0."""
    _, is_numbered, number = trial.trial_id.rpartition("_")
    if is_numbered:
        return int(number)
    # A searcher's trial (Optuna): its id is a random one, and Tune counts these from 1, in the tag.
    return int(trial.experiment_tag.partition("_")[0]) - 1


def append_line(file: Path, entry: dict[str, Any]) -> None:
    """Add a JSON object to a file of lines; after a line that was cut off (killed, disk full), on a new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(entry).encode() + b"\n")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file of lines, without one that was cut off where the process was killed."""
    entries = []
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def read_results(directory: Path) -> list[dict[str, Any]]:
    """What a trial reported and still counts, in order.

    Iterations that were played again, after an interruption or as a clone of another trial, replace those of before.

    Args:
        directory: The trial's directory.
    """
    kept: list[dict[str, Any]] = []
    for result in read_lines(directory / RESULTS):
        while kept and kept[-1][ITERATION] >= result[ITERATION]:
            kept.pop()
        kept.append(result)
    return kept
