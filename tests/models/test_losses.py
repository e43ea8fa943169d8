"""Every routing statistic and loss on small gates, with the expected number derived by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rllib_moe.models.losses import (
    alpha_entropy_loss,
    diversity_loss,
    expert_share,
    gate_entropy,
    load_balance_loss,
    persistence_loss,
    role_loss,
)
from rllib_moe.models.router import Router
from rllib_moe.models.routing import gate_weights

UNIFORM = torch.full((4, 4), 0.25)
COLLAPSED = torch.eye(4)[[2, 2, 2, 2]]
SPECIALISED = torch.eye(4)
HALF = torch.tensor([[0.5, 0.5, 0.0, 0.0]] * 4)


def random_gate(rows: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 4, dtype=torch.float64, generator=generator).softmax(1).requires_grad_()


MEAN_ENTROPY = gate_entropy(random_gate()).mean().item()


@pytest.mark.parametrize(
    ("gate", "entropy", "balance"),
    [
        (UNIFORM, math.log(4), 0.0),
        (COLLAPSED, 0.0, 3.0),  # 4 * 1^2 - 1
        (SPECIALISED, 0.0, 0.0),  # each state its expert, all used alike
        (HALF, math.log(2), 1.0),  # 4 * (1/4 + 1/4) - 1
    ],
)
def test_hand_derived(gate: Tensor, entropy: float, balance: float) -> None:
    assert gate_entropy(gate).tolist() == pytest.approx([entropy] * 4, abs=1e-6)
    assert load_balance_loss(gate).item() == pytest.approx(balance, abs=1e-6)


def test_expert_share() -> None:
    gate = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert expert_share(gate).tolist() == [0.75, 0.25]


def test_gate_entropy_agrees_with_torch() -> None:
    gate = random_gate()
    torch.testing.assert_close(gate_entropy(gate), torch.distributions.Categorical(probs=gate).entropy())


@pytest.mark.parametrize(
    "loss",
    [
        lambda gate: gate_entropy(gate),
        load_balance_loss,
        alpha_entropy_loss,
        lambda gate: alpha_entropy_loss(gate, 0.4),
        lambda gate: alpha_entropy_loss(gate, MEAN_ENTROPY + 0.02),  # inside the band
        lambda gate: alpha_entropy_loss(gate, 9.0),
    ],
)
def test_gradient(loss: object) -> None:
    assert torch.autograd.gradcheck(loss, random_gate())


@pytest.mark.parametrize("routing", ["sparsemax", "entmax15", "softmax"])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
@pytest.mark.parametrize("target", [math.nan, 0.4, 2.0])
def test_extreme_logits_have_finite_losses_and_gradients(routing: str, scale: float, target: float) -> None:
    logits = (scale * torch.randn(32, 4)).requires_grad_()
    expert_logits = (scale * torch.randn(32, 4, 6)).requires_grad_()
    gate = gate_weights(logits, routing, 0.5)
    losses = [alpha_entropy_loss(gate, target), load_balance_loss(gate), diversity_loss(expert_logits)]
    sum(losses, torch.zeros(())).backward()
    assert all(loss.shape == () and loss.isfinite() for loss in losses)
    assert logits.grad is not None
    assert expert_logits.grad is not None
    assert logits.grad.isfinite().all()
    assert expert_logits.grad.isfinite().all()


class TestAlphaEntropy:
    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (math.nan, -math.log(2)),  # bonus: -H
            (math.log(2) + 0.3, 0.3 - 0.025),  # outside the band: |d| - 0.05 / 2
            (math.log(2) - 0.3, 0.3 - 0.025),
            (math.log(2) + 0.02, 0.02**2 / 0.1),  # within: d^2 / (2 * 0.05)
            (math.log(2), 0.0),
            (math.log(4), math.log(2)),  # at the ceiling: ln 4 - ln 2
            (5.0, math.log(2)),  # above it: the same
        ],
    )
    @pytest.mark.parametrize("as_tensor", [False, True])
    def test_hand_derived(self, target: float, expected: float, as_tensor: bool) -> None:
        given = torch.tensor([target]) if as_tensor else target
        assert alpha_entropy_loss(HALF, given).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("num_experts", range(2, 12))
    def test_ln_k_in_float32_is_the_ceiling(self, num_experts: int) -> None:
        gate = torch.randn(6, num_experts).softmax(1)
        at_ceiling = alpha_entropy_loss(gate, torch.tensor(math.log(num_experts)))
        torch.testing.assert_close(at_ceiling, math.log(num_experts) - gate_entropy(gate).mean())

    @pytest.mark.parametrize(("target", "sign"), [(math.nan, 1.0), (9.0, 1.0), (1.3, 1.0), (0.3, -1.0)])
    def test_gradient_is_the_bonus_or_its_opposite(self, target: float, sign: float) -> None:
        gate = random_gate()  # its mean entropy is between 0.4 and 1.2
        (bonus,) = torch.autograd.grad(-gate_entropy(gate).mean(), gate)
        (pull,) = torch.autograd.grad(alpha_entropy_loss(gate, target), gate)
        torch.testing.assert_close(pull, sign * bonus)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"one element.*\(2,\)"):
            alpha_entropy_loss(HALF, torch.zeros(2))
        with pytest.raises(ValueError, match=r"\[B, K\].*\(4,\)"):
            alpha_entropy_loss(torch.zeros(4))


class TestDiversity:
    def test_hand_derived(self) -> None:
        # Centered: [1, -1, 0], [-1, 1, 0] + a constant that centering removes, [0.5, 0.5, -1].
        # cos(1, 2) = -1 is hinged to 0; the third is orthogonal to both: 0.
        logits = torch.tensor([[[1.0, -1, 0], [6, 8, 7], [0.5, 0.5, -1]]])
        assert diversity_loss(logits).item() == pytest.approx(0.0, abs=1e-6)
        # [1, -1, 0] with [1, 0, -1]: 1 / (sqrt 2 * sqrt 2) = 0.5.
        logits = torch.tensor([[[1.0, -1, 0], [1, 0, -1]]])
        assert diversity_loss(logits).item() == pytest.approx(0.5, abs=1e-3)
        # Equal up to shift and positive scale: 1.
        logits = torch.tensor([[[1.0, -1, 0], [13, 7, 10]]])
        assert diversity_loss(logits).item() == pytest.approx(1.0, abs=1e-3)

    def test_agrees_with_pairwise_cosine_similarity(self) -> None:
        logits = torch.randn(7, 4, 9)
        centered = logits - logits.mean(2, keepdim=True)
        pairs = [
            functional.cosine_similarity(centered[:, i], centered[:, j], dim=1).clamp(min=0)
            for i in range(4)
            for j in range(i)
        ]
        torch.testing.assert_close(diversity_loss(logits), torch.stack(pairs).mean(), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("illegal", [0.0, 1e6, -math.inf])
    def test_masked_actions_are_as_if_absent(self, illegal: float) -> None:
        logits = torch.randn(5, 4, 8)
        mask = torch.ones(5, 8, dtype=torch.uint8)
        mask[:, [2, 5]] = 0
        filled = logits.masked_fill(mask.unsqueeze(1) == 0, illegal).requires_grad_()
        loss = diversity_loss(filled, mask)
        torch.testing.assert_close(loss, diversity_loss(logits[:, :, [0, 1, 3, 4, 6, 7]]))
        loss.backward()
        assert filled.grad is not None
        assert filled.grad.isfinite().all()

    def test_gradient(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(5, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
        mask = torch.tensor([[1, 1, 0, 1]] * 5)
        assert torch.autograd.gradcheck(diversity_loss, (logits, mask))

    @pytest.mark.parametrize("mask", [torch.tensor([[0, 1, 0]]), torch.zeros(1, 3, dtype=torch.bool)])
    def test_state_without_choice_counts_nothing(self, mask: Tensor) -> None:
        logits = torch.randn(1, 4, 3, requires_grad=True)
        loss = diversity_loss(logits, mask)
        loss.backward()
        assert loss.item() == 0
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_zero_logits_have_a_finite_gradient(self) -> None:
        logits = torch.zeros(2, 4, 3, requires_grad=True)
        diversity_loss(logits).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_step_down_separates_alike_experts(self) -> None:
        logits = (torch.randn(64, 1, 6) + 0.3 * torch.randn(64, 4, 6)).requires_grad_()
        before = diversity_loss(logits)
        before.backward()
        assert logits.grad is not None
        assert diversity_loss(logits - 64 * logits.grad) < before - 0.05

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"\[B, K, A\].*\(2, 3\)"):
            diversity_loss(torch.zeros(2, 3))
        with pytest.raises(ValueError, match=r"\(2, 4\).*\(2, 3\)"):
            diversity_loss(torch.zeros(2, 3, 4), torch.ones(2, 3))


def test_one_expert_costs_nothing() -> None:
    gate = torch.ones(3, 1)
    assert load_balance_loss(gate) == 0
    assert diversity_loss(torch.randn(3, 1, 5)) == 0
    assert alpha_entropy_loss(gate) == 0


class TestPersistence:
    @staticmethod
    def loss(choices: list[int], is_followed: list[bool], strength: float = 5.0) -> float:
        logits = strength * torch.nn.functional.one_hot(torch.tensor(choices), 4).float()
        return persistence_loss(logits[None], torch.tensor(is_followed)).item()

    def test_lasting_choices_earn_the_most(self) -> None:
        every = [0, 0, 1, 1, 2, 2, 3, 3]
        pairs = [True, False] * 4
        assert self.loss(every, pairs) == pytest.approx(-1.6 * math.log(4), abs=1e-3)
        assert self.loss([0, 1, 1, 2, 2, 3, 3, 0], pairs) == pytest.approx(-2.6 * math.log(4) + math.log(8), abs=1e-3)
        assert self.loss([0] * 8, pairs) == pytest.approx(0, abs=1e-3)
        # Two equal experts in place of one cost as much as an unused one.
        assert self.loss([0, 0, 1, 1, 2, 2, 2, 2], pairs) > self.loss(every, pairs) + 0.3

    def test_pairs_never_cross_an_episodes_end(self) -> None:
        assert self.loss([0, 0, 1, 1], [True, False, True, False]) == pytest.approx(-1.6 * math.log(2), abs=1e-3)
        assert self.loss([0, 1, 2, 3], [False] * 4) == 0

    def test_the_last_row_of_a_minibatch_has_no_next(self) -> None:
        assert self.loss([0, 0, 1, 1], [True, False, True, True]) == self.loss([0, 0, 1, 1], [True, False, True, False])

    def test_gradient(self) -> None:
        logits = torch.randn(2, 10, 3, dtype=torch.float64, requires_grad=True)
        is_followed = torch.rand(10) > 0.4
        assert torch.autograd.gradcheck(lambda each: persistence_loss(each / 4, is_followed), logits)

    def test_refusal(self) -> None:
        with pytest.raises(ValueError, match=r"is_followed: expected \[4\]"):
            persistence_loss(torch.zeros(1, 4, 2), torch.zeros(3, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"candidates: expected \[M, B, K\], got shape \(4, 2\)"):
            persistence_loss(torch.zeros(4, 2), torch.zeros(4, dtype=torch.bool))

    def test_candidates_are_told_apart(self) -> None:
        logits, is_followed = torch.randn(3, 10, 4), torch.rand(10) > 0.4
        alone = torch.cat([persistence_loss(one[None], is_followed) for one in logits])
        torch.testing.assert_close(persistence_loss(logits, is_followed), alone)


class TestRoles:
    def test_it_is_the_cross_entropy_of_standardized_and_adjusted_logits(self) -> None:
        logits, roles = torch.randn(2, 20, 4), torch.rand(20, 4).softmax(-1)
        expected = []
        for one in logits:
            standardized = (one - one.mean(0)) / one.std(0, correction=0)
            adjusted = 2 * standardized + roles.mean(0).log()
            expected.append(functional.cross_entropy(adjusted, roles))
        torch.testing.assert_close(role_loss(logits, roles), torch.stack(expected), rtol=1e-4, atol=1e-5)
        stretched = logits * torch.tensor([0.1, 1.0, 5.0, 9.0]) + torch.tensor([4.0, 0.0, -3.0, 1.0])
        torch.testing.assert_close(role_loss(stretched, roles), role_loss(logits, roles), rtol=1e-3, atol=1e-4)

    def test_a_role_that_no_state_has_and_equal_states_are_finite(self) -> None:
        logits = torch.zeros(1, 6, 3, requires_grad=True)
        roles = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).repeat(3, 1)
        loss = role_loss(logits, roles).sum()
        loss.backward()
        # Nothing is told apart: what is left is the entropy of the shares, 3/4 and 1/4.
        assert loss.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel=1e-5)
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_a_router_that_is_taught_keeps_its_spread(self) -> None:
        """By the cross-entropy of the logits as they are the least spread falls to a tenth, on NetHack to rounding."""
        states = torch.randn(2000, 8)
        roles = (2 * states[:, :3] + torch.tensor([1.0, 0.0, -1.0])).softmax(-1)
        router = Router(8, 3)
        optimizer = torch.optim.Adam(router.parameters(), lr=2e-3)
        for _ in range(600):
            rows = torch.randint(len(states), (128,))
            candidates = router.candidate_logits(states[rows])
            optimizer.zero_grad()
            loss = role_loss(candidates, roles[rows])
            loss.sum().backward()
            optimizer.step()
            router.update_statistics(candidates.detach(), loss.detach())
        assert router.std.min() > 0.3
        assert (router(states).argmax(1) == roles.argmax(1)).float().mean() > 0.75

    def test_refusal(self) -> None:
        with pytest.raises(ValueError, match=r"\(1, 4, 2\) and \(4, 3\)"):
            role_loss(torch.zeros(1, 4, 2), torch.zeros(4, 3))
