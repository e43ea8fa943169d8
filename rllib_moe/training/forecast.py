"""Forecast of a run, said before it starts: phases that it reaches, and phases too short to be played."""

from __future__ import annotations

from collections.abc import Iterator

from rllib_moe.experiment import Experiment
from rllib_moe.schedule.phases import Phase


def forecast(experiment: Experiment, first: int) -> Iterator[str]:
    """Yield which phases a run plays, and what they give the environment.

    Such as `This run: warmup 0 to 1,000 (max_steps 500), transition 1,000 to 1,200 (max_steps 500 to 2000)`. Then a
    warning for each phase that may begin and end within one iteration, and so never be played: the phase changes
    between iterations. One counts `batch_size / max_steps` episodes of full length, and more of shorter ones. The first
    episode is above 0 where a run is resumed.
    """
    training, total = experiment.training, experiment.run.episodes
    phases = experiment.schedule.phases
    ends = [*(phase.start for phase in phases[1:]), max(total, phases[-1].start)]
    spans = [(phase, end) for phase, end in zip(phases, ends, strict=True) if phase.start < total and end > first]
    played = [
        f"{phase.name} {max(phase.start, first):,} to {min(end, total):,}{_arguments(phase)}" for phase, end in spans
    ]
    later = [phase for phase in phases if phase.start >= total]
    missed = f"; {later[0].name} begins at {later[0].start:,} and is not reached" if later else ""
    yield f"This run: {', '.join(played)}{missed}"
    for phase, end in spans:
        own = experiment.environment.max_steps
        max_steps = min(each.env.get("max_steps", own) for each in (phase.first, phase.last))
        at_once, episodes = training.batch_size // max_steps, end - phase.start
        if episodes < at_once and end < total:
            yield (
                f"warning: {phase.name} lasts {episodes:,} episodes, and one iteration may end {at_once:,} or more "
                f"(batch_size {training.batch_size:,}, max_steps {max_steps:,}): it may be shortened or skipped. Move "
                "its boundaries apart, or take a smaller batch"
            )


def _arguments(phase: Phase) -> str:
    """Return what a phase gives the environment, in brackets; nothing where that is nothing."""
    told = [
        f"{name} {value}" + (f" to {phase.last.env[name]}" if phase.last.env[name] != value else "")
        for name, value in phase.first.env.items()
    ]
    return f" ({', '.join(told)})" if told else ""
