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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rllib_moe.compilation import compiled, inlined

MIN_GRAPHS_A_THREAD = 64
"""Fewer graphs are not worth another thread."""

_FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order and fused multiplications, as BLAS has them; NaN and infinities keep their meaning."""


def attend_along_edges(
    queries: Tensor | None, nodes: Tensor, type_bias: Tensor, edges: np.ndarray, starts: np.ndarray
) -> Tensor:
    """What nodes read from their neighbours and themselves. All tensors are contiguous float32 on the CPU.

    Args:
        queries: Queries [B, H * D] of the first node of each graph, which alone attends then, with all heads, to
            `nodes` as they are; None: all nodes attend.
        nodes: Nodes [M, D], those of one graph after those of another. Without `queries`: the queries (scaled), keys
            and values of all nodes, side by side [M, 3 * D].
        type_bias: Addition to the score of each edge type and head [R, H]; the last type is that of a node to itself.
        edges: Edge types [B, N, N], 0 none; node i of graph b attends to node j along `edges[b, i, j]`.
        starts: First row of each graph, and M, int64 [B + 1].

    Returns:
        [B, H * D] with `queries`, [M, D] without.
    """
    messages: Tensor = _EdgeAttention.apply(queries, nodes, type_bias, edges, starts)
    return messages


class _EdgeAttention(torch.autograd.Function):
    """`attend_along_edges` with its backward pass."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor | None, nodes: Tensor, type_bias: Tensor, edges: np.ndarray, starts: np.ndarray
    ) -> Tensor:
        call = _Call.of(queries, nodes, type_bias.shape[1])
        asking = nodes if queries is None else queries
        messages = torch.empty(len(asking), type_bias.shape[1] * call.size, device=nodes.device)
        counts = np.diff(starts)
        weight_starts = np.zeros(len(starts), np.int64)  # at most so many edges
        np.cumsum(type_bias.shape[1] * counts * (1 if call.ego else counts), out=weight_starts[1:])
        weights = np.empty(weight_starts[-1], np.float32)
        shared = (call.ego, call.key_at, call.value_at, call.head_step, edges, starts, weight_starts, weights)
        _in_pieces(
            _kernels(call.size).forward,
            len(counts),
            *shared,
            _heads(asking, call.size),
            _heads(nodes, call.size),
            type_bias.detach().numpy(),
            _heads(messages, call.size),
        )
        ctx.save_for_backward(queries, nodes, type_bias)
        ctx.shared, ctx.num_graphs = shared, len(counts)
        return messages

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, nodes, type_bias = ctx.saved_tensors
        call = _Call.of(queries, nodes, type_bias.shape[1])
        nodes_gradient = torch.empty_like(nodes)
        queries_gradient = None if queries is None else torch.empty_like(queries)
        num_graphs = ctx.num_graphs
        # A row for each piece: threads must not add to the same number.
        bias_gradient = torch.zeros(_num_pieces(num_graphs), *type_bias.shape, device=nodes.device)
        _in_pieces(
            _kernels(call.size).backward,
            num_graphs,
            *ctx.shared,
            _heads(nodes if queries is None else queries, call.size),
            _heads(nodes, call.size),
            _heads(gradient.contiguous(), call.size),
            _heads(nodes_gradient if queries_gradient is None else queries_gradient, call.size),
            _heads(nodes_gradient, call.size),
            bias_gradient.numpy(),
        )
        return queries_gradient, nodes_gradient, bias_gradient.sum(0), None, None


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


def _num_pieces(num_graphs: int) -> int:
    return max(1, min(torch.get_num_threads(), num_graphs // MIN_GRAPHS_A_THREAD))


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="ragged_graphs")


def _in_pieces(kernel: Callable[..., None], num_graphs: int, *arguments: Any) -> None:
    """Call a kernel for all graphs, on as many threads as torch uses. It gives up the interpreter lock."""
    pieces = _num_pieces(num_graphs)
    bounds = [piece * num_graphs // pieces for piece in range(pieces + 1)]
    others = [
        _threads(pieces - 1).submit(kernel, piece, bounds[piece], bounds[piece + 1], *arguments)
        for piece in range(1, pieces)
    ]
    kernel(0, 0, bounds[1], *arguments)
    for other in others:
        other.result()


@inlined
def _collect_edges(
    edges: np.ndarray, b: int, i: int, first: int, count: int, loop_type: int, neighbours: np.ndarray, kinds: np.ndarray
) -> int:
    """Write the rows that node i of graph b attends to and the edges' types less 1. Returns how many they are."""
    degree = 0
    for j in range(count):
        kind = loop_type if i == j else np.int64(edges[b, i, j])
        neighbours[degree] = first + j
        kinds[degree] = kind - 1
        degree += kind != 0
    return degree


class _Kernels(NamedTuple):
    forward: Callable[..., None]
    backward: Callable[..., None]


@cache
def _kernels(size: int) -> _Kernels:
    """The loops for heads of a width, a constant to the compiler, which then keeps a head in a register or two.

    Both go through the graphs `low` to `high`. `weights` gets the attention of one graph after the other from its place
    in `weight_starts`, of each attending node, head and edge.
    """

    def forward(
        piece: int,  # noqa: ARG001  # both kernels are called alike
        low: int,
        high: int,
        ego: bool,
        key_at: int,
        value_at: int,
        head_step: int,
        edges: np.ndarray,
        starts: np.ndarray,
        weight_starts: np.ndarray,
        weights: np.ndarray,
        queries: np.ndarray,
        nodes: np.ndarray,
        bias: np.ndarray,
        messages: np.ndarray,
    ) -> None:
        loop_type, num_heads = bias.shape
        neighbours = np.empty(edges.shape[1], np.int64)
        kinds = np.empty(edges.shape[1], np.int64)
        for b in range(low, high):
            first, count, at = starts[b], starts[b + 1] - starts[b], weight_starts[b]
            for i in range(1 if ego else count):
                row = b if ego else first + i
                degree = _collect_edges(edges, b, i, first, count, loop_type, neighbours, kinds)
                for h in range(num_heads):
                    key, value = key_at + h * head_step, value_at + h * head_step
                    highest = np.float32(-np.inf)
                    for e in range(degree):
                        node, score = neighbours[e], np.float32(0)
                        for c in range(size):
                            score += queries[row, h, c] * nodes[node, key, c]
                        score += bias[kinds[e], h]
                        weights[at + e] = score
                        highest = max(highest, score)
                    total = np.float32(0)
                    for e in range(degree):
                        weights[at + e] = math.exp(weights[at + e] - highest)
                        total += weights[at + e]
                    for c in range(size):
                        messages[row, h, c] = 0
                    for e in range(degree):
                        node, weight = neighbours[e], weights[at + e] / total
                        weights[at + e] = weight
                        for c in range(size):
                            messages[row, h, c] += weight * nodes[node, value, c]
                    at += degree

    def backward(
        piece: int,
        low: int,
        high: int,
        ego: bool,
        key_at: int,
        value_at: int,
        head_step: int,
        edges: np.ndarray,
        starts: np.ndarray,
        weight_starts: np.ndarray,
        weights: np.ndarray,
        queries: np.ndarray,
        nodes: np.ndarray,
        gradient: np.ndarray,
        queries_gradient: np.ndarray,
        nodes_gradient: np.ndarray,
        bias_gradient: np.ndarray,
    ) -> None:
        _, loop_type, num_heads = bias_gradient.shape
        neighbours = np.empty(edges.shape[1], np.int64)
        kinds = np.empty(edges.shape[1], np.int64)
        of_weights = np.empty(edges.shape[1], np.float32)
        for b in range(low, high):
            first, count, at = starts[b], starts[b + 1] - starts[b], weight_starts[b]
            nodes_gradient[first : first + count] = 0
            for i in range(1 if ego else count):
                row = b if ego else first + i
                degree = _collect_edges(edges, b, i, first, count, loop_type, neighbours, kinds)
                for h in range(num_heads):
                    key, value = key_at + h * head_step, value_at + h * head_step
                    mean = np.float32(0)
                    for e in range(degree):
                        node, weight, of_weight = neighbours[e], weights[at + e], np.float32(0)
                        for c in range(size):
                            of_weight += gradient[row, h, c] * nodes[node, value, c]
                        for c in range(size):
                            nodes_gradient[node, value, c] += weight * gradient[row, h, c]
                        of_weights[e] = of_weight
                        mean += weight * of_weight
                    for c in range(size):
                        queries_gradient[row, h, c] = 0
                    for e in range(degree):
                        node, of_score = neighbours[e], weights[at + e] * (of_weights[e] - mean)
                        bias_gradient[piece, kinds[e], h] += of_score
                        for c in range(size):
                            queries_gradient[row, h, c] += of_score * nodes[node, key, c]
                        for c in range(size):
                            nodes_gradient[node, key, c] += of_score * queries[row, h, c]
                    at += degree

    return _Kernels(compiled(forward, fastmath=_FAST_MATH), compiled(backward, fastmath=_FAST_MATH))
