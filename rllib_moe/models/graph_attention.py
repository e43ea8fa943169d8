"""Multi-head dot-product graph attention.

The layer is that of torch-geometric's `TransformerConv` (https://arxiv.org/abs/2009.03509), with a learned bias for
each edge type and head (as in https://arxiv.org/abs/2106.05234) in place of edge features. Its attention is dynamic,
unlike that of the first GAT (https://arxiv.org/abs/2105.14491). Projections, residual and norm are here; how nodes lie
in memory and attend along the edges is the subject of `padded_graphs.py` and `ragged_graphs.py`. Shapes follow the
legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_moe.models.padded_graphs import PaddedGraphs
from rllib_moe.models.ragged_graphs import RaggedGraphs

Graphs = PaddedGraphs | RaggedGraphs
"""Either form of a batch. Nodes are [B, N, ...] in the first and [M, ...] in the second."""


class GraphAttention(nn.Module):
    """One layer: `h_i' = LayerNorm(h_i + ELU(sum_j a_ij V h_j))`, over the neighbours j of i, in H heads.

    Args:
        size: Width D of the nodes, a multiple of num_heads.
        num_heads: Heads H.
        num_edge_types: Edge types R, self-loops included.

    Raises:
        ValueError: `size` is not a multiple of `num_heads`.
    """

    def __init__(self, size: int, num_heads: int, num_edge_types: int) -> None:
        super().__init__()
        if size % num_heads:
            raise ValueError(f"size: expected a multiple of num_heads={num_heads}, got {size}")
        self.num_heads = num_heads
        self.query = nn.Linear(size, size)
        # No bias on the keys: it adds the same to every score of a row, which softmax does not see.
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size)
        self.type_bias = nn.Parameter(torch.zeros(num_edge_types, num_heads))
        self.norm = nn.LayerNorm(size)

    def forward(self, nodes: Tensor, graphs: Graphs) -> Tensor:
        """Embeddings [..., D] of all nodes from their embeddings [..., D] one layer below."""
        scale = (nodes.shape[-1] // self.num_heads) ** -0.5
        weight = torch.cat((self.query.weight * scale, self.key.weight, self.value.weight))
        bias = torch.cat((self.query.bias * scale, torch.zeros_like(self.query.bias), self.value.bias))
        return self._update(nodes, graphs.attend(nn.functional.linear(nodes, weight, bias), self.type_bias))

    def read_ego(self, nodes: Tensor, graphs: Graphs) -> Tensor:
        """What `forward` gives for the first node of every graph alone, at a small part of its cost.

        With one attending node the key and value projections move to its side of the product: `q . (K h) = (K^T q) . h`
        and `sum_j a_j V h_j = V sum_j a_j h_j`, so no node but the ego is projected.

        Args:
            nodes: Embeddings [..., D].
            graphs: The graphs.

        Returns:
            The ego nodes' embeddings [B, D].
        """
        ego = graphs.egos(nodes)
        read = graphs.attend_from_ego(self._ego_query(ego), nodes, self.type_bias)  # [B, H, D]
        value_weight = self.value.weight.unflatten(0, (self.num_heads, -1)).transpose(1, 2)  # [H, D, C]
        message = torch.bmm(read.transpose(0, 1), value_weight).transpose(0, 1).flatten(1)  # [B, D]
        return self._update(ego, message + self.value.bias)

    def ego_attention(self, nodes: Tensor, graphs: PaddedGraphs) -> Tensor:
        """Weights [B, H, N] with which the ego node reads the nodes [B, N, D] in `read_ego`; rows sum to 1."""
        return graphs.ego_attention(self._ego_query(graphs.egos(nodes)), nodes, self.type_bias)

    def _ego_query(self, ego: Tensor) -> Tensor:
        """Queries [B, H, D] of ego nodes [B, D], to be multiplied with nodes as they are."""
        scale = (ego.shape[-1] // self.num_heads) ** -0.5
        query = self.query(ego).unflatten(-1, (self.num_heads, -1)) * scale  # [B, H, C]
        key_weight = self.key.weight.unflatten(0, (self.num_heads, -1))  # [H, C, D]
        return torch.bmm(query.transpose(0, 1), key_weight).transpose(0, 1)

    def _update(self, nodes: Tensor, message: Tensor) -> Tensor:
        return self.norm(nodes + nn.functional.elu(message))
