"""The graph encoder: a batch of graphs to one embedding of the ego node each.

Owns how node inputs are made and which form of the batch the layers work on; the layer is in `graph_attention.py`.
Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rllib_moe.models.graph_attention import GraphAttention
from rllib_moe.models.padded_graphs import PaddedGraphs
from rllib_moe.models.ragged_graphs import RaggedGraphs


class EncodedGraph(NamedTuple):
    """What the encoder makes of a batch of graphs."""

    ego: Tensor
    """Embedding of the ego node [B, D]."""
    attention: Tensor | None
    """Attention [B, H, N] of the ego node in the last layer; only when asked for."""


class GraphEncoder(nn.Module):
    """Graph attention layers, the last of which is read at the ego node alone.

    An empty graph counts as an ego node, with what stands at its place (zeros, in a padded observation).

    Args:
        node_features: Width F of the node features.
        num_node_types: Node categories T; 0 when there are none.
        num_edge_types: Edge types of the environment, R - 1.
        size: Width D.
        num_heads: Heads H.
        num_layers: Layers, at least 1.
    """

    def __init__(
        self, node_features: int, num_node_types: int, num_edge_types: int, size: int, num_heads: int, num_layers: int
    ) -> None:
        super().__init__()
        self.num_node_types = num_node_types
        self.num_edge_types = num_edge_types
        self.embed = nn.Linear(node_features + num_node_types, size)
        # One type more than the environment has: the encoder's own self-loops.
        self.layers = nn.ModuleList(GraphAttention(size, num_heads, num_edge_types + 1) for _ in range(num_layers))

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

        Raises:
            ValueError: On shapes that do not fit together.
        """
        batch, room = node_mask.shape
        if nodes.shape[:2] != (batch, room) or edges.shape != (batch, room, room):
            raise ValueError(
                f"expected nodes [B, N, F] and edges [B, N, N] for node_mask {tuple(node_mask.shape)}, "
                f"got {tuple(nodes.shape)} and {tuple(edges.shape)}"
            )
        # Loops over the edges that exist are for a CPU, batched products over the padded graphs for everything else.
        ragged = nodes.device.type == "cpu" and self.embed.weight.dtype == torch.float32 and not return_attention
        graphs = (RaggedGraphs if ragged else PaddedGraphs)(node_mask, edges, self.num_edge_types)
        hidden = self.embed(self._inputs(graphs.nodes(nodes), None if node_types is None else graphs.nodes(node_types)))
        *below, last = cast("list[GraphAttention]", list(self.layers))
        for layer in below:
            hidden = layer(hidden, graphs)
        attention = (
            last.ego_attention(hidden, graphs) if isinstance(graphs, PaddedGraphs) and return_attention else None
        )
        return EncodedGraph(last.read_ego(hidden, graphs), attention)

    def _inputs(self, nodes: Tensor, node_types: Tensor | None) -> Tensor:
        """Node features and categories (one-hot) as one vector a node."""
        if node_types is None:
            return nodes
        categories = torch.arange(self.num_node_types, dtype=node_types.dtype, device=node_types.device)
        return torch.cat((nodes, (node_types.unsqueeze(-1) == categories).to(nodes.dtype)), -1)
