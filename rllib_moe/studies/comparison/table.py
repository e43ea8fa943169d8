"""The table of a comparison: the primary outcome and its test, means over seeds, and what each expert is worth. Pure.

The unit is the training seed. Only where an expert is removed from one and the same network are errors over episodes.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rllib_moe import metrics as m
from rllib_moe.evaluation.role_agreement import agreement_numbers
from rllib_moe.metrics import rounded
from rllib_moe.studies.comparison.inference import LEVEL, holm, least_p, paired, summary
from rllib_moe.studies.comparison.plan import FROZEN, INFORMATION, NORMALIZED, Plan, Variant

Numbers = Mapping[str, Any]

ENOUGH = 5
"""Seeds below which the table says that they show nothing."""
NULLS = {"random_router": "random routers", "permuted": "labels permuted"}
"""Nulls of what the gate tells of a label that come with an evaluation, with their words in the table."""


def columns(measures: Iterable[str]) -> dict[str, str]:
    """Return the headings of the columns by key."""
    return {
        "score_mean": "score",
        "deterministic_score_mean": "most probable action",
        "score_median": "median",
        **{name: m.measure_heading(name) for name in measures},
        "alpha_entropy": "alpha entropy",
        "mutual_information": "MI",
        "min_expert_share": "least share",
    }


def with_normalized(plan: Plan, numbers: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation with `normalized_mean`, where the plan normalizes and the evaluation has all it takes."""
    if not plan.normalize or any(numbers.get(name) is None for name in plan.normalize):
        return numbers
    parts = [(numbers[name] - zero) / (one - zero) for name, (zero, one) in plan.normalize.items()]
    return {**numbers, NORMALIZED: statistics.fmean(parts)}


def run_numbers(seed: int, primary: str, drawn: Numbers, most_probable: Numbers | None) -> dict[str, Any]:
    """The numbers of one run.

    Args:
        drawn: Its evaluation with actions drawn from the policy.
        most_probable: Its evaluation with the most probable actions; None where the plan leaves that out.
    """
    measures = m.evaluated_measures(drawn)
    information = drawn.get("information") or {}
    numbers = {key: drawn.get(key) for key in columns(measures)}
    numbers["deterministic_score_mean"] = (most_probable or {}).get("score_mean")
    numbers |= {INFORMATION + label: told["value"] for label, told in information.items()}
    own = {"seed": seed, "measures": measures, "information": information, "expert_share": drawn["expert_share"]}
    own["by_scene"] = drawn.get("by_scene")
    return own | {"primary": numbers.get(primary, drawn.get(primary))} | numbers


def variant_rows(plan: Plan, runs: Mapping[str, Sequence[Numbers]]) -> dict[str, Any]:
    """Return the variants that have runs, in the plan's order.

    Args:
        runs: `run_numbers` of the runs that are done, by variant, at least one each.

    Returns:
        For each its seeds, interquartile mean and interval of the primary outcome (`primary`), the `difference` from
        the reference over the seeds that both have (`inference.paired`, with `p_holm`), mean and standard error over
        seeds of each column, and the runs. What the gate tells of a label stands beside its nulls, and so does the
        `agreement` of the experts' roles across seeds.
    """
    reference = {run["seed"]: run["primary"] for run in runs.get(plan.reference_name, ())}
    comparisons = len(plan.variants) - 1
    frozen = _told(runs.get(FROZEN, ()))
    rows: dict[str, dict[str, Any]] = {}
    for variant in plan.variants:
        if not (own := runs.get(variant.name)):
            continue
        rows[variant.name] = _row(variant, own, frozen)
        pairs = {run["seed"]: (run["primary"], reference.get(run["seed"])) for run in own}
        differences = {seed: a - b for seed, (a, b) in pairs.items() if a is not None and b is not None}
        if variant.name != plan.reference_name and differences:
            found = paired(list(differences.values()), comparisons, plan.test)
            rows[variant.name]["difference"] = {"seeds": list(differences)} | found
    tested = {name: row["difference"] for name, row in rows.items() if "difference" in row}
    corrected = holm({name: each["p"] for name, each in tested.items() if each["p"] is not None}, comparisons)
    for name, each in tested.items():
        each["p_holm"] = corrected.get(name)
    return {name: rounded(row) | {"runs": list(runs[name])} for name, row in rows.items()}


def _row(variant: Variant, own: Sequence[Numbers], frozen: Mapping[str, Numbers]) -> dict[str, Any]:
    """Return a variant's numbers over its seeds; `frozen` has what the gate of the frozen router tells."""
    measures = list(dict.fromkeys(name for run in own for name in run["measures"]))
    outcomes = [run["primary"] for run in own if run["primary"] is not None]
    told = {label: {**numbers, FROZEN: frozen.get(label, {}).get("mean")} for label, numbers in _told(own).items()}
    return {
        "about": variant.about,
        "seeds": [run["seed"] for run in own],
        "measures": measures,
        "primary": summary(outcomes) if outcomes else None,
        "agreement": agreement_numbers(own),
        **{key: _over_seeds(run.get(key) for run in own) for key in columns(measures)},
        **told,
    }


def _told(runs: Sequence[Numbers]) -> dict[str, dict[str, Any]]:
    """Return what the gate tells of each label, over the seeds, with the means of its nulls."""
    labels = dict.fromkeys(label for run in runs for label in run["information"])
    return {
        INFORMATION + label: _over_seeds(part["value"] for part in parts)
        | {null: _over_seeds(part[null] for part in parts)["mean"] for null in NULLS}
        for label in labels
        if (parts := [run["information"][label] for run in runs if label in run["information"]])
    }


def _over_seeds(values: Iterable[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {"mean": statistics.fmean(known) if known else None, "se": m.standard_error(known)}


def baseline_row(numbers: Numbers) -> dict[str, Any]:
    """A player that learns nothing: its evaluation as columns of the table, errors over episodes."""
    measures = m.evaluated_measures(numbers)
    row: dict[str, Any] = {key: {"mean": numbers.get(key), "se": None} for key in columns(measures)}
    row["score_mean"]["se"] = numbers["score_se"]
    return row | {"measures": measures, "evaluation_episodes": numbers["episodes"]}


def removal_row(variant: str, seed: int, expert: int, whole: Numbers, without: Numbers) -> dict[str, Any]:
    """Return the worth of one expert to its network: the score lost without it, on the same evaluation seeds.

    Args:
        whole: Evaluation of the whole network.
        without: Evaluation without the expert, on the first of the same seeds.

    Returns:
        Mean difference (negative: the expert is missed) and its standard error over episodes.
    """
    pairs = list(zip(without["episode_scores"], whole["episode_scores"], strict=False))
    difference = _over_seeds(score - before for score, before in pairs)
    return rounded({"variant": variant, "seed": seed, "expert": expert, "episodes": len(pairs), **difference})


def markdown(
    plan: Plan, baselines: Mapping[str, Numbers], rows: Mapping[str, Numbers], removed: Sequence[Numbers]
) -> str:
    """All tables as Markdown, for reading and for the documentation."""
    headings = columns(name for row in (*rows.values(), *baselines.values()) for name in row["measures"])
    labels = list(dict.fromkeys(key for row in rows.values() for key in row if key.startswith(INFORMATION)))
    episodes, most_probable = plan.evaluation.episodes, plan.evaluation.most_probable
    outcomes = (f"{plan.primary} [95 %]", f"against {plan.reference_name} [95 %]")
    tested = ("variant", "seeds", *outcomes, "p", "p, Holm", "80 % power at")
    parts = [
        _table(tested, ((name, *_tested(row)) for name, row in rows.items())),
        "\n".join(f"- {line}" for line in (_MEANING, *_missing(plan, rows), *limits(plan))),
        f"Means over seeds ± standard errors (of players that learn nothing: over episodes). Each run is judged on "
        f"{episodes} episodes with drawn actions, {most_probable or 'none'} with the most probable action.",
        _table(
            ("variant", *headings.values()),
            ((name, *(_with_error(row.get(key)) for key in headings)) for name, row in {**baselines, **rows}.items()),
        ),
    ]
    if labels:
        parts += [
            "Mutual information of expert and label over the label's entropy, beside its nulls: random routers on the "
            "trained encoding, permuted labels, and the variant whose router is frozen at its start.",
            _table(
                ("variant", *(key.removeprefix(INFORMATION) for key in labels)),
                ((name, *(_beside_nulls(row.get(key)) for key in labels)) for name, row in rows.items()),
            ),
        ]
    agreeing = {name: row["agreement"] for name, row in rows.items() if row["agreement"]}
    if agreeing:
        parts += [
            "Agreement of roles across seeds: the mean correlation of the experts' shares of each scene, experts of "
            "two networks matched one to one. Beside it random routers on the same encodings, and shuffled scenes.",
            _table(
                ("variant", "agreement", "random routers", "scenes shuffled (95th percentile)"),
                ((name, *_agreement(told)) for name, told in agreeing.items()),
            ),
        ]
    if removed:
        parts += [
            "Score lost or gained without an expert, ± standard error over the episodes of one network:",
            _table(
                ("variant", "seed", "expert removed", "score"),
                ((row["variant"], str(row["seed"]), str(row["expert"]), _with_error(row, "+")) for row in removed),
            ),
        ]
    return "\n\n".join(parts) + "\n"


_MEANING = (
    "Interquartile means over seeds with bootstrap intervals; mean differences over the seeds that both have with t "
    "intervals, their p, and p corrected for all comparisons of the plan. 80 % power at: the smallest difference that "
    "such a comparison finds in 4 cases of 5."
)


def limits(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each thing that a plan cannot show, however its runs end."""
    seeds, comparisons = len(plan.seeds), len(plan.variants) - 1
    if comparisons and seeds < ENOUGH:
        yield f"Fewer than {ENOUGH} seeds show nothing, for or against: this plan has {seeds}."
    if comparisons and plan.test == "sign-flips" and least_p(seeds) * comparisons > LEVEL:
        needed = next(count for count in itertools.count(seeds) if least_p(count) * comparisons <= LEVEL)
        least, corrected = f"{least_p(seeds):.2g}", f"{min(1.0, least_p(seeds) * comparisons):.2g}"
        yield (
            f"Sign flips of {seeds} seeds give no p below {least}, {corrected} after the correction for {comparisons} "
            f"comparisons; {LEVEL} takes {needed} seeds, or `test: t`."
        )


def _missing(plan: Plan, rows: Mapping[str, Numbers]) -> Iterator[str]:
    """Yield a sentence for each outcome that is missing."""
    if rows and not any(row["primary"] for row in rows.values()):
        yield f"No evaluation has {plan.primary}."
    lacking = {name: [str(seed) for seed in plan.seeds if seed not in row["seeds"]] for name, row in rows.items()}
    told = [f"{name} {', '.join(seeds)}" for name, seeds in lacking.items() if seeds]
    if told:
        yield f"Seeds not done, left out of both sides: {'; '.join(told)}."


def _tested(row: Numbers) -> Iterator[str]:
    """Yield the cells of the primary outcome."""
    difference = row.get("difference") or {}
    yield str(len(row["seeds"]))
    yield _with_interval(row["primary"], "iqm")
    yield _with_interval(difference, "mean", "+")
    yield from (_p(difference.get(key)) for key in ("p", "p_holm"))
    yield "" if difference.get("visible") is None else _number(difference["visible"])


def _agreement(told: Numbers) -> tuple[str, str, str]:
    """Return the cells of what `agreement_numbers` tells of a variant."""
    permuted = f"{told['permuted']:.2f} ({told['permuted_p95']:.2f})"
    return f"{told['value']:.2f}", f"{told['random_router']:.2f}", permuted


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(headings)
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _p(value: float | None) -> str:
    """Return a p-value; none is 0, so a small one is said to be below what is shown."""
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float, sign: str = "", like: float | None = None) -> str:
    """Return a number with the decimals that show four digits of it, or of a number that it stands beside.

    Below 1, they show three digits after the zeros, and at most six decimals.
    """
    size = abs(value if like is None else like)
    exponent = math.floor(math.log10(size)) if size > 0 else 0
    decimals = 3 - exponent if exponent >= 0 else 2 - exponent
    return f"{value:{sign}.{min(6, max(1, decimals))}f}"


def _with_error(value: Numbers | None, sign: str = "") -> str:
    if value is None or value["mean"] is None:
        return ""
    error = "" if value["se"] is None else f" ± {_number(value['se'], like=value['mean'])}"
    return _number(value["mean"], sign) + error


def _with_interval(value: Numbers | None, key: str, sign: str = "") -> str:
    if not value:
        return ""
    ends = [_number(value[end], sign, value[key]) for end in ("low", "high") if value[end] is not None]
    return _number(value[key], sign) + (f" [{', '.join(ends)}]" if ends else "")


def _beside_nulls(value: Numbers | None) -> str:
    if value is None or value["mean"] is None:
        return ""
    nulls = [f"{words} {value[key]:.2f}" for key, words in (NULLS | {FROZEN: FROZEN}).items() if value[key] is not None]
    return _with_error(value) + (f" ({', '.join(nulls)})" if nulls else "")
