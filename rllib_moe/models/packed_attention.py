"""The attention layers on a packed batch of graphs, as compiled loops over the edges that exist: for a CPU.

`encode_packed` gives what the dense layers of `graph_attention.py` give, in less time: the nodes of all graphs stand
one after the other without padding, the loops skip pairs without an edge, and the values of one graph stay in the
processor's cache (docs/performance.md). Matrix products are torch's. The backward pass is by hand:

With `s_e` the score of edge e from node i to node j, `a` the softmax of the scores over i's edges, `m_i` the message
`sum_e a_e v_j` and `g_i` its gradient,

    dv_j = sum_e a_e g_i        ds_e = a_e (g_i . v_j - sum_f a_f g_i . v_f)        dq_i = sum_e ds_e k_j
    dk_j = sum_e ds_e q_i       dbias[type of e] = sum_e ds_e

Shapes follow the legend of `rllib_moe.models`; E edges exist in the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rllib_moe.models.graph_attention import GraphAttention
from rllib_moe.models.graph_encoder import EncodedGraph
from rllib_moe.runtime.numba_cache import compiled

MIN_GRAPHS_A_THREAD = 64
"""Fewer graphs are not worth another thread."""

_FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order and fused multiplications, as BLAS has them; NaN and infinities keep their meaning."""


def encode_packed(
    embed: Callable[[Tensor, Tensor | None], Tensor],
    layers: Sequence[GraphAttention],
    nodes: Tensor,
    node_mask: Tensor,
    edges: Tensor,
    node_types: Tensor | None = None,
    return_attention: bool = False,
) -> EncodedGraph:
    """Encode a batch of graphs, float32 on a CPU. Every node attends to itself too; an empty graph counts as one node.

    Args:
        embed: Function from node features [V, F] and categories [V] to embeddings [V, D].
        layers: The layers; the last is read at the ego nodes alone.
        nodes: Like all arguments that follow, as for `GraphEncoder`.
    """
    counts = node_mask.sum(1).clamp_(min=1)
    exists = torch.arange(node_mask.shape[1], device=counts.device) < counts.unsqueeze(1)
    index = exists.nonzero(as_tuple=True)
    *below, last = layers
    packed = _packed_edges(counts.numpy(), edges.contiguous().numpy(), len(last.type_bias))
    x = embed(nodes[index], None if node_types is None else node_types[index])
    for layer in below:
        message, _ = _EdgeAttention.apply(None, layer.project(x).float(), layer.type_bias, packed)
        x = layer.update(x, message)
    ego_nodes = x.index_select(0, torch.from_numpy(packed.graphs[:-1]))
    query = last.ego_query(ego_nodes)
    means, weights = _EdgeAttention.apply(query.flatten(1).float(), x.float(), last.type_bias, packed)
    ego = last.update_ego(ego_nodes, means.view_as(query))
    return EncodedGraph(ego, _ego_attention(weights, packed, query, edges.shape[1]) if return_attention else None)


class _PackedEdges(NamedTuple):
    """The edges of a batch of graphs in compressed rows. Nodes stand one after the other, those of a graph together."""

    graphs: np.ndarray
    """First row of each graph, and V, int64 [B + 1]."""
    begins: np.ndarray
    """First edge of each row, and E, int64 [V + 1]."""
    neighbors: np.ndarray
    """Row that an edge reads from, int64 [E]; a row is one of its own neighbors."""
    edge_types: np.ndarray
    """Type of an edge less 1, int64 [E]; the last of all is that of a self-loop."""


def _packed_edges(counts: np.ndarray, edges: np.ndarray, num_edge_types: int) -> _PackedEdges:
    """Collect the edges of graphs with `counts` nodes [B], at least 1; `edges` [B, N, N] as for `GraphEncoder`."""
    graphs = np.concatenate(([0], counts.cumsum()))
    begins = np.zeros(graphs[-1] + 1, np.int64)
    neighbors, edge_types = np.empty((2, (counts**2).sum()), np.int64)
    num_edges = _collect(graphs, edges, num_edge_types - 1, begins, neighbors, edge_types)
    return _PackedEdges(graphs, begins, neighbors[:num_edges], edge_types[:num_edges])


@compiled
def _collect(
    graphs: np.ndarray,
    edges: np.ndarray,
    loop_type: int,
    begins: np.ndarray,
    neighbors: np.ndarray,
    edge_types: np.ndarray,
) -> int:
    """Write `begins`, `neighbors` and `edge_types`. Return the number of edges."""
    num_edges = 0
    for b in range(len(graphs) - 1):
        first = graphs[b]
        count = graphs[b + 1] - first
        for i in range(count):
            for j in range(count):
                edge_type = loop_type if i == j else np.int64(edges[b, i, j]) - 1
                neighbors[num_edges] = first + j
                edge_types[num_edges] = edge_type
                num_edges += int(edge_type >= 0)
            begins[first + i + 1] = num_edges
    return num_edges


def _ego_attention(weights: Tensor, edges: _PackedEdges, query: Tensor, max_nodes: int) -> Tensor:
    """Return the attention [B, H, N] of the first row of each graph, from the weights of all edges."""
    heads = query.shape[1]
    attention = query.new_zeros(*query.shape[:2], max_nodes, dtype=weights.dtype)
    for b, row in enumerate(edges.graphs[:-1]):
        begin, end = edges.begins[row], edges.begins[row + 1]
        attention[b, :, edges.neighbors[begin:end] - row] = weights[heads * begin : heads * end].view(heads, -1)
    return attention


class _EdgeAttention(torch.autograd.Function):
    """Messages that rows read along their edges, with its backward pass. All tensors are contiguous float32 on the CPU.

    Takes queries [B, H * D] of the first row of each graph, which alone attends then, with all heads, to nodes [V, D]
    as they are; or None, when all rows attend, and queries (scaled), keys and values of all nodes, side by side
    [V, 3 * D]; then the bias [R, H] of each edge type and head, and the edges. Returns messages [B, H * D] or [V, D],
    and the weights [H * E]: those of a row's edges together, head by head.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor | None, nodes: Tensor, type_bias: Tensor, edges: _PackedEdges
    ) -> tuple[Tensor, Tensor]:
        heads = type_bias.shape[1]
        size, *places = _places(queries, nodes, heads)
        asking = nodes if queries is None else queries
        messages = torch.empty(len(asking), heads * size, device=nodes.device)
        # An edge's place is the same whether all rows attend or a few.
        weights = np.empty(heads * len(edges.neighbors), np.float32)
        _in_pieces(
            _kernels(size).forward,
            _num_pieces(edges),
            edges,
            *places,
            weights,
            _heads(asking, size),
            _heads(nodes, size),
            type_bias.detach().numpy(),
            _heads(messages, size),
        )
        ctx.save_for_backward(queries, nodes, type_bias)
        ctx.edges, ctx.weights = edges, weights
        ctx.set_materialize_grads(False)  # the weights' would be zeros for nothing
        handed_out = torch.from_numpy(weights)
        ctx.mark_non_differentiable(handed_out)
        return messages, handed_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
        queries, nodes, type_bias = ctx.saved_tensors
        size, *places = _places(queries, nodes, type_bias.shape[1])
        nodes_gradient = torch.empty_like(nodes)
        queries_gradient = None if queries is None else torch.empty_like(queries)
        pieces = _num_pieces(ctx.edges)
        # A row for each piece: threads must not add to the same number.
        bias_gradient = torch.zeros(pieces, *type_bias.shape, device=nodes.device)
        _in_pieces(
            _kernels(size).backward,
            pieces,
            ctx.edges,
            *places,
            ctx.weights,
            _heads(nodes if queries is None else queries, size),
            _heads(nodes, size),
            _heads(gradient.contiguous(), size),
            _heads(nodes_gradient if queries_gradient is None else queries_gradient, size),
            _heads(nodes_gradient, size),
            bias_gradient.numpy(),
        )
        return queries_gradient, nodes_gradient, bias_gradient.sum(0), None


def _places(queries: Tensor | None, nodes: Tensor, heads: int) -> tuple[int, bool, int, int, int]:
    """Return the width of a head, and the kernels' `ego`, `key_at`, `value_at` and `head_step`."""
    if queries is None:
        return nodes.shape[1] // (3 * heads), False, heads, 2 * heads, 1
    return nodes.shape[1], True, 0, 0, 0


def _heads(tensor: Tensor, size: int) -> np.ndarray:
    """Return a contiguous tensor [rows, heads * size] as an array [rows, heads, size] on the same memory."""
    return tensor.detach().view(len(tensor), -1, size).numpy()


def _num_pieces(edges: _PackedEdges) -> int:
    return max(1, min(torch.get_num_threads(), (len(edges.graphs) - 1) // MIN_GRAPHS_A_THREAD))


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="packed_attention")


def _in_pieces(kernel: Callable[..., None], pieces: int, edges: _PackedEdges, *arguments: Any) -> None:
    """Call a kernel for all graphs, on as many threads as there are pieces. It gives up the interpreter lock."""
    num_graphs = len(edges.graphs) - 1
    bounds = [piece * num_graphs // pieces for piece in range(pieces + 1)]
    others = [
        _threads(pieces - 1).submit(kernel, piece, bounds[piece], bounds[piece + 1], edges, *arguments)
        for piece in range(1, pieces)
    ]
    kernel(0, 0, bounds[1], edges, *arguments)
    for other in others:
        other.result()


class _Kernels(NamedTuple):
    forward: Callable[..., None]
    backward: Callable[..., None]


@cache
def _kernels(size: int) -> _Kernels:
    """The loops for heads of a width, a constant to the compiler, which then keeps a head in a register or two.

    Both go through the graphs `low` to `high`. `weights` gets the attention of each row, head and edge.
    """

    def forward(
        piece: int,  # noqa: ARG001  # both kernels are called alike
        low: int,
        high: int,
        edges: _PackedEdges,
        ego: bool,
        key_at: int,
        value_at: int,
        head_step: int,
        weights: np.ndarray,
        queries: np.ndarray,
        nodes: np.ndarray,
        bias: np.ndarray,
        messages: np.ndarray,
    ) -> None:
        num_heads = bias.shape[1]
        neighbors, edge_types = edges.neighbors, edges.edge_types
        for b in range(low, high):
            first = edges.graphs[b]
            for row in range(first, first + 1 if ego else edges.graphs[b + 1]):
                asking = b if ego else row
                begin, end = edges.begins[row], edges.begins[row + 1]
                for h in range(num_heads):
                    key, value = key_at + h * head_step, value_at + h * head_step
                    at = begin * (num_heads - 1) + h * (end - begin)  # of weight e: at + e
                    highest = np.float32(-np.inf)
                    for e in range(begin, end):
                        node, score = neighbors[e], np.float32(0)
                        for c in range(size):
                            score += queries[asking, h, c] * nodes[node, key, c]
                        score += bias[edge_types[e], h]
                        weights[at + e] = score
                        highest = max(highest, score)
                    total = np.float32(0)
                    for e in range(begin, end):
                        weights[at + e] = math.exp(weights[at + e] - highest)
                        total += weights[at + e]
                    for c in range(size):
                        messages[asking, h, c] = 0
                    for e in range(begin, end):
                        node, weight = neighbors[e], weights[at + e] / total
                        weights[at + e] = weight
                        for c in range(size):
                            messages[asking, h, c] += weight * nodes[node, value, c]

    def backward(
        piece: int,
        low: int,
        high: int,
        edges: _PackedEdges,
        ego: bool,
        key_at: int,
        value_at: int,
        head_step: int,
        weights: np.ndarray,
        queries: np.ndarray,
        nodes: np.ndarray,
        gradient: np.ndarray,
        queries_gradient: np.ndarray,
        nodes_gradient: np.ndarray,
        bias_gradient: np.ndarray,
    ) -> None:
        num_heads = bias_gradient.shape[2]
        neighbors, edge_types = edges.neighbors, edges.edge_types
        for b in range(low, high):
            first, last = edges.graphs[b], edges.graphs[b + 1]
            of_weights = np.empty(last - first, np.float32)
            nodes_gradient[first:last] = 0
            for row in range(first, first + 1 if ego else last):
                asking = b if ego else row
                begin, end = edges.begins[row], edges.begins[row + 1]
                for h in range(num_heads):
                    key, value = key_at + h * head_step, value_at + h * head_step
                    at = begin * (num_heads - 1) + h * (end - begin)  # of weight e: at + e
                    mean = np.float32(0)
                    for e in range(begin, end):
                        node, weight, of_weight = neighbors[e], weights[at + e], np.float32(0)
                        for c in range(size):
                            of_weight += gradient[asking, h, c] * nodes[node, value, c]
                        for c in range(size):
                            nodes_gradient[node, value, c] += weight * gradient[asking, h, c]
                        of_weights[e - begin] = of_weight
                        mean += weight * of_weight
                    for c in range(size):
                        queries_gradient[asking, h, c] = 0
                    for e in range(begin, end):
                        node, of_score = neighbors[e], weights[at + e] * (of_weights[e - begin] - mean)
                        bias_gradient[piece, edge_types[e], h] += of_score
                        for c in range(size):
                            queries_gradient[asking, h, c] += of_score * nodes[node, key, c]
                        for c in range(size):
                            nodes_gradient[node, key, c] += of_score * queries[asking, h, c]

    return _Kernels(compiled(forward, fastmath=_FAST_MATH), compiled(backward, fastmath=_FAST_MATH))
