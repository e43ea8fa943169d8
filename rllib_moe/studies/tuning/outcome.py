"""The files of a search: the trials as CSV and JSON, the plot, and the best experiment, ready to train.

results/tune/<exp-name>/
  search.yaml  trials.csv  trials.json  trials.png  trial_00000/ ...
  best/config.yaml  best/checkpoint/
"""

from __future__ import annotations

import csv
import json
import math
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from rllib_moe.runtime.files import atomic_write
from rllib_moe.runtime.invocation import called_as
from rllib_moe.studies.tuning.plot import plot_trials
from rllib_moe.studies.tuning.records import FAILED, TrialRecord
from rllib_moe.studies.tuning.search_space import SearchSpace


def write_outcome(records: Sequence[TrialRecord], space: SearchSpace, directory: Path) -> dict[str, str]:
    """Write everything; the files of an earlier part of the search are replaced.

    Args:
        records: The trials, best first.
        space: The search space.
        directory: The search's directory.

    Returns:
        Paths by content. Without a trial that was scored there is no best one.
    """
    paths = {"table": directory / "trials.csv", "numbers": directory / "trials.json"}
    plain = [record.to_dict() for record in records]
    with atomic_write(paths["numbers"]) as partial:
        partial.write_text(json.dumps(plain, indent=1) + "\n")
    rows = [{**row, "clones": len(row["clones"]), **row["values"]} for row in plain]
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "values"]
    with atomic_write(paths["table"]) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    if any(record.episodes for record in records):
        paths["plot"] = directory / "trials.png"
        boundaries = {space.apply_values(record.values).schedule.boundaries for record in records}
        plot_trials(records, boundaries.pop() if len(boundaries) == 1 else (), paths["plot"])
    if records and records[0].state != FAILED and math.isfinite(records[0].score):
        paths |= _write_best(records[0], space, directory / "best")
    return {name: str(path) for name, path in paths.items()}


def train_command(config: Path) -> str:
    """Return the command that trains the experiment of a file."""
    return shlex.join(called_as("train", "--config", str(config)))


def _write_best(record: TrialRecord, space: SearchSpace, directory: Path) -> dict[str, Path]:
    """Write the best trial's experiment and its last checkpoint."""
    experiment = space.apply_values(record.values)
    experiment = experiment.with_overrides({"exp_name": f"{experiment.run.exp_name}-best"})
    config, copy = directory / "config.yaml", directory / "checkpoint"
    with atomic_write(config) as partial:
        partial.write_text(f"# {train_command(config)}\n{experiment.to_yaml()}")
    shutil.rmtree(copy, ignore_errors=True)  # of another trial, of an earlier part of the search
    if not record.checkpoint:
        return {"config": config}
    shutil.copytree(record.checkpoint, copy)
    return {"config": config, "checkpoint": copy}
