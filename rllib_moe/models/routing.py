"""Gates and the router: which experts answer for a state, and how decided that choice is.

Owns the exact gates (softmax, entmax15, sparsemax) with their temperature, the removal of experts, and the `Router`
whose logits have a fixed spread and whose candidates compete. It does not own the phase (which gate, how hot): the
model passes it in. Shapes follow the legend of `rllib_moe.models`.

Papers: sparsemax https://arxiv.org/abs/1602.02068, entmax https://arxiv.org/abs/1905.05702.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rllib_moe.phases import GATES
from rllib_moe.validation import import_by_path

SCALE = 0.25
"""Standard deviation of each expert's logit over the states. The schedule's temperatures then do what the user expects:
softmax at temperature 1 has an entropy of about 1.36 of ln 4 = 1.386; sparsemax begins as soft at temperature 1, and at
0.5 it is decided where states form groups (four equal ones: one-hot) and undecided where they do not (about 0.8)."""

STATISTICS_DECAY = 0.95
"""Weight of the past in the router's statistics, a minibatch."""

MARGIN = 0.05
"""Loss in nats, per unit of its coefficients, by which another candidate of the router must be better to take over. Two
situations that share one of seven experts cost 0.2."""

_LEAST_STD = 1e-3
_BELOW_SUPPORT = -1.0  # see _SparseGate.forward


class _SparseGate(torch.autograd.Function):
    """Sparsemax and 1.5-entmax without a sort, for the few experts of a policy.

    Both are `p_i = relu(x_i - tau) ** q` with `tau` such that p sums to 1, where x are the logits for sparsemax (q = 1)
    and half the logits for 1.5-entmax (q = 2). The sum falls as tau grows, so expert i is in the support exactly when
    `sum_j relu(x_j - x_i) ** q < 1`: a comparison of all pairs, after which tau has a closed form.

    Agrees with `entmax.sparsemax` and `entmax.entmax15` within 1e-6, takes 0.6 to 0.9 of their time for 4 to 64
    experts on a CPU, and accepts a row that is NaN or excludes everyone, where the package raises. All pairs take
    [B, K, K] floats.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, power: int) -> Tensor:
        x = (logits - logits.amax(-1, keepdim=True)).div_(power)
        # With the largest entry at 0, an entry at or below -1 is never in the support and moves nothing, so this is
        # exact; it keeps an excluded expert's huge negative logit out of the sums below.
        x.clamp_(min=_BELOW_SUPPORT)
        gap = (x.unsqueeze(-2) - x.unsqueeze(-1)).clamp_(min=0)  # [B, K, K]
        if power == 2:
            gap.square_()
        support = (gap.sum(-1) < 1).to(x.dtype)  # [B, K]
        size = support.sum(-1, keepdim=True)  # [B, 1]
        centred = x - (x * support).sum(-1, keepdim=True) / size
        if power == 1:
            gate = (centred + 1 / size) * support
            slope = support
        else:
            # mean - tau = sqrt((1 - ss) / size), at least 1 / size: the roots are in [0, 1] and their squares sum to 1.
            ss = (centred * support).square_().sum(-1, keepdim=True)
            slope = (centred + ((1 - ss) / size).sqrt_()) * support
            gate = slope.square()
        ctx.save_for_backward(slope)
        return gate

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # The Jacobian of every alpha-entmax is diag(s) - s s^T / sum(s), s = p ** (2 - alpha) on the support.
        (slope,) = ctx.saved_tensors
        pulled = grad * slope
        return pulled - slope * (pulled.sum(-1, keepdim=True) / slope.sum(-1, keepdim=True)), None


def gate_weights(logits: Tensor, routing: str, temperature: Tensor | float = 1.0) -> Tensor:
    """Gate of each state: `g(logits / temperature)`.

    An expert with a logit of -inf gets exactly 0 and no gradient; a row that is -inf throughout is uniform. NaN stays
    NaN. First derivatives only.

    Args:
        logits: Router logits [B, K].
        routing: One of `GATES`, or `module:function`.
        temperature: Positive number, or a tensor of one element (not read here, so not checked: no host sync).

    Returns:
        Gate [B, K], rows non-negative and summing to 1.

    Raises:
        ValueError: On logits that are not [B, K], an unknown routing, or a temperature <= 0.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits: expected [B, K], got shape {tuple(logits.shape)}")
    gate = gate_function(routing)
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    # Half the lowest number instead of -inf: the difference of two of them is 0 and not NaN.
    scaled = (logits / temperature).clamp(min=torch.finfo(logits.dtype).min / 2)
    return gate(scaled)


GateFunction = Callable[[Tensor], Tensor]
"""A gate: logits [B, K], divided by the temperature, to weights [B, K] that are not negative and sum to 1."""

_GATES: dict[str, GateFunction] = {
    "softmax": lambda logits: logits.softmax(-1),
    "entmax15": lambda logits: _SparseGate.apply(logits, 2),
    "sparsemax": lambda logits: _SparseGate.apply(logits, 1),
}
assert tuple(_GATES) == GATES


@cache
def gate_function(routing: str) -> GateFunction:
    """Return a gate by its name.

    Args:
        routing: One of `GATES`, or `module:function` for a `GateFunction` of one's own.

    Raises:
        ValueError: There is no such gate.
    """
    if routing in _GATES:
        return _GATES[routing]
    if ":" not in routing:
        raise ValueError(f"routing: expected one of {', '.join(GATES)} or module:function, got {routing!r}")
    return import_by_path(routing, "routing")


def mask_experts(gate: Tensor, available: Tensor) -> Tensor:
    """Gate without the experts that are taken away, renormalized over the others.

    A row that gave (up to rounding) everything to removed experts is uniform over the available ones. To ask for the
    router's second choice instead, fill the removed experts' *logits* with -inf before `gate_weights`.

    Args:
        gate: Gate [B, K].
        available: Which experts stay, bool [K], at least one (not checked here, no host sync: with none the gate is 0).

    Returns:
        Gate [B, K], exactly 0 for removed experts, rows summing to 1.

    Raises:
        ValueError: On shapes other than [B, K] and [K].
    """
    if gate.dim() != 2 or available.shape != gate.shape[1:]:
        raise ValueError(
            f"expected gate [B, K] and available [K], got {tuple(gate.shape)} and {tuple(available.shape)}"
        )
    kept = gate * available
    total = kept.sum(-1, keepdim=True)  # [B, 1]
    usable = total > torch.finfo(gate.dtype).eps
    uniform = available.to(gate.dtype) / available.sum().clamp(min=1)  # [K]
    # The inner where keeps 0 / 0 out of the backward pass: where alone gives 0 * NaN there.
    return torch.where(usable, kept / torch.where(usable, total, 1.0), uniform)


class Router(nn.Module):
    """Rows read of states to expert logits of a fixed spread, so that the temperature alone decides how sharp they are.

    `logits = SCALE * (raw - mean) / std` with `raw = LN(tanh(W LN(x))) @ R^T`, both LayerNorms without affine part, the
    rows of R kept at unit length, mean and std each expert's own over the states seen in training. With plain linear
    logits the spread is a by-product of how large x and the weights have grown; then a schedule of temperatures means
    nothing. Here a temperature halved is a spread doubled.

    The mean keeps experts alive: states of a game resemble each other, so raw logits differ little between states and
    much between experts. The std does too: no expert can become the one that never stands out. Both are buffers, moved
    by `update_statistics` once a minibatch and constant in between, so that sampling and learning agree on the gate of
    a batch.

    Several candidates learn side by side from random starts of their own, and one of them answers. What divides the
    experts has local optima (two situations share an expert, another is split), where gradients stay; of several starts
    the best seldom does. `choose` lets a better candidate take over, its experts renumbered so that as many states as
    possible keep the expert that they had. Nothing ends that: a candidate that became worse may lose its place again.

    Args:
        in_size: Width R of the input.
        num_experts: Number K of experts; 1 is allowed.
        hidden_size: Width of the hidden layer of each candidate, at least 2.
        num_candidates: Number M of candidates.

    Raises:
        ValueError: On sizes below their least value.
    """

    mean: Tensor
    """Mean of each expert's raw logit [M, K]."""
    std: Tensor
    """Standard deviation of each expert's raw logit [M, K]."""
    num_updates: Tensor
    """Number of batches seen, a scalar."""
    loss: Tensor
    """Running loss of each candidate's division [M]."""
    overlap: Tensor
    """Running share of states [M, K, K] in which the chosen candidate prefers one expert and a candidate another."""
    chosen: Tensor
    """Number of the candidate that answers [1]."""

    def __init__(self, in_size: int, num_experts: int, hidden_size: int = 64, num_candidates: int = 1) -> None:
        super().__init__()
        if in_size < 2 or hidden_size < 2 or min(num_experts, num_candidates) < 1:
            raise ValueError(
                "expected in_size >= 2, hidden_size >= 2, num_experts >= 1 and num_candidates >= 1, "
                f"got {in_size}, {hidden_size}, {num_experts} and {num_candidates}"
            )
        self.in_size = in_size
        self.num_experts = num_experts
        self.num_candidates = num_candidates
        self.hidden = nn.Linear(in_size, num_candidates * hidden_size)
        self.directions = nn.Parameter(torch.empty(num_candidates, num_experts, hidden_size))
        for hidden, directions in zip(self.hidden.weight.chunk(num_candidates), self.directions, strict=True):
            nn.init.orthogonal_(hidden)
            nn.init.orthogonal_(directions)
        nn.init.zeros_(self.hidden.bias)
        self.register_buffer("mean", torch.zeros(num_candidates, num_experts))
        self.register_buffer("std", torch.ones(num_candidates, num_experts))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("loss", torch.zeros(num_candidates))
        self.register_buffer("overlap", torch.zeros(num_candidates, num_experts, num_experts))
        self.register_buffer("chosen", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def update_statistics(self, candidates: Tensor, loss: Tensor | float = 0.0) -> None:
        """Move mean and std of each candidate towards those of a batch, and what `choose` compares.

        The first batches count alike, later ones decay with `STATISTICS_DECAY`; one that is not finite changes nothing.

        Args:
            candidates: Logits [M, B, K] that `candidates` returned.
            loss: Loss of each candidate's division of the batch [M], per unit of its coefficients.
        """
        seen = candidates / SCALE  # how far the raw logits are from the mean, in units of std
        shift = seen.mean(1)  # [M, K]
        # Measured about the mean that was in use: while the mean runs away from it, the std grows with the distance
        # and the gate grows soft, instead of preferring one expert everywhere. The first mean of all is no measure.
        about = torch.where(self.num_updates > 0, 0.0, shift)
        variance = (seen - about.unsqueeze(1)).square().mean(1)
        loss = torch.as_tensor(loss, device=seen.device)
        is_finite = variance.isfinite().all() & loss.isfinite().all()
        weight = (1 / (self.num_updates + 1)).clamp(min=1 - STATISTICS_DECAY) * is_finite
        # New tensors, not written in place: the backward pass of this batch still needs the old ones.
        self.mean = self.mean + weight * self.std * torch.nan_to_num(shift)
        spread = (1 - weight + weight * torch.nan_to_num(variance)).sqrt()
        # One expert, or a batch of equal states, has no spread: the floor keeps the division finite.
        self.std = (self.std * spread).clamp(min=_LEAST_STD)
        self.num_updates = self.num_updates + is_finite
        if self.num_candidates > 1:
            choice = functional.one_hot(candidates.argmax(-1), self.num_experts).to(candidates.dtype)  # [M, B, K]
            together = self.of_chosen(choice).T @ choice / choice.shape[1]  # [M, K, K]
            self.overlap = self.overlap + weight * (together - self.overlap)
            self.loss = self.loss + weight * (loss.nan_to_num() - self.loss)

    @torch.no_grad()
    def choose(self, renumber: bool = True) -> bool:
        """Let the candidate with the least loss take over, where it is better than the chosen one by `MARGIN`.

        Reads on the host and writes weights in place, so it belongs between two batches. An optimizer's moments of the
        renumbered rows stay where they are: they are forgotten within some gradient steps.

        Args:
            renumber: Assign its experts to those of the present one, as most states agree. Not where they have names,
                which say already which is which.

        Returns:
            Whether another one answers now.
        """
        best = int(self.loss.argmin())
        if not self.loss[best] < self.loss[self.chosen] - MARGIN:
            return False
        if renumber:
            _, order = linear_sum_assignment(self.overlap[best].cpu(), maximize=True)
            for of_experts in (self.directions, self.mean, self.std):
                of_experts[best] = of_experts[best, torch.as_tensor(order)]
        self.chosen.fill_(best)
        self.overlap.zero_()  # it was with the experts of the one before
        return True

    def of_chosen(self, candidates: Tensor) -> Tensor:
        """Return the chosen candidate's part [...] of something of all [M, ...]."""
        return candidates.index_select(0, self.chosen).squeeze(0)

    def candidates(self, x: Tensor) -> Tensor:
        """Logits [M, B, K] of all candidates for what is read of states x [B, R].

        Raises:
            ValueError: On an input that is not [B, R].
        """
        if x.dim() != 2 or x.shape[1] != self.in_size:
            raise ValueError(f"x: expected [B, {self.in_size}], got shape {tuple(x.shape)}")
        # eps 1e-6: a smaller one would blow up the gradient of an all-zero row, a larger one let magnitude through.
        h = torch.tanh(self.hidden(functional.layer_norm(x, x.shape[1:], eps=1e-6)))  # [B, M * hidden]
        h = h.unflatten(1, (self.num_candidates, -1)).transpose(0, 1)  # [M, B, hidden]
        h = functional.layer_norm(h, h.shape[2:], eps=1e-6)
        raw = h @ functional.normalize(self.directions, dim=2).mT  # [M, B, K]
        return SCALE / self.std.unsqueeze(1) * (raw - self.mean.unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of the chosen candidate for what is read of states x [B, R].

        Raises:
            ValueError: On an input that is not [B, R].
        """
        return self.of_chosen(self.candidates(x))
