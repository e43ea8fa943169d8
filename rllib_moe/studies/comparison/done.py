"""Finished parts of a plan, told from the disk: runs that are trained, evaluations that are written, and for whom.

A directory is reused only for the plan that its runs were trained by: what an edited plan says otherwise is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.experiment import Experiment
from rllib_moe.studies.comparison.plan import FROZEN, Plan, PlannedRun
from rllib_moe.training.checkpoints import CHECKPOINTS, FINAL, LATEST, Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.resume import begun_from
from rllib_moe.validation.yaml_files import load_yaml

DRAWN = "evaluation"
"""Name of the evaluation with actions drawn from the policy."""
MOST_PROBABLE = "evaluation-deterministic"
"""Name of the evaluation with the most probable actions."""
BASELINES = "baselines"
"""Directory of the evaluations of players that learn nothing, beside the runs."""
PLAN = "plan.yaml"
"""File of the plan beside the runs, written before the first one."""


def without_expert(expert: int) -> str:
    """Return the name of the evaluation with an expert removed."""
    return f"evaluation-without-{expert}"


def evaluations(plan: Plan, run: PlannedRun, checkpoint: Checkpoint, directory: Path) -> dict[str, EvaluationRequest]:
    """Return the evaluations that a plan asks of a run by name, that with drawn actions first."""
    spec, num_experts = plan.evaluation, checkpoint.experiment.model.num_experts
    asked: dict[str, dict[str, Any]] = {DRAWN: {"episodes": spec.episodes}}
    if spec.most_probable:
        asked[MOST_PROBABLE] = {"episodes": spec.most_probable, "deterministic": True}
    if spec.without_expert_episodes and run.variant in (plan.reference_name, FROZEN) and num_experts > 1:
        for expert in range(num_experts):
            asked[without_expert(expert)] = {"episodes": spec.without_expert_episodes, "remove_expert": expert}
    place: dict[str, Any] = {"checkpoint": str(checkpoint.path), "seed_base": spec.seed_base, "num_workers": 1}
    return {
        name: EvaluationRequest(json_file=str(directory / run.name / f"{name}.json"), **place, **values)
        for name, values in asked.items()
    }


def baselines(plan: Plan, directory: Path) -> dict[str, EvaluationRequest]:
    """Return the evaluations of a plan's baselines by name, in the environment of the first variant."""
    environment, spec = plan.runs()[0].experiment.environment, plan.evaluation
    return {
        policy: EvaluationRequest(
            policy=policy,
            episodes=spec.episodes,
            seed_base=spec.seed_base,
            num_workers=1,
            json_file=str(directory / BASELINES / f"{policy}.json"),
            **{name: getattr(environment, name) for name in ("env", "max_steps", "env_args")},
        )
        for policy in spec.baselines
    }


def measured(request: EvaluationRequest, checkpoint_episodes: int | None) -> dict[str, Any] | None:
    """Return the numbers of an evaluation; None where it is not done, or on other episodes, or of another checkpoint.

    Args:
        checkpoint_episodes: Episodes of the run's final checkpoint; None of a baseline.
    """
    try:
        numbers: dict[str, Any] = json.loads(Path(str(request.json_file)).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    names = ["episodes", "seed_base", *(("env", "max_steps", "env_args") if checkpoint_episodes is None else ())]
    asked = {"checkpoint_episodes": checkpoint_episodes} | {name: getattr(request, name) for name in names}
    return numbers if all(numbers.get(name) == value for name, value in asked.items()) else None


def trained(directory: Path, episodes: int) -> Checkpoint | None:
    """Return the last checkpoint of a run with all episodes of its plan; None without one, or where it is damaged.

    One that was killed as it ended has that checkpoint, and may not call it final yet.
    """
    for name in (FINAL, LATEST):
        try:
            checkpoint = load_checkpoint(directory / CHECKPOINTS / name)
        except CheckpointError:
            continue
        if checkpoint.episodes >= episodes:
            return checkpoint
    return None


def reuse_errors(plan: Plan, directory: Path) -> list[str]:
    """Return the reasons why a directory cannot be reused: its runs were trained otherwise than the plan says now.

    Each names a run and a field with both values, or a run whose checkpoints are all damaged. Everything counts but
    name, place and length: numbers of workers change what is sampled, and timeouts what is lost. More episodes than
    before are no error: the runs are resumed.
    """
    errors = [*_outcome_errors(plan, directory / PLAN)]
    errors += [error for run in plan.runs() for error in _reuse_errors(run, directory / run.name)]
    if errors:
        errors.append(
            f"{directory}: to keep these runs, undo the change in the plan or choose another --output-dir; to "
            "train them anew, move their directories away"
        )
    return errors


def _outcome_errors(plan: Plan, file: Path) -> Iterator[str]:
    """Yield an error for each part of the question that was put otherwise before the first run."""
    before = (load_yaml(file) if file.exists() else None) or {}
    now = {"primary": plan.primary, "reference": plan.reference_name, "test": plan.test, "normalize": plan.normalize}
    if "reference" in before:  # by default the first variant
        before["reference"] = before["reference"] or before["variants"][0]["name"]
    for name, value in now.items():
        if name in before and before[name] != value:
            yield f"{name}: fixed as {before[name]!r} before the first run, the plan says {value!r}"


def _reuse_errors(run: PlannedRun, directory: Path) -> Iterator[str]:
    if not (directory / CHECKPOINTS / LATEST).exists():
        return
    try:
        checkpoint = load_checkpoint(directory)
    except CheckpointError as error:
        yield f"{run.name}: {error}"
        return
    before, now = _values(checkpoint.experiment), _values(run.experiment)
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield f"{run.name}: {name}: trained with {before.get(name)!r}, the plan says {now.get(name)!r}"
    origin, resume = begun_from(checkpoint, directory), run.experiment.run.resume
    if origin != resume:
        yield f"{run.name}: resume: begun from {origin!r}, the plan says {resume!r}"
    trained_for, episodes = checkpoint.experiment.run.episodes, run.experiment.run.episodes
    if trained_for > episodes <= checkpoint.episodes:
        yield (
            f"{run.name}: episodes: trained for {trained_for} (it stands at {checkpoint.episodes}), the plan says "
            f"{episodes}"
        )


def _values(experiment: Experiment) -> dict[str, Any]:
    """Return all that makes a training but its name, place and length, by section or phase and field."""
    sections = experiment.to_dict()
    del sections["run"]
    phases = {f"schedule.{phase['name']}": phase for phase in sections.pop("schedule")["phases"]}
    return {
        f"{section}.{name}": value for section, values in (sections | phases).items() for name, value in values.items()
    }
