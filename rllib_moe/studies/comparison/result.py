"""Result of a comparison so far: reads the runs that are done and writes table.json, table.md and curves.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_moe.runtime.files import write_whole
from rllib_moe.studies.comparison.curves import draw_curves
from rllib_moe.studies.comparison.done import (
    BASELINES,
    DRAWN,
    MOST_PROBABLE,
    baselines,
    evaluations,
    measured,
    trained,
    without_expert,
)
from rllib_moe.studies.comparison.plan import Plan, PlannedRun
from rllib_moe.studies.comparison.table import (
    baseline_row,
    markdown,
    removal_row,
    run_numbers,
    variant_rows,
    with_normalized,
)
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.runs import read_run


def write_result(plan: Plan, directory: Path) -> dict[str, Any]:
    """Write what the runs of a plan show so far.

    A run that is not trained to the end, or not evaluated since, does not count yet.

    Returns:
        The question (`primary`, `reference`, `test`), the rows of the baselines (`baselines`), of the variants with at
        least one run done (`variants`), of the experts removed (`removed_experts`), and the names of what is not done
        (`missing`).
    """
    done: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[Any]] = {}
    removals, missing = [], []
    for run in sorted(plan.runs(), key=lambda run: (run.variant, run.seed)):
        found = _evaluated(plan, run, directory)
        if found is None:
            missing.append(run.name)
            continue
        drawn = found[DRAWN]
        numbers = run_numbers(run.seed, plan.primary, drawn, found.get(MOST_PROBABLE))
        done.setdefault(run.variant, []).append(numbers)
        if (curve := score_curve(read_run(directory / run.name))) is not None:
            curves.setdefault(run.variant, []).append(curve)
        removals += [
            removal_row(run.variant, run.seed, expert, drawn, found[name])
            for expert in range(len(drawn["expert_share"] or ()))
            if (name := without_expert(expert)) in found
        ]
    played = {}
    for policy, request in baselines(plan, directory).items():
        if numbers_played := measured(request, None):
            played[policy] = baseline_row(with_normalized(plan, numbers_played))
        else:
            missing.append(f"{BASELINES}/{policy}")
    table = variant_rows(plan, done)
    question = {"primary": plan.primary, "reference": plan.reference_name, "test": plan.test}
    result = question | {"baselines": played, "variants": table, "removed_experts": removals, "missing": missing}
    if table:
        write_whole(directory / "table.json", json.dumps(result, indent=1) + "\n")
        write_whole(directory / "table.md", markdown(plan, played, table, removals))
    if curves:
        names = sorted((name for name in table if name in curves), key=lambda name: name != plan.reference_name)
        boundaries = {
            name: [first for first in experiment.schedule.boundaries if first < plan.episodes]
            for name, experiment in plan.experiments.items()
        }
        draw_curves({name: curves[name] for name in names}, plan.reference_name, boundaries, directory / "curves.png")
    return result


def _evaluated(plan: Plan, run: PlannedRun, directory: Path) -> dict[str, dict[str, Any]] | None:
    """Return the evaluations of a run's last checkpoint by name; None where one of the whole network is missing.

    Those without an expert count one by one.
    """
    checkpoint = trained(directory / run.name, plan.episodes)
    if checkpoint is None:
        return None
    asked = evaluations(plan, run, checkpoint, directory)
    found = {
        name: with_normalized(plan, numbers)
        for name, request in asked.items()
        if (numbers := measured(request, checkpoint.episodes)) is not None
    }
    return found if {DRAWN, MOST_PROBABLE} & asked.keys() <= found.keys() else None
