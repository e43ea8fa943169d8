"""What a person sees of a training run: one line an iteration, and a table of the phases at the end."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllib_moe import metrics as m

Row = dict[str, Any]


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

    def show(self, row: Row) -> None:
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


def phase_table(summary: dict[str, Any]) -> Table:
    """The table of phases that ends a run."""
    table = Table(title="Phases played", title_justify="left")
    for heading in ("phase", "routing"):
        table.add_column(heading)
    for heading in (
        "episodes",
        "score mean ± SE",
        "std",
        "best",
        "alpha entropy (end)",
        "MI (end)",
        "expert shares %",
        "T",
        "learning rate",
    ):
        table.add_column(heading, justify="right")
    for phase in summary["phases"]:
        table.add_row(
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
    return table


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
