"""Output of a training run for a person: a line an iteration, warnings, and at the end a table of phases.

A terminal has a display in place of the lines, see `live.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.console import say
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.health import warnings_after
from rllib_moe.training.summary import best_score

REPEAT_SHARE = 0.1
"""Share of the run's episodes after which a warning that lasts is told again."""


class EtaEstimator:
    """Estimate of the time to some episode, at the pace since the first note."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def note(self, played: int) -> None:
        """Take down the episodes played by now."""
        self._last = (time.monotonic(), played)
        self._first = self._first or self._last

    def time_to(self, episode: int) -> str:
        """Return the time left until an episode, as `1:02:03 left`; nothing before there is a pace."""
        if self._first is None or self._last[1] <= self._first[1]:
            return ""
        seconds, played = self._last[0] - self._first[0], self._last[1] - self._first[1]
        return f"{timedelta(seconds=int(seconds / played * max(0, episode - self._last[1])))} left"


@dataclass(frozen=True)
class FollowedRun:
    """A run that a display follows to so many episodes."""

    console: Console
    episodes: int
    schedule: PhaseSchedule
    rows: Sequence[m.Row]
    """All of its rows so far; the run appends to them before it calls `show`."""
    role_names: Sequence[str] = ()
    """Roles that the experts are taught; they bear these names where there is one for each."""


class ProgressLines:
    """Prints one plain line an iteration, and one for each warning when it begins and while it lasts."""

    def __init__(self, run: FollowedRun) -> None:
        self._run = run
        self._eta = EtaEstimator()
        self._warned: dict[str, tuple[int, int]] = {}
        """Episodes at which a warning that lasts began and was told last, by its kind."""

    def show(self, row: m.Row) -> None:
        """Print a row of measures."""
        played = row[m.EPISODES_TOTAL.key]
        self._eta.note(played)
        shares = [f"{100 * share:.0f}" for share in m.shares_of(row)]
        experts = f"experts {' '.join(shares)}"
        if len(shares) == len(self._run.role_names):
            experts = " ".join(map(" ".join, zip(expert_names(len(shares), self._run.role_names), shares, strict=True)))
        score = (
            "-" if row[m.EPISODES.key] == 0 else f"{row[m.SCORE_MEAN.key]:.1f} (best {best_score(self._run.rows):.0f})"
        )
        say(
            self._run.console,
            f"episode {played}/{self._run.episodes}  {row[m.PHASE.key]} {row[m.ROUTING.key]} "
            f"T {row[m.TEMPERATURE.key]:.2f}  score {score}  "
            f"alpha entropy {row[m.ALPHA_ENTROPY.key]:.2f}  MI {row[m.MUTUAL_INFORMATION.key]:.2f}  "
            f"{experts} %  {row[m.STEPS_PER_SECOND.key]:.0f} steps/s  "
            f"{self._eta.time_to(self._run.episodes)}",
        )
        lasting: dict[str, tuple[int, int]] = {}
        for warning in warnings_after(row, self._run.schedule, self._run.episodes):
            began, told = self._warned.get(warning.kind, (played, None))
            if told is None or played - told >= REPEAT_SHARE * self._run.episodes:
                since = "" if told is None else f" (since episode {began})"
                say(self._run.console, f"warning: {warning.text}{since}")
                told = played
            lasting[warning.kind] = began, told
        self._warned = lasting


def phase_table(summary: dict[str, Any]) -> Table:
    """Return the table that ends a run that played something, a column a phase, from its `summary.summarize`."""
    table = Table("phase", title="Phases played", title_justify="left")
    for phase in summary["phases"]:
        table.add_column(phase["phase"], justify="right")
    columns = [_cells(phase) for phase in summary["phases"]]
    for heading in columns[0]:
        table.add_row(heading, *(cells[heading] for cells in columns))
    return table


def _cells(phase: dict[str, Any]) -> dict[str, str]:
    """Return the values of a phase under their headings."""
    return {
        "routing": phase["routing"],
        "episodes": str(phase["episodes"]),
        "score mean ± SE": f"{number(phase['score_mean'])} ± {number(phase['score_se'])}",
        "std": number(phase["score_std"]),
        "best": number(phase["score_max"], 0),
        "alpha entropy (end)": f"{number(phase['alpha_entropy'], 3)} ({number(phase['alpha_entropy_end'], 3)})",
        "MI (end)": f"{number(phase['mutual_information'])} ({number(phase['mutual_information_end'])})",
        "expert shares %": " ".join(f"{100 * share:.0f}" for share in phase["expert_share"]),
        "T": number(phase["temperature"]),
        "learning rate": f"{phase['learning_rate']:.1e}",
    }


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for a person, a dash where it was never measured."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
