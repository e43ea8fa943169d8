"""Evaluation: a checkpoint, or a baseline, on a fixed list of seeds, by parallel workers.

Owns the sharing out and the result; what may be asked for is the subject of `request`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.episodes import EpisodeRecord, Share, play
from rllib_moe.evaluation.report import evaluation_numbers, evaluation_tables
from rllib_moe.evaluation.request import EvaluationRequest, Plan, plan_evaluation
from rllib_moe.phase_checks import ROUTINGS
from rllib_moe.ray_session import ray_session

SHARES_PER_WORKER = 4
"""Shares of the episodes per worker: enough to even out long and short ones and to show progress, few enough to keep a
worker's environments busy together. A share whose worker dies is played again by another."""


def evaluate(request: EvaluationRequest, console: Console | None = None) -> dict[str, Any]:
    """Play the episodes and compute the numbers.

    Actions, and with them scores, do not depend on the numbers of workers and environments; routing numbers agree to
    five digits or so, as float32 sums depend on the batch.

    Args:
        request: What to evaluate.
        console: Where progress and the tables go; None prints nothing.

    Returns:
        The numbers of `evaluation_numbers` and what they were measured on; written to `request.json` if it is given.

    Raises:
        ConfigError: the request is refused, for all the faults it names; nothing was started or written.
    """
    plan = plan_evaluation(request)
    began = time.perf_counter()
    records: list[EpisodeRecord] = []
    seconds = 0.0
    for share in _shares(plan, request):
        records += share.records
        seconds += share.seconds
        if console:
            mean = sum(record.score for record in records) / len(records)
            console.print(
                f"episodes {len(records)}/{request.episodes}  mean score {mean:.1f}  "
                f"{time.perf_counter() - began:.0f} s",
                highlight=False,
            )
    numbers = _described(plan, request) | evaluation_numbers(records, request.remove_expert)
    numbers["env_steps_per_second"] = round(numbers["env_steps"] * _num_parallel(request) / seconds, 1)
    numbers["wall_seconds"] = round(time.perf_counter() - began, 2)
    if request.json is not None:
        _write(numbers, Path(request.json))
    if console:
        for table in evaluation_tables(numbers):
            console.print(table)
        if request.json is not None:
            console.print(f"numbers: {request.json}", highlight=False, markup=False, soft_wrap=True)
    return numbers


def _shares(plan: Plan, request: EvaluationRequest) -> Iterator[Share]:
    """Play the episodes share by share, as they are done."""
    size = math.ceil(request.episodes / (SHARES_PER_WORKER * _num_parallel(request)))
    seeds = range(request.seed_base, request.seed_base + request.episodes)
    parts = [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]
    if request.num_workers == 0:
        for part in parts:
            yield play(plan.environment, plan.player, part, request.envs_per_worker)
        return
    prepare(plan.environment.env)
    with ray_session(None, request.num_workers):
        yield from _remote_shares(plan, request, parts)


def _remote_shares(plan: Plan, request: EvaluationRequest, parts: Sequence[Sequence[int]]) -> Iterator[Share]:
    """Hand out the parts, `num_workers` at a time."""
    task = ray.remote(num_cpus=1, max_retries=3)(play)
    shared = ray.put(plan.environment), ray.put(plan.player)
    running = [task.remote(*shared, part, request.envs_per_worker) for part in parts[: request.num_workers]]
    waiting = iter(parts[request.num_workers :])
    while running:
        done, running = ray.wait(running)
        if (part := next(waiting, None)) is not None:
            running.append(task.remote(*shared, part, request.envs_per_worker))
        yield ray.get(done[0])


def _num_parallel(request: EvaluationRequest) -> int:
    return max(1, request.num_workers)


def _described(plan: Plan, request: EvaluationRequest) -> dict[str, Any]:
    """What the numbers were measured on."""
    phase: dict[str, Any] = {"routing": None, "temperature": None}
    if (weights := plan.player.weights) is not None:
        phase["routing"] = ROUTINGS[int(weights["phase.routing_index"])]
        phase["temperature"] = round(float(weights["phase.temperature"]), 6)
    return {
        "policy": request.policy,
        "checkpoint": request.checkpoint,
        "checkpoint_episodes": plan.checkpoint.episodes if plan.checkpoint else None,
        **phase,
        "deterministic": request.deterministic,
        "removed_expert": request.remove_expert,
        "seed_base": request.seed_base,
        **plan.environment.to_dict(),
    }


def _write(numbers: dict[str, Any], path: Path) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    partial.replace(path)
