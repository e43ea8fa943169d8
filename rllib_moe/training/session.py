"""The part of a run that has Ray: the network tried, the algorithm built or restored, and the loop around it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.algorithms.placement import notices
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import GATMoEPolicy, weight_errors
from rllib_moe.models.routing import gate_weights
from rllib_moe.runtime import provenance
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.algorithm_state import restore
from rllib_moe.training.live import LiveProgress
from rllib_moe.training.loop import TrainingLoop
from rllib_moe.training.progress import ProgressLines, say
from rllib_moe.training.resume import Resumed
from rllib_moe.training.run_checkpoints import adopt, set_aside_later
from rllib_moe.training.run_directory import RunDirectory, told
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.storage import RunMirror, StorageError, is_same_place
from rllib_moe.validation import ConfigError


def check_network(experiment: Experiment, resumed: Resumed | None, shape: GraphShape, num_actions: int) -> None:
    """Build the network once and try every gate; encoder and gates may be the user's own.

    Raises:
        ConfigError: One of them fails, or the checkpoint's weights do not fit.
    """
    errors = list(_gate_errors(experiment))
    try:
        network = GATMoEPolicy(shape, num_actions, experiment.model)
    except Exception as error:  # whatever a user's encoder raises
        name = experiment.model.graph_encoder
        errors.append(f"graph_encoder: {name!r} cannot be used: {type(error).__name__}: {error}")
    else:
        errors += weight_errors(network, resumed.checkpoint.state().weights) if resumed else []
    if errors:
        raise ConfigError(errors)


def _gate_errors(experiment: Experiment) -> Iterator[str]:
    """Yield the reasons why a gate of the user's cannot be used, found by trying it."""
    logits = torch.linspace(-3, 3, 8 * experiment.model.num_experts).reshape(8, -1)
    for routing in dict.fromkeys(phase.first.routing for phase in experiment.schedule.phases):
        try:
            gate = gate_weights(logits, routing)
            sums = gate.sum(-1)
            is_gate = gate.shape == logits.shape and bool((gate >= 0).all()) and torch.allclose(sums, sums.new_ones(8))
        except ValueError as error:
            yield str(error)
        except Exception as error:  # whatever a user's gate raises
            yield f"routing: {routing!r} cannot be used: {type(error).__name__}: {error}"
        else:
            if not is_gate:
                yield (
                    f"routing: expected weights {list(logits.shape)} that are not negative and sum to 1 in each row, "
                    f"{routing!r} gave {list(gate.shape)} from {gate.min():.3g} to {gate.max():.3g}"
                )


def claim_storage(experiment: Experiment, resumed: Resumed | None, directory: RunDirectory) -> RunMirror | None:
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


def run(
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
    training, address = experiment.training, experiment.run.address
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_session(address, training.num_workers + 1, training.num_gpus))
        except SystemExit:  # Ray's own answer to SIGTERM while it starts
            stop.note(signal.SIGTERM)
        stop.listen()
        if stop:
            return []
        if address or os.environ.get("RAY_ADDRESS"):
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
        display = (console, experiment.run.episodes, experiment.schedule, rows)
        if console.is_interactive:
            with LiveProgress(*display, stop) as live:
                loop.run(stop, live.show)
        else:  # a file, a job's log
            loop.run(stop, ProgressLines(*display).show)
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
