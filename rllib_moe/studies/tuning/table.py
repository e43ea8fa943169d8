"""The table of trials on a terminal, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from rllib_moe.studies.tuning.records import FINISHED, STATES, TrialRecord

HEADINGS = ("trial", "score", "alpha entropy", "MI", "least share %", "episodes", "state")


class TrialTable:
    """The table that ends a search, and below it how many trials came to which end and why some failed.

    Args:
        records: The trials, best first.
        metric: What the search maximises.
    """

    def __init__(self, records: Sequence[TrialRecord], metric: str) -> None:
        self._records, self._metric = records, metric

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's own hook."""
        table = Table(title=f"Trials by {self._metric}, whole ones first", title_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "state" else "right")
        searched = list(self._records[0].values) if self._records else []
        for name in searched:
            table.add_column(escape(name).replace(", ", ",\n"), justify="right", overflow="fold")
        for record in self._records:
            table.add_row(*_cells(record), *(escape(shown(record.values[name])) for name in searched))
        yield table
        counts = {state: sum(record.state == state for record in self._records) for state in STATES}
        yield ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == FINISHED)
        for record in self._records:
            if record.error:
                yield escape(f"trial {record.number} failed: {record.error}")


def _cells(record: TrialRecord) -> tuple[str, ...]:
    copied = f", copied {record.clones}x" if record.clones else ""
    return (
        str(record.number),
        shown(record.score),
        _fixed(record.alpha_entropy),
        _fixed(record.mutual_information),
        "-" if math.isnan(record.min_expert_share) else f"{100 * record.min_expert_share:.0f}",
        str(record.episodes),
        record.state + copied,
    )


def _fixed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def shown(value: Any) -> str:
    """A value as people read it: four significant digits."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)
