"""One trial of a search: a training run as a Tune trainable.

The trial holds an RLlib algorithm, whose callback alone carries the curriculum. It is built when the first iteration is
due: only then is it known at which episode the trial goes on, after an interruption or as the clone of another one
(PBT). A clone takes over network, optimizer and episode count, and its own schedule says which phase that count is in.
Checkpoints are those of `training/checkpoints.py`: `scripts/evaluate.py` and `scripts/train.py --resume` read them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

from rllib_moe import metrics as m
from rllib_moe.algorithms.rllib_config import algorithm_config
from rllib_moe.callbacks.episode_metrics import ITERATIONS_COUNTER
from rllib_moe.callbacks.phase_curriculum import episodes_of
from rllib_moe.config import ExperimentConfig
from rllib_moe.phases import PhaseSchedule
from rllib_moe.studies.tuning.settings import Values, settled
from rllib_moe.training.algorithm_state import capture, restore
from rllib_moe.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from rllib_moe.training.experiment import MAX_EMPTY_ITERATIONS, TrainingStoppedError
from rllib_moe.training.summary import SCORE_WINDOW

SCORE, MUTUAL_INFORMATION, EPISODES_TOTAL = "score", "mutual_information", "episodes_total"
"""Keys of a trial's result beside `moe`, the row of measures: means over the last episodes, and the count."""
MOE = "moe"
CHECKPOINT = "checkpoint"
"""Name of this project's checkpoint inside Tune's."""
_WINDOW = "window.json"


def trial_config(config: ExperimentConfig, schedule: PhaseSchedule, values: Values) -> dict[str, Any]:
    """What Tune carries to a trial: the experiment that all trials share, and this one's values."""
    return {"config": config.to_dict(), "schedule": schedule.to_dict(), "values": values}


def trial_settings(plain: dict[str, Any]) -> tuple[ExperimentConfig, PhaseSchedule]:
    """The configuration and schedule of a trial, from what Tune carries.

    Raises:
        SettingsError: the trial's values do not go together.
    """
    config = ExperimentConfig.from_dict(plain["config"])
    return settled(config, PhaseSchedule.from_dict(plain["schedule"]), plain["values"])


class MoETrial(tune.Trainable):
    """A training run that Tune steps, saves, restores and resets."""

    def setup(self, config: dict[str, Any]) -> None:
        """Read the settings; an actor may serve several trials, one after the other."""
        torch.set_num_threads(1)  # trials share the machine's cores
        self._algorithm: Algorithm | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial, or this one with other values."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._config, self._schedule = trial_settings(config)
        self._window: list[list[float]] = []
        self._saved_at = self._empty = 0
        self._env_steps: int = 0

    def step(self) -> dict[str, Any]:
        """Play and learn one iteration."""
        algorithm = self._algorithm or self._build(None)
        row: m.Row = algorithm.train()[MOE]
        before, self._env_steps = self._env_steps, row[m.ENV_STEPS_TOTAL.key]
        self._empty = 0 if self._env_steps > before else self._empty + 1
        if self._empty == MAX_EMPTY_ITERATIONS:
            raise TrainingStoppedError(f"{self._empty} iterations in a row gave no sample: all rollout workers fail")
        self._remember(row)
        episodes = episodes_of(algorithm)
        is_done = episodes >= self._config.run.episodes
        save = is_done or episodes - self._saved_at >= self._config.run.checkpoint_every
        if save:
            self._saved_at = episodes
        return {
            SCORE: self._mean(1),
            MUTUAL_INFORMATION: self._mean(2),
            EPISODES_TOTAL: episodes,
            MOE: row,
            "done": is_done,
            "should_checkpoint": save,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write this moment into a directory of Tune's."""
        algorithm = self._algorithm or self._build(None)
        save_checkpoint(
            capture(algorithm),
            Path(checkpoint_dir) / CHECKPOINT,
            self._config,
            self._schedule,
            episodes=episodes_of(algorithm),
            iteration=int(algorithm._counters[ITERATIONS_COUNTER]),
            score=None if math.isnan(self._mean(1)) else self._mean(1),
        )
        (Path(checkpoint_dir) / _WINDOW).write_text(json.dumps(self._window))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint, this trial's or another one's, under this trial's own schedule.

        Raises:
            CheckpointError: it is damaged.
        """
        self.cleanup()
        saved = load_checkpoint(Path(checkpoint) / CHECKPOINT)
        self._build(saved)
        self._window = json.loads((Path(checkpoint) / _WINDOW).read_text())
        self._saved_at = saved.episodes

    def cleanup(self) -> None:
        """Stop the algorithm and its rollout workers."""
        if self._algorithm is not None:
            self._algorithm.stop()
            self._algorithm = None

    def _build(self, saved: Checkpoint | None) -> Algorithm:
        """Build the algorithm; episodes after a checkpoint are new ones, not those of the beginning again."""
        first_episode = saved.episodes if saved else 0
        self._algorithm = algorithm_config(self._config, self._schedule, first_episode).build_algo()
        if saved:
            restore(self._algorithm, saved.state())
        self._env_steps = self._algorithm._counters[NUM_ENV_STEPS_SAMPLED]
        return self._algorithm

    def _remember(self, row: m.Row) -> None:
        """Keep as many iterations as the last episodes (`SCORE_WINDOW`) take, as [episodes, score, information]."""
        if row[m.EPISODES.key]:
            measures = (row[m.EPISODES.key], row[m.SCORE_MEAN.key], row[m.MUTUAL_INFORMATION.key])
            self._window.append([float(value) for value in measures])
        while sum(entry[0] for entry in self._window[1:]) >= SCORE_WINDOW:
            del self._window[0]

    def _mean(self, column: int) -> float:
        """Mean over the remembered episodes, NaN before the first one has ended."""
        episodes = sum(entry[0] for entry in self._window)
        return sum(entry[0] * entry[column] for entry in self._window) / episodes if episodes else math.nan
