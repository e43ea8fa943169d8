"""Gates against independent solutions, known numbers and each other."""

import itertools
import math

import entmax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rllib_moe.metrics import entropy
from rllib_moe.models.losses import expert_share, gate_entropy
from rllib_moe.models.routing import GATES, gate_weights, mask_experts

SPARSE = ("entmax15", "sparsemax")
PACKAGE = {"entmax15": entmax.entmax15, "sparsemax": entmax.sparsemax}


def sparsemax_by_enumeration(logits: Tensor) -> Tensor:
    """Nearest point of the simplex: the best feasible one among the projections on all its faces."""
    num_experts = logits.shape[1]
    best = torch.full_like(logits[:, :1], math.inf)
    answer = torch.zeros_like(logits)
    for size in range(1, num_experts + 1):
        for face in itertools.combinations(range(num_experts), size):
            point = torch.zeros_like(logits)
            on_face = logits[:, face]
            point[:, face] = on_face - (on_face.sum(1, keepdim=True) - 1) / size
            distance = (point - logits).square().sum(1, keepdim=True)
            better = (point >= 0).all(1, keepdim=True) & (distance < best)
            best = torch.where(better, distance, best)
            answer = torch.where(better, point, answer)
    return answer


def entmax_by_bisection(logits: Tensor, alpha: float) -> Tensor:
    """`p = relu((alpha - 1) z - tau) ** (1 / (alpha - 1))` with tau bisected until p sums to 1."""
    z = (alpha - 1) * logits
    high = z.amax(1, keepdim=True)
    low = high - 1
    for _ in range(60):
        middle = (low + high) / 2
        above = (z - middle).clamp(min=0).pow(1 / (alpha - 1)).sum(1, keepdim=True) >= 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (z - low).clamp(min=0).pow(1 / (alpha - 1))


def random_logits(rows: int = 200, experts: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, experts, generator=generator, dtype=dtype)


class TestGateWeights:
    @pytest.mark.parametrize(
        ("routing", "logits", "temperature", "expected"),
        [
            # tau = (0.6 + 0.2 - 1) / 2 = -0.1 for the two largest; the third, -0.5, is below it.
            ("sparsemax", [0.6, 0.2, -0.5], 1.0, [0.7, 0.3, 0.0]),
            # Divided by 2: 0.3, 0.1, -0.25; all above tau = (0.15 - 1) / 3 = -17/60.
            ("sparsemax", [0.6, 0.2, -0.5], 2.0, [35 / 60, 23 / 60, 2 / 60]),
            # A gap of exactly one temperature is one-hot.
            ("sparsemax", [1.0, 0.5, -9.0], 0.5, [1.0, 0.0, 0.0]),
            # Half logits 0.2, 0, -9 with roots r + 0.2 and r: (r + 0.2)^2 + r^2 = 1, r = 0.6; 0.8^2 and 0.6^2.
            ("entmax15", [0.4, 0.0, -18.0], 1.0, [0.64, 0.36, 0.0]),
            # exp(ln 3) : exp(0) = 3 : 1, with the logits given at temperature 2.
            ("softmax", [2 * math.log(3.0), 0.0], 2.0, [0.75, 0.25]),
        ],
    )
    def test_hand_derived(self, routing: str, logits: list[float], temperature: float, expected: list[float]) -> None:
        gate = gate_weights(torch.tensor([logits], dtype=torch.float64), routing, temperature)
        torch.testing.assert_close(gate, torch.tensor([expected], dtype=torch.float64))
        assert ((gate == 0) == (torch.tensor([expected]) == 0)).all()

    @pytest.mark.parametrize("experts", [1, 2, 3, 5])
    @pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
    def test_sparsemax_is_the_nearest_point_of_the_simplex(self, experts: int, scale: float) -> None:
        logits = scale * random_logits(experts=experts)
        torch.testing.assert_close(gate_weights(logits, "sparsemax"), sparsemax_by_enumeration(logits))

    @pytest.mark.parametrize(("routing", "alpha"), [("entmax15", 1.5), ("sparsemax", 2.0)])
    @pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
    def test_agrees_with_bisection(self, routing: str, alpha: float, temperature: float) -> None:
        logits = random_logits()
        expected = entmax_by_bisection(logits / temperature, alpha)
        torch.testing.assert_close(gate_weights(logits, routing, temperature), expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("routing", SPARSE)
    @pytest.mark.parametrize("scale", [1e-5, 0.3, 1.0, 1e4])
    @pytest.mark.parametrize("experts", [1, 2, 4, 16])
    def test_agrees_with_the_entmax_package_in_float32(self, routing: str, scale: float, experts: int) -> None:
        ours = (scale * random_logits(experts=experts, dtype=torch.float32)).requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        upstream = random_logits(experts=experts, dtype=torch.float32).flip(0)
        gate, expected = gate_weights(ours, routing), PACKAGE[routing](theirs)
        torch.testing.assert_close(gate, expected, rtol=0, atol=1e-6)
        gate.backward(upstream)
        expected.backward(upstream)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=5e-6)

    @pytest.mark.parametrize("routing", GATES)
    def test_gradient(self, routing: str) -> None:
        logits = random_logits(rows=8).requires_grad_()
        temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, t: gate_weights(z, routing, t), (logits, temperature))

    @pytest.mark.parametrize("routing", GATES)
    @settings(max_examples=60, deadline=None)
    @given(
        row=st.lists(st.floats(-1e4, 1e4, width=32) | st.just(-math.inf), min_size=1, max_size=6),
        temperature=st.floats(0.01, 100.0),
    )
    def test_any_row_is_a_distribution(self, routing: str, row: list[float], temperature: float) -> None:
        logits = torch.tensor([row], requires_grad=True)
        gate = gate_weights(logits, routing, temperature)
        gate_entropy(gate).sum().backward()
        assert (gate >= 0).all()
        torch.testing.assert_close(gate.sum(1), torch.ones(1))
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    @pytest.mark.parametrize("routing", GATES)
    def test_excluded_expert_is_as_if_absent(self, routing: str) -> None:
        logits = random_logits(experts=3)
        excluded = torch.cat([logits, torch.full((len(logits), 1), -math.inf, dtype=logits.dtype)], 1)
        gate = gate_weights(excluded, routing, 0.5)
        assert (gate[:, 3] == 0).all()
        torch.testing.assert_close(gate[:, :3], gate_weights(logits, routing, 0.5))

    @pytest.mark.parametrize("routing", GATES)
    def test_all_excluded_row_is_uniform(self, routing: str) -> None:
        gate = gate_weights(torch.full((2, 4), -math.inf), routing, 0.5)
        torch.testing.assert_close(gate, torch.full((2, 4), 0.25))

    @pytest.mark.parametrize("routing", GATES)
    def test_nan_is_not_hidden(self, routing: str) -> None:
        assert gate_weights(torch.tensor([[math.nan, 0.0]]), routing).isnan().all()

    @pytest.mark.parametrize("routing", GATES)
    def test_tensor_and_number_temperatures_agree(self, routing: str) -> None:
        logits = random_logits()
        assert torch.equal(
            gate_weights(logits, routing, torch.tensor(0.5, dtype=logits.dtype)), gate_weights(logits, routing, 0.5)
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((torch.zeros(4), "softmax"), r"\[B, K\].*\(4,\)"),
            ((torch.zeros(1, 4), "top2"), "softmax.*top2"),
            ((torch.zeros(1, 4), "softmax", 0.0), "positive.*0.0"),
            ((torch.zeros(1, 4), "softmax", math.nan), "positive.*nan"),
        ],
    )
    def test_refusals(self, arguments: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            gate_weights(*arguments)

    @pytest.mark.parametrize(
        ("spread", "softmax", "sparsemax", "support", "information", "one_hot"),
        [
            (0.1, 1.383, 1.322, 3.99, 0.06, 0.00),
            (0.25, 1.363, 1.061, 3.46, 0.33, 0.00),
            (0.5, 1.301, 0.751, 2.68, 0.64, 0.04),
            (1.0, 1.116, 0.444, 1.95, 0.94, 0.28),
            (2.0, 0.777, 0.250, 1.52, 1.14, 0.55),
        ],
    )
    def test_spread_over_temperature_sets_the_entropy(
        self,
        spread: float,
        softmax: float,
        sparsemax: float,
        support: float,
        information: float,
        one_hot: float,
    ) -> None:
        # Gaussian logits at a temperature of 0.5. The expected values are themselves a Monte Carlo estimate, good to
        # about 0.01 (0.02 for the support).
        logits = 0.5 * spread * random_logits(rows=40_000, dtype=torch.float32)
        gate = gate_weights(logits, "sparsemax", 0.5)
        assert gate_entropy(gate_weights(logits, "softmax", 0.5)).mean().item() == pytest.approx(softmax, abs=0.015)
        assert gate_entropy(gate).mean().item() == pytest.approx(sparsemax, abs=0.015)
        assert (gate > 0).sum(1).float().mean().item() == pytest.approx(support, abs=0.03)
        used = entropy(expert_share(gate).tolist())
        assert used - gate_entropy(gate).mean().item() == pytest.approx(information, abs=0.015)
        assert ((gate > 0).sum(1) == 1).float().mean().item() == pytest.approx(one_hot, abs=0.015)


class TestMaskExperts:
    def test_hand_derived(self) -> None:
        gate = torch.tensor([[0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0]])
        masked = mask_experts(gate, torch.tensor([False, True, True, True]))
        # 0.3 and 0.2 of the 0.5 left; in the second row nothing is left.
        torch.testing.assert_close(masked, torch.tensor([[0, 0.6, 0.4, 0], [0, 1 / 3, 1 / 3, 1 / 3]]))

    def test_everything_available_changes_nothing(self) -> None:
        gate = gate_weights(random_logits(), "sparsemax")
        torch.testing.assert_close(mask_experts(gate, torch.ones(4, dtype=torch.bool)), gate)

    def test_gradient_is_finite_where_nothing_is_left(self) -> None:
        gate = torch.tensor([[1.0, 0.0], [0.5, 0.5]], requires_grad=True)
        mask_experts(gate, torch.tensor([False, True])).square().sum().backward()
        assert gate.grad is not None
        assert gate.grad.isfinite().all()

    def test_refusal(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 4\) and \(3,\)"):
            mask_experts(torch.zeros(2, 4), torch.ones(3, dtype=torch.bool))
