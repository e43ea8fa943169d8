"""Results of a search: the table of its trials, and the files that are left.

results/tune/<exp-name>/
  search.yaml  trials.csv  trials.json  trial_00000/ ...
  best/config.yaml  best/checkpoint/

Tune's own data frame does not tell a trial that was stopped early, cloned or interrupted from others.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from ray.tune.experiment import Trial
from rich.console import Group, RenderableType
from rich.table import Table

from rllib_moe import metrics as m
from rllib_moe.runtime.files import atomic_write, write_whole
from rllib_moe.runtime.invocation import called_as
from rllib_moe.studies.tuning.search import trial_number
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.trial import CHECKPOINT, CLONES, EPISODES_TOTAL, MOE, MUTUAL_INFORMATION, SCORE

STATES = FINISHED, STOPPED, UNFINISHED, FAILED = "finished", "stopped early", "unfinished", "failed"
"""States of a trial: reached its total, was stopped by the scheduler, was interrupted, ended with an error."""
_SHOWN = {"alpha_entropy": ".2f", "mutual_information": ".2f", "min_expert_share": ".0%"}

Record = Mapping[str, Any]
"""Row of the table, as `record_of` returns it."""


def record_of(trial: Trial, space: SearchSpace, *, is_interrupted: bool) -> dict[str, Any]:
    """Return the record of a trial of Tune's, in plain form; what is not known is None.

    Its measures are those of the last result (`score` and `mutual_information` means over the last episodes), its
    `values` the parameters' as they stood at the end, and `clones` donor, episode count and values since for each time
    that it became a copy of another trial (PBT), whose episodes count as its own.
    """
    last: dict[str, Any] = trial.last_result or {}
    row: m.Row = last.get(MOE, {})
    episodes, has_failed = last.get(EPISODES_TOTAL, 0), trial.status == Trial.ERROR
    short = UNFINISHED if is_interrupted or trial.status != Trial.TERMINATED else STOPPED
    measures = {
        "score": last.get(SCORE),
        "alpha_entropy": row.get(m.ALPHA_ENTROPY.key),
        "mutual_information": last.get(MUTUAL_INFORMATION),
        "min_expert_share": row.get(m.MIN_EXPERT_SHARE.key),
    }
    return {
        "number": trial_number(trial),
        "state": FAILED if has_failed else FINISHED if episodes >= space.example.run.episodes else short,
        **{key: value if value is not None and math.isfinite(value) else None for key, value in measures.items()},
        "episodes": episodes,
        "phase": row.get(m.PHASE.key),
        "values": space.values(trial.config["overrides"]),
        "clones": trial.config.get(CLONES, []),
        "error": _error(trial) if has_failed else None,
        "path": str(trial.path),
        "checkpoint": str(Path(trial.checkpoint.path) / CHECKPOINT) if trial.checkpoint else None,
    }


def _error(trial: Trial) -> str:
    """Return the last line of a trial's traceback that names an error."""
    lines = [line.strip() for line in str(trial.get_error() or "").splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*Error\w*(\([^)]*\))?: ", line)]
    return named[-1] if named else "unknown; Ray's logs may say more"


def best_first(records: Sequence[Record], metric: str) -> list[Record]:
    """Return records in order: whole trials before others, then by `score` or `mutual_information`."""

    def rank(record: Record) -> tuple[Any, ...]:
        value = record[metric]
        return STATES.index(record["state"]), math.inf if value is None else -value, record["number"]

    return sorted(records, key=rank)


def trial_table(records: Sequence[Record], metric: str) -> RenderableType:
    """Return the table that ends a search, and below it the number of trials in each state, and why some failed.

    Args:
        records: The trials, best first.
    """
    table = Table(title=f"Trials by {metric}, whole ones first", title_justify="left")
    for heading in ("trial", "score", "alpha entropy", "MI", "least share", "episodes"):
        table.add_column(heading, justify="right")
    table.add_column("state")
    searched = list(records[0]["values"]) if records else []
    for name in searched:
        table.add_column(name.replace(", ", ",\n"), justify="right", overflow="fold")
    for record in records:
        copied = f", copied {len(record['clones'])}x" if record["clones"] else ""
        table.add_row(
            str(record["number"]),
            *(_shown(record[key], _SHOWN.get(key, ".4g")) for key in ("score", *_SHOWN)),
            str(record["episodes"]),
            record["state"] + copied,
            *(_shown(record["values"][name]) for name in searched),
        )
    counts = {state: sum(record["state"] == state for record in records) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == FINISHED)
    failed = (f"trial {each['number']} failed: {each['error']}" for each in records if each["error"])
    return Group(table, told, *failed)


def _shown(value: Any, form: str = ".4g") -> str:
    return "-" if value is None else f"{value:{form}}" if isinstance(value, float) else str(value)


def train_command(config: str) -> str:
    """Return the command that trains the experiment of a file."""
    return shlex.join(called_as("train", "--config", str(config)))


def write_outcome(records: Sequence[Record], space: SearchSpace, directory: Path) -> dict[str, str]:
    """Write the trials, and the best one ready to train; files of an earlier part of the search are replaced.

    Args:
        records: The trials, best first.

    Returns:
        Paths by content. Without a trial that was scored there is no best one.
    """
    paths = {"table": directory / "trials.csv", "numbers": directory / "trials.json"}
    write_whole(paths["numbers"], json.dumps(records, indent=1) + "\n")
    rows = [{**record, "clones": len(record["clones"]), **record["values"]} for record in records]
    with atomic_write(paths["table"]) as partial:
        pd.DataFrame(rows).drop(columns="values", errors="ignore").to_csv(partial, index=False)
    best = next((record for record in records[:1] if record["state"] != FAILED and record["score"] is not None), None)
    copy = directory / "best" / "checkpoint"
    shutil.rmtree(copy, ignore_errors=True)  # of another trial, of an earlier part of the search
    if best:
        experiment = space.apply_values(best["values"])
        experiment = experiment.with_overrides({"exp_name": f"{experiment.run.exp_name}-best"})
        paths["config"] = directory / "best" / "config.yaml"
        write_whole(paths["config"], f"# {train_command(str(paths['config']))}\n{experiment.to_yaml()}")
        if best["checkpoint"]:
            paths["checkpoint"] = copy
            shutil.copytree(best["checkpoint"], copy)
    return {name: str(path) for name, path in paths.items()}
