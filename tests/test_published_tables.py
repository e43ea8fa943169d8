"""Tables of named experts in the documentation against the published evaluations: every figure, and what is bold."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "results" / "published"
PLACES = {
    "roles": "named-roles-2026-11-28",
    "one-expert": "named-roles-2026-11-28",
    "frozen": "named-roles-frozen-2026-11-29",
}
"""Directories of the variants of the plan."""
SEEDS = range(5)


def evaluations(variant: str) -> list[dict[str, Any]]:
    """Return the evaluations of a variant, one a seed, with every number as it is written."""
    files = (PUBLISHED / PLACES[variant] / f"{variant}-seed{seed}" / "evaluation.json" for seed in SEEDS)
    return [json.loads(file.read_text(), parse_float=Decimal) for file in files]


ROLES, ONE_EXPERT, FROZEN = map(evaluations, PLACES)
SCENES = ("hp_low", "hungry", "monster_adjacent", "on_stairs_down", "dead_end", "item_near", "in_prompt")
LABELS = {"kind of action": "action", "all scene flags together": "scene", "role": "role"}
"""Labels whose name is not that of a scene flag."""


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the one table whose first line begins so, without its first two lines."""
    found = re.findall(
        rf"^\| {re.escape(heading)}.*\n\|[-|]+\n((?:\|.*\n)+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(found) == 1, (page, heading)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()]


def shown(value: Decimal | int, digits: int) -> str:
    """Return a number with so many decimals; halves are rounded up."""
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def bold(text: str, when: bool) -> str:
    """Return a cell's text, bold or not."""
    return f"**{text}**" if when else text


def mean_and_error(values: Iterable[Decimal]) -> tuple[Decimal, Decimal]:
    """Return the mean of the seeds and its standard error."""
    each = list(values)
    return statistics.mean(each), statistics.stdev(each) / Decimal(len(each)).sqrt()


def shares(scene: str) -> list[str]:
    """Return the mean share of each expert in a scene, the largest bold."""
    each = [evaluation["by_scene"][scene]["expert_share"] for evaluation in ROLES]
    means = [statistics.mean(share) for share in zip(*each, strict=True)]
    return [bold(shown(mean, 2), mean == max(means)) for mean in means]


def information(label: str) -> list[str]:
    """Return what the experts of each seed tell of a label, in percent, and the range of the random routers."""
    told = [evaluation["information"][LABELS.get(label, f"scene/{label.replace(' ', '_')}")] for evaluation in ROLES]
    above = all(each["value"] > each["random_router_p95"] for each in told)
    ranges = [
        " to ".join(shown(100 * edge([each[key] for each in told]), 1) for edge in (min, max))
        for key in ("random_router", "random_router_p95")
    ]
    return [*(bold(shown(100 * each["value"], 1), above) for each in told), f"{ranges[0]} ({ranges[1]})"]


def test_the_scores_of_named_experts_are_those_published() -> None:
    cells = []
    for name, each in (
        ("named roles", ROLES),
        ("one expert", ONE_EXPERT),
        ("four experts, router frozen", FROZEN),
    ):
        mean, error = mean_and_error(evaluation["score_mean"] for evaluation in each)
        scores = (f"{shown(one['score_mean'], 1)} ± {shown(one['score_se'], 1)}" for one in each)
        cells.append([f"{name}: score", *scores, f"**{shown(mean, 1)} ± {shown(error, 1)}**"])
        cells.append(["median", *(shown(one["score_median"], 0) for one in each), ""])
    # The table of the default has a heading of its own.
    found = table("docs/results/experts.md", "| seed 0 | seed 1 | seed 2 | seed 3")
    assert found == cells


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
@pytest.mark.parametrize("each", [ROLES, ONE_EXPERT, FROZEN], ids=list(PLACES))
def test_the_scores_in_the_readmes_are_those_published(each: list[dict[str, Any]], page: str) -> None:
    summary = "{} ± {}".format(*(shown(value, 1) for value in mean_and_error(one["score_mean"] for one in each)))
    rows = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    _, score, medians, _ = next(line for line in rows if summary in line).strip("|").split("|")
    assert re.findall(r"\d+", score.split(summary)[1]) == [shown(one["score_mean"], 0) for one in each]
    assert re.findall(r"\d+", medians) == [shown(one["score_median"], 0) for one in each]


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("docs/results/experts.md", "share of the gate where | survival"),
        ("README.md", "share of the gate where | survival"),
        ("README.zh.md", "以下场景中的门控权重 | 生存"),
    ],
)
def test_the_shares_of_named_experts_are_those_published(page: str, heading: str) -> None:
    assert [row[1:] for row in table(page, heading)] == [shares(scene) for scene in SCENES]


def test_what_named_experts_tell_is_as_published() -> None:
    rows = table("docs/results/experts.md", "label, % of its entropy | seed 0")
    assert len(rows) == 12
    assert rows == [[label, *information(label)] for label, *_ in rows]
