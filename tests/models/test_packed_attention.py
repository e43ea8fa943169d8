"""The compiled loops against the dense layers: numbers, gradients, attention, threads, and what must not be hidden."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.attention_encoder import AttentionEncoder
from rllib_moe.models.packed_attention import MIN_GRAPHS_A_THREAD
from tests.models.graph_batches import Observation, encode, random_observation

SHAPE = GraphShape(max_nodes=11, node_features=4, num_node_types=3, num_edge_types=3, features=1, num_actions=None)


@pytest.fixture
def threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def encoder(num_layers: int = 2, num_edge_types: int = 3, use_compiled: bool = True) -> AttentionEncoder:
    torch.manual_seed(0)
    shape = GraphShape(**{**vars(SHAPE), "num_edge_types": num_edge_types})
    built = AttentionEncoder(shape, ModelConfig(hidden_size=8, num_heads=2, num_layers=num_layers))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    built.use_compiled = use_compiled
    return built


def answers(observation: Observation, num_layers: int = 2, num_edge_types: int = 3) -> list[list[Tensor]]:
    """Ego embeddings, attention and the gradients of input and parameters, compiled and dense."""
    found = []
    for use_compiled in (True, False):
        built = encoder(num_layers, num_edge_types, use_compiled)
        nodes = observation["nodes"].clone().requires_grad_()
        ego, attention = encode(built, {**observation, "nodes": nodes}, return_attention=True)
        assert attention is not None
        ego.sin().sum().backward()
        gradients = [each.grad for each in (nodes, *built.parameters()) if each.grad is not None]
        assert len(gradients) == 1 + len(list(built.parameters()))
        found.append([ego.detach(), attention.detach(), *gradients])
    return found


def assert_same(observation: Observation, **sizes: int) -> None:
    for compiled, dense in zip(*answers(observation, **sizes), strict=True):
        torch.testing.assert_close(compiled, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 5, 3 * MIN_GRAPHS_A_THREAD])
def test_same_numbers_gradients_and_attention(batch: int, num_layers: int) -> None:
    assert_same(random_observation(SHAPE, batch), num_layers=num_layers)


def test_graphs_of_one_node_and_none_and_nodes_without_edges() -> None:
    observation = random_observation(SHAPE, 6)
    observation["node_mask"][:3] = 0
    observation["node_mask"][:2, 0] = 1
    observation["edges"][:4] = 0
    assert_same(observation)


def test_edges_to_absent_nodes_are_none() -> None:
    observation = random_observation(SHAPE, 20)
    assert_same(observation | {"edges": torch.full_like(observation["edges"], 2)})


@pytest.mark.parametrize(("num_edge_types", "dtype"), [(255, torch.uint8), (300, torch.int16)])
def test_as_many_edge_types_as_a_byte_holds_and_more(num_edge_types: int, dtype: torch.dtype) -> None:
    # The encoder's self-loops are type 256 or 301 then.
    observation = random_observation(SHAPE, 9)
    observation["edges"] = observation["edges"].to(dtype) * (num_edge_types // 3)
    assert_same(observation, num_edge_types=num_edge_types)


@pytest.mark.usefixtures("threads")
def test_threads_change_nothing_but_the_order_of_a_sum() -> None:
    observation = random_observation(SHAPE, 3 * MIN_GRAPHS_A_THREAD + 1)
    found = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        found.append(answers(observation)[0])
    for several in found[1:]:
        for one, other in zip(found[0], several, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_not_a_number_stays_one() -> None:
    """The guard against updates that are not finite must see it, in the graph it came from and its gradient."""
    observation = random_observation(SHAPE, 4)
    observation["node_mask"].fill_(1)
    observation["edges"].fill_(1)
    observation["nodes"][0, 1, 0] = torch.nan
    built = encoder()
    ego = encode(built, observation).ego
    assert ego[0].isnan().all()
    assert ego[1:].isfinite().all()
    ego.sum().backward()
    assert all(p.grad is not None and p.grad.isnan().any() for p in (built.embed.weight, built.embed.bias))


def test_large_scores_do_not_overflow() -> None:
    built, observation = encoder(), random_observation(SHAPE, 7)
    with torch.no_grad():
        built.embed.weight.mul_(1e4)
        assert encode(built, observation).ego.isfinite().all()
