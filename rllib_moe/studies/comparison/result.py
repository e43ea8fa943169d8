"""What a comparison has found so far: reads the runs that are done and writes table.json, table.md and curves.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_moe.phases import PhaseSchedule
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.comparison.curves import draw_curves
from rllib_moe.studies.comparison.done import (
    BASELINES,
    DRAWN,
    MOST_PROBABLE,
    baselines,
    judgements,
    trained,
    without_expert,
)
from rllib_moe.studies.comparison.plan import Plan, Run
from rllib_moe.studies.comparison.table import baseline_row, markdown, removal_row, run_numbers, variant_row
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.runs import read_run
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.summary import summarise


def write_result(plan: Plan, directory: Path) -> dict[str, Any]:
    """Write what the runs of a plan show so far; one that is not trained to the end, or not evaluated since, does not
    count yet.

    Args:
        plan: The plan.
        directory: Where its runs are.

    Returns:
        The rows of the baselines (`baselines`), of the variants with at least one run done (`variants`), of the experts
        removed (`removed_experts`), and the names of what is not done (`missing`).
    """
    done: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[Any]] = {}
    removals, missing = [], []
    boundaries: tuple[int, ...] = ()
    for run in sorted(plan.runs(), key=lambda run: (run.variant, run.seed)):
        path = directory / run.name
        measured = _measured(plan, run, path)
        if measured is None:
            missing.append(run.name)
            continue
        rows, drawn = RunDirectory(path).rows(), measured[DRAWN]
        numbers = run_numbers(run.seed, summarise(rows), drawn, measured.get(MOST_PROBABLE))
        done.setdefault(run.variant, []).append(numbers)
        if (curve := score_curve(read_run(path))) is not None:
            curves.setdefault(run.variant, []).append(curve)
        boundaries = boundaries or PhaseSchedule.load(path / "schedule.yaml").boundaries
        removals += [
            removal_row(run.seed, expert, drawn, measured[name])
            for expert in range(len(drawn["expert_share"] or ()))
            if (name := without_expert(expert)) in measured
        ]
    played = {}
    for asked in baselines(plan):
        found = asked.numbers(directory / BASELINES, None)
        if found is None:
            missing.append(f"{BASELINES}/{asked.name}")
        else:
            played[asked.name] = baseline_row(found)
    reference = done.get(plan.variants[0].name, [])
    table = {
        variant.name: variant_row(variant.about, done[variant.name], reference)
        for variant in plan.variants
        if variant.name in done
    }
    result = {"baselines": played, "variants": table, "removed_experts": removals, "missing": missing}
    if table:
        with atomic_write(directory / "table.json") as partial:
            partial.write_text(json.dumps(result, indent=1) + "\n")
        with atomic_write(directory / "table.md") as partial:
            partial.write_text(markdown(played, table, removals))
    if curves:
        draw_curves({name: curves[name] for name in table if name in curves}, boundaries, directory / "curves.png")
    return result


def _measured(plan: Plan, run: Run, directory: Path) -> dict[str, dict[str, Any]] | None:
    """The evaluations of a run's final checkpoint by name; None where it, or one of the whole network, is not done.

    Those without an expert count one by one.
    """
    checkpoint = trained(directory, plan.episodes)
    if checkpoint is None:
        return None
    asked = list(judgements(plan, run, checkpoint.config.model.num_experts))
    measured = {
        each.name: numbers for each in asked if (numbers := each.numbers(directory, checkpoint.episodes)) is not None
    }
    needed = {each.name for each in asked if each.name in (DRAWN, MOST_PROBABLE)}
    return measured if needed <= measured.keys() else None
