"""Inference over seeds: against enumeration, simulation and tables."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rllib_moe.studies.comparison.inference import LEVEL, POWER, holm, least_p, paired, summary

DRAWN = np.random.default_rng(3)


def test_the_middle_half_counts_and_one_seed_has_no_interval() -> None:
    found = summary([1.0, 2.0, 3.0, 4.0, 1000.0])
    assert found["low"] < found["iqm"] == 3.0 < found["high"]
    assert summary([5.0]) == {"iqm": 5.0, "low": None, "high": None}


@pytest.mark.parametrize("seeds", [2, 5, 9])
def test_sign_flips_are_all_of_them(seeds: int) -> None:
    differences = DRAWN.normal(0.5, 1, seeds)
    flips = np.array(list(itertools.product((-1, 1), repeat=seeds)))
    sums = np.abs(flips @ differences)
    exact = np.mean(sums >= abs(differences.sum()) - 1e-12)
    assert paired(differences, 1, "sign-flips")["p"] == pytest.approx(exact)


def test_the_least_p_is_that_of_seeds_that_agree() -> None:
    for seeds in (2, 5, 8):
        agreeing = list(range(1, seeds + 1))
        assert paired(agreeing, 1, "sign-flips")["p"] == least_p(seeds)
        assert paired([3.0] * seeds, 1, "sign-flips")["p"] == least_p(seeds)
    assert paired([0.0, 0.0], 1, "sign-flips")["p"] == paired([0.0, 0.0], 1, "t")["p"] == 1


def test_the_interval_of_a_difference_goes_with_the_t_test() -> None:
    for shift in (0.5, 1.5):
        found = paired(list(DRAWN.normal(shift, 1, 6)), 1, "t")
        assert (found["p"] < LEVEL) == (found["low"] > 0 or found["high"] < 0)
    assert paired([2.0], 3, "t") == {"mean": 2.0, "low": None, "high": None, "p": None, "visible": None}


def test_a_visible_difference_is_found_in_four_cases_of_five() -> None:
    seeds, comparisons = 5, 4
    differences = DRAWN.normal(size=seeds)
    visible = paired(differences, comparisons, "t")["visible"]
    plans = DRAWN.normal(visible, differences.std(ddof=1), (20_000, seeds))
    found = stats.ttest_1samp(plans, 0, axis=1).pvalue < LEVEL / comparisons
    assert found.mean() == pytest.approx(POWER, abs=0.015)


def test_holm_counts_comparisons_that_are_still_to_come() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}, 3) == {"b": 0.03, "c": 0.06, "a": 0.06}
    assert holm({"a": 0.04, "b": 0.01}, 4) == {"b": 0.04, "a": 0.12}
    assert holm({"a": 0.9}, 2) == {"a": 1.0}
