"""The encoder without a graph against a loop over nodes."""

import torch

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape, graph_space
from rllib_moe.models.node_pool import NodePool
from rllib_moe.models.observation_encoder import ObservationEncoder
from tests.models.graph_batches import encode, random_observation

SHAPE = GraphShape.from_space(
    graph_space(max_nodes=6, node_features=3, features=2, num_edge_types=2, num_node_types=4, num_actions=3)
)


def pool() -> NodePool:
    return NodePool(SHAPE, ModelConfig(hidden_size=8))


def test_is_the_mean_over_the_nodes_that_exist() -> None:
    built, observation = pool(), random_observation(SHAPE, 20)
    for row, ego in enumerate(encode(built, observation).ego):
        embedded = []
        for node in range(int(observation["node_mask"][row].sum())):
            one_hot = torch.eye(4)[int(observation["node_types"][row, node])]
            hidden = built.embed(torch.cat((observation["nodes"][row, node], one_hot)))
            for block in built.blocks:
                hidden = hidden + block(hidden)
            embedded.append(hidden)
        expected = torch.stack(embedded).mean(0) if embedded else torch.zeros(8)
        torch.testing.assert_close(ego, expected, rtol=1e-5, atol=1e-5)


def test_reads_no_edges_and_no_padding() -> None:
    built, observation = pool(), random_observation(SHAPE, 20)
    before = encode(built, observation).ego
    observation["edges"] = 2 - observation["edges"]
    observation["nodes"] = observation["nodes"].masked_fill(observation["node_mask"].unsqueeze(-1) == 0, 7.0)
    torch.testing.assert_close(encode(built, observation).ego, before)


def test_the_configuration_chooses_it_with_about_as_many_parameters() -> None:
    def parameters(kind: str) -> int:
        encoder = ObservationEncoder(SHAPE, ModelConfig(graph_encoder=kind))
        assert isinstance(encoder.graph, NodePool) == (kind == "mean")
        return sum(parameter.numel() for parameter in encoder.graph.parameters())

    assert 0.9 < parameters("mean") / parameters("attention") < 1.1
