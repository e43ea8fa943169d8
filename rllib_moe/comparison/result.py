"""What a comparison has found so far: reads the runs that are done and writes table.json, table.md and curves.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_moe.comparison.curves import draw_curves, score_curve
from rllib_moe.comparison.plan import Plan
from rllib_moe.comparison.runner import DRAWN, MOST_PROBABLE, without_expert
from rllib_moe.comparison.table import markdown, removal_row, run_numbers, variant_row
from rllib_moe.phases import PhaseSchedule
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.whole_files import whole


def write_result(plan: Plan, directory: Path) -> dict[str, Any]:
    """Write what the runs of a plan show so far; a run without both evaluations does not count yet.

    Args:
        plan: The plan.
        directory: Where its runs are.

    Returns:
        The rows of the variants with at least one run done (`variants`), of the experts removed (`removed_experts`),
        and the names of the runs that are not done (`missing`).
    """
    done: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[Any]] = {}
    removals, missing = [], []
    boundaries: tuple[int, ...] = ()
    for run in sorted(plan.runs(), key=lambda run: (run.variant, run.seed)):
        path = directory / run.name
        if not all((path / f"{name}.json").exists() for name in ("summary", DRAWN, MOST_PROBABLE)):
            missing.append(run.name)
            continue
        summary, drawn, most_probable = (_read(path / f"{name}.json") for name in ("summary", DRAWN, MOST_PROBABLE))
        done.setdefault(run.variant, []).append(run_numbers(run.seed, summary, drawn, most_probable))
        curves.setdefault(run.variant, []).append(score_curve(RunDirectory(path).rows(), plan.episodes))
        boundaries = boundaries or PhaseSchedule.load(path / "schedule.yaml").boundaries
        removals += [
            removal_row(run.seed, expert, drawn, _read(removed))
            for expert in range(len(drawn["expert_share"] or ()))
            if (removed := path / f"{without_expert(expert)}.json").exists()
        ]
    reference = done.get(plan.variants[0].name, [])
    rows = {
        variant.name: variant_row(variant.about, done[variant.name], reference)
        for variant in plan.variants
        if variant.name in done
    }
    result = {"variants": rows, "removed_experts": removals, "missing": missing}
    if rows:
        with whole(directory / "table.json") as partial:
            partial.write_text(json.dumps(result, indent=1) + "\n")
        with whole(directory / "table.md") as partial:
            partial.write_text(markdown(rows, removals))
        with whole(directory / "curves.png") as partial:
            draw_curves({name: curves[name] for name in rows}, boundaries, partial)
    return result


def _read(path: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(path.read_text())
    return numbers
