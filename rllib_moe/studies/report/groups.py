"""Runs that differ in seed only as groups, and their means over seeds as a table. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rllib_moe import metrics as m
from rllib_moe.studies.report.curves import Curve, half_width, metric_curve, score_curve
from rllib_moe.studies.report.runs import Run

COMPARED: dict[str, Callable[[Run], Curve | None]] = {
    "score": score_curve,
    "alpha_entropy": partial(metric_curve, metric=m.ALPHA_ENTROPY),
    "mutual_information": partial(metric_curve, metric=m.MUTUAL_INFORMATION),
    "min_expert_share": partial(metric_curve, metric=m.MIN_EXPERT_SHARE),
}
"""Curve of one run by the name of its column."""


@dataclass(frozen=True)
class Group:
    """Runs, at least one, that are compared as one, by their mean."""

    name: str
    runs: tuple[Run, ...]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Put runs together that differ in seed only, in the order of their first members."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(_identity(run), []).append(run)
    return [Group(_title(members), tuple(members)) for members in parts.values()]


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


def comparison_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a line for each group: means over its runs at the last episode that all runs have reached.

    Each value is the mean and half of its interval's width (None for one run); None where it was never logged.
    """
    at = min(run.episodes_total for group in groups for run in group.runs)
    return [
        {
            "name": group.name,
            "runs": len(group.runs),
            "episode": at,
            **{name: _at(group, at, curve_of) for name, curve_of in COMPARED.items()},
        }
        for group in groups
    ]


def _at(group: Group, episode: int, curve_of: Callable[[Run], Curve | None]) -> tuple[float, float | None] | None:
    curves = [curve for run in group.runs if (curve := curve_of(run)) is not None and curve.episodes[0] <= episode]
    if not curves:
        return None
    values = np.array([np.interp(episode, curve.episodes, curve.mean) for curve in curves])
    return float(values.mean()), None if len(values) == 1 else float(half_width(values))
