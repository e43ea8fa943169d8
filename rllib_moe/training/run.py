"""One training run, from its experiment to its summary: check, prepare, train, finish.

Ray and torch, which take seconds to import, are imported once a run is sure to begin.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rllib_moe.envs.registry import prepare
from rllib_moe.experiment import Experiment
from rllib_moe.runtime.console import ConsoleHandler, say, standard_console
from rllib_moe.runtime.files import locked
from rllib_moe.runtime.invocation import called_as
from rllib_moe.training.checkpoints import LATEST
from rllib_moe.training.fit import check_fit, try_environment
from rllib_moe.training.forecast import forecast
from rllib_moe.training.progress import phase_table
from rllib_moe.training.run_directory import PROGRESS, RunDirectory, write_errors
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.summary import summarize
from rllib_moe.validation.errors import ConfigError

if TYPE_CHECKING:
    from rllib_moe.training.resume import Resumed
    from rllib_moe.training.storage import RunMirror


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
            from rllib_moe.training.resume import Resumed

            resumed = Resumed.find(experiment.run.resume)
        if resumed and (errors := resumed.errors(experiment)):
            raise ConfigError(errors)
        shape, num_actions, role_names = check_fit(experiment)
        directory = RunDirectory.claim(experiment.run, resumed.checkpoint.path if resumed else None)
        with locked("exp_name", directory.path):
            try:
                for line in forecast(experiment, resumed.checkpoint.episodes if resumed else 0):
                    say(console, line)
                from rllib_moe.training import session  # late: see above

                session.check_network(experiment, resumed, shape, num_actions)
                mirror = session.claim_storage(experiment, resumed, directory)
                prepare(experiment.environment.env)
                try_environment(experiment)
                trained = session.Session(experiment, resumed, directory, mirror, console, stop)
                rows = trained.run(command, role_names)
            finally:
                directory.remove_if_empty()
            summary = summarize(rows)
            paths = _write_summary(summary, experiment, directory, mirror) if rows else {}
    if rows:
        console.print(phase_table(summary))
        told_paths = (f"{name}: {path}" for name, path in paths.items())
        for line in (*told_paths, *_next_commands(experiment, summary)):
            say(console, line)
    else:
        console.print("Stopped before the first iteration: there is nothing to save.")
    return {**summary, "paths": paths, "stopped_by": stop.received}


def _next_commands(experiment: Experiment, summary: dict[str, Any]) -> Iterator[str]:
    """Yield the commands that a person may want next."""
    run, total = str(experiment.run.directory), experiment.run.episodes
    further = () if summary["episodes_total"] < total else ("--episodes", str(2 * total))
    yield f"go on:    {shlex.join(called_as('train', '--resume', run, *further))}"
    yield f"report:   {shlex.join(called_as('report', run))}"
    yield f"evaluate: {shlex.join(called_as('evaluate', '--checkpoint', run))}"


def _write_summary(
    summary: dict[str, Any], experiment: Experiment, directory: RunDirectory, mirror: RunMirror | None
) -> dict[str, str]:
    """Write the summary; return the paths of what the run leaves."""
    with write_errors(directory):
        written = directory.write_summary(summary)
    paths = {
        "summary": str(written),
        "progress": str(directory.path / PROGRESS),
        "checkpoint": str(directory.checkpoints / LATEST),
    }
    # Once more: the summary is new, and a checkpoint whose copy failed is tried again.
    run = experiment.run
    if mirror and mirror.copy_checkpoint((directory.checkpoints / LATEST).resolve(), run.keep_checkpoints):
        paths["storage"] = str(run.copy_place)
    return paths


def _log_to(console: Console) -> None:
    logger = logging.getLogger("rllib_moe")
    handler = ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
