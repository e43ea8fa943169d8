"""The loop of a run: iterations, their rows and checkpoints, until all episodes are played or a signal says stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

from rllib_moe import metrics as m
from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.algorithms.policy import CannotGoOnError
from rllib_moe.experiment import Experiment
from rllib_moe.sampling.guarded_environments import EnvironmentsFailError
from rllib_moe.training.algorithm_state import capture
from rllib_moe.training.checkpoints import FINAL, LATEST, save_checkpoint
from rllib_moe.training.run_checkpoints import point, point_best, prune
from rllib_moe.training.run_directory import CannotWriteError, RunDirectory, TrainingStoppedError, told
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.training.storage import RunMirror
from rllib_moe.training.summary import recent_mean, summarize

MAX_EMPTY_ITERATIONS = 10
"""Iterations in a row without a single sample after which a run stops: all workers fail."""


class EmptyIterations:
    """Count of the iterations in a row that sampled nothing, from the environment steps sampled so far."""

    def __init__(self, env_steps: int) -> None:
        self._env_steps, self._count = env_steps, 0

    def note(self, env_steps: int) -> bool:
        """Note the steps after an iteration; return whether it sampled anything.

        Raises:
            TrainingStoppedError: `MAX_EMPTY_ITERATIONS` iterations in a row did not.
        """
        self._count = 0 if env_steps > self._env_steps else self._count + 1
        self._env_steps = env_steps
        if self._count == MAX_EMPTY_ITERATIONS:
            raise TrainingStoppedError(
                f"{self._count} iterations in a row gave no sample: all rollout workers fail (see Ray's log above)"
            )
        return self._count == 0


class TrainingLoop:
    """Trains an algorithm that stands, restored where the run is resumed, and keeps the run's books.

    It appends to `rows`, those of the run so far.
    """

    def __init__(
        self,
        algorithm: CurriculumAlgorithm,
        experiment: Experiment,
        directory: RunDirectory,
        mirror: RunMirror | None,
        rows: list[m.Row],
    ) -> None:
        self._algorithm, self._run = algorithm, experiment.run
        self._experiment, self._directory, self._mirror, self._rows = experiment, directory, mirror, rows
        self._saved_at = algorithm.episodes_total
        self._saved_rows: int | None = None
        self._empty = EmptyIterations(algorithm._counters[NUM_ENV_STEPS_SAMPLED])

    def run(self, stop: StopSignals, show: Callable[[m.Row], None]) -> None:
        """Iterate until the episode total is reached or a signal asks to stop; then save, also where an error ends it.

        Raises:
            TrainingStoppedError: Training cannot go on.
        """
        kept = len(self._rows)
        try:
            while self._algorithm.episodes_total < self._run.episodes and not stop:
                result = self._iterate()
                row = result["moe"]
                if self._empty.note(row[m.ENV_STEPS_TOTAL.key]):
                    self._rows.append(row)
                    with told(self._directory):
                        self._directory.append(row, result["moe_histograms"])
                    show(row)
                if self._algorithm.episodes_total - self._saved_at >= self._run.checkpoint_every:
                    self._save()
        except CannotWriteError:
            raise
        except Exception:
            # The learner is whole: what it learned must not go with the error. But in the first iteration after a
            # resume that is part of a batch, and the checkpoint of that count is there already.
            if len(self._rows) > kept:
                with told(self._directory):
                    self._directory.write_summary(summarize(self._rows))
                self._save()
            raise
        if self._rows:
            self._save(is_final=self._algorithm.episodes_total >= self._run.episodes)

    def _iterate(self) -> dict[str, Any]:
        try:
            return self._algorithm.train()
        except (CannotGoOnError, EnvironmentsFailError) as error:
            iteration = self._rows[-1][m.ITERATION.key] + 1 if self._rows else 1
            raise TrainingStoppedError(f"iteration {iteration}: {error}") from error

    def _save(self, is_final: bool = False) -> None:
        """Write a checkpoint of this moment, unless the last one is, and move the links."""
        checkpoints, episodes = self._directory.checkpoints, self._algorithm.episodes_total
        path = checkpoints / f"episode_{episodes:06d}"
        iteration = self._rows[-1][m.ITERATION.key] if self._rows else 0
        with told(self._directory):
            if self._saved_rows != len(self._rows):
                state, score = capture(self._algorithm), recent_mean(self._rows)
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
