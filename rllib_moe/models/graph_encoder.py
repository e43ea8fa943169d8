"""The interface of a graph encoder, and what its implementations share.

`encoder_registry.py` tells which one a name stands for. Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape


class EncodedGraph(NamedTuple):
    """A batch of graphs, encoded."""

    ego: Tensor
    """Embedding of the ego node [B, D]."""
    attention: Tensor | None
    """Attention [B, H, N] of the ego node in the last layer; only when asked for, None where there is no such thing."""


class GraphEncoder(Protocol):
    """A graph encoder, an `nn.Module`. `--graph-encoder module:Class` takes any class of this form.

    `forward` must be deterministic and the same in training and evaluation mode (no dropout, no batch norm): PPO
    compares the probabilities of a sampled action in both. It must give finite numbers for the all-zero observation.

    Args:
        shape: Sizes of the observation.
        config: Sizes of the network: `hidden_size` is D, `num_heads` H; an encoder need not use `num_layers`.
    """

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None: ...

    def forward(
        self,
        nodes: Tensor,
        node_mask: Tensor,
        edges: Tensor,
        node_types: Tensor | None = None,
        return_attention: bool = False,
    ) -> EncodedGraph:
        """Encode a batch.

        Args:
            nodes: Node features [B, N, F].
            node_mask: Which nodes exist [B, N]; they come first, node 0 is the ego node.
            edges: Edge types [B, N, N]; `edges[b, i, j]` is the type of the edge along which i attends to j, 0 none.
            node_types: Node categories [B, N], where the environment has them.
            return_attention: Return the ego node's attention too.
        """
        ...


def node_inputs(nodes: Tensor, node_types: Tensor | None, num_node_types: int) -> Tensor:
    """Return features [..., F] and categories [...] (one-hot) of nodes as one vector each [..., F + T]."""
    if node_types is None:
        return nodes
    categories = torch.arange(num_node_types, dtype=node_types.dtype, device=node_types.device)
    return torch.cat((nodes, (node_types.unsqueeze(-1) == categories).to(nodes.dtype)), -1)


def add_self_loops(edges: Tensor, node_mask: Tensor, loop_type: int) -> Tensor:
    """Return edge types [B, N, N] without edges to absent nodes, and with one of `loop_type` from each node to itself.

    Padding gets one too, so that softmax has something to sum.
    """
    edges = edges.masked_fill((node_mask == 0).unsqueeze(1), 0)
    if loop_type > torch.iinfo(edges.dtype).max:  # uint8 is full: 255 types of the environment's own
        edges = edges.short()
    return edges.masked_fill(torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device), loop_type)


def check_encoder(encoder: nn.Module, shape: GraphShape, config: ModelConfig) -> None:
    """Try an encoder on a full and an empty graph.

    Raises:
        ValueError: It breaks what `GraphEncoder` promises.
        Exception: Whatever the encoder raises.
    """
    size = shape.max_nodes
    nodes = torch.linspace(-1, 1, 2 * size * shape.node_features).view(2, size, shape.node_features)
    node_mask = torch.tensor([[1], [0]], dtype=torch.uint8).expand(2, size)
    edges = (torch.arange(2 * size * size) % (shape.num_edge_types + 1)).to(torch.uint8).view(2, size, size)
    node_types = torch.zeros(2, size, dtype=torch.uint8) if shape.num_node_types else None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        ego, attention = encoder(nodes, node_mask, edges, node_types, True)
        in_evaluation, _ = encoder.eval()(nodes, node_mask, edges, node_types, False)
        encoder.train()
    expected, weights = (2, config.hidden_size), (2, config.num_heads, size)
    if ego.shape != expected or not ego.isfinite().all():
        raise ValueError(f"graph encoder: expected finite embeddings {list(expected)}, got {list(ego.shape)}: {ego}")
    if not torch.equal(ego, in_evaluation):
        raise ValueError("graph encoder: computes differently in training and in evaluation (dropout, batch norm)")
    if attention is not None and attention.shape != weights:
        raise ValueError(f"graph encoder: expected attention {list(weights)}, got {list(attention.shape)}")
