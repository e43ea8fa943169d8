"""Concerns about a training: collapse, alpha entropy out of its window, skipped updates, lost workers.

Pure; for people to read, nothing in the training does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rllib_moe import metrics as m
from rllib_moe.phases import PhaseSchedule
from rllib_moe.training.entropy_windows import Window, window_at

LEAST_SHARE = 0.05
"""Share of the gate below which an expert is about to be lost."""
GRACE, GRACE_SHARE = 100, 0.5
"""Episodes a phase has to bring alpha entropy into its window before anything is said, at most this share of it."""


@dataclass(frozen=True)
class Concern:
    """Something that needs attention."""

    kind: str
    """Kind of concern; the same concern has the same kind in every iteration."""
    text: str
    """Message for a person."""


def expected_entropy(row: m.Row, schedule: PhaseSchedule) -> Window | None:
    """The window of alpha entropy at a row's episode, None where nothing is expected."""
    return window_at(schedule, row[m.EPISODES_TOTAL.key], len(m.shares_of(row)))


def concerns(row: m.Row, schedule: PhaseSchedule, episodes: int) -> list[Concern]:
    """Return the concerns after an iteration.

    Args:
        row: Its measures.
        schedule: The run's schedule.
        episodes: The run's total.

    Returns:
        All of it, the most serious first.
    """
    found: list[Concern] = []
    if lost := row.get(m.LOST_WORKERS.key, 0):
        found.append(Concern("workers", f"{lost} rollout worker{'s' * (lost != 1)} lost; Ray starts new ones"))
    if skipped := row.get(m.SKIPPED_UPDATES.key, 0):
        what = "gradient step" + "s" * (skipped != 1)
        found.append(Concern("updates", f"{skipped} {what} skipped so far, as not finite"))
    shares = m.shares_of(row)
    for index, share in enumerate(shares):
        if len(shares) > 1 and share < LEAST_SHARE:
            text = f"collapse: expert {index} has {100 * share:.1f} % of the gate, below {100 * LEAST_SHARE:.0f} %"
            found.append(Concern(f"collapse {index}", text))
    found += _entropy(row, schedule, episodes)
    return found


def _entropy(row: m.Row, schedule: PhaseSchedule, episodes: int) -> list[Concern]:
    played, entropy = row[m.EPISODES_TOTAL.key], row[m.ALPHA_ENTROPY.key]
    window, index = expected_entropy(row, schedule), schedule.index_at(played)
    start, end = schedule.phases[index].start, schedule.end_of(index) or episodes
    grace = min(GRACE, GRACE_SHARE * (min(end, episodes) - start))
    if window is None or entropy in window or math.isnan(entropy) or played - start < grace:
        return []
    side = "below" if entropy < window.low else "above"
    text = f"alpha entropy {entropy:.2f} is {side} its window, {window.low:.2f} to {window.high:.2f} nats"
    return [Concern("entropy", text)]
