"""Minutes to score: wall time of a training until the mean score of its last episodes passes a threshold.

Each training is a process of its own, `scripts/train.py` of a checkout, and what is read is the `progress.csv` that it
writes. So another commit is measured in the same way, with its own code and its own defaults.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from benchmarks.config import TRAIN, BenchmarkConfig
from rllib_moe import metrics as m
from rllib_moe.experiment import Experiment
from rllib_moe.training.run_directory import read_rows
from rllib_moe.training.summary import recent_mean
from rllib_moe.validation.errors import FailedError

WINDOW = 200
"""Episodes (at least) over which the score is averaged."""
POLL_SECONDS = 1.0
"""Seconds between two looks at the rows of a training."""
LOG_LINES = 20
"""Last lines of a failed training's output that are told."""


def minutes_to_score(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Train each checkout, in turn, with each seed until it has passed all scores or has no episodes left.

    Returns:
        A row a training: `checkout`, `commit`, `seed`, `minutes_to_<score>` (None where it never passed), and of the
        whole training `minutes` (start-up excluded), `episodes`, `steps_per_second`.

    Raises:
        FailedError: A checkout's command does not start, found out before the first training; or a training failed.
    """
    for checkout in config.checkouts:
        _check_command(Path(checkout))
    return [_train(config, Path(checkout), seed) for seed in config.seeds for checkout in config.checkouts]


def minutes_until(rows: Sequence[m.Row], score: float) -> float | None:
    """Return the wall time in minutes of the first row at which the last episodes' mean score is above a threshold."""
    for count, row in enumerate(rows, 1):
        mean = recent_mean(rows[:count], m.SCORE_MEAN, WINDOW)
        if row[m.EPISODES_TOTAL.key] >= WINDOW and mean is not None and mean > score:
            return row[m.WALL_SECONDS.key] / 60
    return None


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of an experiment that differ from the defaults, and the schedule whole if it does."""
    changed = experiment.model_dump(exclude_defaults=True, exclude={"run"})
    return changed | ({"schedule": experiment.schedule.to_dict()} if "schedule" in changed else {})


def _command(checkout: Path) -> tuple[list[str], dict[str, str]]:
    """Return words and environment that start a checkout's training, by its own interpreter where it has one."""
    place = checkout.resolve()  # the command runs there, so no path of it may be relative to here
    own = place / ".venv" / "bin" / "python"
    return [str(own) if own.exists() else sys.executable, TRAIN], {**os.environ, "PYTHONPATH": str(place)}


def _check_command(checkout: Path) -> None:
    """Ask a checkout's training for its flags, so that one without its packages ends no hour of measurements."""
    words, environment = _command(checkout)
    asked = subprocess.run(
        [*words, "--help"], cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if asked.returncode:
        told = "\n".join(asked.stderr.splitlines()[-LOG_LINES:])
        raise FailedError(f"{checkout}: its {TRAIN} does not start; install its packages into its .venv:\n{told}")


def _train(config: BenchmarkConfig, checkout: Path, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, _training(config, checkout, seed, Path(place)) as process:
        run = Path(place) / "run"
        passed: dict[str, float | None] = {"": None}
        while process.returncode is None and None in passed.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            rows = read_rows(run / "progress.csv") if (run / "progress.csv").exists() else []
            passed = {f"minutes_to_{score}": minutes_until(rows, score) for score in config.minutes_to_score}
        if process.returncode:
            log = (Path(place) / "log").read_text().splitlines()[-LOG_LINES:]
            raise FailedError("\n".join([f"{checkout}: training ended with status {process.returncode}:", *log]))
        start = json.loads((run / "starts.jsonl").read_text().splitlines()[-1])
        last = rows[-1]
        return {
            "checkout": str(checkout),
            "commit": str(start["git_commit"])[:10],
            "seed": seed,
            **passed,
            "minutes": last[m.WALL_SECONDS.key] / 60,
            "episodes": last[m.EPISODES_TOTAL.key],
            "steps_per_second": last[m.ENV_STEPS_TOTAL.key] / last[m.WALL_SECONDS.key],
        }


@contextmanager
def _training(config: BenchmarkConfig, checkout: Path, seed: int, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a training run within the block."""
    words, environment = _command(checkout)
    words += ["--output-dir", str(place), "--exp-name", "run", "--seed", str(seed), "--episodes", str(config.episodes)]
    if settings := settings_of(config.experiment):
        (place / "settings.yaml").write_text(yaml.safe_dump(settings))
        words += ["--config", str(place / "settings.yaml")]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=checkout, env=environment
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)  # it saves and ends
            process.wait()
