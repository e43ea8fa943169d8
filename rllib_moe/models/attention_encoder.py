"""The default graph encoder: layers of graph attention, on a dense batch or as compiled loops.

The layer is in `graph_attention.py`, its compiled form in `packed_attention.py`. Shapes follow the legend of
`rllib_moe.models`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_attention import GraphAttention
from rllib_moe.models.graph_encoder import EncodedGraph, add_self_loops, node_inputs
from rllib_moe.models.packed_attention import encode_packed


class AttentionEncoder(nn.Module):
    """A `GraphEncoder` of attention layers, the last of which is read at the ego node alone.

    Every node attends to itself too, by an edge type of the encoder's own. An empty graph counts as an ego node, with
    what stands at its place (zeros, in a padded observation).
    """

    use_compiled = True
    """Compute by `encode_packed` where it can (float32 on a CPU); False: by the dense layers, with the same result."""

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_node_types, self.num_edge_types = shape.num_node_types, shape.num_edge_types + 1
        self.embed = nn.Linear(shape.node_features + shape.num_node_types, size)
        self.layers = nn.ModuleList(
            GraphAttention(size, config.num_heads, self.num_edge_types) for _ in range(config.num_layers)
        )

    def forward(
        self,
        nodes: Tensor,
        node_mask: Tensor,
        edges: Tensor,
        node_types: Tensor | None = None,
        return_attention: bool = False,
    ) -> EncodedGraph:
        """Encode a batch; arguments as for `GraphEncoder`.

        Raises:
            ValueError: On shapes that do not fit together.
        """
        batch, max_nodes = node_mask.shape
        if nodes.shape[:2] != (batch, max_nodes) or edges.shape != (batch, max_nodes, max_nodes):
            raise ValueError(
                f"expected nodes [B, N, F] and edges [B, N, N] for node_mask {tuple(node_mask.shape)}, "
                f"got {tuple(nodes.shape)} and {tuple(edges.shape)}"
            )
        layers = cast("list[GraphAttention]", list(self.layers))
        if self.use_compiled and nodes.device.type == "cpu" and self.embed.weight.dtype == torch.float32:
            return encode_packed(self.embed_nodes, layers, nodes, node_mask, edges, node_types, return_attention)
        largest = max(1, int(node_mask.sum(1).amax()))  # nodes of the largest graph; all behind them is padding
        x = self.embed_nodes(nodes[:, :largest], None if node_types is None else node_types[:, :largest])
        edges = add_self_loops(edges[:, :largest, :largest], node_mask[:, :largest], self.num_edge_types)
        types = torch.arange(1, self.num_edge_types + 1, dtype=edges.dtype, device=edges.device)
        edge_attr = edges.unsqueeze(-1) == types  # [B, N, N, R]
        for layer in layers[:-1]:
            x = layer(x, edge_attr)
        ego, attention = layers[-1].read_ego(x, edge_attr)
        return EncodedGraph(ego, functional.pad(attention, (0, max_nodes - largest)) if return_attention else None)

    def embed_nodes(self, nodes: Tensor, node_types: Tensor | None) -> Tensor:
        """Return the first embeddings [..., D] of nodes [..., F] and their categories [...]."""
        return self.embed(node_inputs(nodes, node_types, self.num_node_types))
