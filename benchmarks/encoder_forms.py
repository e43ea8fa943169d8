"""Forms of the graph encoder on one batch: this project's, the padded one, and torch-geometric's layers.

All have the same width, heads and number of layers, the same residual and norm around a layer, and read the ego node.
The sparse forms convert the batch themselves (nodes that exist, one row an edge), as they would have to in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from benchmarks.padded_encoder import PaddedGraphEncoder
from benchmarks.timing import seconds
from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import GraphEncoder

ROWS = 512
"""Graphs of the batch."""

CONVOLUTIONS: dict[str, Callable[..., nn.Module]] = {
    "torch-geometric GATConv": lambda size, heads, edge_dim: GATConv(
        size, size // heads, heads, edge_dim=edge_dim, add_self_loops=False
    ),
    "torch-geometric GATv2Conv": lambda size, heads, edge_dim: GATv2Conv(
        size, size // heads, heads, edge_dim=edge_dim, add_self_loops=False
    ),
    "torch-geometric TransformerConv": lambda size, heads, edge_dim: TransformerConv(
        size, size // heads, heads, edge_dim=edge_dim, root_weight=False
    ),
}


class SparseEncoder(nn.Module):
    """A graph encoder of torch-geometric's layers: takes a padded batch, returns the ego nodes [B, D].

    Args:
        shape: Sizes of the observation.
        config: Sizes of the network.
        convolution: Makes a layer from size, heads and the number of edge types.
    """

    def __init__(self, shape: GraphShape, config: ModelConfig, convolution: Callable[..., nn.Module]) -> None:
        super().__init__()
        size, num_layers = config.hidden_size, config.num_layers
        self.num_node_types, self.num_edge_types = shape.num_node_types, shape.num_edge_types + 1
        self.embed = nn.Linear(shape.node_features + shape.num_node_types, size)
        self.layers = nn.ModuleList(convolution(size, config.num_heads, self.num_edge_types) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(num_layers))

    def forward(self, nodes: Tensor, node_mask: Tensor, edges: Tensor, node_types: Tensor | None = None) -> Tensor:
        """Encode a batch; arguments as for `GraphEncoder`."""
        exists = node_mask.bool()
        exists[:, 0] = True  # an empty graph has an ego node
        if node_types is not None:
            types = nn.functional.one_hot(node_types.long(), self.num_node_types)
            nodes = torch.cat((nodes, types.to(nodes.dtype)), -1)
        place = exists.flatten().cumsum(0).view_as(exists) - 1  # [B, N], row of each node
        loops = torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device) & exists.unsqueeze(1)
        graph, target, source = (edges.bool() | loops).nonzero(as_tuple=True)
        index = torch.stack((place[graph, source], place[graph, target]))  # [2, E]
        kinds = edges[graph, target, source].long() - 1
        kinds = torch.where(target == source, self.num_edge_types - 1, kinds)
        features = nn.functional.one_hot(kinds, self.num_edge_types).to(nodes.dtype)  # [E, R + 1]
        hidden = self.embed(nodes[exists])
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = norm(hidden + nn.functional.elu(layer(hidden, index, features)))
        return hidden[place[:, 0]]


def compare_forms(
    shape: GraphShape, config: ModelConfig, observation: Mapping[str, Tensor], repeats: int
) -> list[dict[str, Any]]:
    """Time every form.

    Args:
        shape: Sizes of the observation.
        config: Sizes of the network.
        observation: Leaves, with a batch dimension; the first `ROWS` rows are used.
        repeats: Measured calls of each.

    Returns:
        Rows `form`, `forward_ms`, `forward_backward_ms`.
    """
    names = [name for name in ("nodes", "node_mask", "edges", "node_types") if name in observation]
    leaves = {name: observation[name][:ROWS] for name in names}
    ours = GraphEncoder(
        shape.node_features,
        shape.num_node_types,
        shape.num_edge_types,
        config.hidden_size,
        config.num_heads,
        config.num_layers,
    )
    forms: dict[str, nn.Module] = {
        "this project's": ours,
        "padded, scaled_dot_product_attention": PaddedGraphEncoder(ours),
    }
    forms |= {name: SparseEncoder(shape, config, convolution) for name, convolution in CONVOLUTIONS.items()}
    return [{"form": name, **_times(form.to(leaves["nodes"].device), leaves, repeats)} for name, form in forms.items()]


def _times(form: nn.Module, leaves: Mapping[str, Tensor], repeats: int) -> dict[str, float]:
    def forward() -> Tensor:
        encoded = form(**leaves)
        return encoded if isinstance(encoded, Tensor) else encoded.ego

    def both() -> None:
        form.zero_grad()
        forward().square().mean().backward()

    with torch.no_grad():
        forward_ms = 1e3 * seconds(forward, repeats)
    return {"forward_ms": forward_ms, "forward_backward_ms": 1e3 * seconds(both, repeats)}
