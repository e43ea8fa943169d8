"""One training run, from its experiment to its summary: check, prepare, train, finish."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psutil  # type: ignore[import-untyped]
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.algorithms.placement import notices
from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_env, prepare
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import GATMoEPolicy, weight_errors
from rllib_moe.runtime import provenance
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.algorithm_state import restore
from rllib_moe.training.checkpoints import LATEST, adopt, set_aside_later
from rllib_moe.training.live import LiveProgress
from rllib_moe.training.loop import TrainingLoop, told
from rllib_moe.training.progress import ConsoleHandler, PhaseTable, ProgressLines, say, standard_console
from rllib_moe.training.resume import Resumed
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.storage import RunMirror, StorageError, is_same_place
from rllib_moe.training.summary import summarize
from rllib_moe.validation import ConfigError


def train(experiment: Experiment, command: Sequence[str] = (), resumed: Resumed | None = None) -> dict[str, Any]:
    """Train until the episode total is reached or a signal asks to stop; either way everything is saved.

    Args:
        experiment: The experiment.
        command: Command line, to be written down with the run.
        resumed: Checkpoint that `run.resume` names, where it was found already.

    Returns:
        The summary that was written to `summary.json`, with the paths of what was written under `paths` (empty when
        the run was stopped before its first iteration: then there is nothing to write), and under `stopped_by` the name
        of the signal that ended the run early, or None.

    Raises:
        ConfigError: The environment, the checkpoint or the run directory is refused; nothing was started or written.
        CheckpointError: The checkpoint to resume is missing or damaged.
        TrainingStoppedError: Every worker keeps failing, updates are never finite, the learner's thread failed, or
            nothing can be written.
    """
    console = standard_console()
    _log_to(console)
    with StopSignals() as stop:
        if resumed is None and experiment.run.resume is not None:
            resumed = Resumed.find(experiment.run.resume)
        role_names = _check(experiment, resumed)
        directory = RunDirectory.claim(experiment.run, resumed.checkpoint.path if resumed else None)
        mirror = _claim_storage(experiment, resumed, directory)
        with directory.locked():
            try:
                rows = _run(experiment, resumed, command, role_names, directory, mirror, console, stop)
            finally:
                directory.remove_if_empty()
            summary = summarize(rows)
            paths = _write_summary(summary, experiment, directory, mirror) if rows else {}
    if rows:
        console.print(PhaseTable(summary))
    else:
        console.print("Stopped before the first iteration: there is nothing to save.")
    for name, path in paths.items():
        say(console, f"{name}: {path}")
    return {**summary, "paths": paths, "stopped_by": stop.received}


def _check(experiment: Experiment, resumed: Resumed | None) -> Sequence[str]:
    """Refuse what would fail later (environment, checkpoint, batch size), then prepare the environment.

    Returns:
        Names of the environment's roles.
    """
    if resumed and (errors := resumed.errors(experiment)):
        raise ConfigError(errors)
    environment, batch_size = experiment.environment, experiment.training.batch_size
    try:
        env = make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"env: {error}"]) from error
    shape, num_actions = GraphShape.from_space(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    step_bytes = sum(leaf.nbytes for leaf in env.observation_space.sample().values())
    role_names = describe(env).role_names
    env.close()
    batch_bytes, memory = batch_size * step_bytes, psutil.virtual_memory().total
    if batch_bytes > memory:
        told_sizes = f"{memory / 1e9:.0f} GB of memory, those would take {batch_bytes / 1e9:.0f} GB"
        raise ConfigError([f"batch_size: expected one whose observations fit into {told_sizes}; got {batch_size}"])
    if resumed and (
        errors := weight_errors(GATMoEPolicy(shape, num_actions, experiment.model), resumed.checkpoint.state().weights)
    ):
        raise ConfigError(errors)
    prepare(environment.env)
    return role_names


def _claim_storage(experiment: Experiment, resumed: Resumed | None, directory: RunDirectory) -> RunMirror | None:
    """Take the run's place on the storage, where one is asked for."""
    storage = experiment.run.storage
    if storage is None:
        return None
    try:
        if resumed and resumed.fetched:
            is_own = is_same_place(resumed.fetched.uri, f"{storage.rstrip('/')}/{directory.path.name}")
        else:
            is_own = resumed is not None and directory.path.resolve() in resumed.checkpoint.path.parents
    except StorageError as error:
        raise ConfigError([f"storage: {error}"]) from error
    return RunMirror.claim(storage, directory.path, is_own=is_own)


def _run(
    experiment: Experiment,
    resumed: Resumed | None,
    command: Sequence[str],
    role_names: Sequence[str],
    directory: RunDirectory,
    mirror: RunMirror | None,
    console: Console,
    stop: StopSignals,
) -> list[m.Row]:
    """Start Ray, build or restore the algorithm, and train. Return the rows of the whole run.

    Nothing is written before the algorithm stands: a start that fails leaves the directory as it was.
    """
    training, run = experiment.training, experiment.run
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_session(run.address, training.num_workers + 1, training.num_gpus))
        except SystemExit:  # Ray's own answer to SIGTERM while it starts
            stop.note(signal.SIGTERM)
        stop.listen()
        if stop:
            return []
        if run.address or os.environ.get("RAY_ADDRESS"):
            for notice in notices(training.num_workers, training.num_gpus):
                say(console, notice)
        first_episode = resumed.checkpoint.episodes if resumed else 0
        algorithm = build_algorithm(experiment, first_episode)
        stack.callback(algorithm.stop)
        if resumed:
            restore(algorithm, resumed.checkpoint.state())
            say(console, f"Resumed {resumed.checkpoint.path} at episode {algorithm.episodes_total}")
        if stop:
            return []
        stack.callback(directory.close)
        rows = _begin(experiment, resumed, command, role_names, directory, console)
        loop = TrainingLoop(algorithm, experiment, directory, mirror, rows)
        with _progress(experiment, rows, console, stop) as progress:
            loop.run(stop, progress)
    return rows


def _begin(
    experiment: Experiment,
    resumed: Resumed | None,
    command: Sequence[str],
    role_names: Sequence[str],
    directory: RunDirectory,
    console: Console,
) -> list[m.Row]:
    """Write down how the run begins, and return the rows that a resumed run keeps."""
    rows: list[m.Row] = []
    with told(directory):
        if resumed:
            checkpoint, fetched = resumed.checkpoint, resumed.fetched
            if checkpoint.path.parent == directory.checkpoints.resolve():
                for path in set_aside_later(checkpoint):
                    say(console, f"Set aside a later checkpoint of this run: {path}")
            if fetched and fetched.run.name == directory.path.name:
                adopt(fetched.checkpoint, directory.checkpoints)
                directory.adopt(fetched.run)
            rows = directory.keep_rows_until(checkpoint.iteration)
        directory.describe(experiment, command)
        episode = resumed.checkpoint.episodes if resumed else 0
        start = {"episode": episode, "command": list(command), "role_names": list(role_names)}
        directory.add_start(start | provenance.describe())
    return rows


def _progress(
    experiment: Experiment, rows: list[m.Row], console: Console, stop: StopSignals
) -> ProgressLines | LiveProgress:
    """Return a display in a terminal, lines in any other output (a file, a job's log)."""
    episodes, schedule = experiment.run.episodes, experiment.schedule
    if console.is_interactive:
        return LiveProgress(console, episodes, schedule, rows, stop)
    return ProgressLines(console, episodes, schedule)


def _write_summary(
    summary: dict[str, Any], experiment: Experiment, directory: RunDirectory, mirror: RunMirror | None
) -> dict[str, str]:
    """Write the summary; return the paths of what the run leaves."""
    with told(directory):
        written = directory.write_summary(summary)
    paths = {
        "summary": str(written),
        "progress": str(directory.path / "progress.csv"),
        "checkpoint": str(directory.checkpoints / LATEST),
    }
    if mirror and mirror.copy_files():
        paths["storage"] = f"{str(experiment.run.storage).rstrip('/')}/{experiment.run.exp_name}"
    return paths


def _log_to(console: Console) -> None:
    logger = logging.getLogger("rllib_moe")
    handler = ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
