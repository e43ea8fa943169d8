"""The encoder without a graph: every node by itself, then their mean. The control that attention is measured against.

Same inputs, same interface and about as many parameters as `attention_encoder.py`, but no edges and no attention: a set
of nodes (https://arxiv.org/abs/1703.06114). Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from torch import Tensor, nn

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import EncodedGraph, node_inputs


class NodePool(nn.Module):
    """A `GraphEncoder`: a residual network on each node, averaged over the nodes that exist.

    Each of its blocks has about the parameters of one attention layer.
    """

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_node_types = shape.num_node_types
        self.embed = nn.Linear(shape.node_features + shape.num_node_types, size)
        inner = 3 * size // 2  # query, key and value of an attention layer have 3 D^2 weights
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, inner), nn.ELU(), nn.Linear(inner, size))
            for _ in range(config.num_layers)
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
        types = None if node_types is None else node_types[index]
        hidden = self.embed(node_inputs(nodes[index], types, self.num_node_types))  # [V, D]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        total = hidden.new_zeros(batch, hidden.shape[1]).index_add(0, index[0], hidden)  # [B, D]
        return EncodedGraph(total / node_mask.sum(1, keepdim=True).clamp(min=1), None)
