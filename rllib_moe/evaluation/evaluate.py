"""Evaluation: a checkpoint, or a baseline, on a fixed list of seeds, by parallel workers.

Owns the request with its checks, the sharing out, and the result. Of a checkpoint only `weights.pt` is read (without
unpickling objects): the phase, gate and temperature, is among the weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import ray
import tyro
from rich.console import Console

from rllib_moe.config import ConfigError, EnvironmentConfig, ModelConfig
from rllib_moe.envs.registry import make_env, prepare
from rllib_moe.evaluation.actors import Player, PolicyName
from rllib_moe.evaluation.episodes import EpisodeRecord, Share, play
from rllib_moe.evaluation.report import evaluation_numbers, evaluation_tables
from rllib_moe.phase_checks import ROUTINGS
from rllib_moe.ray_session import ray_session
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.command_line import assignments

SHARES_PER_WORKER = 4
"""Shares of the episodes per worker: enough to even out long and short ones and to show progress, few enough to keep a
worker's environments busy together. A share whose worker dies is played again by another."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate, on which episodes."""

    checkpoint: str | None = None
    """Checkpoint directory, or a run directory (its latest checkpoint). A baseline takes only its environment."""
    policy: PolicyName = "checkpoint"
    """Who plays: the checkpoint's network, uniform over all actions (`random`) or the legal ones (`random-legal`), or
    the path-to-stairs player of NetHack (`scripted`)."""
    episodes: int = 100
    """Episodes."""
    seed_base: int = 1000
    """Seed of the first episode; episode i has seed_base + i."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    remove_expert: int | None = None
    """Take this expert away; the gate is renormalised over the others."""
    env: str | None = None
    """Environment; by default the checkpoint's, or `nethack` without one."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; by default the checkpoint's, or 500 without one."""
    env_arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One keyword argument of the environment, such as action_mask=false, over those of the checkpoint; repeatable."""
    num_workers: int = 2
    """Ray workers; 0 plays in this process."""
    envs_per_worker: int = 16
    """Environments stepped together in one worker."""
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the numbers; its directory is made."""

    def faults(self) -> Iterator[str]:
        """Everything out of range or contradictory that can be told without reading anything, in words."""
        if self.policy not in get_args(PolicyName):
            yield f"policy: expected one of {', '.join(get_args(PolicyName))}, got {self.policy!r}"
        for name, least in (("episodes", 1), ("seed_base", 0), ("num_workers", 0), ("envs_per_worker", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                yield f"{name}: expected a whole number, {least} or more, got {value!r}"
        if self.policy == "checkpoint":
            if self.checkpoint is None:
                yield "checkpoint: needed for policy 'checkpoint'"
        else:
            if self.deterministic:
                yield f"deterministic: is for policy 'checkpoint', got policy {self.policy!r}"
            if self.remove_expert is not None:
                yield f"remove_expert: is for policy 'checkpoint', got policy {self.policy!r}"
        if self.json is not None and Path(self.json).is_dir():
            yield f"json: expected a file, {self.json!r} is a directory"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A request that was checked against what it names."""

    environment: EnvironmentConfig
    player: Player
    checkpoint: Checkpoint | None


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
    plan = _plan(request)
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


def _plan(request: EvaluationRequest) -> _Plan:
    """Check everything that can be checked before the first episode."""
    faults = list(request.faults())
    checkpoint = None
    if request.checkpoint is not None:
        try:
            checkpoint = load_checkpoint(request.checkpoint)
        except CheckpointError as error:
            faults.append(str(error))
    environment = _environment(request, checkpoint, faults)
    if request.policy == "scripted" and environment.env != "nethack":
        faults.append(f"policy: 'scripted' plays 'nethack' only, got env {environment.env!r}")
    model = checkpoint.config.model if checkpoint else None
    if request.policy == "checkpoint" and request.remove_expert is not None and model:
        faults += _removal_faults(request.remove_expert, model)
    player = None
    if not (request.policy == "checkpoint" and checkpoint is None):
        player = Player(
            policy=request.policy,
            deterministic=request.deterministic,
            removed_expert=request.remove_expert,
            model=model,
            weights=checkpoint.weights() if checkpoint and request.policy == "checkpoint" else None,
        )
    # What is out of range itself would only be refused twice.
    if environment.env and not list(environment.faults()):
        faults += _fit_faults(environment, None if faults else player)
    if faults or player is None:
        raise ConfigError(faults)
    return _Plan(environment=environment, player=player, checkpoint=checkpoint)


def _environment(request: EvaluationRequest, checkpoint: Checkpoint | None, faults: list[str]) -> EnvironmentConfig:
    """The environment: the checkpoint's, changed as asked for; faults are added to the list."""
    base = checkpoint.config.environment if checkpoint else EnvironmentConfig()
    asked = assignments("env_arg", request.env_arg, faults)
    is_same = request.env in (None, base.env)
    environment = EnvironmentConfig(
        env=base.env if request.env is None else request.env,
        max_steps=base.max_steps if request.max_steps is None else request.max_steps,
        env_args=(base.env_args if is_same else {}) | asked,
    )
    faults += environment.faults()
    return environment


def _removal_faults(expert: int, model: ModelConfig) -> Iterator[str]:
    if model.num_experts == 1:
        yield "remove_expert: the checkpoint has one expert, and one must stay"
    elif not 0 <= expert < model.num_experts:
        yield f"remove_expert: expected 0 to {model.num_experts - 1}, got {expert}"


def _fit_faults(environment: EnvironmentConfig, player: Player | None) -> Iterator[str]:
    """Make the environment once, and the actor for it."""
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        yield f"env: {error}"
        return
    try:
        if player:
            player.actor(env)
    except ValueError as error:
        yield f"{'checkpoint' if player and player.policy == 'checkpoint' else 'policy'}: {error}"
    finally:
        env.close()


def _shares(plan: _Plan, request: EvaluationRequest) -> Iterator[Share]:
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


def _remote_shares(plan: _Plan, request: EvaluationRequest, parts: Sequence[Sequence[int]]) -> Iterator[Share]:
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


def _described(plan: _Plan, request: EvaluationRequest) -> dict[str, Any]:
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
