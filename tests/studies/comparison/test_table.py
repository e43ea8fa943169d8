"""The table of a comparison, by numbers worked out by hand."""

import math
from typing import Any

import pytest

from rllib_moe.studies.comparison.table import baseline_row, columns, markdown, removal_row, variant_row


def numbers(seed: int, score: float) -> dict[str, Any]:
    judged = {"evaluation_episodes": 4, "deterministic_evaluation_episodes": 2}
    own = ["deep_rate"]
    return {"seed": seed, "measures": own, **judged, **{key: score if "score" in key else 0.5 for key in columns(own)}}


def test_mean_and_error_are_over_seeds() -> None:
    reference = [numbers(0, 100.0), numbers(1, 110.0), numbers(2, 120.0)]
    row = variant_row("whole", reference, reference)
    # Standard deviation 10 over three seeds: 10 / sqrt(3).
    assert row["score_mean"] == {"mean": 110.0, "se": pytest.approx(10 / math.sqrt(3))}
    assert "difference" not in row
    assert row["seeds"] == [0, 1, 2]


def test_difference_from_the_reference() -> None:
    reference = [numbers(0, 100.0), numbers(1, 110.0), numbers(2, 120.0)]
    other = variant_row("other", [numbers(0, 50.0), numbers(1, 60.0)], reference)
    assert other["difference"]["mean"] == -55.0
    # Welch: t = -55 / sqrt(100/3 + 50/2) = -7.20 with 2.88 degrees of freedom.
    assert 0.005 < other["difference"]["p"] < 0.01
    single = variant_row("single", [numbers(0, 50.0)], reference)
    assert single["difference"] == {"mean": -60.0, "p": None}
    assert single["score_mean"] == {"mean": 50.0, "se": None}


def test_a_number_that_has_no_meaning_stays_empty() -> None:
    runs = [{**numbers(0, 1.0), "deep_rate": None}]
    row = variant_row("none", runs, runs)
    assert row["deep_rate"] == {"mean": None, "se": None}
    assert "| 1.0 | 1.0 | 1.0 |  | 0.50 |" in markdown({}, {"none": row}, [])


def test_a_baseline_stands_above_the_variants_with_its_error_over_episodes() -> None:
    played = {"score_mean": 10.25, "score_se": 0.5, "score_median": 4.0, "deep_rate": 0.03, "episodes": 1000}
    lines = markdown({"random": baseline_row(played)}, {"whole": variant_row("it", [numbers(0, 100.0)], [])}, [])
    baseline, whole = lines.splitlines()[2:4]
    assert baseline == "| random | | 10.2 ± 0.5 |  | 4.0 | 0.03 |  |  |  | |"
    assert whole.startswith("| whole | 1 | 100.0 |")


def test_an_expert_is_worth_the_paired_difference() -> None:
    whole = {"seed_base": 5, "episode_scores": [10.0, 20.0, 30.0, 99.0]}
    without = {"seed_base": 5, "episode_scores": [8.0, 16.0, 24.0]}
    row = removal_row(1, 2, whole, without)
    # Differences -2, -4, -6: mean -4, standard deviation 2.
    assert (row["episodes"], row["difference"]) == (3, -4.0)
    assert row["se"] == pytest.approx(2 / math.sqrt(3))
    assert row["p"] == pytest.approx(0.0742, abs=1e-4)  # t = -3.46, 2 degrees of freedom
    assert "| 1 | 2 | -4.0 ± 1.2 | 0.074 |" in markdown({}, {}, [row])


def test_other_seeds_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="seed_base: expected 5 in both evaluations, got 6"):
        removal_row(
            0, 0, {"seed_base": 5, "episode_scores": [1.0, 2.0]}, {"seed_base": 6, "episode_scores": [1.0, 2.0]}
        )
