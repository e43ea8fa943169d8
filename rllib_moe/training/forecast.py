"""The phases that a run will play, said before it starts, and those that may be skipped. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rllib_moe.experiment import Experiment


def forecast(experiment: Experiment, first: int) -> Iterator[str]:
    """Yield which phases a run plays, such as `This run: warmup 0 to 1,000, transition 1,000 to 1,200`.

    Then a warning for each phase that may begin and end within one iteration, and so never be played: the phase changes
    between iterations. One counts `batch_size / max_steps` episodes of full length, and more of shorter ones; where all
    environments end theirs at once, as many as there are environments. The first episode is above 0 where a run is
    resumed.
    """
    training, max_steps, total = experiment.training, experiment.environment.max_steps, experiment.run.episodes
    phases = experiment.schedule.phases
    ends = [*(phase.start for phase in phases[1:]), max(total, phases[-1].start)]
    spans = [
        (phase.name, phase.start, end)
        for phase, end in zip(phases, ends, strict=True)
        if phase.start < total and end > first
    ]
    played = [f"{name} {max(start, first):,} to {min(end, total):,}" for name, start, end in spans]
    later = [phase for phase in phases if phase.start >= total]
    missed = f"; {later[0].name} begins at {later[0].start:,} and is not reached" if later else ""
    yield f"This run: {', '.join(played)}{missed}"
    at_once = max(training.num_envs, training.batch_size // max_steps)
    for name, start, end in spans:
        if end - start < at_once and end < total:
            yield (
                f"warning: {name} lasts {end - start:,} episodes, and one iteration may end {at_once:,} "
                f"({training.num_envs:,} environments, batch_size {training.batch_size:,}, max_steps {max_steps:,}): "
                "it may be shortened or skipped. Move its boundaries apart, or take fewer environments and a smaller "
                "batch"
            )
