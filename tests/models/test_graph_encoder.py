"""The graph encoder: the form of the batch, padding, order and symmetry must not show in what it gives."""

import pytest
import torch
from torch import Tensor

from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.graph_encoder import EncodedGraph, GraphEncoder
from tests.models.graph_batches import Observation, random_observation, rows, zeros_like

SHAPE = GraphShape(max_nodes=30, node_features=5, num_node_types=3, num_edge_types=2, features=1, num_actions=None)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def encoder(num_layers: int = 2, shape: GraphShape = SHAPE) -> GraphEncoder:
    torch.manual_seed(0)
    built = GraphEncoder(shape.node_features, shape.num_node_types, shape.num_edge_types, 12, 3, num_layers)
    for layer in built.layers:
        torch.nn.init.normal_(layer.type_bias)
    return built


def encode(built: GraphEncoder, observation: Observation, return_attention: bool = False) -> EncodedGraph:
    return built(
        observation["nodes"],
        observation["node_mask"],
        observation["edges"],
        observation.get("node_types"),
        return_attention,
    )


def one_by_one(built: GraphEncoder, observation: Observation) -> tuple[Tensor, Tensor]:
    """Each graph alone and cut to its own nodes: nothing to sort, nothing padded."""
    egos, attentions = [], []
    for index, size in enumerate(observation["node_mask"].sum(1).clamp(min=1).tolist()):
        graph = {
            "nodes": observation["nodes"][index : index + 1, :size],
            "node_mask": observation["node_mask"][index : index + 1, :size],
            "edges": observation["edges"][index : index + 1, :size, :size],
            "node_types": observation["node_types"][index : index + 1, :size],
        }
        ego, attention = encode(built, graph, return_attention=True)
        assert attention is not None
        egos.append(ego)
        attentions.append(torch.nn.functional.pad(attention, (0, SHAPE.max_nodes - size)))
    return torch.cat(egos), torch.cat(attentions)


class TestForms:
    """The padded form computes where attention is asked for, the ragged one elsewhere (on a CPU)."""

    @pytest.mark.parametrize("batch", [1, 2, 127, 128, 300, 512])
    def test_same_as_one_by_one_in_the_same_order(self, batch: int) -> None:
        built = encoder()
        observation = random_observation(SHAPE, batch, seed=batch)
        expected, attention = one_by_one(built, observation)
        padded = encode(built, observation, return_attention=True)
        torch.testing.assert_close(padded.ego, expected, **CLOSE)
        torch.testing.assert_close(padded.attention, attention, **CLOSE)
        torch.testing.assert_close(encode(built, observation).ego, expected, **CLOSE)

    @pytest.mark.parametrize("num_layers", [1, 2, 3])
    def test_same_gradients(self, num_layers: int) -> None:
        observation = random_observation(SHAPE, 300)
        gradients = []
        for is_padded in (True, False):
            built = encoder(num_layers)
            encode(built, observation, return_attention=is_padded).ego.sin().mean().backward()
            gradients.append({name: each.grad for name, each in built.named_parameters()})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)

    def test_double_precision(self) -> None:
        built, observation = encoder(), random_observation(SHAPE, 40)
        expected = encode(built, observation).ego
        in_double = encode(built.double(), observation | {"nodes": observation["nodes"].double()}).ego
        assert in_double.dtype == torch.float64
        torch.testing.assert_close(in_double.float(), expected, **CLOSE)

    def test_rows_move_with_their_graphs(self) -> None:
        built = encoder()
        observation = random_observation(SHAPE, 400)
        shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            encode(built, rows(observation, shuffled)).ego, encode(built, observation).ego[shuffled], **CLOSE
        )

    def test_attention_only_when_asked_for(self) -> None:
        assert encode(encoder(), random_observation(SHAPE, 3)).attention is None
        assert encode(encoder(), random_observation(SHAPE, 300)).attention is None


class TestPadding:
    @pytest.mark.parametrize("batch", [7, 400])
    @pytest.mark.parametrize("num_layers", [1, 2, 3])
    def test_absent_nodes_change_nothing(self, batch: int, num_layers: int) -> None:
        built = encoder(num_layers)
        observation = random_observation(SHAPE, batch)
        absent = observation["node_mask"] == 0
        absent[:, 0] = False  # an empty graph is its ego node
        changed = dict(observation)
        changed["nodes"] = torch.where(absent[:, :, None], 1e3, observation["nodes"])
        changed["node_types"] = torch.where(absent, 2, observation["node_types"]).to(torch.uint8)
        assert not torch.equal(changed["nodes"], observation["nodes"])
        assert torch.equal(encode(built, changed).ego, encode(built, observation).ego)

    @pytest.mark.parametrize("batch", [50, 400])
    def test_attention_sums_to_one_and_is_zero_on_absent_nodes(self, batch: int) -> None:
        observation = random_observation(SHAPE, batch)
        attention = encode(encoder(), observation, return_attention=True).attention
        assert attention is not None
        assert attention.shape == (batch, 3, SHAPE.max_nodes)
        torch.testing.assert_close(attention.sum(-1), torch.ones(batch, 3))
        absent = observation["node_mask"] == 0
        absent[:, 0] = False
        assert (attention.transpose(1, 2)[absent] == 0).all()

    def test_more_room_changes_nothing(self) -> None:
        built = encoder()
        small = random_observation(SHAPE, 30)
        room = 4
        large = {
            "nodes": torch.nn.functional.pad(small["nodes"], (0, 0, 0, room)),
            "node_mask": torch.nn.functional.pad(small["node_mask"], (0, room)),
            "edges": torch.nn.functional.pad(small["edges"], (0, room, 0, room)),
            "node_types": torch.nn.functional.pad(small["node_types"], (0, room)),
        }
        torch.testing.assert_close(encode(built, large).ego, encode(built, small).ego, **CLOSE)


class TestGraph:
    def test_order_of_the_other_nodes_does_not_matter(self) -> None:
        built = encoder()
        observation = random_observation(SHAPE, 40)
        generator = torch.Generator().manual_seed(5)
        permuted = {name: leaf.clone() for name, leaf in observation.items()}
        for index, size in enumerate(observation["node_mask"].sum(1).tolist()):
            order = torch.arange(SHAPE.max_nodes)
            if size > 1:
                order[1:size] = 1 + torch.randperm(size - 1, generator=generator)
            permuted["nodes"][index] = observation["nodes"][index, order]
            permuted["node_types"][index] = observation["node_types"][index, order]
            permuted["edges"][index] = observation["edges"][index, order][:, order]
        assert not torch.equal(permuted["edges"], observation["edges"])
        torch.testing.assert_close(encode(built, permuted).ego, encode(built, observation).ego, **CLOSE)

    @pytest.mark.parametrize("num_layers", [1, 2, 3])
    def test_reaches_as_far_as_it_has_layers(self, num_layers: int) -> None:
        # A chain: node i attends to node i + 1 alone. The ego sees nodes up to num_layers away and no further.
        observation = zeros_like(random_observation(SHAPE, 1))
        observation["node_mask"].fill_(1)
        for node in range(SHAPE.max_nodes - 1):
            observation["edges"][0, node, node + 1] = 1
        nodes = observation["nodes"].normal_(generator=torch.Generator().manual_seed(0)).requires_grad_()
        encode(encoder(num_layers), observation).ego.square().sum().backward()
        assert nodes.grad is not None
        seen = (nodes.grad[0].abs().sum(1) > 0).tolist()
        assert seen == [node <= num_layers for node in range(SHAPE.max_nodes)]

    @pytest.mark.parametrize("leaf", ["edges", "node_types"])
    def test_types_matter(self, leaf: str) -> None:
        observation = random_observation(SHAPE, 20)
        observation["node_mask"].fill_(1)
        observation["edges"].fill_(1)
        observation["nodes"].normal_(generator=torch.Generator().manual_seed(0))
        changed = dict(observation)
        changed[leaf] = 2 * torch.ones_like(observation[leaf])
        difference = encode(encoder(), changed).ego - encode(encoder(), observation).ego
        assert (difference.abs().amax(1) > 1e-3).all()

    def test_without_node_types(self) -> None:
        shape = GraphShape(
            max_nodes=4, node_features=2, num_node_types=0, num_edge_types=1, features=1, num_actions=None
        )
        observation = random_observation(shape, 6)
        assert "node_types" not in observation
        assert encode(encoder(shape=shape), observation).ego.shape == (6, 12)

    def test_as_many_edge_types_as_a_byte_holds(self) -> None:
        # The encoder's self-loops are type 256 then.
        shape = GraphShape(
            max_nodes=4, node_features=2, num_node_types=0, num_edge_types=255, features=1, num_actions=None
        )
        built, observation = encoder(shape=shape), random_observation(shape, 5)
        expected = built(observation["nodes"], observation["node_mask"], observation["edges"].int()).ego
        torch.testing.assert_close(encode(built, observation).ego, expected)


class TestExtremes:
    @pytest.mark.parametrize("batch", [3, 300])
    def test_empty_graphs_are_finite(self, batch: int) -> None:
        observation = zeros_like(random_observation(SHAPE, batch))
        encoded = encode(encoder(), observation, return_attention=True)
        assert encoded.ego.isfinite().all()
        assert encoded.attention is not None
        torch.testing.assert_close(encoded.attention[:, :, 0], torch.ones(batch, 3))

    @pytest.mark.parametrize("batch", [3, 300])
    def test_every_parameter_has_a_finite_gradient(self, batch: int) -> None:
        built = encoder()
        encode(built, random_observation(SHAPE, batch)).ego.square().sum().backward()
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    @pytest.mark.parametrize("leaf", ["nodes", "edges"])
    def test_shapes_that_do_not_fit(self, leaf: str) -> None:
        observation = random_observation(SHAPE, 3)
        observation[leaf] = observation[leaf][:, :-1]
        with pytest.raises(
            ValueError, match=r"expected nodes \[B, N, F\] and edges \[B, N, N\] for node_mask \(3, 30\)"
        ):
            encode(encoder(), observation)
