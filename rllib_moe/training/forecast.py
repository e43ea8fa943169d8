"""Forecast of a run, said before it starts: phases that it reaches, and those that one iteration may skip or delay."""

from __future__ import annotations

from collections.abc import Iterator

from rllib_moe.experiment import Experiment
from rllib_moe.schedule.phases import Phase

LATE_SHARE = 0.01
"""Share of its first episode by which a phase may begin late without a word."""


def forecast(experiment: Experiment, first: int) -> Iterator[str]:
    """Yield which phases a run plays, and what they give the environment.

    Such as `This run: warmup 0 to 1,000 (max_steps 500), transition 1,000 to 1,200 (max_steps 500 to 2000)`. The phase
    changes between iterations, so then come a warning of each phase that may begin and end within one, and so never be
    played; and one line on those that may begin late by more than `LATE_SHARE`. An iteration counts `batch_size /
    max_steps` episodes of full length, and more of shorter ones. The first episode is above 0 where a run is resumed.
    """
    training, total = experiment.training, experiment.run.episodes
    phases = experiment.schedule.phases
    spans = [phase for phase in phases if phase.start < total and (phase.end is None or phase.end > first)]
    played = [
        f"{phase.name} {max(phase.start, first):,} to {min(phase.end or total, total):,}{_arguments(phase)}"
        for phase in spans
    ]
    later = [phase for phase in phases if phase.start >= total]
    missed = f"; {later[0].name} begins at {later[0].start:,} and is not reached" if later else ""
    yield f"This run: {', '.join(played)}{missed}"
    yield from skip_warnings(experiment, first)
    late = [
        f"{experiment.schedule.phase_at(end).name} by {at_once:,} episodes or more"
        for phase, end, max_steps in _completed(experiment, first)
        if LATE_SHARE * end < (at_once := training.batch_size // max_steps) <= end - phase.start
    ]
    if late:
        yield (
            f"The phase changes between iterations, of {training.batch_size:,} steps, so these may begin late: "
            f"{', '.join(late)}. A smaller batch_size lessens it"
        )


def skip_warnings(experiment: Experiment, first: int) -> Iterator[str]:
    """Yield a warning of each phase that may begin and end within one iteration, and so never be played."""
    batch_size = experiment.training.batch_size
    for phase, end, max_steps in _completed(experiment, first):
        at_once, episodes = batch_size // max_steps, end - phase.start
        if episodes < at_once:
            yield (
                f"warning: {phase.name} lasts {episodes:,} episodes, and one iteration may end {at_once:,} or more "
                f"(batch_size {batch_size:,}, max_steps {max_steps:,}): it may be shortened or skipped. Move its "
                "boundaries apart, or take a smaller batch"
            )


def _completed(experiment: Experiment, first: int) -> Iterator[tuple[Phase, int, int]]:
    """Yield each phase that ends within a run, its end, and its least limit on the steps of an episode."""
    own = experiment.environment.max_steps
    for phase in experiment.schedule.phases:
        if phase.end is not None and first < phase.end < experiment.run.episodes:
            yield phase, phase.end, min(each.env.get("max_steps", own) for each in (phase.first, phase.last))


def _arguments(phase: Phase) -> str:
    """Return what a phase gives the environment, in brackets; nothing where that is nothing."""
    told = [
        f"{name} {value}" + (f" to {phase.last.env[name]}" if phase.last.env[name] != value else "")
        for name, value in phase.first.env.items()
    ]
    return f" ({', '.join(told)})" if told else ""
