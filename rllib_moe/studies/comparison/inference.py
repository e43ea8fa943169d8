"""Inference over training seeds: what a few paired runs can show, and what they cannot. Pure.

The unit is the training seed. Interquartile means and bootstrap intervals as in https://arxiv.org/abs/2108.13264 (one
environment, so one stratum); differences are paired by seed, since runs of one seed share its start and its episodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats  # type: ignore[import-untyped]

from rllib_moe.studies.comparison.plan import Test

LEVEL, POWER = 0.05, 0.8
"""Level of a plan's tests together, and the chance with which a difference that is called visible is found."""
RESAMPLES = 9999
SIGN_FLIPS = 2**16
"""Sign flips of a test: all of them, up to 16 seeds."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the interquartile mean of some seeds (`iqm`) and its 95 % bootstrap interval (None for one seed)."""
    low = high = None
    if len(values) > 1:
        found = stats.bootstrap(
            (values,), _interquartile_mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
        )
        low, high = found.confidence_interval
    return {"iqm": float(_interquartile_mean(values)), "low": low, "high": high}


def _interquartile_mean(values: Any, axis: int = -1) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


def paired(differences: Sequence[float], comparisons: int, test: Test) -> dict[str, Any]:
    """Return what the differences of the same seeds under two ways of training say.

    Args:
        differences: One a seed.
        comparisons: Comparisons of the plan, for the level of `visible`.

    Returns:
        Their `mean`, its 95 % t interval (`low`, `high`), the two-sided `p`, and `visible`: the minimum detectable
        effect, which a t-test at the level of one of all comparisons finds with a probability of `POWER` where seeds
        differ as they do here. None below two seeds but for the mean.
    """
    mean, count = float(np.mean(differences)), len(differences)
    if count < 2:
        return {"mean": mean, "low": None, "high": None, "p": None, "visible": None}
    error = float(stats.sem(differences))
    half = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * error
    if test == "t":
        p = float(stats.ttest_1samp(differences, 0).pvalue) if error else float(mean == 0)
    else:
        flips = {"n_resamples": SIGN_FLIPS, "rng": np.random.default_rng(0)}
        p = float(stats.permutation_test((differences,), np.mean, permutation_type="samples", **flips).pvalue)
    visible = error * _visible(count, LEVEL / comparisons)
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "visible": visible}


def _visible(count: int, level: float) -> float:
    """Return the smallest difference, in standard errors, that a paired t-test finds with a chance of `POWER`."""
    bound = stats.t.ppf(1 - level / 2, count - 1)

    def missing(shift: float) -> float:
        return float(POWER - stats.nct.sf(bound, count - 1, shift))

    return float(optimize.brentq(missing, 0, 10 * bound))


def least_p(count: int) -> float:
    """Return the least two-sided p that sign flips of so many seeds can give."""
    return 2 * 0.5**count


def holm(p_values: Mapping[str, float], comparisons: int) -> dict[str, float]:
    """Return p values corrected for all comparisons of a plan, those that are not done yet included (Holm 1979)."""
    ordered = sorted(p_values, key=p_values.__getitem__)
    raised = (min(1.0, (comparisons - place) * p_values[name]) for place, name in enumerate(ordered))
    return dict(zip(ordered, itertools.accumulate(raised, max), strict=True))
