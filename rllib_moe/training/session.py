"""The part of a run that has Ray: the network tried, the algorithm built or restored, and iterations until the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.algorithms.placement import check_cluster
from rllib_moe.callbacks.measures import ITERATIONS
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import GATMoEPolicy, load_weights
from rllib_moe.models.routing import gate_weights
from rllib_moe.runtime import provenance
from rllib_moe.runtime.console import say
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.algorithm_state import capture, restore
from rllib_moe.training.checkpoints import FINAL, LATEST, save_checkpoint
from rllib_moe.training.live import LiveProgress
from rllib_moe.training.progress import FollowedRun, ProgressLines
from rllib_moe.training.resume import Resumed, begun_from
from rllib_moe.training.run_checkpoints import adopt, point, point_best, prune, set_aside_later
from rllib_moe.training.run_directory import CannotWriteError, RunDirectory, TrainingStoppedError, write_errors
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.storage import RunMirror, StorageError, is_same_place
from rllib_moe.training.summary import recent_mean, summarize
from rllib_moe.validation.errors import ConfigError, FailedError


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
        errors += load_weights(network, resumed.checkpoint.weights()) if resumed else []
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
    if experiment.run.storage is None:
        return None
    uri = str(experiment.run.copy_place)
    try:
        is_own = resumed is not None and (
            is_same_place(resumed.fetched.uri, uri) if resumed.fetched else resumed.is_of(directory.path)
        )
    except StorageError as error:
        raise ConfigError([f"storage: {error}"]) from error
    return RunMirror.claim(uri, directory.path, is_own=is_own)


class Session:
    """Trains one run, from the start of Ray to its end, and keeps the run's books."""

    def __init__(
        self,
        experiment: Experiment,
        resumed: Resumed | None,
        directory: RunDirectory,
        mirror: RunMirror | None,
        console: Console,
        stop: StopSignals,
    ) -> None:
        if resumed and resumed.is_of(directory.path):  # what repeats the run is what it was begun from
            origin = begun_from(resumed.checkpoint, directory.path)
            experiment = experiment.with_overrides({"resume": origin})
        self._experiment, self._run, self._resumed = experiment, experiment.run, resumed
        self._directory, self._mirror = directory, mirror
        self._console, self._stop = console, stop
        self._first_episode = resumed.checkpoint.episodes if resumed else 0
        self._rows: list[m.Row] = []
        """Rows of the whole run so far."""
        self._saved_at = self._first_episode
        """Episode of the last checkpoint."""
        self._saved_rows: int | None = None
        """Number of rows at the last checkpoint; None before there is one."""

    def run(self, command: Sequence[str], role_names: Sequence[str]) -> list[m.Row]:
        """Start Ray, build or restore the algorithm, and train. Return the rows of the whole run.

        Nothing is written before the algorithm stands: a start that fails leaves the directory as it was.

        Args:
            command: Command line of the run.
            role_names: Names of the experts' roles, if any.

        Raises:
            TrainingStoppedError: Training cannot go on.
        """
        training, stop = self._experiment.training, self._stop
        with ExitStack() as stack:
            try:
                stack.enter_context(ray_session(self._run.address, training.num_workers + 1, training.num_gpus))
            except SystemExit:  # Ray's own answer to SIGTERM while it starts
                stop.note(signal.SIGTERM)
            stop.listen()
            if stop:
                return []
            if self._run.address or os.environ.get("RAY_ADDRESS"):
                for notice in check_cluster(training.num_workers, training.num_gpus):
                    say(self._console, notice)
            try:
                with stop.interrupting():  # it may wait for nodes of the cluster
                    algorithm = build_algorithm(self._experiment, self._first_episode)
            except KeyboardInterrupt:
                return []
            stack.callback(algorithm.stop)
            if self._resumed:
                restore(algorithm, self._resumed.checkpoint.state())
                say(self._console, f"Resumed {self._resumed.checkpoint.path} at episode {algorithm.episodes_total}")
            if stop:
                return []
            stack.callback(self._directory.close)
            with write_errors(self._directory):
                self._begin(command, role_names)
            experiment, console = self._experiment, self._console
            followed = FollowedRun(console, self._run.episodes, experiment.schedule, self._rows, role_names)
            if console.is_interactive:
                with LiveProgress(followed, stop) as live:
                    self._train(algorithm, live.show)
            else:  # a file, a job's log
                self._train(algorithm, ProgressLines(followed).show)
        return self._rows

    def _begin(self, command: Sequence[str], role_names: Sequence[str]) -> None:
        """Write down how the run begins, and take over the rows that a resumed run keeps."""
        directory = self._directory
        if self._resumed:
            checkpoint, fetched = self._resumed.checkpoint, self._resumed.fetched
            if checkpoint.path.parent == directory.checkpoints.resolve():
                for path in set_aside_later(checkpoint):
                    say(self._console, f"Set aside a later checkpoint of this run: {path}")
            if fetched and self._resumed.is_of(directory.path):
                adopt(fetched.checkpoint, directory.checkpoints)
                directory.adopt(fetched.run)
            self._rows += directory.keep_rows_until(checkpoint.iteration)
        directory.describe(self._experiment, command)
        start = {"episode": self._first_episode, "command": list(command), "role_names": list(role_names)}
        directory.add_start(start | provenance.describe())

    def _train(self, algorithm: CurriculumAlgorithm, show: Callable[[m.Row], None]) -> None:
        """Iterate until the episode total is reached or a signal asks to stop; then save, also where an error ends it.

        Raises:
            TrainingStoppedError: Training cannot go on.
        """
        kept = len(self._rows)
        try:
            while algorithm.episodes_total < self._run.episodes and not self._stop:
                result = self._iterate(algorithm)
                if not algorithm.empty_iterations:
                    self._rows.append(result["moe"])
                    with write_errors(self._directory):
                        self._directory.append(result["moe"], result["moe_histograms"])
                    show(result["moe"])
                if algorithm.episodes_total - self._saved_at >= self._run.checkpoint_every:
                    self._save(algorithm)
        except CannotWriteError:
            raise
        except Exception:
            # The learner is whole: what it learned must not go with the error. But in the first iteration after a
            # resume that is part of a batch, and the checkpoint of that count is there already.
            if len(self._rows) > kept:
                with write_errors(self._directory):
                    self._directory.write_summary(summarize(self._rows))
                self._save(algorithm)
            raise
        if self._rows:
            self._save(algorithm, is_final=algorithm.episodes_total >= self._run.episodes)

    def _iterate(self, algorithm: CurriculumAlgorithm) -> dict[str, Any]:
        try:
            algorithm.check_samples()
            return algorithm.train()
        except FailedError as error:
            iteration = algorithm._counters[ITERATIONS] + 1
            raise TrainingStoppedError(f"iteration {iteration}: {error}") from error

    def _save(self, algorithm: CurriculumAlgorithm, is_final: bool = False) -> None:
        """Write a checkpoint of this moment, unless the last one is, and move the links."""
        checkpoints, episodes = self._directory.checkpoints, algorithm.episodes_total
        path = checkpoints / f"episode_{episodes:06d}"
        iteration = self._rows[-1][m.ITERATION.key] if self._rows else 0
        with write_errors(self._directory):
            if self._saved_rows != len(self._rows):
                state, score = capture(algorithm), recent_mean(self._rows)
                save_checkpoint(state, path, self._experiment, episodes=episodes, iteration=iteration, score=score)
            point(checkpoints, LATEST, path)
            if is_final:
                point(checkpoints, FINAL, path)
            else:  # of a run that had ended and goes on
                (checkpoints / FINAL).unlink(missing_ok=True)
            point_best(checkpoints)
            prune(checkpoints, self._run.keep_checkpoints)
        if self._mirror:
            self._mirror.copy_checkpoint(path, self._run.keep_checkpoints)
        self._saved_at, self._saved_rows = episodes, len(self._rows)
