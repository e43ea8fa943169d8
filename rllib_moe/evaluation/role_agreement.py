"""Agreement of roles: do experts of networks that were trained from different seeds divide the work alike? Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

PERMUTATIONS = 100

Evaluation = Mapping[str, Any]
"""Numbers of an evaluation, of which `by_scene` and `information` are read here."""


def agreement_numbers(evaluations: Sequence[Evaluation]) -> dict[str, float] | None:
    """Return how far the experts of several networks agree about the scenes that their environment flags.

    Args:
        evaluations: One of each network.

    Returns:
        `value`, the `role_agreement`; beside it that of `random_router`s on the networks' encodings, and the mean and
        95th percentile with scenes shuffled, `permuted` and `permuted_p95`. None with fewer than two networks or two
        scenes that came up for all of them.
    """
    shares = [_shares(each) for each in evaluations]
    scenes = [scene for scene in shares[0] if all(scene in each for each in shares)] if len(shares) > 1 else []
    if len(scenes) < 2:
        return None
    # [experts' own and then random routers, scenes, K] of each network.
    told = [np.array([each[scene] for scene in scenes], float).transpose(1, 2, 0) for each in shares]
    profiles, *routers = [list(each) for each in zip(*told, strict=True)]
    permuted = permuted_agreement(profiles)
    return {
        "value": role_agreement(profiles),
        "random_router": float(np.mean([role_agreement(each) for each in routers])),
        "permuted": float(np.mean(permuted)),
        "permuted_p95": float(np.quantile(permuted, 0.95)),
    }


def _shares(evaluation: Evaluation) -> dict[str, list[list[float]]]:
    """Return the mean gates in each scene that came up: the network's, and then those of its random routers [n, K].

    All steps count for `by_scene`, a part of the states for `information`: a rare scene may be in the former alone.
    """
    information, by_scene = evaluation.get("information") or {}, evaluation.get("by_scene") or {}
    random = {scene: information.get(f"scene/{scene}", {}).get("random_router_share") for scene in by_scene}
    return {scene: [by_scene[scene]["expert_share"], *shares] for scene, shares in random.items() if shares}


def role_agreement(profiles: Sequence[np.ndarray]) -> float:
    """Return the mean correlation of the experts' profiles over all pairs of networks.

    Experts have no common numbers, so those of each pair of networks are matched one to one, such that the correlation
    is largest (Hungarian algorithm). A profile that is the same in all scenes correlates with none: 0.

    Args:
        profiles: For each network, at least two, the mean gate of each expert in two scenes or more [K, scenes].

    Returns:
        At most 1. Matching alone lifts it above 0: compare it with `permuted_agreement`, and with the agreement of
        random routers (`random_router_share` of an evaluation's `information`).
    """
    units = [_unit(each) for each in profiles]
    return float(np.mean([_matched(one @ other.T) for one, other in itertools.combinations(units, 2)]))


def permuted_agreement(profiles: Sequence[np.ndarray]) -> list[float]:
    """Return `role_agreement` with each network's scenes shuffled, `PERMUTATIONS` times: the matching's own share."""
    rng = np.random.default_rng(0)
    return [role_agreement([rng.permutation(each, axis=1) for each in profiles]) for _ in range(PERMUTATIONS)]


def _unit(profile: np.ndarray) -> np.ndarray:
    """Center each expert's row and bring it to length 1 (0 where it is constant), so that products are correlations."""
    centered = profile - profile.mean(1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    return np.divide(centered, length, out=np.zeros_like(centered), where=length > 1e-9)


def _matched(correlations: np.ndarray) -> float:
    return float(correlations[linear_sum_assignment(correlations, maximize=True)].mean())
