"""The cheap check of packed observations against the thorough one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rllib_moe.envs.graph_space import check_observation, graph_space
from rllib_moe.envs.packed_check import PackedCheck
from rllib_moe.envs.packing import PackedSpace

SPACE = PackedSpace(
    graph_space(
        max_nodes=5,
        node_features=3,
        features=2,
        num_edge_types=3,
        num_node_types=4,
        num_actions=6,
        extras={
            "crop": spaces.Box(0, 9, (3, 3), np.uint8),
            "item": spaces.Box(2, 300, (2,), np.int16),
            "big": spaces.Box(0, 70_000, (1,), np.int32),
            "wide": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        },
    )
)
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
        "big": np.array([70_000], np.int32),
        "wide": rng.normal(size=2),
    }


def packed(changed: dict[str, tuple[Any, Any]]) -> np.ndarray:
    """Three observations packed, the one in the middle with one element of some leaves changed."""
    rows = []
    for row in range(3):
        leaves = observation(row)
        for name, (where, value) in changed.items() if row == 1 else ():
            leaves[name][where] = value
        rows.append(SPACE.layout.pack(leaves))
    return np.stack(rows)


def test_what_is_allowed_passes() -> None:
    largest = {"nodes": ((0, 0), LARGEST), "features": (0, -LARGEST)}  # their sum is no number of this dtype
    for changed in ({}, largest, {"nodes": (slice(None), LARGEST)}):
        rows = packed(changed)
        assert not PackedCheck(SPACE).bad_rows(rows).any()
        for row in rows:
            PackedCheck(SPACE).check(row)
    # No node at all: the network takes it, as the contract says.
    empty = {name: np.zeros_like(leaf) for name, leaf in observation().items()} | {
        "item": np.array([2, 2], np.int16),
        "action_mask": np.ones(6, np.uint8),
    }
    check_observation(empty, SPACE.graph_space)
    PackedCheck(SPACE).check(SPACE.layout.pack(empty))


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
        ("big", 0, 70_001),
        ("big", 0, -1),
    ],
)
def test_what_is_not_allowed_is_found_in_its_row_and_named(name: str, where: Any, value: Any) -> None:
    rows = packed({name: (where, value)})
    assert PackedCheck(SPACE).bad_rows(rows).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=f"leaf '{name}' holds"):
        PackedCheck(SPACE).check(rows[1])


def test_every_fault_is_named() -> None:
    row = packed({"nodes": ((1, 1), np.nan), "edges": ((0, 1), 9), "crop": ((0, 0), 99)})[1]
    with pytest.raises(ValueError, match=r"'nodes' holds NaN.*") as refused:
        PackedCheck(SPACE).check(row)
    assert all(f"leaf '{name}'" in str(refused.value) for name in ("nodes", "edges", "crop"))


def test_samples_of_the_space_agree_with_the_thorough_check() -> None:
    SPACE.seed(3)
    rows = np.stack([SPACE.sample() for _ in range(50)])
    bad = PackedCheck(SPACE).bad_rows(rows)
    assert not bad.any()
