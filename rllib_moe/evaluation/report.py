"""Report of an evaluation: numbers from the records of its episodes, and their tables for the screen. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Column, Table

from rllib_moe import metrics as m
from rllib_moe.envs.description import EpisodeMeasure, expert_names
from rllib_moe.evaluation.episodes import EpisodeRecord, GateSum
from rllib_moe.metrics import rounded

_SCORE_ROWS = (
    ("score_mean", "points", "mean raw score"),
    ("score_se", "points", "its standard error"),
    ("score_median", "points", "median raw score"),
    ("score_std", "points", "standard deviation over episodes"),
    ("score_max", "points", "best raw score"),
)
_ROWS = (
    ("length_mean", "steps", "mean length of an episode"),
    ("return_mean", "reward", "mean undiscounted return, shaping included"),
    ("alpha_entropy", "nats", "mean entropy of the gate in a state"),
    ("usage_entropy", "nats", "entropy of the experts' shares"),
    ("mutual_information", "nats", "usage entropy - alpha entropy: decided, and in even use"),
    ("expert_share", "share", "mean gate of each expert"),
    ("min_expert_share", "share", "share of the least used expert that is not removed"),
    ("env_steps", "steps", "environment steps in all"),
    ("env_steps_per_second", "steps/s", "steps over the workers' playing time, start-up excluded"),
)

MOST_ENDINGS = 12
"""Ways to end that the table tells apart."""


def evaluation_numbers(
    records: Sequence[EpisodeRecord], measures: Sequence[EpisodeMeasure] = (), removed_expert: int | None = None
) -> dict[str, Any]:
    """Compute the numbers of an evaluation.

    Score statistics count every episode once; routing numbers and scenes count every step once.

    Args:
        records: One for each episode, at least one, by seed.
        measures: The environment's own, each reported under its name.
        removed_expert: Expert that was taken away; it does not count for `min_expert_share`.

    Returns:
        Plain numbers; `measures` has the standard error of each own measure, and the number of episodes that have it,
        `endings` the number of episodes that ended in each way, the most frequent first.
        None where something has no meaning: routing without experts, the spread of one episode, a measure that no
        episode has.
    """
    scores = [record.score for record in records]
    steps = sum(record.gates.steps for record in records)
    share = _sum([record.gates for record in records]).share()
    entropy = sum(record.gate_entropy for record in records) / steps if share else None
    usage = m.entropy(share) if share else None
    names = dict.fromkeys(name for record in records for name in record.scenes)
    kept = [each for index, each in enumerate(share or ()) if index != removed_expert]
    own = {each.name: [record.measures[each.name] for record in records] for each in measures}
    return rounded(
        {
            "episodes": len(records),
            "score_mean": statistics.fmean(scores),
            "score_se": m.standard_error(scores),
            "score_median": statistics.median(scores),
            "score_std": statistics.stdev(scores) if len(scores) > 1 else None,
            "score_max": max(scores),
            **{name: m.mean_measure(values) for name, values in own.items()},
            "measures": {name: _certainty(values) for name, values in own.items()},
            "length_mean": steps / len(records),
            "return_mean": statistics.fmean(record.total_reward for record in records),
            "alpha_entropy": entropy,
            "usage_entropy": usage,
            "mutual_information": None if usage is None or entropy is None else usage - entropy,
            "expert_share": share,
            "min_expert_share": min(kept, default=None),
            "env_steps": steps,
            "endings": dict(Counter(record.ending for record in records if record.ending).most_common()),
            "by_scene": {name: _scene(records, name) for name in names},
            "episode_scores": scores,
        }
    )


def evaluation_tables(numbers: Mapping[str, Any], measures: Sequence[EpisodeMeasure] = ()) -> Iterator[Table]:
    """Tables of what `evaluate` returned: the numbers, and what experts tell and do where there are some."""
    what = numbers["policy"] if numbers["checkpoint"] is None else f"{numbers['policy']} {numbers['checkpoint']}"
    last_seed = numbers["seed_base"] + numbers["episodes"] - 1
    played = f"{numbers['episodes']} episodes of at most {numbers['max_steps']} steps"
    title = f"{what} on {numbers['env']}: {played}, seeds {numbers['seed_base']} to {last_seed}"
    table = Table("number", Column("value", justify="right"), "unit", "meaning", title=title, title_justify="left")
    for key, unit, meaning in (*_SCORE_ROWS, *((each.name, each.unit, each.meaning) for each in measures), *_ROWS):
        if (value := numbers[key]) is None:
            continue
        told, over = _text(value), ""
        if part := numbers["measures"].get(key):
            told += "" if part["se"] is None else f" ± {part['se']:.3f}"
            over = "" if part["episodes"] == numbers["episodes"] else f" ({part['episodes']} episodes)"
        table.add_row(key, told, unit, meaning + over)
    yield table
    if numbers["endings"]:
        yield _endings_table(numbers["endings"], numbers["episodes"])
    if numbers["information"]:
        yield _information_table(numbers["information"])
    scenes = {name: scene for name, scene in numbers["by_scene"].items() if scene["expert_share"]}
    if scenes:
        names = expert_names(len(numbers["expert_share"]), numbers["role_names"])
        table = numbers_table("Expert shares by scene, %", "scene", "steps", *names)
        for name, scene in scenes.items():
            table.add_row(name, str(scene["steps"]), *(f"{100 * share:.1f}" for share in scene["expert_share"]))
        yield table


def numbers_table(title: str, first: str, *headings: str, caption: str | None = None) -> Table:
    """Return a table, still without rows, that has words in its first column and numbers in all others."""
    columns = (Column(heading, justify="right") for heading in headings)
    return Table(first, *columns, title=title, title_justify="left", caption=caption, caption_justify="left")


def _endings_table(endings: Mapping[str, int], episodes: int) -> Table:
    table = numbers_table("How the episodes ended", "ending", "% of episodes")
    shown = dict(list(endings.items())[:MOST_ENDINGS])
    if others := sum(endings.values()) - sum(shown.values()):
        shown[f"in {len(endings) - len(shown)} other ways"] = others
    for ending, count in shown.items():
        table.add_row(ending, f"{100 * count / episodes:.1f}")
    return table


def _information_table(information: Mapping[str, Any]) -> Table:
    states = next(iter(information.values()))["states"]
    table = numbers_table(
        f"What the expert tells about a state: % of the label's entropy, over {states} states",
        *("label", "entropy, nats", "experts", "random routers", "permuted"),
        caption="(...): 95th percentile. Not above the random routers: told by what is read, not by the router.",
    )
    for name, row in information.items():
        if row["value"] is None:
            table.add_row(name, "0", "never changes")
            continue
        nulls = [f"{100 * row[each]:.1f} ({100 * row[each + '_p95']:.1f})" for each in ("random_router", "permuted")]
        table.add_row(name, f"{row['entropy']:.3f}", f"{100 * row['value']:.1f}", *nulls)
    return table


def _certainty(values: Sequence[float]) -> dict[str, Any]:
    """Return the number of episodes that have a measure, and the standard error of its mean over them."""
    measured = [value for value in values if not math.isnan(value)]
    return {"episodes": len(measured), "se": m.standard_error(measured)}


def _scene(records: Sequence[EpisodeRecord], name: str) -> dict[str, Any]:
    total = _sum([record.scenes[name] for record in records if name in record.scenes])
    return {"steps": total.steps, "expert_share": total.share()}


def _sum(parts: Sequence[GateSum]) -> GateSum:
    total = GateSum()
    for part in parts:
        total.add(part.steps, part.gate)
    return total


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{each:.3f}" for each in value)
    return str(value) if isinstance(value, int) else f"{value:.3f}"
