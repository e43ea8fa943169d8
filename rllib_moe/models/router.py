"""The router: which expert answers for a state. Its logits have a fixed spread, and its candidates compete.

The gate that the logits become is in `routing.py`. Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional

SCALE = 0.25
"""Standard deviation of each expert's logit over the states. The schedule's temperatures then do what the user expects:
softmax at temperature 1 has an entropy of about 1.36 of ln 4 = 1.386; sparsemax begins as soft at temperature 1, and at
0.5 it is decided where states form groups (four equal ones: one-hot) and undecided where they do not (about 0.8)."""

STATISTICS_DECAY = 0.95
"""Decay of the router's running statistics per minibatch."""

MARGIN = 0.05
"""Loss in nats, per unit of its coefficients, by which another candidate of the router must be better to take over. Two
situations that share one of seven experts cost 0.2."""

_LEAST_STD = 1e-3


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
        in_size: Width I of the input.
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
    def update_statistics(self, candidate_logits: Tensor, loss: Tensor | float = 0.0) -> None:
        """Move mean and std of each candidate toward those of a batch, and what `choose` compares.

        The first batches count alike, later ones decay with `STATISTICS_DECAY`; one that is not finite changes nothing.

        Args:
            candidate_logits: Logits [M, B, K] that `candidate_logits` returned.
            loss: Loss of each candidate's division of the batch [M], per unit of its coefficients.
        """
        seen = candidate_logits / SCALE  # how far the raw logits are from the mean, in units of std
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
            choice = functional.one_hot(candidate_logits.argmax(-1), self.num_experts).to(seen.dtype)  # [M, B, K]
            together = self.select_chosen(choice).T @ choice / choice.shape[1]  # [M, K, K]
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

    def select_chosen(self, candidates: Tensor) -> Tensor:
        """Return the chosen candidate's part [...] of something of all [M, ...]."""
        return candidates.index_select(0, self.chosen).squeeze(0)

    def candidate_logits(self, x: Tensor) -> Tensor:
        """Logits [M, B, K] of all candidates for what is read of states x [B, I].

        Raises:
            ValueError: On an input that is not [B, I].
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
        """Logits [B, K] of the chosen candidate for what is read of states x [B, I].

        Raises:
            ValueError: On an input that is not [B, I].
        """
        return self.select_chosen(self.candidate_logits(x))
