"""What a search leaves on disk: the trials as CSV and JSON, the plot, and the best configuration, ready to train.

results/tune/<exp-name>/
  search.yaml  trials.csv  trials.json  trials.png  trial_00000/ ...
  best/schedule.yaml  best/train.sh  best/checkpoint/
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_moe.config import EnvironmentConfig, ExperimentConfig, ModelConfig, TrainingConfig
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.tuning.plot import plot_trials
from rllib_moe.studies.tuning.records import FAILED, TrialRecord
from rllib_moe.studies.tuning.request import SearchRequest
from rllib_moe.studies.tuning.trial import CHECKPOINT


def write_outcome(records: Sequence[TrialRecord], request: SearchRequest, directory: Path) -> dict[str, str]:
    """Write everything; what an earlier part of the search wrote is replaced.

    Args:
        records: The trials, best first.
        request: The request.
        directory: The search's directory.

    Returns:
        Paths by what they hold. Without a trial that was scored there is no best one.
    """
    paths = {"table": directory / "trials.csv", "numbers": directory / "trials.json"}
    plain = [record.to_dict() for record in records]
    _replace(paths["numbers"], json.dumps(plain, indent=1) + "\n")
    rows = [{key: value for key, value in row.items() if key != "values"} | row["values"] for row in plain]
    with atomic_write(paths["table"]) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    if any(record.episodes for record in records):
        paths["plot"] = directory / "trials.png"
        plot_trials(records, request.space.schedule.boundaries, paths["plot"])
    if records and records[0].state != FAILED and math.isfinite(records[0].metric):
        paths |= _write_best(records[0], request, directory / "best")
    return {name: str(path) for name, path in paths.items()}


def _write_best(record: TrialRecord, request: SearchRequest, directory: Path) -> dict[str, Path]:
    """Write the best trial's schedule, command and last checkpoint."""
    directory.mkdir(exist_ok=True)
    config, schedule = request.space.settled(record.settings)
    schedule.save(directory / "schedule.yaml")
    flags = train_flags(config, directory / "schedule.yaml", f"{request.search.exp_name}-best")
    _replace(directory / "train.sh", shlex.join(["python", "scripts/train.py", *flags]) + "\n")
    paths = {"schedule": directory / "schedule.yaml", "command": directory / "train.sh"}
    copy = directory / "checkpoint"
    shutil.rmtree(copy, ignore_errors=True)  # of another trial, of an earlier part of the search
    # A trial that became another one's clone begins from a copy of the donor's checkpoint, which has the donor's mtime.
    checkpoints = [
        each for kind in ("", "cloned_") for each in Path(record.path).glob(f"{kind}checkpoint_*/{CHECKPOINT}")
    ]
    if checkpoints:
        shutil.copytree(max(checkpoints, key=lambda path: path.stat().st_ctime_ns), copy)
        paths["checkpoint"] = copy
    return paths


def train_flags(config: ExperimentConfig, schedule: Path, exp_name: str) -> list[str]:
    """Flags with which `scripts/train.py` makes the same experiment: those that differ from its defaults.

    Args:
        config: The trial's configuration.
        schedule: The file of its schedule.
        exp_name: Name of the run.
    """
    flags = ["--exp-name", exp_name, "--episodes", str(config.run.episodes), "--schedule", os.fspath(schedule)]
    defaults: tuple[Any, ...] = (EnvironmentConfig(), TrainingConfig(), ModelConfig())
    for section, default in zip((config.environment, config.training, config.model), defaults, strict=True):
        for each in dataclasses.fields(default):
            value = getattr(section, each.name)
            if each.name == "env_args":
                for name, argument in value.items():
                    flags += ["--env-arg", f"{name}={json.dumps(argument)}"]
            elif value != getattr(default, each.name):
                flag = each.name.replace("_", "-")
                flags += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


def _replace(path: Path, text: Any) -> None:
    """Write in one step."""
    with atomic_write(path) as partial:
        partial.write_text(text)
