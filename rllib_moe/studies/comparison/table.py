"""The table of a comparison: every variant's scores and routing over its seeds, and what each expert is worth. Pure.

The unit is the training seed: errors are over seeds, not over evaluation episodes, except where an expert is removed
from one and the same network.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import stats  # type: ignore[import-untyped]

from rllib_moe import metrics as m
from rllib_moe.metrics import rounded

Numbers = Mapping[str, Any]


def columns(measures: Iterable[str]) -> dict[str, str]:
    """Return the headings of the columns by key.

    Args:
        measures: Names of the environment's own measures.
    """
    return {
        "score_mean": "score",
        "deterministic_score_mean": "most probable action",
        "score_median": "median",
        **{name: m.measure_heading(name) for name in measures},
        "alpha_entropy": "alpha entropy",
        "mutual_information": "MI",
        "min_expert_share": "least share",
    }


def run_numbers(seed: int, summary: Numbers, drawn: Numbers, most_probable: Numbers | None) -> dict[str, Any]:
    """The numbers of one run.

    Args:
        seed: Of the training.
        summary: Its `summary.summarize`.
        drawn: Its evaluation with actions drawn from the policy.
        most_probable: Its evaluation with the most probable actions; None where the plan leaves that out.
    """
    measures = m.evaluated_measures(drawn)
    keys = ("score_mean", "score_se", "score_median", *measures)
    routing = ("alpha_entropy", "mutual_information", "min_expert_share", "expert_share")
    return {
        "seed": seed,
        "measures": measures,
        **{key: drawn[key] for key in (*keys, *routing)},
        "evaluation_episodes": drawn["episodes"],
        **{f"deterministic_{key}": (most_probable or {}).get(key) for key in keys},
        "deterministic_evaluation_episodes": most_probable["episodes"] if most_probable else 0,
        **{key: summary[key] for key in ("episodes_total", "env_steps_total", "wall_seconds", "skipped_updates")},
        "phases": [
            {key: phase[key] for key in ("phase", "score_mean", "alpha_entropy", "alpha_entropy_end")}
            for phase in summary["phases"]
        ],
    }


def variant_row(about: str, runs: Sequence[Numbers], reference: Sequence[Numbers]) -> dict[str, Any]:
    """One variant over its seeds, beside the reference.

    Args:
        about: What it is.
        runs: `run_numbers` of its runs, at least one.
        reference: Those of the reference variant; its own for itself.

    Returns:
        Mean and standard error over seeds of every column (None for the error of one seed), the runs, and under
        `difference` the score less the reference's with its two-sided p by Welch's test (None below two seeds each).
    """
    measures = list(dict.fromkeys(name for run in runs for name in run["measures"]))
    row: dict[str, Any] = {"about": about, "seeds": [run["seed"] for run in runs], "measures": measures}
    for key in columns(measures):
        values = [run[key] for run in runs if run.get(key) is not None]
        row[key] = {
            "mean": statistics.fmean(values) if values else None,
            "se": statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
        }
    if runs is not reference and reference:
        scores, others = ([run["score_mean"] for run in group] for group in (runs, reference))
        enough = len(scores) > 1 and len(others) > 1
        row["difference"] = {
            "mean": statistics.fmean(scores) - statistics.fmean(others),
            "p": float(stats.ttest_ind(scores, others, equal_var=False).pvalue) if enough else None,
        }
    return rounded(row) | {"runs": list(runs)}


def baseline_row(numbers: Numbers) -> dict[str, Any]:
    """A player that learns nothing: its evaluation as columns of the table, errors over episodes."""
    measures = m.evaluated_measures(numbers)
    row: dict[str, Any] = {key: {"mean": numbers.get(key), "se": None} for key in columns(measures)}
    row["score_mean"]["se"] = numbers["score_se"]
    return row | {"measures": measures, "evaluation_episodes": numbers["episodes"]}


def removal_row(seed: int, expert: int, whole: Numbers, without: Numbers) -> dict[str, Any]:
    """Return the worth of one expert: the score lost without it, on the same evaluation seeds.

    Args:
        seed: Of the training.
        expert: The one removed.
        whole: Evaluation of the whole network.
        without: Evaluation without the expert, on the first of the same seeds.

    Returns:
        Mean difference (negative: the expert is missed), its standard error, and the two-sided p of a paired t-test.

    Raises:
        ValueError: the evaluations began at different seeds.
    """
    if whole["seed_base"] != without["seed_base"]:
        raise ValueError(f"seed_base: expected {whole['seed_base']} in both evaluations, got {without['seed_base']}")
    scores = without["episode_scores"]
    pairs = list(zip(scores, whole["episode_scores"], strict=False))
    differences = [score - before for score, before in pairs]
    spread = statistics.stdev(differences) if len(differences) > 1 else None
    return rounded(
        {
            "seed": seed,
            "expert": expert,
            "episodes": len(differences),
            "difference": statistics.fmean(differences),
            "se": spread / math.sqrt(len(differences)) if spread is not None else None,
            "p": float(stats.ttest_rel(*zip(*pairs, strict=True)).pvalue) if spread else None,
        }
    )


def markdown(baselines: Mapping[str, Numbers], rows: Mapping[str, Numbers], removals: Sequence[Numbers]) -> str:
    """Both tables as Markdown, for reading and for the documentation."""
    headings = columns(name for row in (*rows.values(), *baselines.values()) for name in row["measures"])
    lines = [
        f"| variant | seeds | {' | '.join(headings.values())} | against the first |",
        "|---" * (len(headings) + 3) + "|",
    ]
    for name, row in baselines.items():
        lines.append(f"| {name} | | {' | '.join(_with_error(key, row.get(key)) for key in headings)} | |")
    for name, row in rows.items():
        cells = [_with_error(key, row.get(key)) for key in headings]
        lines.append(f"| {name} | {len(row['seeds'])} | {' | '.join(cells)} | {_difference(row.get('difference'))} |")
    if rows:
        lines += ["", _judged(next(iter(rows.values()))["runs"][0])]
    if removals:
        lines += ["", "| seed | expert removed | score lost or gained | p |", "|---|---|---|---|"]
        lines += [
            f"| {row['seed']} | {row['expert']} | {row['difference']:+.1f}"
            + ("" if row["se"] is None else f" ± {row['se']:.1f}")
            + f" | {_p(row['p'])} |"
            for row in removals
        ]
    return "\n".join(lines) + "\n"


def _judged(run: Numbers) -> str:
    """On how many episodes; all runs of a comparison are judged alike."""
    drawn, most_probable = run["evaluation_episodes"], run["deterministic_evaluation_episodes"]
    others = f"{most_probable} with the most probable action" if most_probable else "none with the most probable action"
    return f"Each run is judged on {drawn} episodes with drawn actions, {others}."


def _with_error(key: str, value: Numbers | None) -> str:
    if value is None or value["mean"] is None:
        return ""
    digits = 1 if "score" in key else 2
    error = "" if value["se"] is None else f" ± {value['se']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{error}"


def _difference(value: Numbers | None) -> str:
    if value is None:
        return ""
    return f"{value['mean']:+.1f}" + ("" if value["p"] is None else f" (p {_p(value['p'])})")


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
