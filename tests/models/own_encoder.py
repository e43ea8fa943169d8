"""A user's own graph encoders: one that is as it should be, and two that show in a trial alone what is wrong."""

from typing import Any

import torch
from torch import Tensor, nn

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import EncodedGraph


class Nearest(nn.Module):
    """The ego node and the sum of those it attends to."""

    extra, dropout = 0, 0.0

    def __init__(self, shape: GraphShape, config: ModelConfig) -> None:
        super().__init__()
        project = nn.Linear(2 * shape.node_features, config.hidden_size + self.extra)
        self.project = nn.Sequential(project, nn.Dropout(self.dropout))

    def forward(self, nodes: Tensor, node_mask: Tensor, edges: Tensor, *_: Any) -> EncodedGraph:
        read = ((edges[:, 0] > 0) & (node_mask > 0)).to(nodes.dtype).unsqueeze(1) @ nodes  # [B, 1, F]
        return EncodedGraph(self.project(torch.cat((nodes[:, 0], read[:, 0]), -1)), None)


class Wide(Nearest):
    """Embeddings of one number too many."""

    extra = 1


class Dropping(Nearest):
    """Embeddings with dropout."""

    dropout = 0.5
