"""Graph encoders on one batch: the default as compiled loops and as dense layers, and torch-geometric's convolutions.

All have the same width, heads, layers, residual and norm, take the padded observation, and read the ego node.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import in_turn, timed, torch_threads
from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.attention_encoder import AttentionEncoder
from rllib_moe.models.encoder_registry import make_graph_encoder

DENSE = "attention, dense layers"
FORMS = ("attention", DENSE, "GATConv", "GATv2Conv", "TransformerConv")
"""What is compared: values of `graph_encoder`, and the default without its compiled form."""
LEAVES = ("nodes", "node_mask", "edges", "node_types")
"""Leaves of the observation that an encoder reads."""


def compare_encoders(
    shape: GraphShape,
    config: ModelConfig,
    observation: Mapping[str, Tensor],
    repeats: int,
    sizes: Sequence[int],
    threads: Sequence[int],
) -> list[dict[str, Any]]:
    """Time every form, one call of each in turn.

    Args:
        shape: Sizes of the observation.
        config: Sizes of the network.
        observation: Leaves, with a batch dimension.
        repeats: Measured calls of each.
        sizes: Graphs of a batch: first rows of the observation.
        threads: Torch threads.

    Returns:
        Rows `graphs`, `threads`, `encoder`, `forward_ms`, `forward_backward_ms`: medians.
    """
    encoders = {form: _made(form, shape, config).to(observation["nodes"].device) for form in FORMS}
    rows = []
    for size in sizes:
        leaves = {name: observation[name][:size] for name in LEAVES if name in observation}
        for count in threads:
            with torch_threads(count):
                forward = _medians({name: _forward(each, leaves) for name, each in encoders.items()}, repeats)
                both = _medians({name: _both(each, leaves) for name, each in encoders.items()}, repeats)
            rows += [
                {
                    "graphs": len(leaves["nodes"]),
                    "threads": count,
                    "encoder": name,
                    "forward_ms": forward[name],
                    "forward_backward_ms": both[name],
                }
                for name in FORMS
            ]
    return rows


def use_dense_layers(network: nn.Module) -> None:
    """Let the default graph encoder within a network compute by its dense layers on a CPU too."""
    for module in network.modules():
        if isinstance(module, AttentionEncoder):
            module.use_compiled = False


def _made(form: str, shape: GraphShape, config: ModelConfig) -> nn.Module:
    name = "attention" if form == DENSE else form
    encoder = make_graph_encoder(shape, config.model_copy(update={"graph_encoder": name}))
    if form == DENSE:
        use_dense_layers(encoder)
    return encoder


def _forward(encoder: nn.Module, leaves: Mapping[str, Tensor]) -> Callable[[], object]:
    return torch.no_grad()(lambda: encoder(**leaves))


def _both(encoder: nn.Module, leaves: Mapping[str, Tensor]) -> Callable[[], object]:
    def call() -> None:
        encoder.zero_grad()
        encoder(**leaves).ego.square().mean().backward()

    return call


def _medians(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of calls taken in turn, after two of each that are not counted."""
    taken = in_turn({name: partial(timed, call) for name, call in calls.items()}, repeats, warm_up=2)
    return {name: 1e3 * statistics.median(values) for name, values in taken.items()}
