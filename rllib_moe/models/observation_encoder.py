"""A graph observation to one encoded state: graph, status vector and extra leaves, joined by a trunk.

Knows the leaves of the contract (`envs/graph_space.py`) and nothing of routing or actions. Shapes follow the legend of
`rllib_moe.models`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_moe.config import GRAPH, ModelConfig
from rllib_moe.envs.graph_space import ExtraLeaf, GraphShape
from rllib_moe.models.encoder_registry import make_graph_encoder


class EncodedState(NamedTuple):
    """Encoding of an observation, before anything is decided."""

    z: Tensor
    """Encoded state [B, trunk_size]."""
    leaves: Mapping[str, Tensor]
    """Embeddings [B, hidden_size] that the state joins: `graph`, `features`, and the extra leaves by their names."""
    attention: Tensor | None
    """Attention [B, H, N] of the ego node over the nodes; only when asked for, and where the encoder has any."""


class ObservationEncoder(nn.Module):
    """Encoders of all leaves and the trunk that joins them.

    Args:
        shape: Sizes of the observation.
        config: Sizes of the network.
    """

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.graph = make_graph_encoder(shape, config)
        self.status = nn.Sequential(nn.Linear(shape.features, size), nn.ELU())
        # A list: ModuleDict refuses names such as `type` or `map.crop`, which an environment is free to use.
        self.extra_names = tuple(shape.extras)
        self.extras = nn.ModuleList(_extra_encoder(leaf, size, config.category_size) for leaf in shape.extras.values())
        self.trunk = nn.Sequential(
            nn.Linear(size * (2 + len(shape.extras)), config.trunk_size), nn.LayerNorm(config.trunk_size), nn.ELU()
        )

    def forward(self, observation: Mapping[str, Tensor], return_attention: bool = False) -> EncodedState:
        """Encode a batch of observations (leaves with a batch dimension in front)."""
        graph = self.graph(
            observation["nodes"],
            observation["node_mask"],
            observation["edges"],
            observation.get("node_types"),
            return_attention,
        )
        leaves = {GRAPH: graph.ego, "features": self.status(observation["features"])}
        leaves |= {
            name: encoder(observation[name]) for name, encoder in zip(self.extra_names, self.extras, strict=True)
        }
        return EncodedState(self.trunk(torch.cat(list(leaves.values()), -1)), leaves, graph.attention)


class CategoryGrid(nn.Module):
    """A grid of categories [B, ...] (a map crop) to an embedding [B, D]: each cell embedded, then one linear layer."""

    def __init__(self, num_cells: int, num_categories: int, category_size: int, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(num_categories, category_size) * category_size**-0.5)
        self.project = nn.Linear(num_cells * category_size, size)

    def forward(self, grid: Tensor) -> Tensor:
        """Embed a batch of grids."""
        # Measured forward and backward for 512 crops of 81 cells, `project` included, on one thread: gather 2.2 ms,
        # index_select 4.2, nn.Embedding 4.2. gather's backward pass adds the rows of a category as vectors.
        categories = grid.flatten().long().unsqueeze(1).expand(-1, self.table.shape[1])
        cells = self.table.gather(0, categories).view(len(grid), -1)
        return nn.functional.elu(self.project(cells))


class NumberGrid(nn.Module):
    """A grid of numbers [B, ...] of any float type to an embedding [B, D]: flattened, then one linear layer."""

    def __init__(self, num_cells: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(num_cells, size)

    def forward(self, grid: Tensor) -> Tensor:
        """Embed a batch of grids."""
        return nn.functional.elu(self.project(grid.reshape(len(grid), -1).to(self.project.weight.dtype)))


def _extra_encoder(leaf: ExtraLeaf, size: int, category_size: int) -> nn.Module:
    cells = math.prod(leaf.shape)
    if leaf.num_categories:
        return CategoryGrid(cells, leaf.num_categories, category_size, size)
    return NumberGrid(cells, size)
