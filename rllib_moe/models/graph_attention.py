"""Multi-head dot-product graph attention on a dense batch: one layer.

The layer of torch-geometric's `TransformerConv` (https://arxiv.org/abs/2009.03509), with a learned bias for each edge
type and head (as in https://arxiv.org/abs/2106.05234) in place of edge features. Its attention is dynamic, unlike that
of the first GAT (https://arxiv.org/abs/2105.14491). `packed_attention.py` computes the same on a CPU, faster. Shapes
follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NOT_AN_EDGE = -1e9
"""Score of a pair without an edge: finite, so that no arithmetic on it gives NaN."""


class GraphAttention(nn.Module):
    """One layer: `x_i' = LayerNorm(x_i + ELU(sum_j alpha_ij V x_j))`, over the neighbors j of i, in H heads.

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

    def forward(self, x: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the embeddings [B, N, D] of all nodes.

        Args:
            x: Embeddings [B, N, D] one layer below.
            edge_attr: Types of the edges, one-hot, bool [B, N, N, R]; `edge_attr[b, i, j]` is that of the edge along
                which node i attends to node j, all False where there is none. Every node has a self-loop.
        """
        query, key, value = self.project(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        alpha = self._softmax(query @ key.mT, edge_attr)  # [B, H, N, N], of query and key [B, H, N, C]
        return self.update(x, (alpha @ value).transpose(1, 2).flatten(2))

    def read_ego(self, x: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` gives for the ego node (the first) alone, at a small part of its cost.

        With one attending node the key and value projections move to its side of the product: `q . (K x) = (K^T q) . x`
        and `sum_j alpha_j V x_j = V sum_j alpha_j x_j`, so no node but the ego node is projected.

        Returns:
            Embeddings [B, D] of the ego nodes, and their attention [B, H, N] to all nodes, whose rows sum to 1.
        """
        ego_nodes = x[:, 0]
        alpha = self._softmax(self.ego_query(ego_nodes) @ x.mT, edge_attr[:, 0])  # [B, H, N]
        return self.update_ego(ego_nodes, alpha @ x), alpha

    def project(self, x: Tensor) -> Tensor:
        """Return queries (scaled), keys and values [..., 3 * D] of nodes [..., D], side by side."""
        scale = (x.shape[-1] // self.num_heads) ** -0.5
        weight = torch.cat((self.query.weight * scale, self.key.weight, self.value.weight))
        bias = torch.cat((self.query.bias * scale, torch.zeros_like(self.query.bias), self.value.bias))
        return functional.linear(x, weight, bias)

    def ego_query(self, ego_nodes: Tensor) -> Tensor:
        """Return queries [B, H, D] of ego nodes [B, D], to be multiplied with nodes that are not projected."""
        scale = (ego_nodes.shape[-1] // self.num_heads) ** -0.5
        query = self.query(ego_nodes).unflatten(-1, (self.num_heads, -1)) * scale  # [B, H, C]
        key_weight = self.key.weight.unflatten(0, (self.num_heads, -1))  # [H, C, D]
        return torch.bmm(query.transpose(0, 1), key_weight).transpose(0, 1)

    def update(self, x: Tensor, message: Tensor) -> Tensor:
        """Return the new embeddings [..., D] of nodes [..., D] that read `message` [..., D]."""
        return self.norm(x + functional.elu(message))

    def update_ego(self, ego_nodes: Tensor, means: Tensor) -> Tensor:
        """Return the new embeddings [B, D] of ego nodes [B, D] whose heads read these means of the nodes [B, H, D]."""
        value_weight = self.value.weight.unflatten(0, (self.num_heads, -1)).transpose(1, 2)  # [H, D, C]
        message = torch.bmm(means.transpose(0, 1), value_weight).transpose(0, 1).flatten(1)  # [B, D]
        return self.update(ego_nodes, message + self.value.bias)

    def _softmax(self, scores: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the attention [B, H, ..., N] of scores [B, H, ..., N] and edges [B, ..., N, R]."""
        scores = scores + (edge_attr.to(self.type_bias.dtype) @ self.type_bias).movedim(-1, 1)
        return scores.masked_fill(~edge_attr.any(-1).unsqueeze(1), NOT_AN_EDGE).softmax(-1)
