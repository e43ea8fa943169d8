"""The phases that a run will play, said before it starts, and those that may be skipped. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rllib_moe.config import EnvironmentConfig, TrainingConfig
from rllib_moe.phases import Phase, PhaseSchedule


def forecast(schedule: PhaseSchedule, first: int, total: int) -> str:
    """Return in a sentence which phases a run plays, and what they give the environment.

    Such as `This run: warmup 0 to 1,000 (max_steps 500), transition 1,000 to 1,200 (max_steps 500 to 2000)`.

    Args:
        schedule: Its schedule.
        first: First episode, above 0 where the run is resumed.
        total: Episode total.
    """
    played = [
        f"{phase.name} {max(phase.start, first):,} to {min(end, total):,}{_arguments(phase)}"
        for phase, end in _spans(schedule, total)
        if phase.start < total and end > first
    ]
    later = [phase for phase in schedule.phases if phase.start >= total]
    missed = f"; {later[0].name} begins at {later[0].start:,} and is not reached" if later else ""
    return f"This run: {', '.join(played)}{missed}"


def short_phases(
    schedule: PhaseSchedule, training: TrainingConfig, environment: EnvironmentConfig, first: int, total: int
) -> Iterator[str]:
    """Yield a warning for each phase that may begin and end within one iteration, and so never be played.

    The phase changes between iterations. One counts `batch_size / max_steps` episodes of full length, and more of
    shorter ones; where all environments end theirs at once, as many as there are environments.
    """
    for phase, end in _spans(schedule, total):
        max_steps = min(each.env.get("max_steps", environment.max_steps) for each in (phase.first, phase.last))
        at_once, episodes = max(training.num_envs, training.batch_size // max_steps), end - phase.start
        if first < end and phase.start < total and episodes < at_once and end < total:
            yield (
                f"warning: {phase.name} lasts {episodes:,} episodes, and one iteration may end {at_once:,} "
                f"({training.num_envs:,} environments, batch_size {training.batch_size:,}, max_steps "
                f"{max_steps:,}): it may be shortened or skipped. Move its boundaries apart, or take fewer "
                "environments and a smaller batch"
            )


def _arguments(phase: Phase) -> str:
    """Return what a phase gives the environment, in brackets; nothing where that is nothing."""
    told = [
        f"{name} {value}" + (f" to {phase.last.env[name]}" if phase.last.env[name] != value else "")
        for name, value in phase.first.env.items()
    ]
    return f" ({', '.join(told)})" if told else ""


def _spans(schedule: PhaseSchedule, total: int) -> Iterator[tuple[Phase, int]]:
    """Yield each phase and its end; the last one ends with the run."""
    for index, phase in enumerate(schedule.phases):
        end = schedule.end_of(index)
        yield phase, max(total, phase.start) if end is None else end
