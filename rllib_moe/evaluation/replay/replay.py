"""One episode of a checkpoint to a page or a moving picture: the request, its checks, and the writing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from rllib_moe.config import ConfigError
from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.replay.animation import write_gif
from rllib_moe.evaluation.replay.page import page
from rllib_moe.evaluation.replay.recording import Recording, record
from rllib_moe.evaluation.request import EvaluationRequest, Plan, plan_evaluation, watched
from rllib_moe.models.policy_network import phase_of
from rllib_moe.runtime.files import atomic_write, file_faults

_PROGRESS_EVERY = 100


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """Which episode to show, and where."""

    checkpoint: str | None = None
    """Checkpoint directory, or a run directory (its latest checkpoint)."""
    seed: int = 1000
    """Seed of the episode; the same episode as in an evaluation that has this seed."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE.html")] = None
    """The page to write."""
    gif: Annotated[str | None, tyro.conf.arg(metavar="FILE.gif")] = None
    """The moving picture to write."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    remove_expert: int | None = None
    """Take this expert away; the gate is renormalised over the others."""
    env: str | None = None
    """Environment; by default the checkpoint's."""
    max_steps: int | None = None
    """Steps after which the episode is truncated; by default the checkpoint's."""
    env_arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One keyword argument of the environment, over those of the checkpoint; repeatable."""

    def faults(self) -> Iterator[str]:
        """Everything out of range or contradictory that can be told without reading anything, in words."""
        if type(self.seed) is not int or self.seed < 0:
            yield f"seed: expected a whole number, 0 or more, got {self.seed!r}"
        if self.out is None and self.gif is None:
            yield "out: name a page to write (--out FILE.html), or a moving picture (--gif FILE.gif)"
        for name, file, suffix in (("out", self.out, ".html"), ("gif", self.gif, ".gif")):
            if file is not None and Path(file).suffix.lower() != suffix:
                yield f"{name}: expected a file that ends in {suffix}, got {file!r}"
            elif file is not None:
                yield from file_faults(name, file)


def replay(request: ReplayRequest, console: Console | None = None) -> dict[str, Any]:
    """Play the episode and write what was asked for.

    Args:
        request: What to show.
        console: Where progress goes; None prints nothing.

    Returns:
        `steps`, `score`, `max_depth`, `ending`, and `bytes` of each file by its path.

    Raises:
        ConfigError: the request is refused, for all the faults it names; nothing was written.
    """
    plan = _plan(request)
    prepare(plan.environment.env)

    def tell(steps: int) -> None:
        if console and steps % _PROGRESS_EVERY == 0:
            console.print(f"steps {steps}/{plan.environment.max_steps}", highlight=False)

    recording = record(plan.environment, watched(plan.player), request.seed, tell)
    if request.out is not None:
        title = f"{plan.environment.env}, seed {request.seed}"
        with atomic_write(Path(request.out)) as partial:
            partial.write_text(page(recording, title, _facts(request, plan, recording)), encoding="utf-8")
    if request.gif is not None:
        with atomic_write(Path(request.gif)) as partial:
            write_gif(recording, partial)
    files = {file: Path(file).stat().st_size for file in (request.out, request.gif) if file is not None}
    if console:
        console.print(f"{recording.steps} steps, {recording.ending}, score {recording.final_score:g}", highlight=False)
        for file, size in files.items():
            console.print(f"{file}: {size / 1e6:.2f} MB", highlight=False, markup=False, soft_wrap=True)
    return {
        "steps": recording.steps,
        "score": recording.final_score,
        "max_depth": recording.final_depth,
        "ending": recording.ending,
        "bytes": files,
    }


def _plan(request: ReplayRequest) -> Plan:
    faults = list(request.faults())
    try:
        shared = {name: value for name, value in vars(request).items() if name not in ("seed", "out", "gif")}
        plan = plan_evaluation(EvaluationRequest(**shared))
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from error
    if faults:
        raise ConfigError(faults)
    return plan


def _facts(request: ReplayRequest, plan: Plan, recording: Recording) -> list[tuple[str, str]]:
    """The page's head line."""
    assert plan.checkpoint is not None
    assert plan.player.weights is not None
    phase = phase_of(plan.player.weights)
    facts = [
        ("checkpoint", f"{plan.checkpoint.path.name} (episode {plan.checkpoint.episodes})"),
        ("gate", f"{phase.routing}, temperature {phase.value('temperature'):.3g}"),
        ("actions", "most probable" if request.deterministic else "drawn"),
        ("steps", f"{recording.steps}, {recording.ending}"),
        ("final score", f"{recording.final_score:g}"),
    ]
    if recording.final_depth is not None:
        facts.append(("deepest level", str(recording.final_depth)))
    if request.remove_expert is not None:
        facts.append(("removed", f"expert {request.remove_expert}"))
    return facts
