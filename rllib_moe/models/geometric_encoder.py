"""Graph convolutions of torch-geometric as the graph encoder, by their names.

A convolution fits when it is a `MessagePassing` class made of `in_channels` and `out_channels` (and of `heads`,
`edge_dim` or `num_relations` where it has them) and works on the packed batch: nodes of all graphs one after the other,
edges in `edge_index`. Shapes follow the legend of `rllib_moe.models`; E edges exist in the whole batch.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch_geometric.nn
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import dense_to_sparse

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import EncodedGraph, add_self_loops, node_inputs


class GeometricEncoder(nn.Module):
    """A `GraphEncoder` of layers `x' = LayerNorm(x + ELU(conv(x)))`, read at the ego node.

    Edge types go in one-hot as `edge_attr` where the convolution takes `edge_dim`, as `edge_type` where it takes
    `num_relations`. Every node has a self-loop of a type of its own, so the convolution adds none. Raises what the
    convolution's constructor raises.
    """

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_node_types, self.num_edge_types = shape.num_node_types, shape.num_edge_types + 1
        self.embed = nn.Linear(shape.node_features + shape.num_node_types, size)
        cls = getattr(torch_geometric.nn, config.graph_encoder)
        takes = inspect.signature(cls).parameters
        options = {
            "heads": config.num_heads,
            "edge_dim": self.num_edge_types,
            "num_relations": self.num_edge_types,
            "add_self_loops": False,
        }
        options = {name: value for name, value in options.items() if name in takes}
        width = size // config.num_heads if {"heads", "concat"} <= takes.keys() else size
        self.layers = nn.ModuleList(
            cls(in_channels=size, out_channels=width, **options) for _ in range(config.num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(config.num_layers))
        accepts = inspect.signature(cls.forward).parameters
        self._takes_edge_attr = "edge_dim" in takes
        self._takes_edge_type = "num_relations" in takes and "edge_type" in accepts
        self._has_attention = "return_attention_weights" in accepts

    def forward(
        self,
        nodes: Tensor,
        node_mask: Tensor,
        edges: Tensor,
        node_types: Tensor | None = None,
        return_attention: bool = False,
    ) -> EncodedGraph:
        """Encode a batch; arguments as for `GraphEncoder`. An empty graph counts as an ego node."""
        exists = node_mask != 0
        exists[:, 0] = True
        graph, position = exists.nonzero(as_tuple=True)  # of each packed node [V]
        typed = add_self_loops(edges, exists, self.num_edge_types).contiguous()
        edge_index, edge_type = dense_to_sparse(typed, exists)
        edge_index = edge_index.flip(0)  # torch-geometric's edges go from the node that is read to the one that reads
        edge_type = edge_type.long() - 1
        inputs: dict[str, Any] = {"edge_type": edge_type} if self._takes_edge_type else {}
        if self._takes_edge_attr:
            inputs["edge_attr"] = functional.one_hot(edge_type, self.num_edge_types).to(nodes.dtype)  # [E, R]
        types = None if node_types is None else node_types[exists]
        x = self.embed(node_inputs(nodes[exists], types, self.num_node_types))  # [V, D]
        asked = {"return_attention_weights": True} if return_attention and self._has_attention else {}
        for depth, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True), 1):
            message = layer(x, edge_index, **inputs, **(asked if depth == len(self.layers) else {}))
            message, attention = message if isinstance(message, tuple) else (message, None)
            x = norm(x + functional.elu(message))
        is_ego = position == 0
        if attention is None:
            return EncodedGraph(x[is_ego], None)
        (source, target), alpha = attention  # alpha [E, H]
        at_ego = is_ego[target]
        dense = alpha.new_zeros(*node_mask.shape, alpha.shape[1])  # [B, N, H]
        dense[graph[target[at_ego]], position[source[at_ego]]] = alpha[at_ego]
        return EncodedGraph(x[is_ego], dense.transpose(1, 2))


def convolution_names() -> list[str]:
    """Return the names of all convolutions, those that do not fit included."""
    return [name for name in dir(torch_geometric.nn) if _is_convolution(getattr(torch_geometric.nn, name))]


def _is_convolution(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, MessagePassing)
