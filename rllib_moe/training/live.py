"""The display of a run in a terminal: redrawn in place below the log lines, from 80 columns on (and legible below).

Log lines and what workers print scroll above it, since all of it goes through the one console. A signal must not write
in its midst, so the display says itself that the run is stopping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.colors import ACCENT, WARNING, expert_color
from rllib_moe.training.health import warnings_after, window_at
from rllib_moe.training.progress import EtaEstimator, FollowedRun, number
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.summary import SCORE_WINDOW, best_score, recent_mean

REFRESHES_PER_SECOND = 2
LARGEST_WIDTH = 100
"""Columns beyond which the display does not grow."""
ECHO = 3
"""Columns left free at the right: a terminal echoes ^C where the cursor rests, and that must not begin a new line."""
BAR = 30
"""Columns of a full bar of an expert's share."""
SHOW_CURSOR = b"\x1b[?25h\n"


class LiveProgress:
    """A panel in a terminal that follows a run; a context manager around the loop."""

    def __init__(self, run: FollowedRun, stop: StopSignals) -> None:
        self._run, self._stop = run, stop
        self._eta = EtaEstimator()
        self._live = Live(
            console=run.console,
            get_renderable=self.render,
            refresh_per_second=REFRESHES_PER_SECOND,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._stop.notice, self._stop.farewell = b"", SHOW_CURSOR
        self._live.start(refresh=True)
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.stop()
        self._stop.notice, self._stop.farewell = StopSignals.notice, StopSignals.farewell

    def show(self, row: m.Row) -> None:
        """Follow to a row of measures."""
        self._eta.note(row[m.EPISODES_TOTAL.key])
        self._live.refresh()

    def render(self) -> RenderableType:
        """The panel as of now."""
        parts: list[RenderableType] = []
        title = "waiting for the first iteration"
        if self._run.rows:
            row = self._run.rows[-1]
            title = f"{row[m.PHASE.key]} · {row[m.ROUTING.key]} · temperature {row[m.TEMPERATURE.key]:.2f}"
            parts += [self._bars(row), Text(), self._numbers(row), Text(), _shares(row, self._run.role_names)]
            parts += [
                Text(f"! {warning.text}", style=f"bold {WARNING}")
                for warning in warnings_after(row, self._run.schedule, self._run.episodes)
            ]
        if self._stop:
            text = f"{self._stop.received}: stopping after this iteration, with everything saved; once more to exit now"
            parts.append(Text(text, style="bold"))
        width = min(LARGEST_WIDTH, self._run.console.width - ECHO)
        return Panel(Group(*parts), title=Text(title, style="bold"), title_align="left", width=width)

    def _bars(self, row: m.Row) -> Table:
        """A bar to the next phase, where there is one within the run, and a bar to the end."""
        played = row[m.EPISODES_TOTAL.key]
        phase = self._run.schedule.phase_at(played)
        goals = [("to the end", 0, self._run.episodes)]
        if phase.end is not None and phase.end < self._run.episodes:
            goals.insert(0, (f"to {self._run.schedule.phase_at(phase.end).name}", phase.start, phase.end))
        numbers = (Column(justify="right", no_wrap=True) for _ in range(2))
        table = Table.grid(Column(no_wrap=True), Column(ratio=1), *numbers, padding=(0, 1), expand=True)
        for name, first, end in goals:
            bar = ProgressBar(total=max(1, end - first), completed=played - first, complete_style=ACCENT)
            table.add_row(name, bar, f"{played}/{end}", self._eta.time_to(end))
        return table

    def _numbers(self, row: m.Row) -> Table:
        recent = recent_mean(self._run.rows)
        window = window_at(self._run.schedule, row[m.EPISODES_TOTAL.key], len(m.shares_of(row)))
        expected = "" if window is None else f" (expected {window.low:.2f} to {window.high:.2f})"
        table = Table.grid(padding=(0, 2))
        entropy, information = row[m.ALPHA_ENTROPY.key], row[m.MUTUAL_INFORMATION.key]
        cells = [
            *("score", f"{number(recent, 1)} (mean of {SCORE_WINDOW})", "best", number(best_score(self._run.rows), 0)),
            *("alpha entropy", f"{number(entropy, 2)}{expected}", "MI", f"{number(information, 2)} nats"),
            *("speed", f"{number(row[m.STEPS_PER_SECOND.key], 0)} steps/s"),
        ]
        for name in m.measures_of(row):
            cells += (m.measure_heading(name), number(row[m.episode_measure(name).key], 2))
        for place in range(0, len(cells), 4):
            table.add_row(*cells[place : place + 4])
        return table


def _shares(row: m.Row, role_names: Sequence[str]) -> Table:
    """A small bar for each expert's share, in its color."""
    table = Table.grid(*(Column(justify=side, no_wrap=True) for side in ("left", "right", "left")), padding=(0, 1))
    shares = m.shares_of(row)
    for index, (name, share) in enumerate(zip(expert_names(len(shares), role_names), shares, strict=True)):
        bar = Text("█" * max(1, round(BAR * share)) if share > 0 else "", style=expert_color(index))
        table.add_row(name, f"{100 * share:.0f} %", bar)
    return table
