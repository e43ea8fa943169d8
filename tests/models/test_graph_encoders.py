"""Every graph encoder: padding, order and neighbors in a batch must not show in what it gives; types and edges must."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.evaluation.evaluate import EvaluationRequest, evaluate
from rllib_moe.models.encoder_registry import make_graph_encoder
from tests.conftest import Train
from tests.models.graph_batches import Observation, encode, random_observation, rows, zeros_like

SHAPE = GraphShape(max_nodes=14, node_features=5, num_node_types=3, num_edge_types=2, features=1, num_actions=None)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
DENSE = "attention, dense layers"
ATTENDING = ("attention", DENSE, "GATConv", "GATv2Conv", "TransformerConv", "RGATConv")
TYPED = (*ATTENDING, "RGCNConv", "ResGatedGraphConv")
NAMES = (*TYPED, "GCNConv", "SAGEConv", "GeneralConv", "FeaStConv", "SuperGATConv")
encoders = pytest.mark.parametrize("name", NAMES)
attending = pytest.mark.parametrize("name", ATTENDING)


def encoder(name: str, num_layers: int = 2, shape: GraphShape = SHAPE) -> nn.Module:
    torch.manual_seed(0)
    kind = "attention" if name == DENSE else name
    config = ModelConfig(graph_encoder=kind, hidden_size=12, num_heads=3, num_layers=num_layers)
    built = make_graph_encoder(shape, config)
    if kind == "attention":
        built.use_compiled = name != DENSE  # type: ignore[assignment]
        for layer in built.layers:  # type: ignore[union-attr]
            nn.init.normal_(layer.type_bias)  # type: ignore[arg-type]
    return built


def chain() -> Observation:
    """A graph whose node i attends to node i + 1 alone."""
    observation = zeros_like(random_observation(SHAPE, 1))
    observation["node_mask"].fill_(1)
    observation["edges"][0].diagonal(1).fill_(1)
    observation["nodes"].normal_(generator=torch.Generator().manual_seed(0))
    return observation


class TestBatch:
    @encoders
    @pytest.mark.parametrize("batch", [2, 150])
    def test_same_as_each_graph_alone_and_cut_to_its_nodes(self, name: str, batch: int) -> None:
        observation, built, parts = random_observation(SHAPE, batch, seed=batch), encoder(name), []
        for index, size in enumerate(observation["node_mask"].sum(1).clamp(min=1).tolist()):
            alone = {leaf: value[:, :size] for leaf, value in rows(observation, slice(index, index + 1)).items()}
            alone["edges"] = alone["edges"][:, :, :size]
            ego, attention = encode(built, alone, return_attention=True)
            parts.append((ego, None if attention is None else functional.pad(attention, (0, SHAPE.max_nodes - size))))
        ego, attention = encode(built, observation, return_attention=True)
        torch.testing.assert_close(ego, torch.cat([ego for ego, _ in parts]), **CLOSE)
        if attention is not None:
            torch.testing.assert_close(attention, torch.cat([each for _, each in parts if each is not None]), **CLOSE)
        unexplained = encode(built, observation)
        assert torch.equal(unexplained.ego, ego), "what is explained is not what acts"
        assert unexplained.attention is None

    @encoders
    def test_absent_nodes_change_nothing(self, name: str) -> None:
        built, observation = encoder(name), random_observation(SHAPE, 60)
        absent = observation["node_mask"] == 0
        absent[:, 0] = False  # an empty graph is its ego node
        changed = {
            "nodes": torch.where(absent[:, :, None], 1e3, observation["nodes"]),
            "node_types": torch.where(absent, 2, observation["node_types"]).to(torch.uint8),
            "edges": torch.where(absent[:, :, None] | absent[:, None, :], 2, observation["edges"]).to(torch.uint8),
        }
        torch.testing.assert_close(encode(built, observation | changed).ego, encode(built, observation).ego, **CLOSE)

    @encoders
    def test_order_of_the_other_nodes_does_not_matter(self, name: str) -> None:
        built, observation = encoder(name), random_observation(SHAPE, 40)
        generator = torch.Generator().manual_seed(5)
        permuted = {leaf: value.clone() for leaf, value in observation.items()}
        for index, size in enumerate(observation["node_mask"].sum(1).tolist()):
            order = torch.arange(SHAPE.max_nodes)
            if size > 1:
                order[1:size] = 1 + torch.randperm(size - 1, generator=generator)
            permuted["nodes"][index] = observation["nodes"][index, order]
            permuted["node_types"][index] = observation["node_types"][index, order]
            permuted["edges"][index] = observation["edges"][index, order][:, order]
        assert not torch.equal(permuted["edges"], observation["edges"])
        torch.testing.assert_close(encode(built, permuted).ego, encode(built, observation).ego, **CLOSE)

    @pytest.mark.parametrize("name", [*NAMES, "mean"])
    def test_empty_graphs_are_finite(self, name: str) -> None:
        ego, attention = encode(encoder(name), zeros_like(random_observation(SHAPE, 3)), return_attention=True)
        assert ego.isfinite().all()
        assert (attention is not None) == (name in ATTENDING)
        if attention is not None:
            torch.testing.assert_close(attention[:, :, 0], torch.ones(3, 3))


class TestGraph:
    @encoders
    @pytest.mark.parametrize("num_layers", [1, 2, 3])
    def test_reads_along_the_edges_as_far_as_it_has_layers(self, name: str, num_layers: int) -> None:
        observation = chain()
        nodes = observation["nodes"].requires_grad_()
        encode(encoder(name, num_layers), observation).ego.sin().sum().backward()
        assert nodes.grad is not None
        assert (nodes.grad[0].abs().sum(1) > 0).tolist() == [node <= num_layers for node in range(SHAPE.max_nodes)]

    @encoders
    def test_parameters_have_finite_gradients(self, name: str) -> None:
        built = encoder(name)
        encode(built, random_observation(SHAPE, 150)).ego.sin().sum().backward()
        unused = {"w", "l1", "b1", "l2", "b2"} if name == "RGATConv" else set()  # of its variants
        for parameter, value in built.named_parameters():
            if parameter.rpartition(".")[2] not in unused:
                assert value.grad is not None, parameter
                assert value.grad.isfinite().all(), parameter

    @pytest.mark.parametrize("leaf", ["edges", "node_types"])
    @pytest.mark.parametrize("name", TYPED)
    def test_types_matter(self, name: str, leaf: str) -> None:
        observation, built = chain(), encoder(name)
        changed = observation | {leaf: (observation[leaf] + 1) * (observation[leaf] > 0 if leaf == "edges" else 1)}
        assert not torch.allclose(encode(built, changed).ego, encode(built, observation).ego, atol=1e-3)

    @attending
    def test_attention_sums_to_one_over_the_neighbors_alone(self, name: str) -> None:
        observation = random_observation(SHAPE, 60)
        attention = encode(encoder(name), observation, return_attention=True).attention
        assert attention is not None
        assert attention.shape == (60, 3, SHAPE.max_nodes)
        torch.testing.assert_close(attention.sum(-1), torch.ones(60, 3))
        neighbors = observation["edges"][:, 0] > 0
        neighbors[:, 0] = True
        assert ((attention > 0).any(1) == neighbors).all()

    @attending
    def test_without_node_types(self, name: str) -> None:
        shape = replace(SHAPE, num_node_types=0)
        assert encode(encoder(name, shape=shape), random_observation(shape, 6)).ego.shape == (6, 12)


class TestAttentionEncoder:
    def test_double_precision(self) -> None:
        built, observation = encoder("attention"), random_observation(SHAPE, 40)
        expected = encode(built, observation).ego
        in_double = encode(built.double(), observation | {"nodes": observation["nodes"].double()}).ego
        assert in_double.dtype == torch.float64
        torch.testing.assert_close(in_double.float(), expected, **CLOSE)

    @pytest.mark.parametrize("leaf", ["nodes", "edges"])
    def test_shapes_that_do_not_fit(self, leaf: str) -> None:
        observation = random_observation(SHAPE, 3)
        observation[leaf] = observation[leaf][:, :-1]
        with pytest.raises(ValueError, match=r"expected nodes \[B, N, F\] and edges \[B, N, N\] for node_mask \(3, 14"):
            encode(encoder("attention"), observation)

    def test_transformer_conv_is_the_same_without_edge_types(self) -> None:
        """One layer with shared weights, the edges' part zero in both: the same embedding and the same attention."""
        ours, theirs = encoder("attention", 1), encoder("TransformerConv", 1)
        layer, conv = ours.layers[0], theirs.layers[0]  # type: ignore[index]
        theirs.embed.load_state_dict(ours.embed.state_dict())  # type: ignore[operator, union-attr]
        for one, other in ((conv.lin_query, layer.query), (conv.lin_value, layer.value)):  # type: ignore[union-attr]
            one.load_state_dict(other.state_dict())
        with torch.no_grad():
            for zero in (layer.type_bias, conv.lin_edge.weight, conv.lin_key.bias, *conv.lin_skip.parameters()):
                zero.zero_()
            conv.lin_key.weight.copy_(layer.key.weight)  # type: ignore[union-attr]
        observation = random_observation(SHAPE, 60)
        expected, found = (encode(built, observation, return_attention=True) for built in (ours, theirs))
        torch.testing.assert_close(found.ego, expected.ego, **CLOSE)
        torch.testing.assert_close(found.attention, expected.attention, **CLOSE)


def test_a_short_training_and_its_explanation(train: Train, tmp_path: Path) -> None:
    assert train("run", 16, "--graph-encoder", "GATv2Conv")["episodes_total"] >= 16
    checkpoint = str(tmp_path / "run")
    numbers = evaluate(EvaluationRequest(checkpoint=checkpoint, episodes=2, num_workers=0, explain=True))
    attention = numbers["explain"]["attention"]
    assert sum(row["attention"] for row in attention["by_class"].values()) == pytest.approx(1, abs=1e-3)
