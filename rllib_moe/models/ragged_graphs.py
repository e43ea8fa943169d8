"""A batch of graphs without padding: the form for a CPU.

Nodes stand one after the other, [M, D] for the M nodes that exist. Matrix products over them are torch's, attention is
`edge_attention.py`'s. Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_moe.models.edge_attention import Edges, attend_along_edges


class RaggedGraphs:
    """Graphs without padding, float32 on a CPU. Every node attends to itself as well.

    Takes what `PaddedGraphs` takes, and gives the same numbers for the nodes that exist. An empty graph counts as one
    node.
    """

    def __init__(self, node_mask: Tensor, edges: Tensor, num_edge_types: int) -> None:
        counts = node_mask.sum(1).clamp_(min=1)
        places = torch.arange(node_mask.shape[1], device=counts.device)
        self._index = (places < counts.unsqueeze(1)).nonzero(as_tuple=True)
        self._edges = Edges.of(counts.numpy(), edges.contiguous().numpy(), num_edge_types)
        self._first = torch.from_numpy(self._edges.graphs[:-1])

    def nodes(self, leaf: Tensor) -> Tensor:
        """A leaf [B, N, ...] of node inputs as the layers see it: [M, ...]."""
        return leaf[self._index]

    def egos(self, nodes: Tensor) -> Tensor:
        """The first node of every graph [B, D]."""
        return nodes.index_select(0, self._first)

    def attend(self, projected: Tensor, type_bias: Tensor) -> Tensor:
        """`PaddedGraphs.attend` on nodes [M, 3 * D]; returns [M, D]."""
        return attend_along_edges(None, projected.float(), type_bias, self._edges)

    def attend_from_ego(self, query: Tensor, nodes: Tensor, type_bias: Tensor) -> Tensor:
        """`PaddedGraphs.attend_from_ego` on nodes [M, D]."""
        read = attend_along_edges(query.flatten(1).float(), nodes.float(), type_bias, self._edges)
        return read.view_as(query)
