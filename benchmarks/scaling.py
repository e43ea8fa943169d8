"""Growth of cost: the network with its batch and with the nodes present, training with workers and environments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from benchmarks.config import BenchmarkConfig
from benchmarks.iterations import iterate, stopped_after
from benchmarks.timing import medians, seconds
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.envs.graph_space import GraphShape

BATCHES = (32, 128, 512, 2048)
"""Rows of a batch."""
NODE_COUNTS = (4, 8, 16, 32)
"""Mean nodes of a graph, as far as there is room; full graphs are measured beside them."""
NODE_ROWS = 512
"""Graphs of a batch when the nodes are varied."""
ITERATIONS = 2
"""Measured training iterations of one setting, after one of warm-up."""


def batch_scaling(policy: TorchPolicyV2, observations: Mapping[str, np.ndarray], repeats: int) -> list[dict[str, Any]]:
    """Time the network on batches of several sizes, rows drawn from observations (leaves [n, ...])."""
    random = np.random.default_rng(0)
    times = []
    for rows in BATCHES:
        drawn = random.integers(len(observations["nodes"]), size=rows)
        batch = {name: leaf[drawn] for name, leaf in observations.items()}
        times.append({"rows": rows, **network_times(policy, batch, repeats)})
    return with_growth(times, "rows", lambda row: row["rows"] * row["forward_backward_us"])


def node_scaling(policy: TorchPolicyV2, space: spaces.Dict, repeats: int) -> list[dict[str, Any]]:
    """Time the network on graphs of several mean sizes, all in the same room."""
    max_nodes = GraphShape.from_space(space).max_nodes
    times = [
        {"mean_nodes": mean, **network_times(policy, random_graphs(space, NODE_ROWS, mean), repeats)}
        for mean in (*(count for count in NODE_COUNTS if count < max_nodes), max_nodes)
    ]
    return with_growth(times, "mean_nodes", lambda row: row["forward_backward_us"])


def with_growth(
    rows: Sequence[Mapping[str, Any]], size: str, cost: Callable[[Mapping[str, Any]], float]
) -> list[dict[str, Any]]:
    """Rows with `growth`: the exponent of cost in size since the row before. 1 is linear, 0 no growth, 2 quadratic.

    Args:
        rows: In order of size.
        size: Key of the size.
        cost: Cost of a row, all of it.
    """
    growths = [
        math.log(cost(row) / cost(before)) / math.log(row[size] / before[size])
        for before, row in itertools.pairwise(rows)
    ]
    return [{**row, "growth": growth} for row, growth in zip(rows, (None, *growths), strict=True)]


def network_times(policy: TorchPolicyV2, observations: Mapping[str, np.ndarray], repeats: int) -> dict[str, float]:
    """Microseconds a row, `forward_us` and `forward_backward_us`, of observations (leaves [n, ...])."""
    rows = convert_to_torch_tensor(observations, policy.device)
    num_rows, model = len(observations["nodes"]), policy.model

    def forward() -> torch.Tensor:
        return model({"obs": rows})[0].mean() + model.value_function().mean()

    def both() -> None:
        model.zero_grad()
        forward().backward()

    with torch.no_grad():
        forward_us = 1e6 * seconds(forward, 2 * repeats) / num_rows
    return {"forward_us": forward_us, "forward_backward_us": 1e6 * seconds(both, 2 * repeats) / num_rows}


def random_graphs(space: spaces.Dict, num_rows: int, mean_nodes: int) -> dict[str, np.ndarray]:
    """Random observations, leaves [num_rows, ...], whose graphs have `mean_nodes` nodes on average.

    Sizes are drawn evenly from 1 to twice the mean less 1, or are all the mean where there is no room for that; a third
    of the pairs of nodes have an edge.
    """
    random = np.random.default_rng(mean_nodes)
    leaves = {name: np.zeros((num_rows, *box.shape), box.dtype) for name, box in space.items()}  # type: ignore[misc]
    shape = GraphShape.from_space(space)
    room = shape.max_nodes
    is_full = 2 * mean_nodes - 1 > room
    sizes = np.full(num_rows, mean_nodes) if is_full else random.integers(1, 2 * mean_nodes, num_rows)
    exists = np.arange(room) < sizes[:, None]
    leaves["node_mask"][:] = exists
    leaves["nodes"][:] = random.standard_normal(leaves["nodes"].shape) * exists[:, :, None]
    linked = exists[:, :, None] & exists[:, None, :] & (random.random((num_rows, room, room)) < 1 / 3)
    leaves["edges"][:] = random.integers(1, shape.num_edge_types + 1, linked.shape) * linked
    leaves["features"][:] = random.standard_normal(leaves["features"].shape)
    if "node_types" in leaves:
        leaves["node_types"][:] = random.integers(0, shape.num_node_types, exists.shape) * exists
    if "action_mask" in leaves:
        leaves["action_mask"][:] = 1
    return leaves


def training_scaling(config: BenchmarkConfig, factors: Sequence[int]) -> list[dict[str, Any]]:
    """Whole training with so many workers, and with so many times the environments of a worker.

    Returns:
        Rows `num_workers`, `num_envs_per_worker`, `batch_size`, the medians of `iterate`, and `us_a_step`: sampling
        and learning of one environment step. Cost is linear in the environments where it stays the same.
    """
    rows = []
    for setting in config.scaled(factors):
        with stopped_after(build_algorithm(config.with_overrides(**setting))) as algorithm:
            times = medians([iterate(algorithm) for _ in range(1 + ITERATIONS)][1:])
        rows.append({**setting, **times, "us_a_step": 1e6 / times["steps_per_second"]})
    return rows
