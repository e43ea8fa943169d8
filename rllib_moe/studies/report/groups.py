"""Which runs belong together: those that differ in their seed (and name and place) only. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rllib_moe.studies.report.runs import Run

Grouping = Literal["seed", "none", "all"]
"""`seed`: runs that differ in seed only are one group; `none`: each run is its own; `all`: one group."""


@dataclass(frozen=True)
class Group:
    """Runs that are compared as one, by their mean."""

    name: str
    """What it is called in figures."""
    runs: tuple[Run, ...]
    """At least one."""


def group_runs(runs: Sequence[Run], grouping: Grouping) -> list[Group]:
    """Put runs together, in the order of their first members."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        key = {"none": str(run.path), "all": ""}.get(grouping) if grouping != "seed" else _identity(run)
        parts.setdefault(str(key), []).append(run)
    names = run_names(runs)
    return [Group(_title(members, names), tuple(members)) for members in parts.values()]


def _identity(run: Run) -> str:
    """Everything that makes a run what it is but its seed, name, place and length."""
    if run.config is None or run.schedule is None:
        return str(run.path)  # unknown: alone
    config: dict[str, Any] = {name: section for name, section in run.config.items() if name != "run"}
    training = config.get("training")
    if isinstance(training, dict):
        config["training"] = {name: value for name, value in training.items() if name != "seed"}
    return json.dumps([config, run.schedule.to_dict()], sort_keys=True, default=str)


def run_names(runs: Sequence[Run]) -> dict[Path, str]:
    """A name for each run by its path; runs of one name are told apart by their parent directory."""
    names = [run.name for run in runs]
    return {
        run.path: run.name if names.count(run.name) == 1 else f"{run.path.resolve().parent.name}/{run.name}"
        for run in runs
    }


def _title(members: Sequence[Run], names: dict[Path, str]) -> str:
    first = names[members[0].path]
    if len(members) == 1:
        return first
    seeds = [str(run.seed) for run in members]
    told = f"seeds {', '.join(seeds)}" if len(set(seeds)) == len(seeds) else f"{len(members)} runs"
    return f"{first} and like it ({told})"
