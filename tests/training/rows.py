"""Rows of measures as the training loop has them, for the tests of all that reads them."""

from __future__ import annotations

from typing import Any

from rllib_moe import metrics as m


def row_of(values: dict[m.Metric, Any], **changes: Any) -> dict[str, Any]:
    """A row of values by key, some of them changed by their metric's name in `metrics.py`."""
    changed = {getattr(m, name): value for name, value in changes.items()}
    return {metric.key: value for metric, value in (values | changed).items()}


def healthy_row(**changes: Any) -> dict[str, Any]:
    """A row that gives no reason for concern."""
    values: dict[m.Metric, Any] = {m.EPISODES_TOTAL: 300, m.ALPHA_ENTROPY: 1.38, m.SKIPPED_UPDATES: 0}
    return row_of(values | {m.LOST_WORKERS: 0} | {m.expert_share(index): 0.25 for index in range(4)}, **changes)
