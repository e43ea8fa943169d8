"""Report of an explanation: plain numbers from the episodes' sums, and their tables for the screen. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Column, Table

from rllib_moe.envs.description import GraphDescription, expert_names
from rllib_moe.evaluation.episodes import EpisodeRecord
from rllib_moe.evaluation.explanation import ALL, ATTENTION_SUMS, BAND_NAMES, Explanation
from rllib_moe.evaluation.report import numbers_table
from rllib_moe.metrics import rounded, standard_error

_SHOWN_PURPOSES = 3
_LEAST_SHOWN = 0.05


def explanation_numbers(
    records: Sequence[EpisodeRecord], without: Mapping[int, Sequence[EpisodeRecord]], description: GraphDescription
) -> dict[str, Any]:
    """Compute the numbers of an explanation.

    Args:
        records: Records of a watched player, one for each episode, by seed.
        without: Records of the same seeds with an expert removed, by expert; empty where there is one expert only.
        description: Description of the environment.

    Returns:
        `experts`: their names.
        `by_scene`: for each scene, and `all`, its `steps` and for each expert `share` (mean weight), `leads` (share of
        the states in which its weight is the largest), `purposes` (what the policy does where it leads, by
        probability), `changes` (share of the states in which the most probable action is another one without it) and
        `divergence` (nats).
        `attention`: `by_class` and `by_distance` (in `distance_unit`), each with `attention` (share), `equal` (share if
        all nodes had the same), `states` (share of the states with such a node) and `nodes` (mean number); None for an
        encoder without attention.
        `removal`: for each expert `changes` and `divergence` over all states, and `score_difference` and
        `return_difference` without it on the same seeds, each with `_se`.
    """
    total = Explanation()
    for record in records:
        assert record.explanation is not None
        total.merge(record.explanation)
    purposes = description.purposes()
    by_scene = {name: _scene(total.steps[name], values, purposes) for name, values in total.states.items()}
    steps = total.steps[ALL]
    attention = None
    if not isinstance(total.by_type, float):
        attention = {
            "by_class": _attention(total.by_type, description.node_type_names, steps),
            "by_distance": _attention(total.by_distance, BAND_NAMES, steps),
            "distance_unit": description.distance_unit,
        }
    removal = []
    for expert, played in without.items():
        pairs = list(zip(played, records, strict=True))
        removal.append(
            {
                "expert": expert,
                "changes": by_scene[ALL]["changes"][expert],
                "divergence": by_scene[ALL]["divergence"][expert],
                "score_mean": statistics.fmean(record.score for record in played),
                **_difference("score", [one.score - other.score for one, other in pairs]),
                **_difference("return", [one.total_reward - other.total_reward for one, other in pairs]),
            }
        )
    names = expert_names(len(by_scene[ALL]["leads"]), description.role_names)
    return rounded({"experts": names, "by_scene": by_scene, "attention": attention, "removal": removal})


def explanation_tables(explain: Mapping[str, Any]) -> Iterator[Table]:
    """Tables of what `explanation_numbers` returned."""
    experts = explain["experts"]
    table = Table(
        "scene",
        Column("steps", justify="right"),
        *experts,
        title="What each expert does, by scene: share of the states that it leads, and what is done there, %",
        title_justify="left",
        show_lines=True,
    )
    for name, scene in explain["by_scene"].items():
        if scene["steps"]:
            cells = [_cell(scene["leads"][expert], scene["purposes"][expert]) for expert in range(len(experts))]
            table.add_row(name, str(scene["steps"]), *cells)
    yield table

    looks = explain["attention"] or {}
    by_distance = f"distance from the ego node, in {looks.get('distance_unit')}"
    for title, key in (("class of node", "by_class"), (by_distance, "by_distance")):
        if key not in looks:
            continue
        headings = ("nodes", "attention %", "if equal %", "times as much", "in states %", "nodes a state")
        table = numbers_table(f"Attention of the ego node by {title}", *headings)
        for name, row in looks[key].items():
            shares = [f"{100 * row[part]:.1f}" for part in ("attention", "equal")]
            ratio = f"{row['attention'] / row['equal']:.2f}" if row["equal"] else ""
            table.add_row(name, *shares, ratio, f"{100 * row['states']:.1f}", f"{row['nodes']:.2f}")
        yield table

    if explain["removal"]:
        differences = ("score", "difference ± SE", "return, difference ± SE", "other action %", "divergence, nats")
        table = numbers_table("Without one expert", "removed", *differences)
        for row in explain["removal"]:
            table.add_row(
                experts[row["expert"]],
                f"{row['score_mean']:.1f}",
                _with_error(row["score_difference"], row["score_difference_se"]),
                _with_error(row["return_difference"], row["return_difference_se"]),
                f"{100 * row['changes']:.1f}",
                f"{row['divergence']:.3f}",
            )
        yield table


def _scene(steps: int, values: np.ndarray, purposes: Sequence[str]) -> dict[str, Any]:
    means = dict(zip(("share", "leads", "changes", "divergence"), values[:, :4].T / max(1, steps), strict=True))
    done = [
        {name: share / leads for name, share in zip(purposes, row, strict=True) if share > 0}
        for row, leads in zip(values[:, 4:], values[:, 1], strict=True)
    ]
    return {"steps": steps, **means, "purposes": done}


def _attention(values: np.ndarray | float, names: Sequence[str], steps: int) -> dict[str, Any]:
    """Return the classes that occur, by name."""
    return {
        name: dict(zip(ATTENTION_SUMS, column / steps, strict=True))
        for name, column in zip(names, np.asarray(values).T, strict=True)
        if column[0] > 0
    }


def _difference(name: str, differences: Sequence[float]) -> dict[str, Any]:
    """Return the mean difference on the same seeds, and its standard error (None for one episode)."""
    return {f"{name}_difference": statistics.fmean(differences), f"{name}_difference_se": standard_error(differences)}


def _cell(leads: float, purposes: Mapping[str, float]) -> str:
    """The share of the states, and what is most often done in them."""
    if not leads:
        return "-"
    often = sorted(purposes.items(), key=lambda each: -each[1])[:_SHOWN_PURPOSES]
    return "\n".join([f"{100 * leads:.0f}", *(f"{name} {100 * p:.0f}" for name, p in often if p >= _LEAST_SHOWN)])


def _with_error(value: float, error: float | None) -> str:
    return f"{value:+.2f}" if error is None else f"{value:+.2f} ± {error:.2f}"
