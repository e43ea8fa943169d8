"""One experiment from request to summary: Ray, the algorithm, the loop, checkpoints, resume, and a clean stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.algorithm import algorithm_config
from rllib_moe.callbacks.phase_curriculum import episodes_of
from rllib_moe.checkpoints import FINAL, LATEST, point, point_best, prune, save_checkpoint
from rllib_moe.command_line import Request
from rllib_moe.config import ConfigError, ExperimentConfig
from rllib_moe.envs.registry import make_env
from rllib_moe.phases import PhaseSchedule
from rllib_moe.progress import ProgressLines, phase_table
from rllib_moe.run_directory import Row, RunDirectory
from rllib_moe.summary import summarise

SCORE_WINDOW = 100
"""Episodes (at least) over which a checkpoint's score is averaged."""
LOG_WIDTH = 160
"""Columns of the output when it is no terminal (a log)."""
MAX_EMPTY_ITERATIONS = 10
"""Iterations in a row without a single sample after which a run stops: all workers fail."""


class TrainingStoppedError(RuntimeError):
    """Training cannot go on. The message says why and where the last checkpoint is."""


def run_experiment(request: Request, command: Sequence[str] = ()) -> dict[str, Any]:
    """Train until the episode total is reached or a signal asks to stop; either way everything is saved.

    Args:
        request: A checked request.
        command: The command line, to be written down with the run.

    Returns:
        The summary that was written to `summary.json`, with the paths of what was written under `paths`, and under
        `stopped_by` the name of the signal that ended the run early, or None.

    Raises:
        ConfigError: the environment or the run directory is refused; nothing was started or written.
        TrainingStoppedError: every worker keeps failing.
    """
    config, schedule, resumed = request.config, request.schedule, request.resumed
    _check_environment(config)
    directory = RunDirectory.claim(config, resumed.path if resumed else None)
    rows = directory.keep_rows_until(resumed.iteration) if resumed else []
    directory.describe(config, schedule, command)
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    _log_to(console)
    with _ray(config), _stop_signals() as stop:
        algorithm = algorithm_config(config, schedule, resumed.episodes if resumed else 0).build_algo()
        try:
            if resumed:
                algorithm.restore(str(resumed.algorithm_path))
                console.print(f"Resumed {resumed.path} at episode {episodes_of(algorithm)}", highlight=False)
            run = _Run(algorithm, config, schedule, directory, rows, console)
            run.loop(stop)
            run.save(is_final=not stop)
        finally:
            algorithm.stop()
            directory.close()
    summary = summarise(rows)
    paths = {
        "summary": str(directory.write_summary(summary)),
        "progress": str(directory.path / "progress.csv"),
        "checkpoint": str(directory.checkpoints / LATEST),
    }
    console.print(phase_table(summary))
    for name, path in paths.items():
        console.print(f"{name}: {path}", highlight=False)
    return {**summary, "paths": paths, "stopped_by": stop[0] if stop else None}


class _Run:
    """The loop and its books."""

    def __init__(
        self,
        algorithm: Algorithm,
        config: ExperimentConfig,
        schedule: PhaseSchedule,
        directory: RunDirectory,
        rows: list[Row],
        console: Console,
    ) -> None:
        self.algorithm, self.config, self.schedule = algorithm, config, schedule
        self.directory, self.rows = directory, rows
        self._progress = ProgressLines(console, config.run.episodes)
        self._saved_at = episodes_of(algorithm)

    def loop(self, stop: Sequence[str]) -> None:
        """Iterate until the episode total is reached or `stop` holds a signal's name."""
        empty = 0
        while episodes_of(self.algorithm) < self.config.run.episodes and not stop:
            row = self.algorithm.train()["moe"]
            empty = 0 if self.rows_grew(row) else empty + 1
            if empty == MAX_EMPTY_ITERATIONS:
                raise TrainingStoppedError(
                    f"{empty} iterations in a row gave no sample: all rollout workers fail (see Ray's log above). "
                    f"Last checkpoint: {self.directory.checkpoints / LATEST}"
                )
            if not empty:
                self.directory.append(row)
                self._progress.show(row)
            if episodes_of(self.algorithm) - self._saved_at >= self.config.run.checkpoint_every:
                self.save()

    def rows_grew(self, row: Row) -> bool:
        """Keep a row; False when its iteration sampled nothing (every worker failed)."""
        before = self.rows[-1][m.ENV_STEPS_TOTAL.key] if self.rows else 0
        if row[m.ENV_STEPS_TOTAL.key] <= before:
            return False
        self.rows.append(row)
        return True

    def save(self, is_final: bool = False) -> None:
        """Write a checkpoint of this moment and move the links."""
        checkpoints, episodes = self.directory.checkpoints, episodes_of(self.algorithm)
        path = checkpoints / f"episode_{episodes:06d}"
        iteration = self.rows[-1][m.ITERATION.key] if self.rows else 0
        save_checkpoint(
            self.algorithm,
            path,
            self.config,
            self.schedule,
            episodes=episodes,
            iteration=iteration,
            score=_recent_score(self.rows),
        )
        for name in (LATEST, *([FINAL] if is_final else [])):
            point(checkpoints, name, path)
        point_best(checkpoints)
        prune(checkpoints, self.config.run.keep_checkpoints)
        self._saved_at = episodes


def _recent_score(rows: Sequence[Row]) -> float | None:
    """Mean score of the last episodes, `SCORE_WINDOW` of them or a few more."""
    total, episodes = 0.0, 0
    for row in reversed(rows):
        if row[m.EPISODES.key]:
            total += row[m.SCORE_MEAN.key] * row[m.EPISODES.key]
            episodes += row[m.EPISODES.key]
        if episodes >= SCORE_WINDOW:
            break
    return total / episodes if episodes else None


def _check_environment(config: ExperimentConfig) -> None:
    """Make the environment once, so that a wrong name or argument is refused before anything starts."""
    environment = config.environment
    try:
        make_env(environment.env, max_steps=environment.max_steps, **environment.env_args).close()
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"env: {error}"]) from error


def _log_to(console: Console) -> None:
    logger = logging.getLogger("rllib_moe")
    handler = logging.StreamHandler(console.file)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextmanager
def _ray(config: ExperimentConfig) -> Iterator[None]:
    """Ray for the run: the caller's if it runs already, the cluster at `address`, or one of this machine's own."""
    if ray.is_initialized():
        yield
        return
    # Ray passes its own process's environment on: one thread a worker, and no question about pip at every start.
    options: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.ERROR}
    if config.run.address or "RAY_ADDRESS" in os.environ:
        options["address"] = config.run.address or os.environ["RAY_ADDRESS"]
    else:
        options |= {
            "num_cpus": max(os.cpu_count() or 1, config.training.num_workers + 1),
            "num_gpus": config.training.num_gpus or None,
            "include_dashboard": False,
        }
    ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Turn the first SIGINT or SIGTERM into an entry of the list; a second one ends the process at once."""
    received: list[str] = []

    def receive(number: int, frame: FrameType | None) -> None:
        del frame
        if received:
            os._exit(128 + number)
        received.append(signal.Signals(number).name)
        os.write(2, b"\nStopping after this iteration, then saving; once more to exit at once.\n")

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
