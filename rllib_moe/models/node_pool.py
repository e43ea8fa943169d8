"""The encoder without a graph: every node by itself, then their mean. What the attention is measured against.

Same inputs, same interface and about as many parameters as `graph_encoder.py`, but no edges and no attention: a set of
nodes (https://arxiv.org/abs/1703.06114). Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_moe.models.graph_encoder import EncodedGraph


class NodePool(nn.Module):
    """A residual network on each node, averaged over the nodes that exist.

    Args:
        node_features: Width F of the node features.
        num_node_types: Node categories T; 0 when there are none.
        size: Width D.
        num_layers: Residual blocks, at least 1; each has about the parameters of one attention layer.
    """

    def __init__(self, node_features: int, num_node_types: int, size: int, num_layers: int) -> None:
        super().__init__()
        self.num_node_types = num_node_types
        self.embed = nn.Linear(node_features + num_node_types, size)
        inner = 3 * size // 2  # query, key and value of an attention layer have 3 D^2 weights
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, inner), nn.ELU(), nn.Linear(inner, size))
            for _ in range(num_layers)
        )

    def forward(
        self,
        nodes: Tensor,
        node_mask: Tensor,
        edges: Tensor,
        node_types: Tensor | None = None,
        return_attention: bool = False,
    ) -> EncodedGraph:
        """Encode a batch; arguments as for `GraphEncoder`. Edges are not read, and there is no attention to return."""
        del edges, return_attention
        batch, index = node_mask.shape[0], node_mask.nonzero(as_tuple=True)  # the nodes that exist, in one list
        present = nodes[index]  # [M, F]
        if node_types is not None:
            present = torch.cat((present, nn.functional.one_hot(node_types[index].long(), self.num_node_types)), -1)
        hidden = self.embed(present)  # [M, D]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        total = hidden.new_zeros(batch, hidden.shape[1]).index_add(0, index[0], hidden)  # [B, D]
        return EncodedGraph(total / node_mask.sum(1, keepdim=True).clamp(min=1), None)
