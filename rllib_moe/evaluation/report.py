"""What an evaluation reports: numbers from the records of its episodes, and their tables for the screen. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from rllib_moe import metrics as m
from rllib_moe.evaluation.episodes import EpisodeRecord, GateSum

_ROWS = (
    ("score_mean", "points", "mean raw score"),
    ("score_se", "points", "its standard error"),
    ("score_median", "points", "median raw score"),
    ("score_std", "points", "standard deviation over episodes"),
    ("score_max", "points", "best raw score"),
    ("depth2_rate", "share", "episodes that reached depth 2 or more"),
    ("max_depth_mean", "levels", "mean deepest level"),
    ("length_mean", "steps", "mean length of an episode"),
    ("return_mean", "reward", "mean undiscounted return, shaping included"),
    ("alpha_entropy", "nats", "mean entropy of the gate in a state"),
    ("usage_entropy", "nats", "entropy of the experts' shares"),
    ("mutual_information", "nats", "usage entropy - alpha entropy: specialisation"),
    ("expert_share", "share", "mean gate of each expert"),
    ("min_expert_share", "share", "share of the least used expert that is not removed"),
    ("env_steps", "steps", "environment steps in all"),
    ("env_steps_per_second", "steps/s", "steps over the workers' playing time, start-up excluded"),
)


def evaluation_numbers(records: Sequence[EpisodeRecord], removed_expert: int | None = None) -> dict[str, Any]:
    """Compute the numbers of an evaluation.

    Score statistics count every episode once; routing numbers and scenes count every step once.

    Args:
        records: One for each episode, at least one, in any order.
        removed_expert: Expert that was taken away; it does not count for `min_expert_share`.

    Returns:
        Plain numbers. None where something has no meaning: depth without levels, routing without experts, the spread of
        one episode.
    """
    records = sorted(records, key=lambda record: record.seed)
    scores = [record.score for record in records]
    depths = [record.max_depth for record in records if record.max_depth is not None]
    spread = statistics.stdev(scores) if len(scores) > 1 else None
    steps = sum(record.gates.steps for record in records)
    share = _sum([record.gates for record in records]).share()
    entropy = sum(record.gate_entropy for record in records) / steps if share else None
    usage = m.entropy(share) if share else None
    names = list(dict.fromkeys(name for record in records for name in record.scenes))
    return {
        "episodes": len(records),
        "score_mean": _rounded(statistics.fmean(scores)),
        "score_se": _rounded(None if spread is None else spread / math.sqrt(len(scores))),
        "score_median": _rounded(statistics.median(scores)),
        "score_std": _rounded(spread),
        "score_max": _rounded(max(scores)),
        "depth2_rate": _rounded(sum(depth >= 2 for depth in depths) / len(depths) if depths else None),
        "max_depth_mean": _rounded(statistics.fmean(depths) if depths else None),
        "length_mean": _rounded(steps / len(records)),
        "return_mean": _rounded(statistics.fmean(record.total_reward for record in records)),
        "alpha_entropy": _rounded(entropy),
        "usage_entropy": _rounded(usage),
        "mutual_information": _rounded(None if usage is None or entropy is None else usage - entropy),
        "expert_share": _all_rounded(share),
        "min_expert_share": _rounded(
            min((each for index, each in enumerate(share) if index != removed_expert), default=None) if share else None
        ),
        "env_steps": steps,
        "by_scene": dict(_scene(records, name) for name in names),
        "episode_scores": [_rounded(score) for score in scores],
    }


def evaluation_tables(numbers: Mapping[str, Any]) -> Iterator[Table]:
    """Tables of what `evaluate` returned: the numbers, and routing by scene where there are experts and scenes."""
    what = numbers["policy"] if numbers["checkpoint"] is None else f"{numbers['policy']} {numbers['checkpoint']}"
    last_seed = numbers["seed_base"] + numbers["episodes"] - 1
    title = f"{what} on {numbers['env']}: {numbers['episodes']} episodes, seeds {numbers['seed_base']} to {last_seed}"
    table = Table(title=title, title_justify="left")
    table.add_column("number")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("meaning")
    for key, unit, meaning in _ROWS:
        if (value := numbers[key]) is not None:
            table.add_row(key, _text(value), unit, meaning)
    yield table
    scenes = {name: scene for name, scene in numbers["by_scene"].items() if scene["expert_share"]}
    if scenes:
        table = Table(title="Expert shares by scene, %", title_justify="left")
        table.add_column("scene")
        table.add_column("steps", justify="right")
        for index in range(len(numbers["expert_share"])):
            table.add_column(f"expert {index}", justify="right")
        for name, scene in scenes.items():
            table.add_row(name, str(scene["steps"]), *(f"{100 * share:.1f}" for share in scene["expert_share"]))
        yield table


def _scene(records: Sequence[EpisodeRecord], name: str) -> tuple[str, dict[str, Any]]:
    total = _sum([record.scenes[name] for record in records if name in record.scenes])
    return name, {"steps": total.steps, "expert_share": _all_rounded(total.share())}


def _sum(parts: Sequence[GateSum]) -> GateSum:
    total = GateSum()
    for part in parts:
        total.add(part.steps, part.gate)
    return total


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6) + 0.0  # -0.0 + 0.0 is 0.0


def _all_rounded(values: Sequence[float] | None) -> list[float | None] | None:
    return None if values is None else [_rounded(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{each:.3f}" for each in value)
    return str(value) if isinstance(value, int) else f"{value:.3f}"
