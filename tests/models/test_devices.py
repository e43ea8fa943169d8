"""Mixed precision, and that every tensor follows the device of the observation. With a GPU: the same numbers there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape, graph_space
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.schedule.phases import PhaseSchedule
from tests.models.graph_batches import Observation, random_observation

SPACE = graph_space(max_nodes=24, node_features=5, features=4, num_edge_types=2, num_node_types=3, num_actions=6)
SHAPE = GraphShape.from_space(SPACE)
ENCODERS = ("attention", "mean", "GATv2Conv")


def made(graph_encoder: str = "attention", episode: int = 2000) -> GATMoEPolicy:
    torch.manual_seed(0)
    network = GATMoEPolicy(SHAPE, 6, ModelConfig(graph_encoder=graph_encoder))
    network.phase.apply_phase(PhaseSchedule.load("default").at(episode), episode)
    return network


def learn(network: GATMoEPolicy, observation: Observation) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, value and loss of one learning step, gradients taken and the router's statistics moved."""
    output = network(observation)
    added = network.auxiliary_losses(output, observation).total
    loss = torch.log_softmax(output.logits, -1)[:, 0].clamp(min=-20).mean() + output.value.square().mean() + added
    network.zero_grad()
    loss.backward()
    network.router.update_statistics(output.router_candidates)
    return output.logits, output.value, loss


def gradient(network: GATMoEPolicy) -> Tensor:
    """All gradients as one float32 vector."""
    return torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None])


@pytest.mark.parametrize("graph_encoder", ENCODERS)
@pytest.mark.parametrize("episode", [0, 2000, 4000])
def test_mixed_precision_is_near_float32(graph_encoder: str, episode: int) -> None:
    observation = random_observation(SHAPE, 200)
    plain, mixed = made(graph_encoder, episode), made(graph_encoder, episode)
    mixed.mixed_precision = True
    expected, found = learn(plain, observation), learn(mixed, observation)
    assert all(each.dtype == torch.float32 for each in found)
    for name, one, other in zip(("logits", "value", "loss"), expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=0.03, rtol=0.03, msg=name)
    assert not torch.equal(expected[1], found[1]), "the encoder was not in bfloat16 at all"
    one, other = gradient(plain), gradient(mixed)
    assert torch.isfinite(other).all()
    assert (other - one).norm() < 0.1 * one.norm()


def test_sampling_knows_nothing_of_mixed_precision() -> None:
    observation = random_observation(SHAPE, 50)
    plain, mixed = made().eval(), made().eval()
    mixed.mixed_precision = True
    assert torch.equal(plain(observation).logits, mixed(observation).logits)


@pytest.mark.parametrize("graph_encoder", ENCODERS)
def test_every_tensor_is_made_on_the_device_of_the_observation(graph_encoder: str) -> None:
    """Under another default device, a tensor made without naming one lies there, and meets the others with an error."""
    network, observation = made(graph_encoder), random_observation(SHAPE, 200)
    expected = [each.detach() for each in learn(made(graph_encoder), observation)]
    with torch.device("meta"):
        assert torch.zeros(1).is_meta
        found = learn(network, observation)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one)
    assert all(buffer.device.type == "cpu" for buffer in network.buffers())


@pytest.mark.gpu
@pytest.mark.parametrize("graph_encoder", ENCODERS)
def test_a_gpu_gives_the_same_numbers(graph_encoder: str) -> None:
    observation = random_observation(SHAPE, 300)
    there = {name: leaf.cuda() for name, leaf in observation.items()}
    on_gpu = made(graph_encoder).cuda()
    found = learn(on_gpu, there)
    for one, other in zip(learn(made(graph_encoder), observation), found, strict=True):
        assert other.is_cuda
        torch.testing.assert_close(other.cpu(), one, atol=1e-3, rtol=1e-3)
    assert all(buffer.is_cuda for buffer in on_gpu.buffers())
