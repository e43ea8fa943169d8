"""Who decides which trials go on, by episodes: ASHA stops the weak early, PBT lets them copy the strong."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining

from rllib_moe.studies.tuning.journal import CLONES, append_line, read_results, trial_directory
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL

GRACE_PARTS, PERTURBATION_PARTS = 4, 5
"""Defaults: ASHA lets a trial be for a quarter of its episodes, PBT compares after every fifth."""

CLONED_CHECKPOINT = "cloned_checkpoint_"
"""Begin of the names of the directories, in a trial's own, of the checkpoints that it was cloned from."""


def make_scheduler(name: str, space: SearchSpace, *, metric: str, grace: int, reduction: float, every: int) -> Any:
    """Make a scheduler.

    Args:
        name: `none`, `asha` or `pbt`.
        space: The search space.
        metric: The key that is maximised.
        grace: Episodes (ASHA) before which no trial is stopped.
        reduction: Of so many trials (ASHA) one passes each rung.
        every: Episodes (PBT) between two comparisons.
    """
    if name == "asha":
        return Successive(
            time_attr=EPISODES_TOTAL,
            metric=metric,
            mode="max",
            max_t=space.config.run.episodes,
            grace_period=grace,
            reduction_factor=reduction,
        )
    if name == "pbt":
        return Population(space, metric=metric, every=every)
    return FIFOScheduler()


class Successive(AsyncHyperBandScheduler):
    """ASHA (https://arxiv.org/abs/1810.05934) that outlives its process.

    Tune does not save its schedulers. A resumed search tells this one again what its trials had reported, so that the
    rungs are those of before.
    """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial, with what it has reported already."""
        super().on_trial_add(tune_controller, trial)
        if trial.storage is None or trial.storage.trial_dir_name is None:
            return  # a new one: it gets its directory when it starts
        bracket = self._trial_info[trial.trial_id]
        for result in read_results(trial_directory(trial)):
            if self._time_attr in result and self._metric in result:
                bracket.on_result(trial, result[self._time_attr], result[self._metric])


class Population(PopulationBasedTraining):
    """PBT (https://arxiv.org/abs/1711.09846) that leaves the curriculum whole.

    Values change as the space says: within their ranges, only those that cannot move the phase of an episode count, and
    only to a valid schedule (`SearchSpace.mutated`). The rest, boundaries and sizes, comes from the trial that is
    cloned, as its checkpoint does.

    Args:
        space: The search space.
        metric: The key that is maximised.
        every: Episodes between two comparisons.
    """

    def __init__(self, space: SearchSpace, *, metric: str, every: int) -> None:
        super().__init__(
            time_attr=EPISODES_TOTAL,
            metric=metric,
            mode="max",
            perturbation_interval=every,
            burn_in_period=every,
            hyperparam_mutations={"values": {}},  # Tune asks for some; `_get_new_config` has the real ones
        )
        self._space = space
        # Another stream than that of the first draws, or mutations would repeat their values.
        self._generator = np.random.default_rng((space.config.training.seed, 1))

    def _exploit(self, tune_controller: Any, trial: Trial, trial_to_clone: Trial) -> None:
        """Clone a trial: Tune's hook. The clone begins from a copy of the checkpoint, which is its own.

        In Tune it begins from the donor's, which the donor may have deleted by then: it goes on and keeps its last few,
        while the clone waits for its turn.
        """
        donor: Any = self._trial_state[trial_to_clone]
        checkpoints: Any = trial.run_metadata.checkpoint_manager
        if not Path(donor.last_checkpoint.path).is_dir():  # deleted since the last comparison
            latest: Any = trial_to_clone.run_metadata.checkpoint_manager.latest_checkpoint_result  # type: ignore[union-attr]
            donor.last_checkpoint, donor.last_result = latest.checkpoint, latest.metrics
            donor.last_train_time = latest.metrics[EPISODES_TOTAL]
        super()._exploit(tune_controller, trial, trial_to_clone)
        directory = trial_directory(trial)
        # All of them stay, some MB each: a killed search may go on from an earlier moment.
        begun_from = directory / f"{CLONED_CHECKPOINT}{len(list(directory.glob(CLONED_CHECKPOINT + '*'))):06d}"
        shutil.copytree(donor.last_checkpoint.path, begun_from)
        checkpoints.latest_checkpoint_result.checkpoint = Checkpoint(str(begun_from))

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration of a trial that becomes a clone: Tune's hook, which its own PB2 overrides too."""
        config = copy.deepcopy(trial_to_clone.config)
        config["values"] = self._space.mutated(config["values"], self._generator)
        donor = self._trial_state[trial_to_clone]
        clone = {"of": str(trial_to_clone), EPISODES_TOTAL: donor.last_train_time, "values": config["values"]}
        append_line(trial_directory(trial) / CLONES, clone)
        return config, {}
