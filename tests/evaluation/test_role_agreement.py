import numpy as np
import pytest

from rllib_moe.evaluation.role_agreement import agreement_numbers, permuted_agreement, role_agreement


def profiles(networks, seed=0, experts=4, scenes=11):
    return list(np.random.default_rng(seed).dirichlet(np.ones(experts), (networks, scenes)).transpose(0, 2, 1))


def test_the_same_roles_under_other_numbers_agree():
    one = profiles(1)[0]
    assert role_agreement([one, one[[2, 0, 3, 1]], one[[1, 3, 2, 0]]]) == pytest.approx(1)
    # A router that is less decided gives the same roles, with less contrast.
    assert role_agreement([one, 0.5 * one[::-1] + 0.125]) == pytest.approx(1)


def test_agreement_by_hand():
    one = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    other = np.array([[0, 0.5, 1], [1, 0.5, 0]])
    # Centered rows (1, -1, 0) / 2 and (-1, 0, 1) / 2: their correlation is -1/2, that with the other row 1/2.
    assert role_agreement([one, other]) == pytest.approx(0.5)


def test_independent_roles_agree_as_much_as_shuffled_ones():
    independent = profiles(5)
    null = permuted_agreement(independent)
    assert 0.1 < np.mean(null) < 0.5  # the matching's own share
    assert role_agreement(independent) < np.quantile(null, 0.95) + 0.1
    noisy = [np.clip(independent[0] + 0.1 * each, 0, 1) for each in profiles(5, seed=1)]
    assert role_agreement(noisy) > np.max(permuted_agreement(noisy)) + 0.2


def test_idle_experts_agree_with_none():
    idle = np.array([[1.0] * 5, [0.0] * 5])
    assert role_agreement([idle, idle]) == 0


def test_it_takes_two_networks():
    flag = {"random_router_share": [[0.5, 0.5]]}
    one = {
        "by_scene": {name: {"expert_share": share} for name, share in (("a", [0.9, 0.1]), ("b", [0.2, 0.8]))},
        "information": {"scene/a": flag, "scene/b": flag},
    }
    assert [agreement_numbers([one] * networks) is None for networks in range(3)] == [True, True, False]
