"""The dense attention layer against torch-geometric's and torch's own on shared weights, and how it reads one node."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import TransformerConv
from torch_geometric.utils import dense_to_sparse

from rllib_moe.models.graph_attention import GraphAttention

NUM_TYPES = 3


def layer(size: int = 12, heads: int = 3, seed: int = 0) -> GraphAttention:
    """A layer whose every parameter is random, the ones that start at 0 or 1 included."""
    torch.manual_seed(seed)
    built = GraphAttention(size, heads, NUM_TYPES)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built


def random_edges(batch: int, nodes: int, density: float = 0.4, seed: int = 0) -> Tensor:
    """Edge types, 0 for most pairs, with a self-loop everywhere."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(1, NUM_TYPES + 1, (batch, nodes, nodes), generator=generator)
    edges *= torch.rand(batch, nodes, nodes, generator=generator) < density
    edges.diagonal(dim1=1, dim2=2).fill_(NUM_TYPES)
    return edges


def one_hot(edges: Tensor) -> Tensor:
    """Edge types as the layer takes them."""
    return edges.unsqueeze(-1) == torch.arange(1, NUM_TYPES + 1)


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
    def test_same_output_and_gradients_on_sparse_graphs(self, size: int, heads: int, density: float) -> None:
        built = layer(size, heads)
        torch.nn.init.zeros_(built.type_bias)
        conv, edges, nodes = transformer_conv(built), random_edges(5, 9, density), random_nodes(5, 9, size)
        target_to_source, _ = dense_to_sparse(edges)  # node i (row) attends to node j (column)
        message = conv(nodes.flatten(0, 1), target_to_source.flip(0)).view_as(nodes)
        normed = (nodes + functional.elu(message), (size,), built.norm.weight.detach(), built.norm.bias.detach())
        expected, found = functional.layer_norm(*normed), built(nodes, one_hot(edges))
        torch.testing.assert_close(found, expected)
        expected.sin().sum().backward()
        found.sin().sum().backward()
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
        torch.testing.assert_close(built(nodes, one_hot(edges)), expected)

    def test_a_large_bias_is_the_only_neighbor(self) -> None:
        # Type 2 is worth 1000 more than the others: its one edge takes all attention.
        built = layer()
        with torch.no_grad():
            built.type_bias.copy_(torch.tensor([[0.0], [1000.0], [0.0]]).expand(3, 3))
        edges = torch.ones(1, 5, 5, dtype=torch.uint8)
        edges[0, 0, 3] = 2
        nodes = random_nodes(1, 5)
        expected = built.norm(nodes[:, 0] + functional.elu(built.value(nodes[:, 3])))
        torch.testing.assert_close(built.read_ego(nodes, one_hot(edges))[0], expected)


class TestReadEgo:
    @pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("nodes", [1, 2, 9])
    def test_equals_the_first_row_of_forward_with_its_gradients(self, nodes: int, density: float) -> None:
        edges, hidden = one_hot(random_edges(6, nodes, density)), random_nodes(6, nodes)
        read, gradients = [], []
        for is_ego in (True, False):
            built = layer()
            read.append(built.read_ego(hidden, edges)[0] if is_ego else built(hidden, edges)[:, 0])
            read[-1].sin().sum().backward()
            gradients.append([parameter.grad for parameter in built.parameters()])
        torch.testing.assert_close(*read, rtol=1e-5, atol=1e-5)
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_attention_sums_to_one_over_the_neighbors_alone(self) -> None:
        edges = random_edges(20, 9)
        _, attention = layer().read_ego(random_nodes(20, 9), one_hot(edges))
        assert attention.shape == (20, 3, 9)
        torch.testing.assert_close(attention.sum(-1), torch.ones(20, 3))
        not_neighbors = (edges[:, 0] == 0)[:, None].expand_as(attention)
        assert (attention[not_neighbors] == 0).all()
        assert (attention[~not_neighbors] > 0).all()

    def test_attention_by_hand(self) -> None:
        # Query and key weights 0, so scores are the biases alone: ln 1, ln 2, ln 5 for the types 1, 2, 3.
        built = layer(4, 1)
        with torch.no_grad():
            built.query.weight.zero_()
            built.query.bias.zero_()
            built.type_bias.copy_(torch.tensor([[1.0], [2.0], [5.0]]).log())
        edges = torch.tensor([[[3, 1, 0, 2], [0] * 4, [0] * 4, [0] * 4]])
        _, attention = built.read_ego(random_nodes(1, 4, 4), one_hot(edges))
        torch.testing.assert_close(attention, torch.tensor([[[5 / 8, 1 / 8, 0.0, 2 / 8]]]))


class TestExtremes:
    def test_a_node_with_a_self_loop_alone_reads_itself(self) -> None:
        built, hidden = layer(), random_nodes(2, 4)
        found = built(hidden, one_hot(3 * torch.eye(4, dtype=torch.uint8).expand(2, 4, 4)))
        torch.testing.assert_close(found, built.norm(hidden + functional.elu(built.value(hidden))))

    @pytest.mark.parametrize("scale", [1e-5, 1e4])
    def test_large_and_small_embeddings(self, scale: float) -> None:
        built = layer()
        hidden, edges = (scale * random_nodes(3, 6)).requires_grad_(), one_hot(random_edges(3, 6))
        built(hidden, edges).square().sum().backward()
        built.read_ego(hidden, edges)[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in (hidden, *built.parameters()))

    def test_gradcheck(self) -> None:
        built, edges = layer(4, 2).double(), one_hot(random_edges(2, 3))
        hidden = random_nodes(2, 3, 4).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: built(x, edges), hidden, fast_mode=False)
        assert torch.autograd.gradcheck(lambda x: built.read_ego(x, edges), hidden, fast_mode=False)

    def test_size_that_heads_do_not_divide(self) -> None:
        with pytest.raises(ValueError, match="size: expected a multiple of num_heads=3, got 16"):
            GraphAttention(16, 3, 1)
