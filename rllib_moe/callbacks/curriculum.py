"""The curriculum callback: carries the phase from the schedule to the learner and every rollout worker.

It decides nothing. `schedule.at(episodes_total)` does, with the episode count that RLlib checkpoints among the
algorithm's counters; what a policy does with a phase is `MoEPPOPolicy.request_phase`. In this order after each
iteration: the episodes are counted, the row of measures is written under the phase that was played, and the phase of
the new count is sent to every worker before it samples again.
"""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.callbacks import DefaultCallbacks

from rllib_moe.callbacks.measures import IterationMeasures
from rllib_moe.schedule.phases import VALUES, PhaseConfig

if TYPE_CHECKING:
    from rllib_moe.algorithms.curriculum import CurriculumAlgorithm

LOG_EVERY = 100
"""Episodes between two regular log lines."""

logger = logging.getLogger(__name__)


class CurriculumCallbacks(DefaultCallbacks):
    """Keeps the phase of learner and rollout workers at `schedule.at(episodes_total)`, and writes `result["moe"]`.

    For algorithms that are a `CurriculumAlgorithm`: `MoEPPO` and `MoEAPPO`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._measures = IterationMeasures()

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Activate the first phase before anything is sampled."""
        super().on_algorithm_init(algorithm=algorithm, **kwargs)
        if not logger.hasHandlers():  # nobody configured logging, as in the process of a Tune trial
            package = logging.getLogger("rllib_moe")
            package.addHandler(logging.StreamHandler(sys.stdout))
            package.setLevel(logging.INFO)
        _activate(algorithm, before=None)

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Count the iteration's episodes, write its row, and activate the phase that the count leads to.

        Written: `result["moe"]`, measures by the keys of `metrics.py`; `result["moe_histograms"]`, the fields of a
        `gate_histograms.Histogram` by key; and `result["episodes_total"]`.
        """
        super().on_train_result(algorithm=algorithm, result=result, **kwargs)
        before = algorithm.episodes_total
        algorithm.count_iteration(result)
        result["episodes_total"] = algorithm.episodes_total
        result["moe"], result["moe_histograms"] = self._measures.take(algorithm, result)
        _activate(algorithm, before)

    def on_checkpoint_loaded(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Activate the phase of the restored count: a checkpoint does not hold all of it (RLlib loses `cur_lr`)."""
        super().on_checkpoint_loaded(algorithm=algorithm, **kwargs)
        _activate(algorithm, before=None)

    def on_learn_on_batch(self, *, policy: Any, train_batch: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Mend a policy that was restored by `Algorithm.from_checkpoint`, which fires no other hook."""
        super().on_learn_on_batch(policy=policy, train_batch=train_batch, result=result, **kwargs)
        policy.sync_optimizer()


def _activate(algorithm: CurriculumAlgorithm, before: int | None) -> None:
    """Activate the phase of the present count everywhere, and note what there is to log about it.

    Args:
        algorithm: The algorithm.
        before: Episode count at the last call; None announces the phase in any case.
    """
    schedule, episodes = algorithm.schedule, algorithm.episodes_total
    phase, values = schedule.phase_at(episodes), schedule.at(episodes)
    policy = algorithm.learner_policy
    policy.request_phase(values, episodes)
    algorithm.sync_workers()
    algorithm.has_phase = True
    notes: list[str] = []
    if before is not None and (skipped := [each for each in schedule.phases if before < each.start < phase.start]):
        names = ", ".join(each.name for each in skipped)
        notes.append(
            f"warning: {names} not played: one iteration led from episode {before:,} to {episodes:,}. Move the "
            "boundaries apart, or take a smaller batch"
        )
    if before is None or before < phase.start:
        notes.append(banner(values, episodes, phase.end, policy.model.network.router.num_experts))
    if before is None or before // LOG_EVERY != episodes // LOG_EVERY:
        notes.append(f"Episode {episodes}, Routing: {values.routing.capitalize()}, Phase: {phase.name}")
    algorithm.notes = notes


def banner(phase: PhaseConfig, episodes: int, end: int | None, num_experts: int) -> str:
    """Return the line that says a phase begins (or is resumed)."""
    until = "on" if end is None else f"to {end - 1}"
    values = dict(phase)
    if values["alpha_entropy_target"] is not None:
        values["alpha_entropy_target"] = min(values["alpha_entropy_target"], math.log(num_experts))
    # The names of the fields: "alpha entropy" alone would be taken for the measure of this name.
    told = ", ".join(f"{name} {values[name]:.3g}" for name in VALUES if values[name] is not None)
    env = "".join(
        f", {name} {f'{value:.6g}' if isinstance(value, float) else value}" for name, value in phase.env.items()
    )
    return f"===== {phase.name.upper()} from episode {episodes} {until}: {phase.routing}, {told}{env} ====="
