"""The attention layer against torch-geometric's and torch's own on shared weights, and its reading of one node.

On both forms of a batch of graphs, each with all its nodes present: there [B, N, D] and [M, D] are one another's view.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import TransformerConv

from rllib_moe.models.graph_attention import GraphAttention, Graphs
from rllib_moe.models.padded_graphs import PaddedGraphs
from rllib_moe.models.ragged_graphs import RaggedGraphs

NUM_TYPES = 3
both_forms = pytest.mark.parametrize("form", [PaddedGraphs, RaggedGraphs])


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


def graphs_of(form: type[Graphs], edges: Tensor) -> Graphs:
    """Graphs with all their nodes present; the last type is the self-loops'."""
    return form(torch.ones(edges.shape[:2], dtype=torch.uint8), edges, NUM_TYPES - 1)


def attend(built: GraphAttention, form: type[Graphs], edges: Tensor, nodes: Tensor) -> Tensor:
    """The layer on nodes [B, N, D], whatever the form."""
    hidden = nodes if form is PaddedGraphs else nodes.flatten(0, 1)
    return built(hidden, graphs_of(form, edges)).view_as(nodes)


def read_ego(built: GraphAttention, form: type[Graphs], edges: Tensor, nodes: Tensor) -> Tensor:
    """The layer read at the first nodes of nodes [B, N, D], whatever the form."""
    hidden = nodes if form is PaddedGraphs else nodes.flatten(0, 1)
    return built.read_ego(hidden, graphs_of(form, edges))


def ego_attention(built: GraphAttention, edges: Tensor, nodes: Tensor) -> Tensor:
    graphs = graphs_of(PaddedGraphs, edges)
    assert isinstance(graphs, PaddedGraphs)
    return built.ego_attention(nodes, graphs)


def transformer_conv(built: GraphAttention) -> TransformerConv:
    """torch-geometric's layer with the weights of ours; its key bias is 0."""
    size, heads = built.query.in_features, built.num_heads
    conv = TransformerConv(size, size // heads, heads=heads, concat=True, root_weight=False, bias=True)
    with torch.no_grad():
        for ours, theirs in ((built.query, conv.lin_query), (built.key, conv.lin_key), (built.value, conv.lin_value)):
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(torch.zeros_like(theirs.bias) if ours.bias is None else ours.bias)
    return conv


@both_forms
class TestAgainstTorchGeometric:
    @pytest.mark.parametrize(("size", "heads"), [(12, 1), (12, 3), (16, 4), (8, 8)])
    @pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
    def test_same_output_on_sparse_graphs(self, form: type[Graphs], size: int, heads: int, density: float) -> None:
        built = layer(size, heads)
        torch.nn.init.zeros_(built.type_bias)
        edges, nodes = random_edges(5, 9, density), random_nodes(5, 9, size)
        expected = []
        conv = transformer_conv(built)
        for graph, hidden in zip(edges, nodes, strict=True):
            target, source = graph.nonzero().T  # node i (row) attends to node j (column)
            message = conv(hidden, torch.stack((source, target)))
            expected.append(built.norm(hidden + functional.elu(message)))
        torch.testing.assert_close(attend(built, form, edges, nodes), torch.stack(expected))

    def test_same_gradients(self, form: type[Graphs]) -> None:
        built = layer()
        torch.nn.init.zeros_(built.type_bias)
        conv = transformer_conv(built)
        (graph,), (hidden,) = random_edges(1, 7), random_nodes(1, 7)
        target, source = graph.nonzero().T
        message = conv(hidden, torch.stack((source, target)))
        functional.layer_norm(
            hidden + functional.elu(message), (12,), built.norm.weight, built.norm.bias
        ).square().sum().backward()
        attend(built, form, graph[None], hidden[None]).square().sum().backward()
        for ours, theirs in ((built.query, conv.lin_query), (built.key, conv.lin_key), (built.value, conv.lin_value)):
            torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)


@both_forms
class TestAgainstTorch:
    @pytest.mark.parametrize("heads", [1, 2, 4])
    def test_type_bias_is_a_float_mask(self, form: type[Graphs], heads: int) -> None:
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
        torch.testing.assert_close(attend(built, form, edges, nodes), expected)

    def test_a_large_bias_is_the_only_neighbour(self, form: type[Graphs]) -> None:
        # Type 2 is worth 1000 more than the others: its one edge takes all attention.
        built = layer()
        with torch.no_grad():
            built.type_bias.copy_(torch.tensor([[0.0], [1000.0], [0.0]]).expand(3, 3))
        edges = torch.ones(1, 5, 5, dtype=torch.uint8)
        edges[0, 0, 3] = 2
        nodes = random_nodes(1, 5)
        expected = built.norm(nodes[:, 0] + functional.elu(built.value(nodes[:, 3])))
        torch.testing.assert_close(read_ego(built, form, edges, nodes), expected)


@both_forms
class TestReadEgo:
    @pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("nodes", [1, 2, 9])
    def test_equals_the_first_row_of_forward(self, form: type[Graphs], nodes: int, density: float) -> None:
        built = layer()
        edges, hidden = random_edges(6, nodes, density), random_nodes(6, nodes)
        expected = attend(built, form, edges, hidden)[:, 0]
        torch.testing.assert_close(read_ego(built, form, edges, hidden), expected, rtol=1e-5, atol=1e-5)

    def test_same_gradients_as_forward(self, form: type[Graphs]) -> None:
        edges, hidden = random_edges(6, 9), random_nodes(6, 9)
        gradients = []
        for read in (read_ego, lambda *arguments: attend(*arguments)[:, 0]):
            built = layer()
            read(built, form, edges, hidden).square().sum().backward()
            gradients.append([parameter.grad for parameter in built.parameters()])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class TestEgoAttention:
    def test_sums_to_one_over_the_neighbours_alone(self) -> None:
        edges = random_edges(20, 9)
        attention = ego_attention(layer(), edges, random_nodes(20, 9))
        assert attention.shape == (20, 3, 9)
        torch.testing.assert_close(attention.sum(-1), torch.ones(20, 3))
        not_neighbours = (edges[:, 0] == 0)[:, None].expand_as(attention)
        assert (attention[not_neighbours] == 0).all()
        assert (attention[~not_neighbours] > 0).all()

    def test_by_hand(self) -> None:
        # Query and key weights 0, so scores are the biases alone: ln 1, ln 2, ln 5 for the types 1, 2, 3.
        built = layer(4, 1)
        with torch.no_grad():
            built.query.weight.zero_()
            built.query.bias.zero_()
            built.type_bias.copy_(torch.tensor([[1.0], [2.0], [5.0]]).log())
        edges = torch.tensor([[[3, 1, 0, 2], [0] * 4, [0] * 4, [0] * 4]], dtype=torch.uint8)
        attention = ego_attention(built, edges, random_nodes(1, 4, 4))
        torch.testing.assert_close(attention, torch.tensor([[[5 / 8, 1 / 8, 0.0, 2 / 8]]]))


class TestExtremes:
    @both_forms
    def test_a_node_without_any_edge_reads_itself(self, form: type[Graphs]) -> None:
        built, hidden = layer(), random_nodes(2, 4)
        found = attend(built, form, torch.zeros(2, 4, 4, dtype=torch.uint8), hidden)
        torch.testing.assert_close(found, built.norm(hidden + functional.elu(built.value(hidden))))

    @both_forms
    @pytest.mark.parametrize("scale", [1e-5, 1e4])
    def test_large_and_small_embeddings(self, form: type[Graphs], scale: float) -> None:
        built = layer()
        hidden, edges = (scale * random_nodes(3, 6)).requires_grad_(), random_edges(3, 6)
        attend(built, form, edges, hidden).square().sum().backward()
        read_ego(built, form, edges, hidden).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in (hidden, *built.parameters()))

    def test_gradcheck(self) -> None:
        built = layer(4, 2).double()
        edges, hidden = random_edges(2, 3), random_nodes(2, 3, 4).double().requires_grad_()
        for call in (attend, read_ego):
            assert torch.autograd.gradcheck(
                lambda nodes, call=call: call(built, PaddedGraphs, edges, nodes), hidden, fast_mode=False
            )

    def test_size_that_heads_do_not_divide(self) -> None:
        with pytest.raises(ValueError, match="size: expected a multiple of num_heads=3, got 16"):
            GraphAttention(16, 3, 1)
