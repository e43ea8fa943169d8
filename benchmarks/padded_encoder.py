"""The plain form of the encoder, as a reference for speed: everything padded, everything computed.

What one writes first: all N nodes of every graph, padding included, in all layers; categories by `nn.Embedding`;
torch's `scaled_dot_product_attention` with an additive mask. Takes the weights of a `GraphEncoder` or `CategoryGrid`
and gives the same numbers (a test holds them to it). Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_moe.models.graph_attention import GraphAttention
from rllib_moe.models.graph_encoder import EncodedGraph, GraphEncoder
from rllib_moe.models.observation_encoder import CategoryGrid
from rllib_moe.models.padded_graphs import NOT_AN_EDGE
from rllib_moe.models.rllib_model import GATMoEModel


class PaddedAttention(nn.Module):
    """One layer on all nodes. Takes the weights of `like`."""

    def __init__(self, like: GraphAttention) -> None:
        super().__init__()
        num_edge_types, self.num_heads = like.type_bias.shape
        size = like.query.in_features
        self.query, self.value = nn.Linear(size, size), nn.Linear(size, size)
        self.key = nn.Linear(size, size, bias=False)
        self.edge_bias = nn.Embedding(num_edge_types + 1, self.num_heads)
        self.norm = nn.LayerNorm(size)
        for name in ("query", "key", "value", "norm"):
            getattr(self, name).load_state_dict(getattr(like, name).state_dict())
        with torch.no_grad():
            self.edge_bias.weight.copy_(torch.cat((torch.zeros(1, self.num_heads), like.type_bias)))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Embeddings [B, N, D] of all nodes from those one layer below, along edges int64 [B, N, N]."""
        bias = self.edge_bias(edges).permute(0, 3, 1, 2)  # [B, H, N, N]
        bias = bias + (edges == 0).unsqueeze(1) * NOT_AN_EDGE
        query, key, value = (
            project(nodes).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, N, C]
            for project in (self.query, self.key, self.value)
        )
        message = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.norm(nodes + functional.elu(message.transpose(1, 2).flatten(2)))


class PaddedGraphEncoder(nn.Module):
    """`GraphEncoder` without its savings. Takes the weights of `like`."""

    def __init__(self, like: GraphEncoder) -> None:
        super().__init__()
        self.loop_type = like.num_edge_types + 1
        features = like.embed.in_features - like.num_node_types
        self.embed = nn.Linear(features, like.embed.out_features)
        self.node_type = nn.Embedding(like.num_node_types, like.embed.out_features) if like.num_node_types else None
        with torch.no_grad():
            self.embed.weight.copy_(like.embed.weight[:, :features])
            self.embed.bias.copy_(like.embed.bias)
            if self.node_type is not None:
                self.node_type.weight.copy_(like.embed.weight[:, features:].T)
        self.layers = nn.ModuleList(PaddedAttention(cast("GraphAttention", layer)) for layer in like.layers)

    def forward(
        self,
        nodes: Tensor,
        node_mask: Tensor,
        edges: Tensor,
        node_types: Tensor | None = None,
        return_attention: bool = False,
    ) -> EncodedGraph:
        """Encode a batch; arguments as for `GraphEncoder`, except that there is no attention to return."""
        del node_mask, return_attention  # padding is reached by no edge
        hidden = self.embed(nodes)
        if self.node_type is not None and node_types is not None:
            hidden = hidden + self.node_type(node_types.long())
        loops = torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device)
        edges = edges.long().masked_fill(loops, self.loop_type)
        for layer in self.layers:
            hidden = layer(hidden, edges)
        return EncodedGraph(hidden[:, 0], None)


class PaddedGrid(nn.Module):
    """`CategoryGrid` by `nn.Embedding`. Takes the weights of `like`."""

    def __init__(self, like: CategoryGrid) -> None:
        super().__init__()
        self.table = nn.Embedding(*like.table.shape)
        self.project = nn.Linear(like.project.in_features, like.project.out_features)
        self.project.load_state_dict(like.project.state_dict())
        with torch.no_grad():
            self.table.weight.copy_(like.table)

    def forward(self, grid: Tensor) -> Tensor:
        """Embed a batch of grids."""
        return functional.elu(self.project(self.table(grid.reshape(len(grid), -1).long()).flatten(1)))


class PaddedMoEModel(GATMoEModel):
    """`GATMoEModel` whose observation encoder is the plain form; all else is the same. Takes its arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        encoder = self.network.encoder
        encoder.graph = PaddedGraphEncoder(cast(GraphEncoder, encoder.graph))
        for index, extra in enumerate(encoder.extras):
            if isinstance(extra, CategoryGrid):
                encoder.extras[index] = PaddedGrid(extra)
