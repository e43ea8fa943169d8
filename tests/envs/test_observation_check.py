"""The cheap check of observations against the thorough one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rllib_moe.envs.graph_space import check_observation, graph_space
from rllib_moe.envs.observation_check import ObservationCheck

SPACE = graph_space(
    max_nodes=5,
    node_features=3,
    features=2,
    num_edge_types=3,
    num_node_types=4,
    num_actions=6,
    extras={
        "crop": spaces.Box(0, 9, (3, 3), np.uint8),
        "item": spaces.Box(2, 300, (2,), np.int16),
        "pair": spaces.Box(np.array([0, 5], np.uint8), np.array([3, 9], np.uint8), dtype=np.uint8),
        "big": spaces.Box(0, 70_000, (1,), np.int32),
        "wide": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    },
)
CHECK = ObservationCheck(SPACE)
LARGEST = float(np.finfo(np.float32).max)


def observation(seed: int = 0) -> dict[str, np.ndarray]:
    """A graph of three nodes."""
    rng = np.random.default_rng(seed)
    return {
        "nodes": rng.normal(size=(5, 3)).astype(np.float32),
        "node_types": np.array([0, 3, 1, 0, 0], np.uint8),
        "node_mask": np.array([1, 1, 1, 0, 0], np.uint8),
        "edges": np.pad(rng.integers(0, 4, (3, 3), np.uint8), (0, 2)),
        "features": rng.normal(size=2).astype(np.float32),
        "action_mask": np.array([1, 0, 0, 1, 0, 0], np.uint8),
        "crop": rng.integers(0, 10, (3, 3), np.uint8),
        "item": np.array([2, 300], np.int16),
        "pair": np.array([3, 9], np.uint8),
        "big": np.array([70_000], np.int32),
        "wide": rng.normal(size=2),
    }


def batch_of(observations: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Write observations to the rows of a batch."""
    batch = {name: np.empty((len(observations), *box.shape), box.dtype) for name, box in SPACE.items()}
    for row, each in enumerate(observations):
        CHECK.write(each, batch, row)
    return batch


def changed(changes: dict[str, tuple[Any, Any]]) -> list[dict[str, np.ndarray]]:
    """Three observations, the one in the middle with one element of some leaves changed."""
    rows = [observation(row) for row in range(3)]
    for name, (where, value) in changes.items():
        rows[1][name][where] = value
    return rows


def test_what_is_allowed_passes() -> None:
    largest: dict[str, tuple[Any, Any]] = {
        "nodes": ((0, 0), LARGEST),
        "features": (0, -LARGEST),
    }  # their sum is no number of this dtype
    for changes in ({}, largest, {"nodes": (slice(None), LARGEST)}):
        rows = changed(changes)
        assert not CHECK.bad_rows(batch_of(rows)).any()
        for row in rows:
            CHECK.check(row)
    # No node at all: the network takes it, as the contract says.
    empty = {name: np.zeros_like(leaf) for name, leaf in observation().items()} | {
        "item": np.array([2, 2], np.int16),
        "pair": np.array([0, 5], np.uint8),
        "action_mask": np.ones(6, np.uint8),
    }
    check_observation(empty, SPACE)
    CHECK.check(empty)


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        ("nodes", (4, 2), np.nan),
        ("nodes", (0, 0), np.inf),
        ("features", 1, -np.inf),
        ("wide", 1, np.nan),
        ("node_types", 1, 4),
        ("node_mask", 0, 2),
        ("edges", (2, 1), 4),
        ("edges", (0, 2), 255),
        ("action_mask", 0, 7),
        ("crop", (2, 2), 10),
        ("item", 0, 301),
        ("item", 1, 1),
        ("item", 1, -5),
        ("pair", 0, 4),
        ("pair", 1, 4),
        ("big", 0, 70_001),
        ("big", 0, -1),
    ],
)
def test_what_is_not_allowed_is_found_in_its_row_and_named(name: str, where: Any, value: Any) -> None:
    rows = changed({name: (where, value)})
    assert CHECK.bad_rows(batch_of(rows)).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=f"leaf '{name}' holds"):
        CHECK.check(rows[1])


def test_every_fault_is_named() -> None:
    row = changed({"nodes": ((1, 1), np.nan), "edges": ((0, 1), 9), "crop": ((0, 0), 99)})[1]
    with pytest.raises(ValueError, match=r"'nodes' holds NaN.*") as refused:
        CHECK.check(row)
    assert all(f"leaf '{name}'" in str(refused.value) for name in ("nodes", "edges", "crop"))


def test_samples_of_the_space_agree_with_the_thorough_check() -> None:
    SPACE.seed(3)
    assert not CHECK.bad_rows(batch_of([SPACE.sample() for _ in range(50)])).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": np.zeros((3, 3), np.int8)}, "leaf 'crop' must be uint8, got int8"),
        ({"crop": np.zeros((1, 3, 3), np.uint8)}, "leaf 'crop' must have shape (3, 3), got (1, 3, 3)"),
        ({"features": [0.0, 0.0]}, "leaf 'features' must be a numpy array, got list"),
        ({"other": np.zeros(1)}, "leaf 'other' is not in the space"),
        ({"crop": None, "other": None}, "leaf 'other' is not in the space; leaf 'crop' must be a numpy array"),
    ],
)
def test_an_observation_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    """Also where numpy would broadcast or cast it."""
    batch = batch_of([observation()])
    for wrong, told in ((observation() | change, message), ({}, "leaf 'nodes' is missing")):
        with pytest.raises(ValueError, match=re.escape(told)):
            CHECK.check(wrong)
        with pytest.raises(ValueError, match=re.escape(told)):
            CHECK.write(wrong, batch, 0)


def test_a_row_is_a_copy_of_a_strided_leaf_by_value() -> None:
    strided = observation() | {"crop": np.arange(9, dtype=np.uint8).reshape(3, 3).T}
    batch = batch_of([strided])
    strided["nodes"][:] = 7
    assert batch["crop"][0].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    np.testing.assert_array_equal(batch["nodes"][0], observation()["nodes"])
