"""Warnings about a training: collapse, alpha entropy out of its window, skipped updates, lost workers.

Pure; for people to read, on the screen and in pictures. Nothing in the training does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from rllib_moe import metrics as m
from rllib_moe.schedule.phases import PhaseSchedule

LEAST_SHARE = 0.05
"""Share of the gate below which an expert is about to be lost."""
GRACE, GRACE_SHARE = 100, 0.5
"""Episodes a phase has to bring alpha entropy into its window before anything is said, at most this share of it."""

TOLERANCE = 0.1
"""Nats on either side of a target where the original schedule has no window."""
TRANSITION_TOLERANCE = 0.15
"""Nats on either side of the line along which entropy falls in `transition`."""
WARMUP_TOLERANCE = 0.05
"""Nats below undecided that count as undecided in `warmup`."""
TRANSITION_END = 0.7
FINE_TUNE = (0.3, 0.5)
"""Values in nats that the original schedule expects, for four experts."""


class TrainingWarning(NamedTuple):
    """Something that needs attention."""

    kind: str
    """Kind of warning; the same warning has the same kind in every iteration."""
    text: str
    """Message for a person."""


class Window(NamedTuple):
    """Alpha entropy that is expected, in nats."""

    low: float
    high: float


def warnings_after(row: m.Row, schedule: PhaseSchedule, episodes: int) -> Iterator[TrainingWarning]:
    """Yield the warnings after an iteration of a run of so many episodes, the most serious first."""
    if lost := row.get(m.LOST_WORKERS.key, 0):
        yield TrainingWarning("workers", f"{lost} rollout worker{'s' * (lost != 1)} lost; Ray starts new ones")
    if skipped := row.get(m.SKIPPED_UPDATES.key, 0):
        yield TrainingWarning("updates", f"{skipped} gradient step{'s' * (skipped != 1)} skipped so far, as not finite")
    shares = m.shares_of(row)
    for index, share in enumerate(shares):
        if len(shares) > 1 and share < LEAST_SHARE:
            text = f"collapse: expert {index} has {100 * share:.1f} % of the gate, below {100 * LEAST_SHARE:.0f} %"
            yield TrainingWarning(f"collapse {index}", text)
    played, entropy = row[m.EPISODES_TOTAL.key], row[m.ALPHA_ENTROPY.key]
    window, phase = window_at(schedule, played, len(shares)), schedule.phase_at(played)
    grace = min(GRACE, GRACE_SHARE * (min(phase.end or episodes, episodes) - phase.start))
    if window and played - phase.start >= grace and (entropy < window.low or entropy > window.high):
        side = "below" if entropy < window.low else "above"
        text = f"alpha entropy {entropy:.2f} is {side} its window, {window.low:.2f} to {window.high:.2f} nats"
        yield TrainingWarning("entropy", text)


def window_at(schedule: PhaseSchedule, episode: int, num_experts: int) -> Window | None:
    """Return the alpha entropy expected at an episode.

    Where the schedule pays for alpha entropy, the phases `warmup`, `transition` and `fine-tune` have its own windows
    (ln K; from ln K down to about 0.7; 0.3 to 0.5, scaled by ln K / ln 4), unless it aims outside of them. Any other
    phase has a band around its target.

    Returns:
        The window; None for one expert, where `alpha_entropy_coef` is 0, and where nothing is expected.
    """
    if num_experts < 2 or schedule.at(episode).alpha_entropy_coef == 0:
        return None
    top = math.log(num_experts)
    scale = top / math.log(4)
    phase, window = schedule.phase_at(episode), None
    if phase.name == "warmup":
        window = _within(top - WARMUP_TOLERANCE, top, top)
    elif phase.name == "transition" and phase.end is not None:
        line = top + (TRANSITION_END * scale - top) * (episode - phase.start) / (phase.end - phase.start)
        window = _within(line - TRANSITION_TOLERANCE, line + TRANSITION_TOLERANCE, top)
    elif phase.name == "fine-tune":
        window = _within(FINE_TUNE[0] * scale, FINE_TUNE[1] * scale, top)
    target = schedule.at(episode).alpha_entropy_target
    if target is None or (window and window.low <= min(target, top) <= window.high):
        return window
    return _within(min(target, top) - TOLERANCE, min(target, top) + TOLERANCE, top)


def _within(low: float, high: float, top: float) -> Window:
    """Return a window cut to what entropy can be."""
    return Window(max(low, 0.0), min(high, top) + 1e-6)  # the measured mean rounds beyond ln K
