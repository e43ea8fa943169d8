"""The graph encoder: a batch of padded graphs to one embedding of the ego node each.

Owns how padding is avoided and how node inputs are made; the attention itself is in `graph_attention.py`. Shapes follow
the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rllib_moe.models.graph_attention import EdgeRelation, GraphAttention

WIDTH_STEP = 8
MIN_WIDTH = 16
"""Graphs are padded to a multiple of 8 nodes, 16 at least. A softmax over 15 scores takes ten times as long as one over
16 on a CPU with 16-wide vectors (2.2 against 0.2 ms for 512 graphs and 4 heads), more than the padding costs."""

MIN_BUCKET_ROWS = 64
"""Graphs of a width are encoded apart where they are at least as many; fewer go with the next wider ones."""


class EncodedGraph(NamedTuple):
    """What the encoder makes of a batch of graphs."""

    ego: Tensor
    """Embedding of the ego node [B, D]."""
    attention: Tensor | None
    """Attention [B, H, N] of the ego node in the last layer; only when asked for."""


class GraphEncoder(nn.Module):
    """Graph attention layers, the last of which is read at the ego node alone.

    Graphs are sorted by size and cut into a few buckets, each padded to its own largest graph, so that the cost follows
    the nodes that exist. An empty graph counts as an ego node without features.

    Args:
        node_features: Width F of the node features.
        num_node_types: Node categories T; 0 when there are none.
        num_edge_types: Edge types R.
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
        parts, attentions = [], []
        order, buckets = self._buckets(node_mask)
        for bucket, width in buckets:
            ego, attention = self._encode(
                nodes[bucket, :width],
                node_mask[bucket, :width],
                edges[bucket, :width, :width],
                None if node_types is None else node_types[bucket, :width],
            )
            parts.append(ego)
            if return_attention:
                attentions.append(nn.functional.pad(attention, (0, room - width)))
        if order is None:
            return EncodedGraph(parts[0], attentions[0] if return_attention else None)
        back = torch.empty_like(order)
        back[order] = torch.arange(batch, device=order.device)
        return EncodedGraph(torch.cat(parts)[back], torch.cat(attentions)[back] if return_attention else None)

    def _buckets(self, node_mask: Tensor) -> tuple[Tensor | None, list[tuple[Tensor | slice, int]]]:
        """Rows in order of size (None: as they are), and the rows of each bucket with the width it is padded to."""
        batch, room = node_mask.shape
        steps = (node_mask.sum(1) + WIDTH_STEP - 1) // WIDTH_STEP  # [B], width of each graph in steps
        counts = torch.bincount(steps.clamp_(min=MIN_WIDTH // WIDTH_STEP)).tolist()
        rows, widths, waiting, left = [], [], 0, batch
        for width, count in enumerate(counts):
            waiting += count
            left -= count
            if not left or waiting >= MIN_BUCKET_ROWS:
                rows.append(waiting)
                widths.append(min(room, width * WIDTH_STEP))
                waiting = 0
                if not left:
                    break
        if len(rows) == 1:
            return None, [(slice(None), widths[0])]
        order = steps.argsort()
        return order, list(zip(order.split(rows), widths, strict=True))

    def _encode(
        self, nodes: Tensor, node_mask: Tensor, edges: Tensor, node_types: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        edges = edges.masked_fill((node_mask == 0).unsqueeze(1), 0)  # nobody attends to an absent node
        if node_types is not None:
            categories = torch.arange(self.num_node_types, dtype=node_types.dtype, device=node_types.device)
            nodes = torch.cat((nodes, (node_types.unsqueeze(-1) == categories).to(nodes.dtype)), -1)
        # Self-loops for every row, padding included: no row is left with nothing to attend to.
        loop_type = self.num_edge_types + 1
        loops = torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device)
        if loop_type > torch.iinfo(edges.dtype).max:  # uint8 is full: 255 types of the environment's own
            edges = edges.short()
        relation = EdgeRelation(edges.masked_fill(loops, loop_type), loop_type)
        hidden = self.embed(nodes)
        *below, last = cast("list[GraphAttention]", list(self.layers))
        for layer in below:
            hidden = layer(hidden, relation)
        return last.read_ego(hidden, relation)
