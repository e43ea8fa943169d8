"""Evaluation: a checkpoint, or a baseline, on a fixed list of seeds, by parallel workers.

Owns the sharing out and the result; `spec` and `resolve` check what is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.actors import Player
from rllib_moe.evaluation.episodes import EpisodeRecord, Share, one_thread, play
from rllib_moe.evaluation.explanation_report import explanation_numbers, explanation_tables
from rllib_moe.evaluation.information import information_numbers
from rllib_moe.evaluation.kept_states import joined
from rllib_moe.evaluation.report import evaluation_numbers, evaluation_tables
from rllib_moe.evaluation.resolve import Resolved, resolve
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.metrics import rounded
from rllib_moe.models.policy_network import phase_of
from rllib_moe.runtime.files import atomic_write
from rllib_moe.runtime.ray_session import ray_session

SHARES_PER_WORKER = 4
"""Shares of the episodes per worker: enough to even out long and short ones and to show progress, few enough to keep a
worker's environments busy together. A share whose worker dies is played again by another."""


def evaluate(request: EvaluationRequest, console: Console | None = None) -> dict[str, Any]:
    """Play the episodes and compute the numbers.

    Actions, and with them scores, do not depend on the numbers of workers and environments; routing numbers agree to
    five digits or so, as float32 sums depend on the batch.

    Progress and tables are printed where there is a console.

    Returns:
        The numbers of `evaluation_numbers` and what they were measured on, those of `information_numbers` as
        `information` (None for a baseline, one expert, or with an expert removed), and with `request.explain` those of
        `explanation_numbers` as `explain`; written to `request.json_file` if it is given.

    Raises:
        ConfigError: the request is refused, for all the errors it names; nothing was started or written.
        ValueError: the environment's labels changed while it was played.
    """
    resolved = resolve(request, request.policy, watched=request.explain, episodes_kept=request.episodes)
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
    if console:  # before anything is written, so that a full disk does not take the numbers along
        explained = explanation_tables(numbers["explain"]) if request.explain else ()
        for table in (*evaluation_tables(numbers, measures), *explained):
            console.print(table)
    for name, file in _write_all(numbers, request).items():
        if console:
            console.print(f"{name}: {file}", highlight=False, markup=False, soft_wrap=True)
    return numbers


def _information(resolved: Resolved, records: Sequence[EpisodeRecord]) -> dict[str, Any] | None:
    """Return what the experts tell about each label; None where no states were kept."""
    by_seed = sorted(records, key=lambda record: record.seed)
    episodes = [record.kept for record in by_seed if record.kept]
    if not episodes:
        return None
    assert resolved.player.weights is not None
    phase = phase_of(resolved.player.weights)
    with one_thread():
        return rounded(information_numbers(joined(episodes), phase.routing, phase.value("temperature")))


def _explain(
    resolved: Resolved, records: Sequence[EpisodeRecord], request: EvaluationRequest, console: Console | None
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
    environment: EnvironmentConfig, player: Player, request: EvaluationRequest, console: Console | None, what: str
) -> tuple[list[EpisodeRecord], float]:
    """Play all episodes with one player; return their records, and the workers' playing time in seconds."""
    began = time.perf_counter()
    records: list[EpisodeRecord] = []
    seconds = 0.0
    for share in _shares(environment, player, request):
        records += share.records
        seconds += share.seconds
        if console:
            mean = sum(record.score for record in records) / len(records)
            console.print(
                f"{what}episodes {len(records)}/{request.episodes}  mean score {mean:.1f}  "
                f"{time.perf_counter() - began:.0f} s",
                highlight=False,
            )
    return records, seconds


def _shares(environment: EnvironmentConfig, player: Player, request: EvaluationRequest) -> Iterator[Share]:
    """Play the episodes share by share, as they are done."""
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
    """The seeds of each share."""
    size = math.ceil(request.episodes / (SHARES_PER_WORKER * max(1, request.num_workers)))
    seeds = range(request.seed_base, request.seed_base + request.episodes)
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


def _described(resolved: Resolved, request: EvaluationRequest) -> dict[str, Any]:
    """Return the subject of the measurement: policy, checkpoint, phase, seeds and environment."""
    phase = None if resolved.player.weights is None else phase_of(resolved.player.weights)
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


def _write_all(numbers: dict[str, Any], request: EvaluationRequest) -> dict[str, str]:
    """Write the files that are asked for, each whole or not at all; their paths by what they hold."""
    files = {}
    if request.json_file is not None:
        with atomic_write(Path(request.json_file)) as partial:
            partial.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        files["numbers"] = request.json_file
    if request.plot is not None:
        from rllib_moe.evaluation.explanation_plot import write_plot  # matplotlib takes a second to import

        title = f"{request.checkpoint} on {numbers['env']}, {numbers['episodes']} episodes"
        write_plot(numbers["explain"], title, Path(request.plot))
        files["picture"] = request.plot
    return files
