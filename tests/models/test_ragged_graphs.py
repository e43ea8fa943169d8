"""The compiled loops against the padded form: numbers, gradients, threads, and what must not be hidden."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.edge_attention import MIN_GRAPHS_A_THREAD
from rllib_moe.models.padded_graphs import PaddedGraphs
from rllib_moe.models.ragged_graphs import RaggedGraphs
from tests.models.graph_batches import Observation, random_observation

SHAPE = GraphShape(max_nodes=11, node_features=1, num_node_types=0, num_edge_types=3, features=1, num_actions=None)
HEADS, SIZE = 2, 8
"""Of heads, and of all heads together."""


@pytest.fixture
def threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def present(observation: Observation) -> Tensor:
    """Which nodes exist, bool [B, N]; the first always."""
    exists = observation["node_mask"].bool()
    exists[:, 0] = True
    return exists


def both_forms(observation: Observation, num_edge_types: int = 3) -> tuple[PaddedGraphs, RaggedGraphs]:
    arguments = observation["node_mask"], observation["edges"], num_edge_types
    return PaddedGraphs(*arguments), RaggedGraphs(*arguments)


def messages(observation: Observation, num_edge_types: int = 3) -> list[list[Tensor]]:
    """Messages of all nodes, what the egos read, and the gradients of all inputs, in both forms."""
    exists, batch = present(observation), len(observation["edges"])
    answers = []
    for graphs in both_forms(observation, num_edge_types):
        projected = drawn(*exists.shape, 3 * SIZE).requires_grad_()
        query, nodes = drawn(batch, HEADS, SIZE, seed=1).requires_grad_(), drawn(*exists.shape, SIZE, seed=2)
        nodes.requires_grad_()
        bias = drawn(num_edge_types + 1, HEADS, seed=3).requires_grad_()
        of_all = graphs.attend(graphs.nodes(projected), bias)
        if isinstance(graphs, PaddedGraphs):
            of_all = of_all[exists[:, : of_all.shape[1]]]
        of_egos = graphs.attend_from_ego(query, graphs.nodes(nodes), bias)
        (of_all.sin().sum() + of_egos.cos().sum()).backward()
        gradients = [each.grad for each in (projected, query, nodes, bias)]
        answers.append([of_all.detach(), of_egos.detach(), *(each for each in gradients if each is not None)])
    return answers


@pytest.mark.parametrize("batch", [1, 5, 3 * MIN_GRAPHS_A_THREAD])
def test_same_numbers_and_gradients(batch: int) -> None:
    padded, ragged = messages(random_observation(SHAPE, batch))
    assert len(padded) == len(ragged) == 6
    for one, other in zip(padded, ragged, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


def test_graphs_of_one_node_and_none() -> None:
    observation = random_observation(SHAPE, 6)
    observation["node_mask"][:3] = 0
    observation["node_mask"][:2, 0] = 1
    observation["edges"][:3] = 0
    for one, other in zip(*messages(observation), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


def test_edges_to_absent_nodes_are_none() -> None:
    observation = random_observation(SHAPE, 20)
    padded, ragged = messages(observation | {"edges": torch.full_like(observation["edges"], 2)})
    for one, other in zip(padded, ragged, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


def test_more_edge_types_than_a_byte_holds() -> None:
    observation = random_observation(SHAPE, 9)
    observation["edges"] = observation["edges"].short() * 100
    for one, other in zip(*messages(observation, num_edge_types=300), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("threads")
def test_threads_change_nothing_but_the_order_of_a_sum() -> None:
    observation = random_observation(SHAPE, 3 * MIN_GRAPHS_A_THREAD + 1)
    answers = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        answers.append(messages(observation)[1])
    for several in answers[1:]:
        *exact, bias = zip(answers[0], several, strict=True)
        assert all(torch.equal(one, other) for one, other in exact)
        torch.testing.assert_close(*bias)


def test_not_a_number_stays_one() -> None:
    """The guard against updates that are not finite must see it, in the row it came from and its gradient."""
    observation = random_observation(SHAPE, 4)
    observation["node_mask"].fill_(1)
    observation["edges"].fill_(1)
    _, graphs = both_forms(observation)
    projected = drawn(4 * SHAPE.max_nodes, 3 * SIZE)
    projected[0, 0] = torch.nan
    projected.requires_grad_()
    found = graphs.attend(projected, torch.zeros(4, HEADS))
    assert found[0, : SIZE // HEADS].isnan().all()
    assert found[SHAPE.max_nodes :].isfinite().all()
    found.sum().backward()
    assert projected.grad is not None
    assert projected.grad.isnan().any()


def test_large_scores_do_not_overflow() -> None:
    _, graphs = both_forms(random_observation(SHAPE, 7))
    rows = len(graphs.nodes(torch.zeros(7, SHAPE.max_nodes)))
    found = graphs.attend(1e4 * drawn(rows, 3 * SIZE), torch.zeros(4, HEADS))
    assert found.isfinite().all()


def test_works_without_gradients() -> None:
    observation = random_observation(SHAPE, 7)
    with torch.no_grad():
        _, graphs = both_forms(observation)
        nodes = graphs.nodes(drawn(7, SHAPE.max_nodes, SIZE))
        read = graphs.attend_from_ego(drawn(7, HEADS, SIZE), nodes, torch.zeros(4, HEADS))
    assert not read.requires_grad


def test_egos_are_the_first_nodes() -> None:
    observation = random_observation(SHAPE, 30)
    leaf = drawn(30, SHAPE.max_nodes, 3)
    for graphs in both_forms(observation):
        assert torch.equal(graphs.egos(graphs.nodes(leaf)), leaf[:, 0])
