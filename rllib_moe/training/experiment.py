"""One experiment from request to summary: Ray, the algorithm, the loop, checkpoints, resume, and a clean stop."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.algorithms.placement import notices
from rllib_moe.algorithms.policy import CannotGoOnError
from rllib_moe.algorithms.rllib_config import algorithm_config
from rllib_moe.callbacks.phase_curriculum import episodes_of
from rllib_moe.config import ConfigError, ExperimentConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_env, prepare
from rllib_moe.models.policy_network import GATMoEPolicy, weight_faults
from rllib_moe.phases import PhaseSchedule
from rllib_moe.runtime import provenance
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.sampling.guarded_environments import EnvironmentsFailError
from rllib_moe.training.checkpoints import (
    FINAL,
    LATEST,
    adopt,
    point,
    point_best,
    prune,
    save_checkpoint,
    set_aside_later,
)
from rllib_moe.training.command_line import Request
from rllib_moe.training.live import LiveProgress
from rllib_moe.training.progress import ConsoleHandler, PhaseTable, ProgressLines, standard_console
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.storage import RunMirror, StorageError, is_same_place
from rllib_moe.training.summary import recent_score, summarise

MAX_EMPTY_ITERATIONS = 10
"""Iterations in a row without a single sample after which a run stops: all workers fail."""


class TrainingStoppedError(RuntimeError):
    """Training cannot go on; what was learned is saved. The message says why."""


class CannotWriteError(TrainingStoppedError):
    """A disk is full or read-only. The message says what could not be written, and what is safe."""


def run_experiment(request: Request, command: Sequence[str] = ()) -> dict[str, Any]:
    """Train until the episode total is reached or a signal asks to stop; either way everything is saved.

    Args:
        request: A checked request.
        command: The command line, to be written down with the run.

    Returns:
        The summary that was written to `summary.json`, with the paths of what was written under `paths` (empty when
        the run was stopped before its first iteration: then there is nothing to write), and under `stopped_by` the name
        of the signal that ended the run early, or None.

    Raises:
        ConfigError: the environment or the run directory is refused; nothing was started or written.
        TrainingStoppedError: every worker keeps failing, updates are never finite, the learner's thread failed, or
            nothing can be written.
    """
    console = standard_console()
    _log_to(console)
    with StopSignals() as stop:
        _check_environment(request)
        directory = RunDirectory.claim(request.config, request.resumed.path if request.resumed else None)
        mirror = _claim_storage(request, directory)
        with directory.locked():
            try:
                rows = _train(request, command, directory, mirror, console, stop)
            finally:
                directory.remove_if_empty()
            summary = summarise(rows)
            paths = {}
            if rows:
                with _told(directory):
                    written = directory.write_summary(summary)
                paths = {
                    "summary": str(written),
                    "progress": str(directory.path / "progress.csv"),
                    "checkpoint": str(directory.checkpoints / LATEST),
                }
                if mirror and mirror.copy_files():
                    paths["storage"] = f"{str(request.config.run.storage).rstrip('/')}/{request.config.run.exp_name}"
    if rows:
        console.print(PhaseTable(summary))
    else:
        console.print("Stopped before the first iteration: there is nothing to save.")
    for name, path in paths.items():
        _say(console, f"{name}: {path}")
    return {**summary, "paths": paths, "stopped_by": stop.received}


def _train(
    request: Request,
    command: Sequence[str],
    directory: RunDirectory,
    mirror: RunMirror | None,
    console: Console,
    stop: StopSignals,
) -> list[m.Row]:
    """Start Ray, build or restore the algorithm, run it and save. Returns the rows of the whole run.

    Nothing is written before the algorithm stands: a start that fails leaves the directory as it was.
    """
    training = request.config.training
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_session(request.config.run.address, training.num_workers + 1, training.num_gpus))
        except SystemExit:  # Ray's own answer to SIGTERM while it starts
            stop.note(signal.SIGTERM)
        stop.listen()
        if stop:
            return []
        if request.config.run.address or os.environ.get("RAY_ADDRESS"):
            for notice in notices(training.num_workers, training.num_gpus):
                _say(console, notice)
        first_episode = request.resumed.episodes if request.resumed else 0
        algorithm = algorithm_config(request.config, request.schedule, first_episode).build_algo()
        stack.callback(algorithm.stop)
        if request.resumed:
            algorithm.restore(str(request.resumed.algorithm_path))
            _say(console, f"Resumed {request.resumed.path} at episode {episodes_of(algorithm)}")
        if stop:
            return []
        stack.callback(directory.close)
        if request.resumed and request.resumed.path.parent == directory.checkpoints.resolve():
            for path in set_aside_later(request.resumed):
                _say(console, f"Set aside a later checkpoint of this run: {path}")
        with _told(directory):
            if request.fetched and request.fetched.run.name == directory.path.name:
                adopt(request.fetched.checkpoint, directory.checkpoints)
                directory.adopt(request.fetched.run)
            rows = directory.keep_rows_until(request.resumed.iteration) if request.resumed else []
            kept = len(rows)
            directory.describe(request.config, request.schedule, command)
            directory.add_start({"episode": first_episode, "command": list(command), **provenance.describe()})
        run = _Run(algorithm, request.config, request.schedule, directory, mirror, rows)
        try:
            with _progress(request, rows, console, stop) as progress:
                run.loop(stop, progress)
        except CannotWriteError:
            raise
        except Exception:
            # The learner is whole: what it learned must not go with the error. But in the first iteration after a
            # resume that is part of a batch, and the checkpoint of that count is there already.
            if len(rows) > kept:
                with _told(directory):
                    directory.write_summary(summarise(rows))
                run.save()
            raise
        if rows:
            run.save(is_final=episodes_of(algorithm) >= request.config.run.episodes)
    return rows


class _Run:
    """The loop and its books."""

    def __init__(
        self,
        algorithm: Algorithm,
        config: ExperimentConfig,
        schedule: PhaseSchedule,
        directory: RunDirectory,
        mirror: RunMirror | None,
        rows: list[m.Row],
    ) -> None:
        self.algorithm, self.config, self.schedule = algorithm, config, schedule
        self.directory, self.mirror, self.rows = directory, mirror, rows
        self._saved_at = episodes_of(algorithm)
        self._saved_rows: int | None = None
        self._env_steps = algorithm._counters[NUM_ENV_STEPS_SAMPLED]

    def loop(self, stop: StopSignals, progress: ProgressLines | LiveProgress) -> None:
        """Iterate until the episode total is reached or a signal asks to stop."""
        empty = 0
        while episodes_of(self.algorithm) < self.config.run.episodes and not stop:
            result = self._iterate()
            row = result["moe"]
            empty = 0 if self._samples_came(row) else empty + 1
            if empty == MAX_EMPTY_ITERATIONS:
                raise TrainingStoppedError(
                    f"{empty} iterations in a row gave no sample: all rollout workers fail (see Ray's log above)"
                )
            if not empty:
                self.rows.append(row)
                with _told(self.directory):
                    self.directory.append(row, result["moe_histograms"])
                progress.show(row)
            if episodes_of(self.algorithm) - self._saved_at >= self.config.run.checkpoint_every:
                self.save()

    def _iterate(self) -> dict[str, Any]:
        try:
            return self.algorithm.train()
        except (CannotGoOnError, EnvironmentsFailError) as error:
            iteration = self.rows[-1][m.ITERATION.key] + 1 if self.rows else 1
            raise TrainingStoppedError(f"iteration {iteration}: {error}") from error

    def _samples_came(self, row: m.Row) -> bool:
        """Whether an iteration sampled anything: it did not where every worker failed."""
        before, self._env_steps = self._env_steps, row[m.ENV_STEPS_TOTAL.key]
        return self._env_steps > before

    def save(self, is_final: bool = False) -> None:
        """Write a checkpoint of this moment, unless the last one is, and move the links."""
        checkpoints, episodes = self.directory.checkpoints, episodes_of(self.algorithm)
        path = checkpoints / f"episode_{episodes:06d}"
        iteration = self.rows[-1][m.ITERATION.key] if self.rows else 0
        with _told(self.directory):
            if self._saved_rows != len(self.rows):
                save_checkpoint(
                    self.algorithm,
                    path,
                    self.config,
                    self.schedule,
                    episodes=episodes,
                    iteration=iteration,
                    score=recent_score(self.rows),
                )
            point(checkpoints, LATEST, path)
            if is_final:
                point(checkpoints, FINAL, path)
            else:  # of a run that had ended and goes on
                (checkpoints / FINAL).unlink(missing_ok=True)
            point_best(checkpoints)
            prune(checkpoints, self.config.run.keep_checkpoints)
        if self.mirror:
            self.mirror.copy_checkpoint(path, self.config.run.keep_checkpoints)
        self._saved_at, self._saved_rows = episodes, len(self.rows)


@contextmanager
def _told(directory: RunDirectory) -> Iterator[None]:
    """Turn an error in writing to a run's directory into words."""
    try:
        yield
    except OSError as error:
        latest = directory.checkpoints / LATEST
        safe = f"the last checkpoint is whole: {latest.resolve()}" if latest.exists() else "there is no checkpoint yet"
        raise CannotWriteError(f"cannot write to {directory.path}: {error}; {safe}") from error


def _progress(request: Request, rows: list[m.Row], console: Console, stop: StopSignals) -> ProgressLines | LiveProgress:
    """A display in a terminal, lines in any other output (a file, a job's log, a terminal that cannot redraw)."""
    episodes = request.config.run.episodes
    if console.is_interactive:
        return LiveProgress(console, episodes, request.schedule, rows, stop)
    return ProgressLines(console, episodes, request.schedule)


def _claim_storage(request: Request, directory: RunDirectory) -> RunMirror | None:
    """The run's place on the storage, where one is asked for."""
    storage = request.config.run.storage
    if storage is None:
        return None
    place = f"{storage.rstrip('/')}/{directory.path.name}"
    try:
        is_own = is_same_place(request.fetched.uri, place) if request.fetched else _is_within(request, directory)
    except StorageError as error:
        raise ConfigError([f"storage: {error}"]) from error
    return RunMirror.claim(storage, directory.path, is_own=is_own)


def _is_within(request: Request, directory: RunDirectory) -> bool:
    """Whether the resumed checkpoint is one of the run's own."""
    return request.resumed is not None and directory.path.resolve() in request.resumed.path.parents


def _check_environment(request: Request) -> None:
    """Make the environment once, so that a name, an argument or a checkpoint that does not fit is refused at once.

    Then prepare it for many.
    """
    environment = request.config.environment
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"env: {error}"]) from error
    shape, num_actions = GraphShape.from_space(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    step_bytes = sum(leaf.nbytes for leaf in env.observation_space.sample().values())
    env.close()
    batch_bytes, memory = request.config.training.batch_size * step_bytes, psutil.virtual_memory().total
    if batch_bytes > memory:
        told = (
            f"whose observations fit into {memory / 1e9:.0f} GB of memory, those would take {batch_bytes / 1e9:.0f} GB"
        )
        raise ConfigError([f"batch_size: expected one {told}; got {request.config.training.batch_size}"])
    if request.resumed:
        network = GATMoEPolicy(shape, num_actions, request.config.model)
        faults = weight_faults(network, request.resumed.weights())
        if faults:
            raise ConfigError(faults)
    prepare(environment.env)


def _say(console: Console, text: str) -> None:
    """Print a line as it is: a path may hold brackets, and should not be broken in two."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _log_to(console: Console) -> None:
    logger = logging.getLogger("rllib_moe")
    handler = ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
