"""The table of a comparison, by numbers worked out by hand."""

import math
from typing import Any

import pytest

from rllib_moe.studies.comparison.plan import Plan
from rllib_moe.studies.comparison.table import (
    baseline_row,
    limits,
    markdown,
    removal_row,
    run_numbers,
    variant_rows,
    with_normalized,
)


def plan(*names: str, seeds: int = 3, **changes: Any) -> Plan:
    evaluation = {"episodes": 4, "seed_base": 5, "most_probable_episodes": 0}
    variants = [{"name": name} for name in names]
    return Plan(episodes=8, evaluation=evaluation, variants=variants, seeds=list(range(seeds)), **changes)


def numbers(seed: int, score: float, primary: str = "score_mean", **evaluated: Any) -> dict[str, Any]:
    drawn = {"score_mean": score, "score_median": score, "deep_rate": 0.5, "expert_share": [1.0]} | evaluated
    return run_numbers(seed, primary, drawn, None)


def runs(*scores: float, **evaluated: Any) -> list[dict[str, Any]]:
    return [numbers(seed, score, **evaluated) for seed, score in enumerate(scores)]


def test_mean_and_error_are_over_seeds() -> None:
    row = variant_rows(plan("whole"), {"whole": runs(100.0, 110.0, 120.0)})["whole"]
    # Standard deviation 10 over three seeds: 10 / sqrt(3).
    assert row["score_mean"] == {"mean": 110.0, "se": pytest.approx(10 / math.sqrt(3))}
    assert "difference" not in row
    assert row["seeds"] == [0, 1, 2]
    assert row["primary"]["low"] <= row["primary"]["iqm"] == 110.0 <= row["primary"]["high"]


def test_differences_are_between_runs_of_one_seed_and_corrected_for_the_whole_plan() -> None:
    done = {
        "whole": runs(100.0, 200.0, 300.0),  # seeds differ by far more than variants
        "better": runs(103.0, 202.0, 304.0),
        "short": [numbers(1, 190.0), numbers(2, 290.0)],
    }
    rows = variant_rows(plan("better", "whole", "short", "never", reference="whole", test="t"), done)
    assert list(rows) == ["better", "whole", "short"]
    assert "difference" not in rows["whole"]
    difference = rows["better"]["difference"]
    assert (difference["seeds"], difference["mean"]) == ([0, 1, 2], 3.0)
    # t = 3 / (1 / sqrt(3)) = 5.196 with 2 degrees of freedom; three comparisons, of which one was not done.
    assert difference["p"] == pytest.approx(0.0351, abs=1e-4)
    assert rows["short"]["difference"]["mean"] == -10.0
    assert (rows["short"]["difference"]["p"], rows["short"]["difference"]["p_holm"]) == (0.0, 0.0)
    assert difference["p_holm"] == pytest.approx(2 * 0.0351, abs=1e-4)


def test_a_plan_says_what_it_cannot_show() -> None:
    few, flips = limits(plan("a", "b", "c", seeds=2))
    assert few == "Fewer than 5 seeds show nothing, for or against: this plan has 2."
    assert flips == (
        "Sign flips of 2 seeds give no p below 0.5, 1 after the correction for 2 comparisons; "
        "0.05 takes 7 seeds, or `test: t`."
    )
    assert list(limits(plan("a", "b", seeds=6))) == []
    assert list(limits(plan("a", "b", seeds=5, test="t"))) == []
    assert list(limits(plan("a", seeds=1))) == []
    few_done = plan("a", "b", seeds=3)
    text = markdown(few_done, {}, variant_rows(few_done, {"a": runs(1.0, 2.0, 3.0), "b": runs(1.0)}), [])
    assert "- Seeds not done, left out of both sides: b 1, 2.\n- Fewer than 5 seeds show nothing" in text


def test_information_stands_beside_its_nulls_and_the_frozen_arms() -> None:
    asked = plan("learned", "frozen", seeds=2, primary="information.regime")

    def told(value: float) -> dict[str, Any]:
        return {"regime": {"value": value, "random_router": 0.2, "permuted": 0.01}}

    done = {
        "learned": [
            numbers(0, 1.0, asked.primary, information=told(0.6)),
            numbers(1, 1.0, asked.primary, information=told(0.8)),
        ],
        "frozen": [numbers(seed, 1.0, asked.primary, information=told(0.3)) for seed in (0, 1)],
    }
    rows = variant_rows(asked, done)
    expected = {"mean": 0.7, "se": pytest.approx(0.1), "random_router": 0.2, "permuted": 0.01, "frozen": 0.3}
    assert rows["learned"]["information.regime"] == expected
    assert rows["learned"]["primary"]["iqm"] == 0.7
    assert rows["frozen"]["difference"]["mean"] == pytest.approx(-0.4)
    shown = markdown(asked, {}, rows, [])
    assert "| learned | 0.700 ± 0.100 (random routers 0.20, labels permuted 0.01, frozen 0.30) |" in shown


def test_normalized_is_the_mean_over_measures_between_their_0_and_their_1() -> None:
    asked = plan("whole", seeds=1, primary="normalized_mean", normalize={"gold_mean": [10, 30], "won_rate": [0.0, 0.5]})
    evaluated = {"score_mean": 1.0, "score_median": 1.0, "expert_share": [1.0], "gold_mean": 40.0, "won_rate": 0.25}
    # (40 - 10) / 20 = 1.5 and 0.25 / 0.5 = 0.5.
    run = run_numbers(0, asked.primary, with_normalized(asked, evaluated), None)
    assert run["primary"] == 1.0
    rows = variant_rows(asked, {"whole": [run]})
    assert rows["whole"]["normalized_mean"]["mean"] == 1.0
    (head, *_) = (line for line in markdown(asked, {}, rows, []).splitlines() if "| median |" in line)
    assert "| gold | won rate | normalized |" in head
    lacking = evaluated | {"won_rate": None}
    assert with_normalized(asked, lacking) == lacking
    assert with_normalized(plan("whole"), evaluated) == evaluated


def test_an_outcome_that_no_evaluation_has_is_told() -> None:
    asked = plan("whole", primary="information.regime")
    rows = variant_rows(asked, {"whole": runs(1.0, 2.0, 3.0, primary="information.regime")})
    assert rows["whole"]["primary"] is None
    assert "No evaluation has information.regime." in markdown(asked, {}, rows, [])


def test_a_baseline_stands_above_the_variants_with_its_error_over_episodes() -> None:
    played = {"score_mean": 10.25, "score_se": 0.5, "score_median": 4.0, "deep_rate": None, "episodes": 1000}
    asked = plan("whole", seeds=1)
    lines = markdown(asked, {"random": baseline_row(played)}, variant_rows(asked, {"whole": runs(100.0)}), [])
    baseline, whole = lines.splitlines()[-2:]
    assert baseline == "| random | 10.25 ± 0.50 |  | 4.000 |  |  |  |  |"
    assert whole == "| whole | 100.0 |  | 100.0 | 0.500 |  |  |  |"


def test_an_expert_is_worth_the_paired_difference() -> None:
    whole = {"episode_scores": [10.0, 20.0, 30.0, 99.0]}
    without = {"episode_scores": [8.0, 16.0, 24.0]}
    row = removal_row("frozen", 1, 2, whole, without)
    # Differences -2, -4, -6: mean -4, standard deviation 2.
    assert (row["episodes"], row["mean"], row["se"]) == (3, -4.0, pytest.approx(2 / math.sqrt(3)))
    assert "| frozen | 1 | 2 | -4.000 ± 1.155 |" in markdown(plan("whole"), {}, {}, [row])


def test_agreement_of_roles_stands_beside_its_nulls() -> None:
    """Two networks with the same roles under other numbers; random routers that take both scenes for one."""
    flag = {"value": 0.5, "random_router": 0.1, "permuted": 0.0, "random_router_share": [[0.5, 0.5]]}
    shares = [(0.9, 0.1), (0.2, 0.8), (0.5, 0.5)]

    def of(seed: int, turned: bool) -> dict[str, Any]:
        by_scene = {
            f"s{i}": {"steps": 9, "expert_share": list(pair[::-1] if turned else pair)} for i, pair in enumerate(shares)
        }
        information = {f"scene/s{i}": flag for i in range(len(shares))}
        return numbers(seed, 1.0, expert_share=[0.5, 0.5], by_scene=by_scene, information=information)

    done = {"whole": [of(0, False), of(1, True)], "once": [of(0, False)]}
    # A rare scene that came up in no state that was kept, and one that the other network never saw.
    rare = {"steps": 1, "expert_share": [1.0, 0.0]}
    done["whole"][0]["by_scene"] |= {"rare": rare, "unseen": rare}
    done["whole"][0]["information"]["scene/rare"] = flag | {"random_router_share": []}
    done["whole"][0]["information"]["scene/unseen"] = flag
    rows = variant_rows(plan("whole", "once"), done)
    told = rows["whole"]["agreement"]
    assert (told["value"], told["random_router"]) == (1.0, 0.0)
    assert told["permuted"] < 0.9
    assert rows["once"]["agreement"] is None
    text = markdown(plan("whole", "once"), {}, rows, [])
    assert f"| whole | 1.00 | 0.00 | {told['permuted']:.2f} ({told['permuted_p95']:.2f}) |" in text
