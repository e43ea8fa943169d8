"""What of a plan is done, told from the disk alone: runs that are trained, evaluations that are written, and for whom.

A directory is reused only for the plan that its runs were trained by: what an edited plan says otherwise is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rllib_moe.config import EnvironmentConfig, ExperimentConfig
from rllib_moe.phases import PhaseSchedule
from rllib_moe.studies.comparison.plan import Plan, Run
from rllib_moe.training.checkpoints import FINAL, LATEST, Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.command_line import parse
from rllib_moe.validation import ConfigError

DRAWN = "evaluation"
"""Name of the evaluation with actions drawn from the policy."""
MOST_PROBABLE = "evaluation-deterministic"
"""Name of the evaluation with the most probable actions."""
BASELINES = "baselines"
"""Directory of the evaluations of players that learn nothing, beside the runs."""


def without_expert(expert: int) -> str:
    """Name of the evaluation with an expert removed."""
    return f"evaluation-without-{expert}"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One evaluation that a plan asks for."""

    name: str
    """Its name; its file is <name>.json in the run's directory."""
    episodes: int
    """Episodes."""
    seed_base: int
    """Seed of the first one."""
    flags: tuple[str, ...] = ()
    """Flags of scripts/evaluate.py that make it what it is."""
    environment: EnvironmentConfig | None = None
    """Where a baseline plays; None where a checkpoint says so."""

    def numbers(self, directory: Path, checkpoint_episodes: int | None) -> dict[str, Any] | None:
        """What was measured, None where it was not (or on other episodes, or on an earlier checkpoint).

        Args:
            directory: Of the run.
            checkpoint_episodes: At which its final checkpoint stands; None without one.
        """
        try:
            numbers: dict[str, Any] = json.loads((directory / f"{self.name}.json").read_text())
        except FileNotFoundError:
            return None
        asked = {
            "checkpoint_episodes": checkpoint_episodes,
            "episodes": self.episodes,
            "seed_base": self.seed_base,
        }
        if self.environment:
            asked |= {name: getattr(self.environment, name) for name in ("env", "max_steps", "env_args")}
        return numbers if all(numbers.get(key) == value for key, value in asked.items()) else None


def judgements(plan: Plan, run: Run, num_experts: int) -> Iterator[Judgement]:
    """The evaluations that a plan asks of a run, that with drawn actions first."""
    judged = plan.evaluation

    def judgement(name: str, episodes: int, *flags: str) -> Judgement:
        return Judgement(name=name, episodes=episodes, seed_base=judged.seed_base, flags=flags)

    yield judgement(DRAWN, judged.episodes)
    if judged.num_most_probable:
        yield judgement(MOST_PROBABLE, judged.num_most_probable, "--deterministic")
    if judged.without_expert_episodes and plan.of_reference(run) and num_experts > 1:
        for expert in range(num_experts):
            yield judgement(without_expert(expert), judged.without_expert_episodes, "--remove-expert", str(expert))


def baselines(plan: Plan) -> Iterator[Judgement]:
    """The evaluations of a plan's baselines; their files are in a directory `BASELINES`."""
    judged, environment = plan.evaluation, plan.environment
    where = ["--env", environment.env, "--max-steps", str(environment.max_steps)]
    for name, value in environment.env_args.items():
        where += ["--env-arg", f"{name}={json.dumps(value)}"]
    for policy in judged.baselines:
        flags = ("--policy", policy, *where)
        yield Judgement(
            name=policy, episodes=judged.episodes, seed_base=judged.seed_base, flags=flags, environment=environment
        )


def trained(directory: Path, episodes: int) -> Checkpoint | None:
    """The last checkpoint of a run with all episodes of its plan; None where there is none, or it is damaged.

    One that was killed as it ended has that checkpoint, and may not call it final yet.
    """
    for name in (FINAL, LATEST):
        try:
            checkpoint = load_checkpoint(directory / "checkpoints" / name)
        except CheckpointError:
            continue
        if checkpoint.episodes >= episodes:
            return checkpoint
    return None


def check_reuse(plan: Plan, directory: Path) -> None:
    """Refuse a directory whose runs were trained otherwise than the plan says now.

    Everything counts but name, place and length: numbers of workers change what is sampled, and timeouts what is lost.
    More episodes than before are no fault: the runs are resumed.

    Raises:
        ConfigError: naming each run and field with both values, and runs whose checkpoints are all damaged.
    """
    faults = [fault for run in plan.runs() for fault in _reuse_faults(plan, run, directory / run.name)]
    if faults:
        raise ConfigError(
            [
                *faults,
                f"{directory}: to keep these runs, undo the change in the plan or choose another --output-dir; to "
                "train them anew, move their directories away",
            ]
        )


def _reuse_faults(plan: Plan, run: Run, directory: Path) -> Iterator[str]:
    if not (directory / "checkpoints" / LATEST).exists():
        return
    try:
        checkpoint = load_checkpoint(directory)
    except CheckpointError as error:
        yield f"{run.name}: {error}"
        return
    asked = parse(run.flags, description="")
    before, now = _sections(checkpoint.config, checkpoint.schedule), _sections(asked.config, asked.schedule)
    for section in dict.fromkeys((*before, *now)):
        old, new = before.get(section, {}), now.get(section, {})
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                yield f"{run.name}: {section}.{name}: trained with {old.get(name)!r}, the plan says {new.get(name)!r}"
    if checkpoint.config.run.episodes > plan.episodes <= checkpoint.episodes:
        yield (
            f"{run.name}: episodes: trained for {checkpoint.config.run.episodes} (it stands at {checkpoint.episodes}), "
            f"the plan says {plan.episodes}"
        )


def _sections(config: ExperimentConfig, schedule: PhaseSchedule) -> dict[str, dict[str, Any]]:
    """All that makes a training what it is, by section; not its name, place and length."""
    sections = config.to_dict()
    del sections["run"]
    return sections | {f"schedule.{phase['name']}": phase for phase in schedule.to_dict()["phases"]}
