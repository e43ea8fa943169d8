"""The results that a trial reported, one JSON object a line in its directory.

Closes a gap of Tune's own `result.json`: that one is copied back from its last upload whenever a trial that was paused
(PBT) or interrupted starts again, and loses the lines since. The plot and a resumed ASHA need every one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

RESULTS = "results.jsonl"
"""Name of the file."""
ITERATION = "training_iteration"
"""Tune's count in a result: it goes back when a trial goes on from a checkpoint."""


def trial_directory(trial: Trial) -> Path:
    """Return the directory of a trial's files."""
    return Path(str(trial.path))


def append_result(directory: Path, result: dict[str, Any]) -> None:
    """Add a result; it begins a line of its own also after one that was cut off (killed, disk full)."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / RESULTS).open("a") as stream:
        stream.write(f"\n{json.dumps(result)}")


def read_results(directory: Path) -> list[dict[str, Any]]:
    """Return the results that still count, in order.

    Iterations that were played again, after an interruption or as a clone of another trial, replace those of before.

    Args:
        directory: The trial's directory.
    """
    file = directory / RESULTS
    kept: list[dict[str, Any]] = []
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            result = json.loads(line)
        except ValueError:  # empty, or cut off
            continue
        while kept and kept[-1][ITERATION] >= result[ITERATION]:
            kept.pop()
        kept.append(result)
    return kept
