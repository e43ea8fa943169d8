"""The numbers of a benchmark as readable tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.algorithms import median_rows
from benchmarks.minutes_to_score import WINDOW

WATCHED = {"rss_mb": "MB", "open_files": "files", "temporary_directories": "temp. dirs"}
"""Readings of a soak, with the name of each in the table."""
MOMENTS = ("begin", "end", "per_minute")
"""Values of each that are shown."""


def show(numbers: Mapping[str, Any], console: Console) -> None:
    """Print what a benchmark measured."""
    about = numbers["environment"]
    load = f"load {about['load_average']:.1f} to {about['load_average_end']:.1f}"
    commit = f"{str(about['git_commit'])[:10]}{' with changes' if about['git_changes'] else ''}"
    machine = f"{about['cpu']}, {about['cores']} cores, {about['gpu'] or 'no GPU'}"
    console.print(f"{machine}; {load}; commit {commit}, {about['date']}")
    if "algorithms" in numbers:
        tables: Iterable[Table] = _algorithms(numbers["algorithms"])
    elif "minutes_to_score" in numbers:
        title = f"Minutes until the mean score of the last {WINDOW} episodes is above (-: it never was)"
        tables = [_rows(title, numbers["minutes_to_score"])]
    elif "phase_push" in numbers:
        tables = [_rows("Weights and phase to the rollout workers", numbers["phase_push"])]
    elif "train_steps_per_second" not in numbers and "encoder_forms" in numbers:
        tables = [_encoders(numbers["encoder_forms"])]
    else:
        tables = _soak(numbers["soak"]) if "soak" in numbers else _tables(numbers)
    for table in tables:
        console.print(table)


def _tables(numbers: Mapping[str, Any]) -> Iterable[Table]:
    yield _table(
        "Whole training (medians)",
        ("", "steps/s", "iteration s", "sampling s", "learning s", "weights s", "core us a step"),
        [(name, *numbers[name].values()) for name in ("ours", "stock")]
        + [(f"ratio to stock, {numbers['ratio_to_stock']:.3f}", *[""] * 6)],
    )
    yield _table(
        "Where an iteration goes",
        ("stage", "part", "seconds", "%"),
        [(row["stage"], row["part"], row["seconds"], 100 * row["share"]) for row in numbers["parts"]]
        + [("whole", "", numbers["wall_seconds"], 100.0)],
    )
    yield _table(
        "Core time of a step",
        ("part", "us", "%"),
        [(row["part"], row["us"], 100 * row["share"]) for row in numbers["core_budget"]]
        + [("whole", numbers["ours"]["core_us"], 100.0)],
    )
    yield _table("Each part alone, one process", ("part", "value"), _alone(numbers["alone"]))
    yield _table(
        "Learning the same batch, RLlib's update",
        ("network", "seconds"),
        [
            ("this project's", numbers["alone_learn_seconds"]),
            ("with dense attention layers", numbers["dense_learn_seconds"]),
            ("times faster", numbers["learn_speedup_over_dense"]),
        ],
    )
    yield _encoders(numbers["encoder_forms"])
    yield _rows("Network by batch size (us a row)", numbers["batch_scaling"])
    yield _rows("Network by nodes present, fixed room (us a row)", numbers["node_scaling"])
    if numbers["scaling"]:
        yield _rows("Training by workers and environments", numbers["scaling"])
    yield _table("Memory (MB)", ("process", "resident"), list(numbers["memory"].items()))


def _encoders(rows: Sequence[Mapping[str, Any]]) -> Table:
    return _rows("Graph encoders (ms a batch, medians of calls in turn)", rows)


def _alone(alone: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in alone.items():
        nested = value.items() if isinstance(value, Mapping) else [(None, value)]
        rows += [(name if key is None else f"{name} {key}", each) for key, each in nested if each is not None]
    return rows


def _algorithms(rows: Sequence[Mapping[str, Any]]) -> Iterable[Table]:
    yield _rows("Algorithms, equal wall time, one after the other", rows)
    yield _rows("Medians over the rounds", median_rows(rows))


def _soak(soak: Mapping[str, Any]) -> Iterable[Table]:
    yield _table(
        f"{soak['minutes']:.1f} minutes, {soak['iterations']} iterations, {soak['checkpoints']} checkpoints, "
        f"{soak['steps_per_second']:.0f} steps/s; slopes after the first {soak['warm_up_minutes']:.1f} minutes",
        ("process", *(f"{thing} {moment}" for thing in WATCHED.values() for moment in ("begin", "end", "a minute"))),
        [
            (name, *(process.get(f"{thing}_{moment}", "") for thing in WATCHED for moment in MOMENTS))
            for name, process in soak["processes"].items()
        ],
    )


def _rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of equal dicts, at least one."""
    return _table(title, [name.replace("_", " ") for name in rows[0]], [tuple(row.values()) for row in rows])


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        is_number = bool(rows) and isinstance(rows[0][index], (int, float))
        table.add_column(column, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
