"""What a person sees of a training run: one line an iteration, and a table of the phases at the end."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from rllib_moe import metrics as m

LOG_WIDTH = 160
"""Columns of the output when it is no terminal (a log)."""

HEADINGS = (
    "phase",
    "routing",
    "episodes",
    "score mean ± SE",
    "std",
    "best",
    "alpha entropy (end)",
    "MI (end)",
    "expert shares %",
    "T",
    "learning rate",
)
"""Headings of the table of phases."""


def standard_console() -> Console:
    """Standard output, as wide as the terminal, or `LOG_WIDTH` where there is none and none is said (`COLUMNS`)."""
    is_told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_told else LOG_WIDTH)


class ProgressLines:
    """Prints one plain line an iteration.

    Args:
        console: Where to.
        episodes: Total episodes of the run.
    """

    def __init__(self, console: Console, episodes: int) -> None:
        self._console = console
        self._episodes = episodes
        self._began: tuple[float, int] | None = None

    def show(self, row: m.Row) -> None:
        """Print a row of measures."""
        played = row[m.EPISODES_TOTAL.key]
        if self._began is None:
            self._began = (time.monotonic(), played)
        shares = " ".join(f"{100 * share:.0f}" for share in m.shares_of(row))
        score = "-" if row[m.EPISODES.key] == 0 else f"{row[m.SCORE_MEAN.key]:.1f} (best {row[m.SCORE_MAX.key]:.0f})"
        self._console.print(
            f"episode {played}/{self._episodes}  {row[m.PHASE.key]} {row[m.ROUTING.key]} "
            f"T {row[m.TEMPERATURE.key]:.2f}  score {score}  "
            f"alpha entropy {row[m.ALPHA_ENTROPY.key]:.2f}  MI {row[m.MUTUAL_INFORMATION.key]:.2f}  "
            f"experts {shares} %  {row[m.STEPS_PER_SECOND.key]:.0f} steps/s  {self._left(played)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _left(self, played: int) -> str:
        began, before = self._began or (0.0, 0)
        if played <= before:
            return ""
        seconds = (time.monotonic() - began) / (played - before) * max(0, self._episodes - played)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"


class PhaseTable:
    """The table of phases that ends a run: a row a phase, or a column a phase where a row would not fit.

    Args:
        summary: What `summary.summarise` returned.
    """

    def __init__(self, summary: dict[str, Any]) -> None:
        self._phases = [_cells(phase) for phase in summary["phases"]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's own hook."""
        wide = self._wide()
        yield wide if wide.__rich_measure__(console, options).maximum <= options.max_width else self._narrow()

    def _wide(self) -> Table:
        table = _titled()
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
        for cells in self._phases:
            table.add_row(*cells)
        return table

    def _narrow(self) -> Table:
        table = _titled()
        table.add_column(HEADINGS[0])
        for cells in self._phases:
            table.add_column(cells[0], justify="right")
        for line in list(zip(HEADINGS, *self._phases, strict=True))[1:]:
            table.add_row(*line)
        return table


def _cells(phase: dict[str, Any]) -> tuple[str, ...]:
    """What stands under the headings."""
    return (
        escape(phase["phase"]),
        phase["routing"],
        str(phase["episodes"]),
        f"{_number(phase['score_mean'])} ± {_number(phase['score_se'])}",
        _number(phase["score_std"]),
        _number(phase["score_max"], 0),
        f"{_number(phase['alpha_entropy'], 3)} ({_number(phase['alpha_entropy_end'], 3)})",
        f"{_number(phase['mutual_information'])} ({_number(phase['mutual_information_end'])})",
        " ".join(f"{100 * share:.0f}" for share in phase["expert_share"]),
        _number(phase["temperature"]),
        f"{phase['learning_rate']:.1e}",
    )


def _titled() -> Table:
    return Table(title="Phases played", title_justify="left")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
