"""The alpha entropy that is expected at an episode: the user's windows, or a band around the schedule's target.

For people to compare with, on the screen and in pictures; nothing in the training reads it. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rllib_moe.phases import PhaseSchedule

TOLERANCE = 0.1
"""Nats on either side of a target where the user gave no window."""
TRANSITION_TOLERANCE = 0.15
"""Nats on either side of the line along which entropy falls in `transition`."""
WARMUP_TOLERANCE = 0.05
"""Nats below undecided that count as undecided in `warmup`."""
TRANSITION_END = 0.7
FINE_TUNE = (0.3, 0.5)
"""The user's expected values in nats, for four experts."""


@dataclass(frozen=True)
class Window:
    """An interval of alpha entropy, in nats."""

    low: float
    high: float

    def __contains__(self, entropy: float) -> bool:
        return self.low <= entropy <= self.high


def window_at(schedule: PhaseSchedule, episode: int, num_experts: int) -> Window | None:
    """Return the alpha entropy expected at an episode.

    The phases `warmup`, `transition` and `fine-tune` have the user's windows (ln K; from ln K down to about 0.7; 0.3 to
    0.5, scaled by ln K / ln 4), unless the schedule aims outside of them. Any other phase has a band around its target.

    Args:
        schedule: The run's schedule.
        episode: Global episode count.
        num_experts: Experts, K.

    Returns:
        The window; None for one expert, and where neither user nor schedule expects anything.
    """
    if num_experts < 2:
        return None
    top = math.log(num_experts)
    phase = schedule.at(episode)
    target = None if phase.alpha_entropy_target is None else min(phase.alpha_entropy_target, top)
    window = _of_the_user(schedule, phase.name, episode, top)
    if window is not None and (target is None or target in window):
        return window
    return None if target is None else _within(target - TOLERANCE, target + TOLERANCE, top)


def _of_the_user(schedule: PhaseSchedule, name: str, episode: int, top: float) -> Window | None:
    scale = top / math.log(4)
    if name == "warmup":
        return _within(top - WARMUP_TOLERANCE, top, top)
    if name == "fine-tune":
        return _within(FINE_TUNE[0] * scale, FINE_TUNE[1] * scale, top)
    index = schedule.index_at(episode)
    end = schedule.end_of(index)
    if name == "transition" and end is not None:
        start = schedule.phases[index].start
        line = top + (TRANSITION_END * scale - top) * (episode - start) / (end - start)
        return _within(line - TRANSITION_TOLERANCE, line + TRANSITION_TOLERANCE, top)
    return None


def _within(low: float, high: float, top: float) -> Window:
    """A window cut to what entropy can be."""
    return Window(max(low, 0.0), min(high, top) + 1e-6)  # the measured mean rounds beyond ln K
