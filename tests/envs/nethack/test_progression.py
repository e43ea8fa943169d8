import pytest

from rllib_moe.envs.nethack.progression import progression


@pytest.mark.parametrize(
    ("depth", "level", "expected"),
    [(1, 1, 0.0), (5, 1, 0.0265), (1, 8, 0.0745), (5, 8, 0.0745), (10, 8, 0.1256), (50, 30, 0.8068), (53, 1, 0.8068)],
)
def test_the_greater_counts(depth, level, expected):
    assert progression(depth, level) == expected


def test_deeper_and_more_experienced_is_more():
    assert all(progression(depth, 1) < progression(depth + 1, 1) for depth in range(1, 50))
    assert all(progression(1, level) < progression(1, level + 1) for level in range(1, 30))
