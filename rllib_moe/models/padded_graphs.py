"""A batch of graphs as padded tensors, and attention within each as batched matrix products.

The form for a GPU, and the plain one that `ragged_graphs.py` must equal. Shapes follow the legend of
`rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOT_AN_EDGE = -1e9
"""Score of a pair without an edge: finite, so that no arithmetic on it gives NaN."""


class PaddedGraphs:
    """Graphs padded to the largest of the batch. Every node attends to itself as well; padding attends to itself alone.

    Args:
        node_mask: Which nodes exist [B, N]; they come first.
        edges: Edge types [B, N, N], 0 none; node i of graph b attends to node j along `edges[b, i, j]`.
        num_edge_types: The environment's edge types; self-loops are one type more, so R is `num_edge_types + 1`.
    """

    def __init__(self, node_mask: Tensor, edges: Tensor, num_edge_types: int) -> None:
        self._room = node_mask.shape[1]
        self._width = width = max(1, int(node_mask.sum(1).amax()))
        edges = edges[:, :width, :width].masked_fill((node_mask[:, :width] == 0).unsqueeze(1), 0)
        loops = torch.eye(width, dtype=torch.bool, device=edges.device)
        loop_type = num_edge_types + 1
        if loop_type > torch.iinfo(edges.dtype).max:  # uint8 is full: 255 types of the environment's own
            edges = edges.short()
        edges = edges.masked_fill(loops, loop_type)
        types = torch.arange(1, loop_type + 1, dtype=edges.dtype, device=edges.device)
        self._one_hot = edges.unsqueeze(-1) == types  # [B, N, N, R]
        self._blocked = edges == 0  # [B, N, N]

    def nodes(self, leaf: Tensor) -> Tensor:
        """A leaf [B, N, ...] of node inputs as the layers see it."""
        return leaf[:, : self._width]

    def egos(self, nodes: Tensor) -> Tensor:
        """The first node of every graph [B, D]."""
        return nodes[:, 0]

    def attend(self, projected: Tensor, type_bias: Tensor) -> Tensor:
        """What every node reads from its neighbours.

        Args:
            projected: Queries (scaled), keys and values of all nodes, side by side [B, N, 3 * D].
            type_bias: Addition to the score of each edge type and head [R, H].

        Returns:
            Messages [B, N, D].
        """
        heads = type_bias.shape[1]
        query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, N, C]
        scores = torch.matmul(query, key.transpose(-1, -2)) + self._scores(type_bias)  # [B, H, N, N]
        return torch.matmul(scores.softmax(-1), value).transpose(1, 2).flatten(2)

    def attend_from_ego(self, query: Tensor, nodes: Tensor, type_bias: Tensor) -> Tensor:
        """What the first node of every graph reads, with the nodes themselves as keys and values of all heads.

        Args:
            query: Queries [B, H, D].
            nodes: Nodes [B, N, D].
            type_bias: As for `attend`.

        Returns:
            Means of the nodes by each head [B, H, D].
        """
        return torch.bmm(self._ego_attention(query, nodes, type_bias), nodes)

    def ego_attention(self, query: Tensor, nodes: Tensor, type_bias: Tensor) -> Tensor:
        """Weights [B, H, N] of the means of `attend_from_ego`; rows sum to 1."""
        attention = self._ego_attention(query, nodes, type_bias)
        return nn.functional.pad(attention, (0, self._room - self._width))

    def _ego_attention(self, query: Tensor, nodes: Tensor, type_bias: Tensor) -> Tensor:
        bias = (self._one_hot[:, 0].to(type_bias.dtype) @ type_bias).transpose(1, 2)  # [B, H, N]
        scores = torch.bmm(query, nodes.transpose(1, 2)) + bias
        return scores.masked_fill(self._blocked[:, None, 0], NOT_AN_EDGE).softmax(-1)

    def _scores(self, type_bias: Tensor) -> Tensor:
        """Additive scores [B, H, N, N] of all pairs."""
        bias = (self._one_hot.to(type_bias.dtype) @ type_bias).permute(0, 3, 1, 2)
        return bias.masked_fill(self._blocked.unsqueeze(1), NOT_AN_EDGE)
