"""The router: logits of a fixed spread, statistics that keep experts alive, candidates that compete."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from rllib_moe.models.losses import gate_entropy
from rllib_moe.models.router import MARGIN, SCALE, Router
from rllib_moe.models.routing import gate_weights


class TestRouter:
    @pytest.mark.parametrize("magnitude", [1e-2, 1.0, 1e4])
    @pytest.mark.parametrize(("in_size", "hidden_size"), [(64, 64), (64, 16), (24, 64)])
    def test_spread_at_the_start(self, magnitude: float, in_size: int, hidden_size: int) -> None:
        logits = torch.stack([Router(in_size, 4, hidden_size)(magnitude * torch.randn(512, in_size)) for _ in range(8)])
        assert logits.std().item() == pytest.approx(SCALE, rel=0.1)
        # No expert is preferred before learning: the mean over states is small beside the spread.
        assert logits.mean(1).abs().max() < 0.15

    def test_magnitude_of_the_state_does_not_matter(self) -> None:
        router, z = Router(32, 4), torch.randn(16, 32)
        torch.testing.assert_close(router(z), router(1000 * z + 5), rtol=1e-2, atol=1e-3)

    def test_length_of_the_rows_does_not_matter(self) -> None:
        router, z = Router(32, 4), torch.randn(16, 32)
        before = router(z)
        with torch.no_grad():
            router.directions *= 7
        torch.testing.assert_close(router(z), before)

    def test_zero_state_is_finite_and_undecided(self) -> None:
        router, z = Router(32, 4), torch.zeros(2, 32, requires_grad=True)
        logits = router(z)
        logits.square().sum().backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()
        torch.testing.assert_close(logits, torch.zeros(2, 4))

    def test_one_expert(self) -> None:
        assert (gate_weights(Router(8, 1)(torch.randn(5, 8)), "sparsemax") == 1).all()

    def test_gradient(self) -> None:
        router = Router(6, 3, 5).double()
        assert torch.autograd.gradcheck(router, torch.randn(4, 6, dtype=torch.float64, requires_grad=True))

    def test_every_parameter_learns(self) -> None:
        router = Router(16, 4)
        router(torch.randn(8, 16)).square().sum().backward()
        for name, parameter in router.named_parameters():
            assert parameter.grad is not None, name
            assert (parameter.grad != 0).any(), name

    def test_statistics_give_each_experts_logits_the_scale(self) -> None:
        router, z = Router(16, 4).requires_grad_(False), 2 + torch.randn(512, 16)
        raw = router(z) / SCALE  # the mean begins at 0, the std at 1
        router.update_statistics(router.candidate_logits(z))
        assert torch.allclose(router.mean[0], raw.mean(0), atol=1e-6)
        assert torch.allclose(router.std[0], raw.std(0, correction=0), rtol=1e-4)
        after = router(z)
        assert torch.allclose(after.mean(0), torch.zeros(4), atol=1e-6)
        assert torch.allclose(after.std(0, correction=0), torch.full((4,), SCALE), rtol=1e-4)

    def test_the_temperature_decides(self) -> None:
        """Halved, it is logits of twice the spread, whatever weights and states have grown to."""
        router, z = Router(16, 4).requires_grad_(False), 5 + 20 * torch.randn(512, 16)
        router.directions *= 9
        for _ in range(30):
            router.update_statistics(router.candidate_logits(z))
        entropies = []
        for temperature in (1.0, 0.5):
            gate = gate_weights(router(z), "softmax", temperature)
            torch.testing.assert_close(gate, (router(z) / temperature).softmax(-1))
            assert (router(z) / temperature).std(0).mean().item() == pytest.approx(SCALE / temperature, rel=0.01)
            entropies.append(gate_entropy(gate).mean().item())
        assert entropies == pytest.approx([1.36, 1.29], abs=0.03)
        assert gate_entropy(gate_weights(router(z), "sparsemax", 0.5)).mean().item() == pytest.approx(0.8, abs=0.1)

    def test_a_mean_that_runs_away_makes_the_gate_soft(self) -> None:
        """States that resemble each other, and raw logits that all move: the lag must not choose an expert for all."""
        router, common = Router(16, 4).requires_grad_(False), torch.randn(16)
        shares = []
        for step in range(60):
            z = common + 0.01 * torch.randn(256, 16)
            if step > 30:
                router.hidden.bias += 0.01  # some ten standard deviations a minibatch
            candidates = router.candidate_logits(z)
            shares.append(gate_weights(candidates[0], "softmax", 1.0).mean(0).min().item())
            router.update_statistics(candidates)
        assert min(shares[35:]) > 0.1

    def test_statistics_ignore_what_is_not_finite(self) -> None:
        router = Router(16, 4)
        before = {name: value.clone() for name, value in router.state_dict().items() if name in ("mean", "std")}
        router.update_statistics(torch.full((1, 8, 4), math.nan))
        router.update_statistics(torch.full((1, 8, 4), math.inf))
        assert all(torch.equal(router.state_dict()[name], value) for name, value in before.items())

    def test_statistics_of_equal_states_stay_finite(self) -> None:
        router, z = Router(16, 4), torch.ones(8, 16)
        for _ in range(50):
            router.update_statistics(router.candidate_logits(z))
        assert router(torch.randn(8, 16)).isfinite().all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1, 4), "in_size >= 2"),
            ((8, 0), "num_experts >= 1"),
            ((8, 4, 1), "hidden_size >= 2"),
            ((8, 4, 8, 0), "num_candidates >= 1"),
        ],
    )
    def test_refusals(self, arguments: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Router(*arguments)

    def test_candidates_are_routers_of_their_own(self) -> None:
        router, z = Router(16, 4, num_candidates=3), torch.randn(64, 16)
        candidates = router.candidate_logits(z)
        assert torch.equal(router(z), candidates[0])
        alone = Router(16, 4)
        alone.load_state_dict(
            alone.state_dict()
            | {
                "hidden.weight": router.hidden.weight[128:],
                "hidden.bias": router.hidden.bias[128:],
                "directions": router.directions[2:],
            }
        )
        torch.testing.assert_close(candidates[2], alone(z))
        assert (candidates[0] - candidates[2]).abs().mean() > 0.5 * SCALE

    @staticmethod
    def after(losses: list[float]) -> tuple[Router, bool]:
        router, z = Router(16, 4, num_candidates=3), torch.randn(512, 16)
        for _ in range(20):
            router.update_statistics(router.candidate_logits(z), torch.tensor(losses))
        return router, router.choose()

    def test_the_candidate_that_divides_best_takes_over(self) -> None:
        router, has_changed = self.after([-1.0, -1.2, -1.5])
        assert has_changed
        assert router.chosen == 2
        assert not router.choose()  # once

    def test_a_candidate_that_is_hardly_better_does_not(self) -> None:
        router, has_changed = self.after([-1.0, -1.0 - 0.5 * MARGIN, -0.5])
        assert not has_changed
        assert router.chosen == 0

    def test_states_keep_their_experts_where_they_can(self) -> None:
        """The second candidate is the first with its experts in another order, so renumbered it is the first."""
        router, z = Router(16, 4, num_candidates=2), torch.randn(512, 16)
        with torch.no_grad():
            router.hidden.weight[64:] = router.hidden.weight[:64]
            router.directions[1] = router.directions[0, [2, 0, 3, 1]]
        for _ in range(20):
            router.update_statistics(router.candidate_logits(z), torch.tensor([-1.0, -2.0]))
        before = router(z)
        named = deepcopy(router)
        assert named.choose(renumber=False)
        torch.testing.assert_close(named(z), before[:, [2, 0, 3, 1]])
        assert router.choose()
        torch.testing.assert_close(router(z), before)

    def test_a_batch_that_is_not_finite_changes_nothing_that_candidates_are_chosen_by(self) -> None:
        router, _ = self.after([-1.0, -1.2, -1.1])
        before, good = deepcopy(router.state_dict()), router.candidate_logits(torch.randn(8, 16))
        for candidates, loss in ((good * math.nan, [0.0] * 3), (good, [0.0, math.nan, 0.0]), (good, [-math.inf] * 3)):
            router.update_statistics(candidates, torch.tensor(loss))
        assert all(torch.equal(router.state_dict()[name], value) for name, value in before.items())

    def test_refuses_another_width(self) -> None:
        with pytest.raises(ValueError, match=r"\[B, 8\].*\(2, 9\)"):
            Router(8, 4)(torch.zeros(2, 9))
