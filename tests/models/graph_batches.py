"""Random graph observations of every size for the tests of the models."""

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import EncodedGraph

Observation = dict[str, Tensor]


def random_observation(shape: GraphShape, batch: int, seed: int = 0) -> Observation:
    """A batch that follows the contract: graphs of no node to all, present nodes first; one legal action at least."""
    generator = torch.Generator().manual_seed(seed)

    def whole(high: int, *size: int) -> Tensor:
        return torch.randint(0, high, size, generator=generator).to(torch.uint8)

    nodes = shape.max_nodes
    present = torch.arange(nodes) < torch.randint(0, nodes + 1, (batch, 1), generator=generator)
    pairs = present[:, :, None] & present[:, None, :]
    linked = pairs & (torch.rand(batch, nodes, nodes, generator=generator) < 0.4)
    observation = {
        "nodes": torch.randn(batch, nodes, shape.node_features, generator=generator) * present[:, :, None],
        "node_mask": present.to(torch.uint8),
        "edges": (whole(shape.num_edge_types, batch, nodes, nodes) + 1) * linked,
        "features": torch.randn(batch, shape.features, generator=generator),
    }
    if shape.num_node_types:
        observation["node_types"] = whole(shape.num_node_types, batch, nodes) * present
    if shape.num_actions:
        observation["action_mask"] = whole(2, batch, shape.num_actions)
        observation["action_mask"][:, 0] |= ~observation["action_mask"].any(1)
    if shape.num_roles:
        observation["roles"] = torch.randn(batch, shape.num_roles, generator=generator).softmax(-1)
    for name, leaf in shape.extras.items():
        if leaf.num_categories:
            observation[name] = whole(leaf.num_categories, batch, *leaf.shape)
        else:
            observation[name] = torch.randn(batch, *leaf.shape, generator=generator).to(getattr(torch, leaf.dtype))
    return observation


def zeros_like(observation: Observation) -> Observation:
    """The all-zero batch RLlib builds when it tries a model."""
    return {name: torch.zeros_like(leaf) for name, leaf in observation.items()}


def rows(observation: Observation, index: slice | Tensor) -> Observation:
    """Some rows of a batch."""
    return {name: leaf[index] for name, leaf in observation.items()}


def box(high: int, *shape: int) -> spaces.Box:
    """An extra leaf of categories 0 to `high`."""
    return spaces.Box(0, high, shape, np.uint8)


def encode(encoder: nn.Module, observation: Observation, return_attention: bool = False) -> EncodedGraph:
    """A graph encoder on a batch of observations."""
    leaves = (observation.get(name) for name in ("nodes", "node_mask", "edges", "node_types"))
    encoded: EncodedGraph = encoder(*leaves, return_attention)
    return encoded
