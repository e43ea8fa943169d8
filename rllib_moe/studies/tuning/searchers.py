"""Optuna as the source of trials: it proposes values in view of what the finished trials scored."""

from __future__ import annotations

import logging
from typing import Any

from optuna import distributions, samplers
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from rllib_moe.studies.tuning.parameters import Parameter
from rllib_moe.studies.tuning.search_space import PATIENCE, SearchSpace, Values

logger = logging.getLogger(__name__)

RANDOM_PART, MOST_RANDOM = 3, 10
"""A third of the trials, at most so many, are drawn at random before Optuna's model (TPE) takes over."""


class OptunaProposals(OptunaSearch):
    """Optuna's proposals as trials.

    Tune's own would start a combination that is not valid; here Optuna is told that it failed, and asked again.
    """

    def __init__(self, space: SearchSpace, *, metric: str, trials: int) -> None:
        startup = max(1, min(MOST_RANDOM, trials // RANDOM_PART))
        super().__init__(
            space={str(place): _distribution(each) for place, each in enumerate(space.parameters)},
            metric=metric,
            mode="max",
            sampler=samplers.TPESampler(seed=space.example.training.seed, n_startup_trials=startup),
        )
        self.space = space

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration; the search ends where no valid combination comes any more."""
        for _ in range(PATIENCE):
            values = self._values(super().suggest(trial_id))
            errors = self.space.errors(values)
            if not errors:
                return {"overrides": self.space.overrides(values)}
            logger.info("Refused %s: %s", values, "; ".join(errors))
            self.on_trial_complete(trial_id, error=True)
            self._completed_trials.discard(trial_id)
            del self._ot_trials[trial_id]
        logger.warning("The search ends: Optuna proposed %d combinations in a row that are not valid", PATIENCE)
        return Searcher.FINISHED

    def _values(self, proposed: Any) -> Values:
        """Return a trial's values, from Optuna's answers under the parameters' places."""
        answers = ((each, proposed[str(place)]) for place, each in enumerate(self.space.parameters))
        return {each.name: answer if each.is_range else each.values[answer] for each, answer in answers}


def _distribution(parameter: Parameter) -> distributions.BaseDistribution:
    """Return a parameter in Optuna's terms; of a list, the place (Optuna takes no lists as choices)."""
    values = parameter.values
    if parameter.kind == "randint":
        return distributions.IntDistribution(*values)
    if parameter.is_range:
        return distributions.FloatDistribution(values[0], values[1], log=parameter.kind == "loguniform")
    # Rising numbers: neighbors are alike.
    if all(type(value) in (int, float) for value in values) and list(values) == sorted(values):
        return distributions.IntDistribution(0, len(values) - 1)
    return distributions.CategoricalDistribution(range(len(values)))
