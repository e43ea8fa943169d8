"""Graph encoders on one batch: the default as compiled loops and as dense layers, and torch-geometric's convolutions.

All have the same width, heads, layers, residual and norm, take the padded observation, and read the ego node.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import in_turn, medians, timed
from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.evaluation.episodes import torch_threads
from rllib_moe.models.attention_encoder import AttentionEncoder
from rllib_moe.models.encoder_registry import make_graph_encoder

DENSE = "attention, dense layers"
FORMS = ("attention", DENSE, "GATConv", "GATv2Conv", "TransformerConv")
"""Forms to compare: values of `graph_encoder`, and the default without its compiled form."""
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
    for size, count in itertools.product(sizes, threads):
        leaves = {name: observation[name][:size] for name in LEAVES if name in observation}
        with torch_threads(count):
            taken = in_turn({name: partial(_times, each, leaves) for name, each in encoders.items()}, repeats, 2)
        rows += [{"graphs": size, "threads": count, "encoder": name, **medians(taken[name])} for name in FORMS]
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


def _times(encoder: nn.Module, leaves: Mapping[str, Tensor]) -> dict[str, float]:
    def both() -> None:
        encoder.zero_grad()
        encoder(**leaves).ego.square().mean().backward()

    with torch.no_grad():
        forward = timed(lambda: encoder(**leaves))
    return {"forward_ms": 1e3 * forward, "forward_backward_ms": 1e3 * timed(both)}
