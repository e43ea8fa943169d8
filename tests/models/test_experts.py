"""The batched bank against plain layers on the same weights, its start, and the mixture."""

import pytest
import torch
from torch.nn import functional

from rllib_moe.models.experts import ExpertBank, combine_experts
from rllib_moe.models.losses import diversity_loss
from rllib_moe.models.routing import gate_weights


@pytest.mark.parametrize(("batch", "experts", "hidden", "actions"), [(5, 4, 16, 23), (1, 1, 8, 3), (16, 3, 2, 5)])
def test_equals_separate_experts_on_the_same_weights(batch: int, experts: int, hidden: int, actions: int) -> None:
    bank = ExpertBank(12, experts, hidden, actions)
    for parameter in bank.parameters():
        torch.nn.init.normal_(parameter)  # biases included
    z = torch.randn(batch, 12)
    separate = []
    for k in range(experts):
        rows = slice(k * hidden, (k + 1) * hidden)
        h = functional.silu(functional.linear(z, bank.hidden_weight[rows], bank.hidden_bias[rows]))
        separate.append(functional.linear(h, bank.output_weight[k].T, bank.output_bias[k, 0]))
    logits = bank(z)
    assert logits.shape == (batch, experts, actions)
    torch.testing.assert_close(logits, torch.stack(separate, dim=1))


def test_experts_differ_at_the_start_and_are_soft() -> None:
    logits = ExpertBank(64, 4, 64, 23)(functional.layer_norm(torch.randn(512, 64), (64,)))
    # Unrelated vectors of 22 degrees of freedom have cosines of deviation 0.21, a mean of max(0, cos) of 0.085.
    assert diversity_loss(logits).item() == pytest.approx(0.085, abs=0.04)
    assert 0.1 < logits.std() < 0.4


def test_each_expert_is_orthogonal() -> None:
    bank = ExpertBank(32, 3, 16, 5)
    for block in bank.hidden_weight.detach().view(3, 16, 32):
        torch.testing.assert_close(block @ block.T, 2 * torch.eye(16), atol=1e-5, rtol=0)
    for block in bank.output_weight.detach():
        torch.testing.assert_close(block.T @ block, 0.09 * torch.eye(5), atol=1e-6, rtol=0)


def test_every_expert_has_a_gradient_under_a_one_hot_gate() -> None:
    bank = ExpertBank(8, 4, 6, 3)
    gate = gate_weights(torch.tensor([[9.0, 0, 0, 0]]), "sparsemax")
    combine_experts(gate, bank(torch.randn(1, 8))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in bank.parameters())
    assert bank.output_weight.grad is not None
    # The chosen expert learns; the others get exactly zero, which is not the same as None to RLlib.
    assert (bank.output_weight.grad[0] != 0).any()
    assert (bank.output_weight.grad[1:] == 0).all()


def test_zero_state_is_finite() -> None:
    assert torch.equal(ExpertBank(8, 4, 6, 3)(torch.zeros(2, 8)), torch.zeros(2, 4, 3))


def test_gradient() -> None:
    bank = ExpertBank(4, 2, 3, 3).double()
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    gate = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda gate, z: combine_experts(gate, bank(z)), (gate, z))


def test_mix_hand_derived() -> None:
    # 0.25 * [4, 0] + 0.75 * [0, 8] = [1, 6]; a one-hot gate returns its expert.
    logits = torch.tensor([[[4.0, 0.0], [0.0, 8.0]]]).expand(2, -1, -1)
    gate = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    torch.testing.assert_close(combine_experts(gate, logits), torch.tensor([[1.0, 6.0], [0.0, 8.0]]))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="num_experts=0"):
        ExpertBank(8, 0, 6, 3)
    with pytest.raises(ValueError, match=r"\[B, 8\].*\(2, 3, 8\)"):
        ExpertBank(8, 4, 6, 3)(torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4, 5\)"):
        combine_experts(torch.zeros(2, 3), torch.zeros(2, 4, 5))
