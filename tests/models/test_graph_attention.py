"""The attention layer against torch-geometric's and torch's own on shared weights, and its reading of one node."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import TransformerConv

from rllib_moe.models.graph_attention import EdgeRelation, GraphAttention

NUM_TYPES = 3


def layer(size: int = 12, heads: int = 3, types: int = NUM_TYPES, seed: int = 0) -> GraphAttention:
    """A layer whose every parameter is random, the ones that start at 0 or 1 included."""
    torch.manual_seed(seed)
    built = GraphAttention(size, heads, types)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built


def random_edges(batch: int, nodes: int, density: float = 0.4, seed: int = 0) -> Tensor:
    """Edge types, 0 for most pairs, with a self-loop everywhere: what the encoder hands to the layers."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(1, NUM_TYPES + 1, (batch, nodes, nodes), generator=generator)
    edges *= torch.rand(batch, nodes, nodes, generator=generator) < density
    edges.diagonal(dim1=1, dim2=2).fill_(NUM_TYPES)
    return edges.to(torch.uint8)


def random_nodes(batch: int, nodes: int, size: int = 12, seed: int = 1) -> Tensor:
    return torch.randn(batch, nodes, size, generator=torch.Generator().manual_seed(seed))


def transformer_conv(built: GraphAttention) -> TransformerConv:
    """torch-geometric's layer with the weights of ours; its key bias is 0."""
    size, heads = built.query.in_features, built.num_heads
    conv = TransformerConv(size, size // heads, heads=heads, concat=True, root_weight=False, bias=True)
    with torch.no_grad():
        for ours, theirs in ((built.query, conv.lin_query), (built.key, conv.lin_key), (built.value, conv.lin_value)):
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(torch.zeros_like(theirs.bias) if ours.bias is None else ours.bias)
    return conv


class TestAgainstTorchGeometric:
    @pytest.mark.parametrize(("size", "heads"), [(12, 1), (12, 3), (16, 4), (8, 8)])
    @pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
    def test_same_output_on_sparse_graphs(self, size: int, heads: int, density: float) -> None:
        built = layer(size, heads)
        torch.nn.init.zeros_(built.type_bias)
        edges, nodes = random_edges(5, 9, density), random_nodes(5, 9, size)
        expected = []
        conv = transformer_conv(built)
        for graph, hidden in zip(edges, nodes, strict=True):
            target, source = graph.nonzero().T  # node i (row) attends to node j (column)
            message = conv(hidden, torch.stack((source, target)))
            expected.append(built.norm(hidden + functional.elu(message)))
        torch.testing.assert_close(built(nodes, EdgeRelation(edges, NUM_TYPES)), torch.stack(expected))

    def test_same_gradients(self) -> None:
        built = layer()
        torch.nn.init.zeros_(built.type_bias)
        conv = transformer_conv(built)
        (graph,), (hidden,) = random_edges(1, 7), random_nodes(1, 7)
        target, source = graph.nonzero().T
        message = conv(hidden, torch.stack((source, target)))
        functional.layer_norm(
            hidden + functional.elu(message), (12,), built.norm.weight, built.norm.bias
        ).square().sum().backward()
        built(hidden[None], EdgeRelation(graph[None], NUM_TYPES)).square().sum().backward()
        for ours, theirs in ((built.query, conv.lin_query), (built.key, conv.lin_key), (built.value, conv.lin_value)):
            torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)


class TestAgainstTorch:
    @pytest.mark.parametrize("heads", [1, 2, 4])
    def test_type_bias_is_a_float_mask(self, heads: int) -> None:
        built = layer(16, heads)
        edges, nodes = random_edges(4, 6), random_nodes(4, 6, 16)
        query, key, value = (
            linear(nodes).unflatten(-1, (heads, -1)).transpose(1, 2) for linear in (built.query, built.key, built.value)
        )
        mask = torch.full((4, heads, 6, 6), -math.inf)
        for graph, i, j in edges.nonzero().tolist():
            mask[graph, :, i, j] = built.type_bias[int(edges[graph, i, j]) - 1]
        message = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        expected = built.norm(nodes + functional.elu(message.transpose(1, 2).flatten(2)))
        torch.testing.assert_close(built(nodes, EdgeRelation(edges, NUM_TYPES)), expected)

    def test_a_large_bias_is_the_only_neighbour(self) -> None:
        # Type 2 is worth 1000 more than the others: its one edge takes all attention.
        built = layer()
        with torch.no_grad():
            built.type_bias.copy_(torch.tensor([[0.0], [1000.0], [0.0]]).expand(3, 3))
        edges = torch.ones(1, 5, 5, dtype=torch.uint8)
        edges[0, 0, 3] = 2
        _, attention = built.read_ego(random_nodes(1, 5), EdgeRelation(edges, NUM_TYPES))
        torch.testing.assert_close(attention, torch.eye(5)[3].expand(1, 3, 5))


class TestReadEgo:
    @pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("nodes", [1, 2, 9])
    def test_equals_the_first_row_of_forward(self, nodes: int, density: float) -> None:
        built = layer()
        relation, hidden = EdgeRelation(random_edges(6, nodes, density), NUM_TYPES), random_nodes(6, nodes)
        ego, _ = built.read_ego(hidden, relation)
        torch.testing.assert_close(ego, built(hidden, relation)[:, 0], rtol=1e-5, atol=1e-5)

    def test_same_gradients_as_forward(self) -> None:
        relation, hidden = EdgeRelation(random_edges(6, 9), NUM_TYPES), random_nodes(6, 9)
        gradients = []
        for read in (lambda built: built.read_ego(hidden, relation)[0], lambda built: built(hidden, relation)[:, 0]):
            built = layer()
            read(built).square().sum().backward()
            gradients.append([parameter.grad for parameter in built.parameters()])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_attention_sums_to_one_over_the_neighbours_alone(self) -> None:
        edges = random_edges(20, 9)
        _, attention = layer().read_ego(random_nodes(20, 9), EdgeRelation(edges, NUM_TYPES))
        assert attention.shape == (20, 3, 9)
        torch.testing.assert_close(attention.sum(-1), torch.ones(20, 3))
        not_neighbours = (edges[:, 0] == 0)[:, None].expand_as(attention)
        assert (attention[not_neighbours] == 0).all()
        assert (attention[~not_neighbours] > 0).all()

    def test_attention_by_hand(self) -> None:
        # Query and key weights 0, so scores are the biases alone: ln 1, ln 2, ln 5 for the types 1, 2, 3.
        built = layer(4, 1)
        with torch.no_grad():
            built.query.weight.zero_()
            built.query.bias.zero_()
            built.type_bias.copy_(torch.tensor([[1.0], [2.0], [5.0]]).log())
        edges = torch.tensor([[[3, 1, 0, 2], [0] * 4, [0] * 4, [0] * 4]], dtype=torch.uint8)
        _, attention = built.read_ego(random_nodes(1, 4, 4), EdgeRelation(edges, NUM_TYPES))
        torch.testing.assert_close(attention, torch.tensor([[[5 / 8, 1 / 8, 0.0, 2 / 8]]]))


class TestExtremes:
    def test_a_node_without_any_edge_is_finite(self) -> None:
        built = layer()
        relation = EdgeRelation(torch.zeros(2, 4, 4, dtype=torch.uint8), NUM_TYPES)
        hidden = random_nodes(2, 4).requires_grad_()
        out = built(hidden, relation)
        assert out.isfinite().all()
        out.sum().backward()
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all()

    @pytest.mark.parametrize("scale", [1e-5, 1e4])
    def test_large_and_small_embeddings(self, scale: float) -> None:
        built = layer()
        hidden = (scale * random_nodes(3, 6)).requires_grad_()
        relation = EdgeRelation(random_edges(3, 6), NUM_TYPES)
        built(hidden, relation).square().sum().backward()
        built.read_ego(hidden, relation)[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in (hidden, *built.parameters()))

    def test_gradcheck(self) -> None:
        built = layer(4, 2).double()
        relation = EdgeRelation(random_edges(2, 3), NUM_TYPES)
        relation.one_hot, relation.blocked = relation.one_hot.double(), relation.blocked.double()
        hidden = random_nodes(2, 3, 4).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda nodes: built(nodes, relation), hidden)
        assert torch.autograd.gradcheck(lambda nodes: built.read_ego(nodes, relation), hidden)

    def test_size_that_heads_do_not_divide(self) -> None:
        with pytest.raises(ValueError, match="size: expected a multiple of num_heads=3, got 16"):
            GraphAttention(16, 3, 1)


class TestEdgeRelation:
    def test_scores_by_hand(self) -> None:
        edges = torch.tensor([[[0, 2], [1, 0]]], dtype=torch.uint8)
        scores = EdgeRelation(edges, 2).scores(torch.tensor([[10.0, 11.0], [20.0, 21.0]]))
        # Head 0 has 10 and 20 for the types 1 and 2, head 1 has 11 and 21.
        expected = torch.tensor([[[[-1e9, 20.0], [10.0, -1e9]], [[-1e9, 21.0], [11.0, -1e9]]]])
        torch.testing.assert_close(scores, expected)

    def test_ego_scores_are_the_first_row(self) -> None:
        bias = torch.randn(NUM_TYPES, 4)
        relation = EdgeRelation(random_edges(3, 5), NUM_TYPES)
        torch.testing.assert_close(relation.ego_scores(bias), relation.scores(bias)[:, :, 0])
