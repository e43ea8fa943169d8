"""A run as its directory tells it, finished or still going, and groups of runs that differ in seed only.

Reads only. What is missing or damaged beside the measures is named in `Run.omissions` and left out.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from rllib_moe import metrics as m
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.run_directory import CONFIG, PROGRESS, SCHEDULE, STARTS, TEXT_KEYS, count_lines, read_rows
from rllib_moe.training.summary import summarize
from rllib_moe.validation.errors import ConfigError, collected

NEEDED = (m.EPISODES_TOTAL, m.EPISODES, m.ITERATION, m.PHASE)
"""Columns without which nothing can be drawn."""


class PhaseSpan(NamedTuple):
    """A phase as a run played it."""

    name: str
    first: float
    """First episode; a run that branched off another one may begin in the middle of a phase."""
    last: float
    position: int
    """Its position in the schedule."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One run, as far as its directory tells it."""

    path: Path
    name: str
    """Name in figures and tables."""
    rows: list[m.Row]
    """One an iteration, at least one."""
    config: dict[str, Any] | None
    """Its configuration, in plain form, without the command."""
    command: list[str] | None
    schedule: PhaseSchedule | None
    evaluations: dict[str, dict[str, Any]]
    """Contents of evaluation*.json, by file name."""
    omissions: tuple[str, ...]
    """Missing and damaged parts, in words."""
    starts: Sequence[dict[str, Any]] = ()
    """Date, commit, machine and more of each time it was begun or resumed."""

    @property
    def episodes_total(self) -> int:
        """Episodes played."""
        return int(self.rows[-1][m.EPISODES_TOTAL.key])

    @property
    def num_experts(self) -> int:
        """Experts whose shares were logged."""
        return len(m.shares_of(self.rows[-1]))

    @property
    def role_names(self) -> Sequence[str]:
        """Names of the environment's roles when the run was last begun or resumed."""
        return self.starts[-1].get("role_names") or () if self.starts else ()

    def setting(self, section: str, name: str) -> Any:
        """Return one value of the configuration, None where it is unknown."""
        values = (self.config or {}).get(section)
        return values.get(name) if isinstance(values, dict) else None

    def column(self, metric: m.Metric) -> np.ndarray:
        """One metric's numbers [iterations], NaN where it is missing or no number."""
        return np.array([row.get(metric.key, math.nan) for row in self.rows])

    def phases(self) -> list[PhaseSpan]:
        """Phases played, in order."""
        known = [phase.name for phase in self.schedule.phases] if self.schedule else []
        spans: list[PhaseSpan] = []
        for row in self.rows:
            name, episode = str(row[m.PHASE.key]), float(row[m.EPISODES_TOTAL.key])
            if spans and spans[-1].name == name:
                spans[-1] = spans[-1]._replace(last=episode)
            else:
                first = spans[-1].last if spans else episode - float(row[m.EPISODES.key])
                position = known.index(name) if name in known else len(spans)
                spans.append(PhaseSpan(name, first, episode, position))
        return spans

    def summary(self) -> dict[str, Any]:
        """Summarize the rows as of now (a run that is going on has no file of it, or an old one)."""
        words = {m.PHASE.key: "?", m.ROUTING.key: "?"}
        filled = [dict.fromkeys((metric.key for metric in m.METRICS), math.nan) | words | row for row in self.rows]
        return summarize(filled)


@dataclass(frozen=True)
class Group:
    """Runs, at least one, that are compared as one, by their mean."""

    name: str
    runs: tuple[Run, ...]


def read_run(path: Path) -> Run:
    """Read one run.

    Raises:
        ConfigError: it is no run directory, or its measures cannot be read.
    """
    if not path.is_dir():
        raise ConfigError([f"{path}: no such directory"], "report")
    progress = path / PROGRESS
    if not progress.is_file():
        hint = " (results/<exp-name>, not its checkpoints)" if (path / "manifest.json").exists() else ""
        if below := sorted(str(each.parent) for each in path.glob(f"*/{PROGRESS}")):
            hint = f"; name one or several of the runs below it: {', '.join(below)}"
        raise ConfigError([f"{path}: expected a run directory with {PROGRESS}, there is none{hint}"], "report")
    omissions: list[str] = []
    rows = _rows(progress, omissions)
    config = _read(path / CONFIG, _mapping, omissions) or {}
    starts = _read(path / STARTS, _starts, omissions) or []
    command = config.pop("command", None) or (starts[-1].get("command") if starts else None)  # runs of before, of today
    return Run(
        path=path,
        name=path.resolve().name,
        starts=starts,
        rows=rows,
        config=config or None,
        command=[str(word) for word in command] if isinstance(command, list) else None,
        schedule=_read(path / SCHEDULE, PhaseSchedule.load, omissions),
        evaluations={
            file.name: numbers
            for file in sorted(path.glob("evaluation*.json"))
            if (numbers := _read(file, _evaluation, omissions)) is not None
        },
        omissions=tuple(omissions),
    )


def read_runs(paths: list[Path]) -> list[Run]:
    """Read several runs, each once; those of one name are told apart by the directories that they do not share.

    Raises:
        ConfigError: naming every one that cannot be read.
    """
    runs: list[Run] = []
    errors: list[str] = []
    for path in dict.fromkeys(each.resolve() for each in paths):
        with collected(errors):
            runs.append(read_run(path))
    if errors:
        raise ConfigError(errors, "report")
    parents = {run.name: [each.path.parent for each in runs if each.name == run.name] for run in runs}
    return [replace(run, name=os.path.relpath(run.path, os.path.commonpath(parents[run.name]))) for run in runs]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Put runs together that differ in seed only, in the order of their first members."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(_identity(run), []).append(run)
    return [Group(_title(members), tuple(members)) for members in parts.values()]


def _rows(progress: Path, omissions: list[str]) -> list[m.Row]:
    try:
        written = count_lines(progress)  # first: a run that goes on adds lines meanwhile
        rows = read_rows(progress)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"{progress}: cannot be read ({error})"], "report") from error
    if not rows:
        raise ConfigError([f"{progress}: no iteration yet; try again after the first one"], "report")
    if missing := [metric.key for metric in NEEDED if metric.key not in rows[0]]:
        raise ConfigError([f"{progress}: expected the columns {', '.join(missing)}, they are missing"], "report")
    cut = max(0, written - len(rows))
    rows = [
        {key: value if key in TEXT_KEYS or isinstance(value, (int, float)) else math.nan for key, value in row.items()}
        for row in rows
    ]
    needed = [metric.key for metric in NEEDED if metric.key not in TEXT_KEYS]
    whole = [row for row in rows if all(math.isfinite(row[key]) for key in needed)]
    if not whole:
        raise ConfigError([f"{progress}: no row with numbers in {', '.join(needed)}"], "report")
    if damaged := cut + len(rows) - len(whole):
        omissions.append(f"{PROGRESS}: {damaged} damaged row{'s' * (damaged > 1)}, left out")
    if missing := [metric.key for metric in m.METRICS if metric.key not in rows[0]]:
        omissions.append(f"{PROGRESS}: metrics that this run did not log: {', '.join(missing)}")
    return whole


def _read(file: Path, reader: Callable[[Path], Any], omissions: list[str]) -> Any:
    """Read a file; None, and an omission, where it is missing or damaged."""
    if not file.exists():
        omissions.append(f"{file.name}: missing")
        return None
    try:
        return reader(file)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:  # json and schedules raise ValueErrors
        reason = str(error).partition("\n")[0]
        omissions.append(f"{file.name}: damaged, left out ({reason})")
    return None


def _mapping(file: Path) -> dict[str, Any]:
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("no mapping")
    return data


def _starts(file: Path) -> list[dict[str, Any]]:
    starts = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if not all(isinstance(start, dict) for start in starts):
        raise ValueError("not one mapping a line")
    return starts


def _evaluation(file: Path) -> dict[str, Any]:
    data = json.loads(file.read_text(encoding="utf-8"))
    needed = {"policy", "episodes", "score_mean", "by_scene", "env_steps"}
    if not isinstance(data, dict) or not needed <= data.keys() or not isinstance(data["by_scene"], dict):
        raise ValueError("not what scripts/evaluate.py writes")
    return data


def _identity(run: Run) -> str:
    """Return everything that makes a run what it is except its seed, name, place and length."""
    if run.config is None or run.schedule is None:
        return str(run.path)  # unknown: alone
    config: dict[str, Any] = {name: section for name, section in run.config.items() if name != "run"}
    if isinstance(training := config.get("training"), dict):
        config["training"] = {name: value for name, value in training.items() if name != "seed"}
    return json.dumps([config, run.schedule.to_dict()], sort_keys=True, default=str)


def _title(members: Sequence[Run]) -> str:
    if len(members) == 1:
        return members[0].name
    seeds = list(dict.fromkeys(str(run.setting("training", "seed")) for run in members))
    told = f"seeds {', '.join(seeds)}" if len(seeds) == len(members) else f"{len(members)} runs"
    stems = {re.sub(r"[-_]?(seed)?[-_]?\d+$", "", run.name) for run in members}
    return f"{stems.pop() if len(stems) == 1 else members[0].name} ({told})"
