"""The declared metrics: each key once, each said in words; entropy by hand; the shares of a row."""

import math

import pytest

from rllib_moe import metrics as m


def test_every_constant_of_a_row_is_listed_once_and_keys_are_unique() -> None:
    constants = [value for name, value in vars(m).items() if isinstance(value, m.Metric) and name.isupper()]
    assert {*m.METRICS, m.ALPHA_ENTROPIES} == {*constants, *m.PHASE_VALUES.values()}
    assert m.ALPHA_ENTROPIES not in m.METRICS, "a histogram"
    keys = [metric.key for metric in (*m.METRICS, m.ALPHA_ENTROPIES)]
    assert len(set(keys)) == len(keys)


def test_no_key_is_that_of_an_experts_share() -> None:
    assert not any(metric.key.startswith("moe/expert_share_") for metric in m.METRICS)


@pytest.mark.parametrize("metric", [*m.METRICS, m.expert_share(0)], ids=lambda metric: metric.key)
def test_each_is_a_path_with_unit_and_meaning(metric: m.Metric) -> None:
    group, _, name = metric.key.partition("/")
    assert group in ("run", "score", "phase", "moe", "loss")
    assert name.isidentifier()
    assert metric.unit
    assert len(metric.meaning) > 10


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([1.0], 0.0),
        ([1.0, 0.0, 0.0], 0.0),
        ([0.25] * 4, 2 * math.log(2)),  # -4 * 1/4 * ln 1/4 = ln 4
        ([0.5, 0.5, 0.0, 0.0], math.log(2)),
        ([0.5, 0.25, 0.25], 1.5 * math.log(2)),  # 1/2 ln 2 + 2 * 1/4 * 2 ln 2
    ],
)
def test_entropy(shares: list[float], expected: float) -> None:
    assert m.entropy(shares) == pytest.approx(expected, abs=1e-12)


def test_entropy_of_unknown_shares_is_unknown() -> None:
    assert math.isnan(m.entropy([math.nan] * 4))


def test_shares_of_a_row_in_order() -> None:
    shares = [index / 66 for index in range(12)]  # more than ten: 10 must not sort before 2
    row: dict[str, object] = {m.expert_share(index).key: share for index, share in reversed(list(enumerate(shares)))}
    row |= {"moe/alpha_entropy": 1.0, m.MIN_EXPERT_SHARE.key: 0.0}
    assert m.shares_of(row) == shares


def test_no_shares() -> None:
    assert m.shares_of({"run/episodes": 3}) == []
