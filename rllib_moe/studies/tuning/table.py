"""The table of trials on a terminal, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from rllib_moe.studies.tuning.records import FINISHED, STATES, TrialRecord

HEADINGS = ("trial", "score", "alpha entropy", "MI", "least share %", "episodes", "state")


def trial_table(records: Sequence[TrialRecord], metric: str) -> RenderableType:
    """Return the table that ends a search, and below it the number of trials in each state, and why some failed.

    Args:
        records: The trials, best first.
        metric: Metric that the search maximizes.
    """
    table = Table(title=f"Trials by {metric}, whole ones first", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "state" else "right")
    searched = list(records[0].values) if records else []
    for name in searched:
        table.add_column(escape(name).replace(", ", ",\n"), justify="right", overflow="fold")
    for record in records:
        table.add_row(*_cells(record), *(escape(shown(record.values[name])) for name in searched))
    counts = {state: sum(record.state == state for record in records) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == FINISHED)
    failures = (escape(f"trial {record.number} failed: {record.error}") for record in records if record.error)
    return Group(table, told, *failures)


def _cells(record: TrialRecord) -> tuple[str, ...]:
    return (
        str(record.number),
        shown(record.score),
        shown(record.alpha_entropy, ".2f"),
        shown(record.mutual_information, ".2f"),
        shown(100 * record.min_expert_share, ".0f"),
        str(record.episodes),
        record.state + (f", copied {len(record.clones)}x" if record.clones else ""),
    )


def shown(value: Any, form: str = ".4g") -> str:
    """Return a value as people read it: of numbers four significant digits, unless another form is asked for."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:{form}}"
    return str(value)
