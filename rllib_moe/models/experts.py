"""The bank of experts: K small policies on one encoded state, and their mixture.

Every expert runs on every row. A branch that some rows skip would leave parameters without a gradient, which RLlib's
averaging over devices does not survive, and at this size a gather costs more than it saves. Shapes follow the legend
of `rllib_moe.models`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class ExpertBank(nn.Module):
    """K two-layer perceptrons as two batched multiplications.

    Each expert is initialized orthogonally from its own draw: experts that begin alike give the router no reason to
    choose. For the same reason the last layer's gain is 0.3 and not PPO's customary 0.01: action logits then have a
    standard deviation of about 0.2, so each expert alone is nearly uniform over the actions (exploration is unharmed)
    yet has its own preferences. SiLU takes half of tanh's time on a CPU and leaves no dead units in an expert that
    rests for a while.

    A shared expert (https://arxiv.org/abs/2401.06066) is added to each: since a gate sums to 1, the policy's logits are
    the shared expert's plus the mixture of what each adds of its own. The diversity loss sees both together.

    Args:
        in_size: Width D of the encoded state.
        num_experts: Number K of experts; 1 is an ordinary policy head (two added up with a shared expert).
        hidden_size: Hidden width of one expert.
        num_actions: Number A of actions.
        shared_size: Hidden width of the shared expert; 0: there is none.
        output_gain: Orthogonal gain of the last layer.

    Raises:
        ValueError: On a size below 1.
    """

    def __init__(
        self,
        in_size: int,
        num_experts: int,
        hidden_size: int,
        num_actions: int,
        *,
        shared_size: int = 0,
        output_gain: float = 0.3,
    ) -> None:
        super().__init__()
        if min(in_size, num_experts, hidden_size, num_actions) < 1:
            raise ValueError(
                "expected sizes of at least 1, got "
                f"in_size={in_size}, num_experts={num_experts}, hidden_size={hidden_size}, num_actions={num_actions}"
            )
        self.in_size = in_size
        self.num_experts = num_experts
        self.hidden_weight = nn.Parameter(torch.empty(num_experts * hidden_size, in_size))
        self.hidden_bias = nn.Parameter(torch.zeros(num_experts * hidden_size))
        self.output_weight = nn.Parameter(torch.empty(num_experts, hidden_size, num_actions))
        self.output_bias = nn.Parameter(torch.zeros(num_experts, 1, num_actions))
        with torch.no_grad():
            # Orthogonal within an expert; all K blocks as one matrix would tie the experts to one another.
            for expert in self.hidden_weight.view(num_experts, hidden_size, in_size):
                nn.init.orthogonal_(expert, gain=math.sqrt(2))
            for expert in self.output_weight:
                nn.init.orthogonal_(expert, gain=output_gain)
        self.shared = ExpertBank(in_size, 1, shared_size, num_actions, output_gain=output_gain) if shared_size else None

    def forward(self, z: Tensor) -> Tensor:
        """Action logits of every expert.

        Args:
            z: Encoded states [B, D].

        Returns:
            Expert logits [B, K, A].

        Raises:
            ValueError: On an input that is not [B, D].
        """
        if z.dim() != 2 or z.shape[1] != self.in_size:
            raise ValueError(f"z: expected [B, {self.in_size}], got shape {tuple(z.shape)}")
        h = functional.silu(functional.linear(z, self.hidden_weight, self.hidden_bias))  # [B, K * hidden]
        h = h.unflatten(1, (self.num_experts, -1)).transpose(0, 1)  # [K, B, hidden]
        logits = torch.baddbmm(self.output_bias, h, self.output_weight).transpose(0, 1)  # [B, K, A]
        return logits if self.shared is None else logits + self.shared(z)


def combine_experts(gate: Tensor, expert_logits: Tensor) -> Tensor:
    """Action logits of the policy: the experts' logits weighted by the gate.

    Args:
        gate: Gate [B, K].
        expert_logits: Expert logits [B, K, A], finite (mask actions after mixing: 0 * -inf is NaN).

    Returns:
        Action logits [B, A].

    Raises:
        ValueError: On shapes that do not match.
    """
    if gate.dim() != 2 or expert_logits.dim() != 3 or expert_logits.shape[:2] != gate.shape:
        raise ValueError(
            "expected gate [B, K] and expert_logits [B, K, A], "
            f"got {tuple(gate.shape)} and {tuple(expert_logits.shape)}"
        )
    return (gate.unsqueeze(-1) * expert_logits).sum(1)  # [B, A]
