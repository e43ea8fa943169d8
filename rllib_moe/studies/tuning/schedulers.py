"""Parts that Tune's schedulers lack: rungs of ASHA that outlive the process, a PBT that leaves the curriculum whole."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining

from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.trial import CLONES, EPISODES_TOTAL

CLONED_CHECKPOINT = "cloned_checkpoint_"
"""Begin of the names of the directories, in a trial's own, of the checkpoints that it was cloned from."""


class KeptRungs(tune.Callback):
    """Saves the rungs of ASHA with a search: Tune does not save its schedulers, and a resumed one would begin empty."""

    def __init__(self, scheduler: AsyncHyperBandScheduler) -> None:
        (self._bracket,) = scheduler._brackets

    def get_state(self) -> dict[str, Any]:
        """Return what Tune saves."""
        return {"rungs": self._bracket._rungs}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what Tune saved."""
        self._bracket._rungs = state["rungs"]


class CurriculumPBT(PopulationBasedTraining):
    """PBT (https://arxiv.org/abs/1711.09846) that leaves the curriculum whole.

    Tune's own would mutate any value, out of its range and into schedules that are refused. Here values change as the
    space says: within their ranges, only those that cannot move the phase of an episode count, and only to a valid
    schedule (`SearchSpace.mutated`). The rest, boundaries and sizes, comes from the trial that is cloned, as its
    checkpoint does.

    Args:
        metric: Key that is maximized.
        every: Episodes between two comparisons.
    """

    def __init__(self, space: SearchSpace, *, metric: str, every: int) -> None:
        super().__init__(
            time_attr=EPISODES_TOTAL,
            metric=metric,
            mode="max",
            perturbation_interval=every,
            burn_in_period=every,
            hyperparam_mutations={"overrides": {}},  # Tune asks for some; `_get_new_config` has the real ones
            log_config=False,  # begun anew when a search is resumed; `CLONES` says it
        )
        self._space = space
        # Another stream than that of the first draws, or mutations would repeat their values.
        self._generator = np.random.default_rng((space.example.training.seed, 1))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that is furthest behind, a clone after its equals: Tune's hook.

        In Tune it may come before them. Where trials take turns, the weakest is then set back to the count of a donor
        that waits, plays on, is set back again, and nobody else ever runs.
        """
        waiting = [each for each in tune_controller.get_trials() if each.status in (Trial.PENDING, Trial.PAUSED)]
        turns = {each: (self._trial_state[each].last_train_time, len(each.config.get(CLONES, ()))) for each in waiting}
        return min(waiting, key=turns.__getitem__, default=None)

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
        # All of them stay, some MB each: a killed search may go on from an earlier moment.
        directory = Path(str(trial.path))
        begun_from = directory / f"{CLONED_CHECKPOINT}{len(list(directory.glob(CLONED_CHECKPOINT + '*'))):06d}"
        shutil.copytree(donor.last_checkpoint.path, begun_from)
        checkpoints.latest_checkpoint_result.checkpoint = tune.Checkpoint(str(begun_from))

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the configuration of a trial that becomes a clone: Tune's hook, which its own PB2 overrides too."""
        config = copy.deepcopy(trial_to_clone.config)
        values = self._space.mutated(self._space.values(config["overrides"]), self._generator)
        config["overrides"] = self._space.overrides(values)
        episodes = self._trial_state[trial_to_clone].last_train_time
        clone = {"of": str(trial_to_clone), EPISODES_TOTAL: episodes, "values": values}
        config[CLONES] = [*trial.config.get(CLONES, ()), clone]
        return config, {}
