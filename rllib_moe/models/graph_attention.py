"""Multi-head dot-product graph attention on dense, padded graphs.

The layer is that of torch-geometric's `TransformerConv` (https://arxiv.org/abs/2009.03509), with a learned bias for
each edge type and head (as in https://arxiv.org/abs/2106.05234) in place of edge features. Its attention is dynamic,
unlike that of the first GAT (https://arxiv.org/abs/2105.14491), at the price of batched matrix products. Padding and
node counts are the subject of `graph_encoder.py`. Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOT_AN_EDGE = -1e9
"""Score of a pair without an edge: finite, so that a row without any edge gives no NaN."""


class EdgeRelation:
    """What the layers need of the edges, computed once for all of them.

    Args:
        edges: Edge types [B, N, N], 0 none; node i of graph b attends to node j (or itself) along `edges[b, i, j]`.
        num_edge_types: Number R of edge types.
    """

    def __init__(self, edges: Tensor, num_edge_types: int) -> None:
        types = torch.arange(1, num_edge_types + 1, dtype=edges.dtype, device=edges.device)
        self.one_hot = (edges.unsqueeze(-1) == types).to(torch.float32)  # [B, N, N, R]
        self.blocked = (edges == 0).to(torch.float32).mul_(NOT_AN_EDGE)  # [B, N, N]

    def scores(self, type_bias: Tensor) -> Tensor:
        """Additive scores [B, H, N, N] of all pairs from a bias [R, H] of each type and head."""
        bias = self.one_hot @ type_bias  # [B, N, N, H]
        return bias.permute(0, 3, 1, 2) + self.blocked.unsqueeze(1)

    def ego_scores(self, type_bias: Tensor) -> Tensor:
        """The first row of `scores`, [B, H, N]: node 0 as the attending node."""
        return (self.one_hot[:, 0] @ type_bias).transpose(1, 2) + self.blocked[:, None, 0]


class GraphAttention(nn.Module):
    """One layer: `h_i' = LayerNorm(h_i + ELU(sum_j a_ij V h_j))`, over the neighbours j of i, in H heads.

    Args:
        size: Width D of the nodes, a multiple of num_heads.
        num_heads: Heads H.
        num_edge_types: Edge types R.

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

    def forward(self, nodes: Tensor, relation: EdgeRelation) -> Tensor:
        """Embeddings [B, N, D] of all nodes from their embeddings [B, N, D] one layer below."""
        size, heads = nodes.shape[-1], self.num_heads
        head_size = size // heads
        weight = torch.cat((self.query.weight * head_size**-0.5, self.key.weight, self.value.weight))
        bias = torch.cat((self.query.bias * head_size**-0.5, torch.zeros_like(self.query.bias), self.value.bias))
        projected = nn.functional.linear(nodes, weight, bias).unflatten(-1, (3, heads, head_size))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, H, N, C]
        scores = torch.matmul(query, key.transpose(-1, -2)) + relation.scores(self.type_bias)  # [B, H, N, N]
        message = torch.matmul(scores.softmax(-1), value)  # [B, H, N, C]
        return self._update(nodes, message.transpose(1, 2).flatten(2))

    def read_ego(self, nodes: Tensor, relation: EdgeRelation) -> tuple[Tensor, Tensor]:
        """What `forward` gives for node 0 alone, at a small part of its cost.

        With one attending node the key and value projections move to its side of the product: `q . (K h) = (K^T q) . h`
        and `sum_j a_j V h_j = V sum_j a_j h_j`, so no node but the ego is projected.

        Args:
            nodes: Embeddings [B, N, D].
            relation: The edges.

        Returns:
            The ego node's embedding [B, D], and its attention [B, H, N] (rows sum to 1).
        """
        size, heads = nodes.shape[-1], self.num_heads
        head_size = size // heads
        ego = nodes[:, 0]
        query = self.query(ego).unflatten(-1, (heads, head_size)) * head_size**-0.5  # [B, H, C]
        key_weight = self.key.weight.unflatten(0, (heads, head_size))  # [H, C, D]
        pulled = torch.bmm(query.transpose(0, 1), key_weight).transpose(0, 1)  # [B, H, D]
        scores = torch.bmm(pulled, nodes.transpose(1, 2)) + relation.ego_scores(self.type_bias)  # [B, H, N]
        attention = scores.softmax(-1)
        read = torch.bmm(attention, nodes)  # [B, H, D]
        value_weight = self.value.weight.unflatten(0, (heads, head_size)).transpose(1, 2)  # [H, D, C]
        message = torch.bmm(read.transpose(0, 1), value_weight).transpose(0, 1).flatten(1)  # [B, D]
        return self._update(ego, message + self.value.bias), attention

    def _update(self, nodes: Tensor, message: Tensor) -> Tensor:
        return self.norm(nodes + nn.functional.elu(message))
