"""The phases that a run will play, said before it starts, and those that may be skipped. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rllib_moe.config import EnvironmentConfig, TrainingConfig
from rllib_moe.phases import PhaseSchedule


def forecast(schedule: PhaseSchedule, first: int, total: int) -> str:
    """Return in a sentence which phases a run plays, such as `This run: warmup 0 to 1,000, transition 1,000 to 1,200`.

    Args:
        schedule: Its schedule.
        first: First episode, above 0 where the run is resumed.
        total: Episode total.
    """
    played = [
        f"{name} {max(start, first):,} to {min(end, total):,}"
        for name, start, end in _spans(schedule, total)
        if start < total and end > first
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
    at_once = max(training.num_envs, training.batch_size // environment.max_steps)
    for name, start, end in _spans(schedule, total):
        if first < end and start < total and end - start < at_once and end < total:
            yield (
                f"warning: {name} lasts {end - start:,} episodes, and one iteration may end {at_once:,} "
                f"({training.num_envs:,} environments, batch_size {training.batch_size:,}, max_steps "
                f"{environment.max_steps:,}): it may be shortened or skipped. Move its boundaries apart, or take fewer "
                "environments and a smaller batch"
            )


def _spans(schedule: PhaseSchedule, total: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, first episode and end of each phase; the last one ends with the run."""
    for index, phase in enumerate(schedule.phases):
        end = schedule.end_of(index)
        yield phase.name, phase.start, max(total, phase.start) if end is None else end
