"""Attention along the edges of a batch of graphs as compiled loops, with a backward pass by hand: for a CPU.

The loops go over the edges that exist, with the values of one graph in the processor's cache all the while. Batched
matrix products over padded graphs spend half of their time on padding, on pairs without an edge, and on copies between
layouts (docs/performance.md).

With `s_e` the score of edge e from node i to node j, `a` the softmax of the scores over i's edges, `m_i` the message
`sum_e a_e v_j` and `g_i` its gradient, the backward pass is

    dv_j = sum_e a_e g_i        ds_e = a_e (g_i . v_j - sum_f a_f g_i . v_f)        dq_i = sum_e ds_e k_j
    dk_j = sum_e ds_e q_i       dbias[type of e] = sum_e ds_e

Shapes follow the legend of `rllib_moe.models`; M nodes exist in the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rllib_moe.runtime.numba_cache import compiled

MIN_GRAPHS_A_THREAD = 64
"""Fewer graphs are not worth another thread."""

_FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order and fused multiplications, as BLAS has them; NaN and infinities keep their meaning."""


class Edges(NamedTuple):
    """The edges of a batch of graphs in compressed rows. Nodes stand one after the other, those of a graph together."""

    graphs: np.ndarray
    """First row of each graph, and M, int64 [B + 1]."""
    begins: np.ndarray
    """First edge of each row, and the number of edges, int64 [M + 1]."""
    neighbours: np.ndarray
    """Row that an edge reads from, int64; a row is one of its own neighbours."""
    kinds: np.ndarray
    """Type of an edge less 1, int64; the last of all is that of a row to itself."""

    @classmethod
    def of(cls, counts: np.ndarray, types: np.ndarray, num_edge_types: int) -> Self:
        """Collect the edges of padded graphs.

        Args:
            counts: Nodes of each graph, int64 [B], at least 1.
            types: Edge types [B, N, N], 0 none; node i of graph b attends to node j along `types[b, i, j]`.
            num_edge_types: Types, without that of a node to itself.
        """
        graphs = np.concatenate(([0], counts.cumsum()))
        begins = np.zeros(graphs[-1] + 1, np.int64)
        neighbours, kinds = np.empty((2, (counts**2).sum()), np.int64)
        num_edges = _collect(graphs, types, num_edge_types, begins, neighbours, kinds)
        return cls(graphs, begins, neighbours[:num_edges], kinds[:num_edges])


@compiled
def _collect(
    graphs: np.ndarray,
    types: np.ndarray,
    num_edge_types: int,
    begins: np.ndarray,
    neighbours: np.ndarray,
    kinds: np.ndarray,
) -> int:
    """Write `begins`, `neighbours` and `kinds`. Returns the number of edges."""
    num_edges = 0
    for b in range(len(graphs) - 1):
        first = graphs[b]
        count = graphs[b + 1] - first
        for i in range(count):
            for j in range(count):
                kind = num_edge_types if i == j else np.int64(types[b, i, j]) - 1
                neighbours[num_edges] = first + j
                kinds[num_edges] = kind
                num_edges += int(kind >= 0)
            begins[first + i + 1] = num_edges
    return num_edges


def attend_along_edges(queries: Tensor | None, nodes: Tensor, type_bias: Tensor, edges: Edges) -> Tensor:
    """What nodes read from their neighbours and themselves. All tensors are contiguous float32 on the CPU.

    Args:
        queries: Queries [B, H * D] of the first node of each graph, which alone attends then, with all heads, to
            `nodes` as they are; None: all nodes attend.
        nodes: Nodes [M, D]. Without `queries`: the queries (scaled), keys and values of all nodes, side by side
            [M, 3 * D].
        type_bias: Addition to the score of each edge type and head [R, H]; the last type is that of a node to itself.
        edges: The edges.

    Returns:
        [B, H * D] with `queries`, [M, D] without.
    """
    messages: Tensor = _EdgeAttention.apply(queries, nodes, type_bias, edges)
    return messages


class _EdgeAttention(torch.autograd.Function):
    """`attend_along_edges` with its backward pass."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor | None, nodes: Tensor, type_bias: Tensor, edges: Edges) -> Tensor:
        heads = type_bias.shape[1]
        call = _Call.of(queries, nodes, heads)
        asking = nodes if queries is None else queries
        messages = torch.empty(len(asking), heads * call.size, device=nodes.device)
        # An edge's place is the same whether all rows attend or a few.
        weights = np.empty(heads * len(edges.neighbours), np.float32)
        _in_pieces(
            _kernels(call.size).forward,
            _num_pieces(edges),
            edges,
            *(call.ego, call.key_at, call.value_at, call.head_step),
            weights,
            _heads(asking, call.size),
            _heads(nodes, call.size),
            type_bias.detach().numpy(),
            _heads(messages, call.size),
        )
        ctx.save_for_backward(queries, nodes, type_bias)
        ctx.edges, ctx.weights = edges, weights
        return messages

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, nodes, type_bias = ctx.saved_tensors
        call = _Call.of(queries, nodes, type_bias.shape[1])
        nodes_gradient = torch.empty_like(nodes)
        queries_gradient = None if queries is None else torch.empty_like(queries)
        pieces = _num_pieces(ctx.edges)
        # A row for each piece: threads must not add to the same number.
        bias_gradient = torch.zeros(pieces, *type_bias.shape, device=nodes.device)
        _in_pieces(
            _kernels(call.size).backward,
            pieces,
            ctx.edges,
            *(call.ego, call.key_at, call.value_at, call.head_step),
            ctx.weights,
            _heads(nodes if queries is None else queries, call.size),
            _heads(nodes, call.size),
            _heads(gradient.contiguous(), call.size),
            _heads(nodes_gradient if queries_gradient is None else queries_gradient, call.size),
            _heads(nodes_gradient, call.size),
            bias_gradient.numpy(),
        )
        return queries_gradient, nodes_gradient, bias_gradient.sum(0), None


class _Call(NamedTuple):
    """Where the kernels find queries, keys and values in rows of heads [.., .., size]."""

    size: int
    ego: bool
    key_at: int
    value_at: int
    head_step: int

    @classmethod
    def of(cls, queries: Tensor | None, nodes: Tensor, heads: int) -> _Call:
        if queries is None:
            return cls(nodes.shape[1] // (3 * heads), False, heads, 2 * heads, 1)
        return cls(nodes.shape[1], True, 0, 0, 0)


def _heads(tensor: Tensor, size: int) -> np.ndarray:
    """A contiguous tensor [rows, heads * size] as an array [rows, heads, size] on the same memory."""
    return tensor.detach().view(len(tensor), -1, size).numpy()


def _num_pieces(edges: Edges) -> int:
    return max(1, min(torch.get_num_threads(), (len(edges.graphs) - 1) // MIN_GRAPHS_A_THREAD))


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="edge_attention")


def _in_pieces(kernel: Callable[..., None], pieces: int, edges: Edges, *arguments: Any) -> None:
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
        edges: Edges,
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
        neighbours, kinds = edges.neighbours, edges.kinds
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
                        node, score = neighbours[e], np.float32(0)
                        for c in range(size):
                            score += queries[asking, h, c] * nodes[node, key, c]
                        score += bias[kinds[e], h]
                        weights[at + e] = score
                        highest = max(highest, score)
                    total = np.float32(0)
                    for e in range(begin, end):
                        weights[at + e] = math.exp(weights[at + e] - highest)
                        total += weights[at + e]
                    for c in range(size):
                        messages[asking, h, c] = 0
                    for e in range(begin, end):
                        node, weight = neighbours[e], weights[at + e] / total
                        weights[at + e] = weight
                        for c in range(size):
                            messages[asking, h, c] += weight * nodes[node, value, c]

    def backward(
        piece: int,
        low: int,
        high: int,
        edges: Edges,
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
        neighbours, kinds = edges.neighbours, edges.kinds
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
                        node, weight, of_weight = neighbours[e], weights[at + e], np.float32(0)
                        for c in range(size):
                            of_weight += gradient[asking, h, c] * nodes[node, value, c]
                        for c in range(size):
                            nodes_gradient[node, value, c] += weight * gradient[asking, h, c]
                        of_weights[e - begin] = of_weight
                        mean += weight * of_weight
                    for c in range(size):
                        queries_gradient[asking, h, c] = 0
                    for e in range(begin, end):
                        node, of_score = neighbours[e], weights[at + e] * (of_weights[e - begin] - mean)
                        bias_gradient[piece, kinds[e], h] += of_score
                        for c in range(size):
                            queries_gradient[asking, h, c] += of_score * nodes[node, key, c]
                        for c in range(size):
                            nodes_gradient[node, key, c] += of_score * queries[asking, h, c]

    return _Kernels(compiled(forward, fastmath=_FAST_MATH), compiled(backward, fastmath=_FAST_MATH))
