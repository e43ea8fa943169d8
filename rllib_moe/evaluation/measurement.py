"""The numbers of an evaluation: its episodes shared out among parallel workers, played, and put together."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import ray
from rich.console import Console

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.episodes import EpisodeBatch, EpisodeRecord, play, torch_threads
from rllib_moe.evaluation.explanation_report import explanation_numbers
from rllib_moe.evaluation.information import information_numbers, joined
from rllib_moe.evaluation.player import Player
from rllib_moe.evaluation.report import evaluation_numbers
from rllib_moe.evaluation.resolve import Resolved
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.metrics import rounded
from rllib_moe.runtime.console import say
from rllib_moe.runtime.ray_session import ray_session

BATCHES_PER_WORKER = 4
"""Batches of episodes per worker: enough to even out long and short ones and to show progress, few enough to keep a
worker's environments busy together. A batch whose worker dies is played again by another."""


def measure(resolved: Resolved, request: EvaluationRequest, console: Console) -> dict[str, Any]:
    """Play the episodes and compute the numbers, with progress on the console.

    Raises:
        ValueError: the environment's labels changed while it was played.
    """
    began = time.perf_counter()
    if request.num_workers:
        prepare(resolved.environment.env)
    with ray_session(None, request.num_workers) if request.num_workers else nullcontext():
        records, seconds = _play(resolved.environment, resolved.player, request, console, "")
        measures = resolved.description.episode_measures
        numbers = _described(resolved, request) | evaluation_numbers(records, measures, request.remove_expert)
        numbers["information"] = _information(resolved, records)
        if request.explain:
            numbers["explain"] = _explain(resolved, records, request, console)
    num_parallel = min(max(1, request.num_workers), len(_parts(request)))
    numbers["env_steps_per_second"] = round(numbers["env_steps"] * num_parallel / seconds, 1)
    numbers["wall_seconds"] = round(time.perf_counter() - began, 2)
    return numbers


def _information(resolved: Resolved, records: Sequence[EpisodeRecord]) -> dict[str, Any] | None:
    """Return what the experts tell about each label; None where no states were kept."""
    episodes, phase = [record.kept for record in records if record.kept], resolved.phase
    if not episodes or phase is None:
        return None
    with torch_threads(1):
        return rounded(information_numbers(joined(episodes), phase.routing, phase.value("temperature")))


def _explain(
    resolved: Resolved, records: Sequence[EpisodeRecord], request: EvaluationRequest, console: Console
) -> dict[str, Any]:
    """Play the same seeds without each expert, and put the numbers together."""
    assert resolved.player.model is not None
    experts = range(resolved.player.model.num_experts if resolved.player.model.num_experts > 1 else 0)
    without = {}
    for expert in experts:
        player = dataclasses.replace(resolved.player, removed_expert=expert, watched=False, keep_every=None)
        without[expert], _ = _play(resolved.environment, player, request, console, f"without expert {expert}: ")
    return explanation_numbers(records, without, resolved.description)


def _play(
    environment: EnvironmentConfig, player: Player, request: EvaluationRequest, console: Console, what: str
) -> tuple[list[EpisodeRecord], float]:
    """Play all episodes with one player; return their records by seed, and the workers' playing time in seconds."""
    began = time.perf_counter()
    records: list[EpisodeRecord] = []
    seconds = 0.0
    for batch in _batches(environment, player, request):
        records += batch.records
        seconds += batch.seconds
        mean = sum(record.score for record in records) / len(records)
        played = f"{what}episodes {len(records)}/{request.episodes}"
        say(console, f"{played}  mean score {mean:.1f}  {time.perf_counter() - began:.0f} s")
    return sorted(records, key=lambda record: record.seed), seconds


def _batches(environment: EnvironmentConfig, player: Player, request: EvaluationRequest) -> Iterator[EpisodeBatch]:
    """Play the episodes batch by batch, as they are done."""
    parts = _parts(request)
    if request.num_workers == 0:
        for part in parts:
            yield play(environment, player, part, request.envs_per_worker)
        return
    task = ray.remote(num_cpus=1, max_retries=3)(play)
    shared = ray.put(environment), ray.put(player)
    tasks = (task.remote(*shared, part, request.envs_per_worker) for part in parts)  # each starts as it is drawn
    running = list(islice(tasks, request.num_workers))
    while running:
        done, running = ray.wait(running)
        running += islice(tasks, 1)
        yield ray.get(done[0])


def _parts(request: EvaluationRequest) -> list[list[int]]:
    """The seeds of each batch."""
    size = math.ceil(request.episodes / (BATCHES_PER_WORKER * max(1, request.num_workers)))
    seeds = range(request.seed_base, request.seed_base + request.episodes)
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


def _described(resolved: Resolved, request: EvaluationRequest) -> dict[str, Any]:
    """Return the subject of the measurement: policy, checkpoint, phase, seeds and environment."""
    phase = resolved.phase
    return {
        "policy": request.policy,
        "checkpoint": request.checkpoint,
        "checkpoint_episodes": resolved.checkpoint.episodes if resolved.checkpoint else None,
        "routing": phase.routing if phase else None,
        "temperature": phase.value("temperature") if phase else None,
        "deterministic": request.deterministic,
        "removed_expert": request.remove_expert,
        "role_names": list(resolved.description.role_names),
        "seed_base": request.seed_base,
        **{name: getattr(resolved.environment, name) for name in ("env", "max_steps", "env_args")},
    }
