"""Optuna as the source of trials: it proposes values in view of what the finished trials scored."""

from __future__ import annotations

import logging
from typing import Any

from optuna import distributions, samplers
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from rllib_moe.studies.tuning.parameters import Parameter
from rllib_moe.studies.tuning.search_space import PATIENCE, SearchSpace
from rllib_moe.studies.tuning.settings import Values

logger = logging.getLogger(__name__)

RANDOM_PART, MOST_RANDOM = 3, 10
"""A third of the trials, at most so many, are drawn at random before Optuna's model (TPE) takes over."""


class Proposals(OptunaSearch):
    """Optuna's proposals as trials. A combination that is not valid is told to Optuna as failed and never started.

    Args:
        space: The search space.
        metric: The key that is maximised.
        trials: How many trials the search has.
    """

    def __init__(self, space: SearchSpace, *, metric: str, trials: int) -> None:
        searched = {str(place): each for place, each in enumerate(space.parameters) if each.kind != "fixed"}
        startup = max(1, min(MOST_RANDOM, trials // RANDOM_PART))
        super().__init__(
            space={place: _distribution(each) for place, each in searched.items()},
            metric=metric,
            mode="max",
            sampler=samplers.TPESampler(seed=space.config.training.seed, n_startup_trials=startup),
        )
        self.space = space
        self.refused = 0
        """Combinations that were not valid."""

    def suggest(self, trial_id: str) -> Any:
        """The next trial's values; the search ends where no valid combination comes any more."""
        for _ in range(PATIENCE):
            values = self._values(super().suggest(trial_id) or {})
            faults = self.space.faults_of(values)
            if not faults:
                return {"values": values}
            self.refused += 1
            logger.info("Refused %s: %s", self.space.searched(values), "; ".join(faults))
            self.on_trial_complete(trial_id, error=True)
            self._completed_trials.discard(trial_id)
            del self._ot_trials[trial_id]
        logger.warning("The search ends: Optuna proposed %d combinations in a row that are not valid", PATIENCE)
        return Searcher.FINISHED

    def _values(self, proposed: dict[str, Any]) -> Values:
        """A trial's values, from Optuna's answers under the parameters' places."""
        values: Values = {}
        for place, each in enumerate(self.space.parameters):
            answer = proposed.get(str(place), 0)
            values[each.name] = each.values[answer] if each.is_list else answer
        return values


def _distribution(parameter: Parameter) -> distributions.BaseDistribution:
    """A parameter in Optuna's terms; of a list, the place (Optuna takes no lists as choices)."""
    if parameter.is_list:
        places = len(parameter.values)
        if _is_rising(parameter.values):
            return distributions.IntDistribution(0, places - 1)
        return distributions.CategoricalDistribution(range(places))
    if parameter.kind == "randint":
        return distributions.IntDistribution(int(parameter.low), int(parameter.high))
    return distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.kind == "loguniform")


def _is_rising(values: tuple[Any, ...]) -> bool:
    """Whether values are numbers in order, so that neighbours are alike."""
    return all(type(value) in (int, float) for value in values) and list(values) == sorted(values)
