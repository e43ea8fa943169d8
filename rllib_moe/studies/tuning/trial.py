"""One trial of a search: a training run as a Tune trainable.

The trial holds an RLlib algorithm, whose callback alone carries the curriculum. It is built when the first iteration is
due: only then is it known at which episode the trial goes on, after an interruption or as the clone of another one
(PBT). A clone takes over network, optimizer and episode count, and its own schedule says which phase that count is in.
Checkpoints are those of `training/checkpoints.py`: `scripts/evaluate.py` and `scripts/train.py --resume` read them.
Tune can run `MoEPPO` itself (`docs/guide/examples/tune_script.py`), but knows neither these checkpoints nor a new
seed of episodes after one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from ray import tune

from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.callbacks.measures import ITERATIONS
from rllib_moe.experiment import Experiment
from rllib_moe.training.algorithm_state import capture, restore
from rllib_moe.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from rllib_moe.training.summary import SCORE_WINDOW, recent_mean

SCORE, MUTUAL_INFORMATION, EPISODES_TOTAL = "score", "mutual_information", "episodes_total"
"""Keys of a trial's result beside `moe`, the row of measures: means over the last episodes, and the count."""
MOE = "moe"
CHECKPOINT = "checkpoint"
"""Name of this project's checkpoint inside Tune's."""
CLONES = "clones"
"""Key, in the configuration of a trial that became a copy of others, of what was copied when, and the values since."""
_RECENT = "recent.json"
_MEANS = (m.EPISODES, m.SCORE_MEAN, m.MUTUAL_INFORMATION)


class MoETrial(tune.Trainable):
    """A training run that Tune steps, saves, restores and resets.

    Its configuration: `experiment`, plain, that all trials begin with, and `overrides`, a mapping over it, its own.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Read the settings; an actor may serve several trials, one after the other."""
        torch.set_num_threads(1)  # trials share the machine's cores
        self._algorithm: CurriculumAlgorithm | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial, or this one with other values."""
        self.cleanup()
        self._experiment = Experiment.from_dict(new_config["experiment"]).with_overrides(new_config["overrides"])
        self._recent: list[m.Row] = []
        self._saved_at = 0
        return True

    def step(self) -> dict[str, Any]:
        """Play and learn one iteration.

        Raises:
            NoSamplesError: All rollout workers fail.
        """
        algorithm = self._algorithm or self._build(None)
        row: m.Row = algorithm.train()[MOE]
        algorithm.check_samples()
        if row[m.EPISODES.key]:
            self._recent = [*self._recent[1 - SCORE_WINDOW :], {metric.key: row[metric.key] for metric in _MEANS}]
        episodes, run = algorithm.episodes_total, self._experiment.run
        is_done = episodes >= run.episodes
        save = is_done or episodes - self._saved_at >= run.checkpoint_every
        if save:
            self._saved_at = episodes
        return {
            SCORE: self._mean(m.SCORE_MEAN),
            MUTUAL_INFORMATION: self._mean(m.MUTUAL_INFORMATION),
            EPISODES_TOTAL: episodes,
            MOE: row,
            "done": is_done,
            "should_checkpoint": save,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write this moment into a directory of Tune's."""
        algorithm, directory = self._algorithm or self._build(None), Path(checkpoint_dir)
        save_checkpoint(
            capture(algorithm),
            directory / CHECKPOINT,
            self._experiment,
            episodes=algorithm.episodes_total,
            iteration=int(algorithm._counters[ITERATIONS]),
            score=recent_mean(self._recent, m.SCORE_MEAN),
        )
        (directory / _RECENT).write_text(json.dumps(self._recent))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint, this trial's or another one's, under this trial's own schedule.

        Raises:
            CheckpointError: It is damaged.
        """
        self.cleanup()
        saved = load_checkpoint(Path(checkpoint) / CHECKPOINT)
        self._build(saved)
        self._recent = json.loads((Path(checkpoint) / _RECENT).read_text())
        self._saved_at = saved.episodes

    def cleanup(self) -> None:
        """Stop the algorithm and its rollout workers."""
        if self._algorithm is not None:
            self._algorithm.stop()
            self._algorithm = None

    def _mean(self, metric: m.Metric) -> float:
        mean = recent_mean(self._recent, metric)
        return math.nan if mean is None else mean  # before the first episode has ended

    def _build(self, saved: Checkpoint | None) -> CurriculumAlgorithm:
        """Build the algorithm; episodes after a checkpoint are new ones, not those of the beginning again."""
        self._algorithm = algorithm = build_algorithm(self._experiment, saved.episodes if saved else 0)
        if saved:
            restore(algorithm, saved.state())
        return algorithm
