"""Routing statistics and the auxiliary losses, as pure functions of gate and expert logits.

Every loss is raw (its coefficient belongs to the phase) and a scalar tensor, also where it has nothing to say (one
expert); those that divide the experts are one for each of the router's candidates. Entropies are in nats. Shapes
follow the legend of `rllib_moe.models`.

`gate_entropy` is that of the gate in one state, low where it is decided; the entropy of `expert_share` is high where
all experts are used. Their difference is the mutual information of expert and state (`metrics.MUTUAL_INFORMATION`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_ENTROPY_FLOOR = 1e-8  # see _entropy
_TARGET_BAND = 0.05  # nats; see alpha_entropy_loss
_COSINE_FLOOR = 1e-4  # see diversity_loss
_CHOICE_TEMPERATURE = 0.0625  # see persistence_loss
_USE_WEIGHT = 1.3  # see persistence_loss
_ROLE_SPREAD = 2.0  # standard deviation of the logits in role_loss; 1 to 2 teach alike on NetHack, 3 and 4 less
_LEAST_VARIANCE = 1e-6  # of logits in role_loss, for a batch of equal states


def _entropy(p: Tensor) -> Tensor:
    # 0 log 0 = 0 by the factor p. The floor inside the logarithm bounds the derivative there to ln 1e8 = 18; without it
    # it is infinite, and a sparse gate's zero Jacobian makes NaN of it.
    return -(p * p.clamp(min=_ENTROPY_FLOOR).log()).sum(-1)


def _check_gate(gate: Tensor) -> None:
    if gate.dim() != 2:
        raise ValueError(f"gate: expected [B, K], got shape {tuple(gate.shape)}")


def gate_entropy(gate: Tensor) -> Tensor:
    """Entropy H(p|s) of each state's gate (`alpha_entropy` is its mean).

    Args:
        gate: Gate [B, K].

    Returns:
        Entropies [B], 0 to ln K nats. Exact zeros in the gate are allowed and have a finite gradient.

    Raises:
        ValueError: On a gate that is not [B, K].
    """
    _check_gate(gate)
    return _entropy(gate)


def expert_share(gate: Tensor) -> Tensor:
    """Mean gate [K] of each expert over the batch [B, K]; sums to 1."""
    _check_gate(gate)
    return gate.mean(0)


def alpha_entropy_loss(gate: Tensor, target: Tensor | float = math.nan) -> Tensor:
    """Pull of the batch's mean gate entropy H to a target, or upwards without one.

    With H the mean of `gate_entropy` and d = H - target:

    - no target (NaN): `-H`, the plain bonus;
    - target >= ln K: read as ln K, `ln K - H`, the bonus measured from its top;
    - any other: the Huber loss of d, `|d| - 0.025` outside a band of 0.05 nats and `10 d^2` within.

    Away from the target the gradient is that of the bonus or its opposite, so one coefficient means the same strength
    in every form; (H - target)^2 would be five times weaker at 0.1 nats, half of `v3`'s window in fine-tune (0.3 to
    0.5), and PPO's own gradient could hold the entropy outside. The band only stops the chatter of |d|. The mean over
    the batch is held, not each state's entropy: a clear state may be one-hot while a doubtful one mixes.

    A batch where a sparse gate is one-hot in *every* state has no gradient here.

    Args:
        gate: Gate [B, K].
        target: Target in nats, a number or a tensor of one element; NaN means none. Never read on the host.

    Returns:
        Raw loss, a scalar.

    Raises:
        ValueError: On a gate that is not [B, K], or a target tensor of more than one element.
    """
    entropy = gate_entropy(gate).mean()
    target = torch.as_tensor(target, dtype=gate.dtype, device=gate.device)
    if target.numel() != 1:
        raise ValueError(f"target: expected one element, got shape {tuple(target.shape)}")
    target = target.reshape(())
    ceiling = math.log(gate.shape[1])
    # Without a target the Huber branch is not used; NaN in it would reach the gradient through where, as 0 * NaN.
    reachable = torch.nan_to_num(target, nan=ceiling).clamp(max=ceiling)
    bonus = torch.where(target.isnan(), -entropy, ceiling - entropy)
    held = functional.smooth_l1_loss(entropy, reachable, beta=_TARGET_BAND)
    return torch.where(target < ceiling, held, bonus)  # NaN < ceiling is False


def load_balance_loss(gate: Tensor) -> Tensor:
    """Concentration of the experts' use: `K * sum(mean_p^2) - 1`.

    0 when all experts are used alike over the batch, 1 at two of four, K - 1 at collapse on one. The soft form of
    the Switch Transformer's loss (https://arxiv.org/abs/2101.03961, eq. 4). The mean squared error to uniform is the
    same shape at 1 / K^2 of the size, 0.06 at two of four: no force at `v3`'s coefficients.

    Args:
        gate: Gate [B, K].

    Returns:
        Raw loss, a scalar in [0, K - 1].

    Raises:
        ValueError: On a gate that is not [B, K].
    """
    share = expert_share(gate)
    return share.numel() * share.square().sum() - 1


def diversity_loss(expert_logits: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Mean similarity of the experts' preferences: cosine of centered action logits, hinged at 0.

    For each state and pair of experts `max(0, cos(a_i - mean a_i, a_j - mean a_j))`, averaged. Centering removes what
    the softmax ignores; the hinge stops at unrelated preferences, so that no expert is paid for being wrong on purpose.

    The Jensen-Shannon divergence of the action distributions, measured beside it, is a third cheaper, but while
    policies are soft (logits of 0.1, the start of training) its gradient is some hundred times smaller, and being
    greatest between opposite deterministic policies it never stops and pays for sharper logits. The cosine's gradient
    is orthogonal to an expert's logits: it turns preferences and leaves their strength alone. Exactly equal experts are
    a saddle of both.

    Args:
        expert_logits: Expert logits [B, K, A].
        action_mask: Legal actions [B, A], non-zero = legal; None means all. Illegal ones are ignored, whatever their
            logits. A state with one legal action counts as 0.

    Returns:
        Raw loss, a scalar in [0, 1]; 0 for one expert.

    Raises:
        ValueError: On shapes other than [B, K, A] and [B, A].
    """
    if expert_logits.dim() != 3:
        raise ValueError(f"expert_logits: expected [B, K, A], got shape {tuple(expert_logits.shape)}")
    num_experts = expert_logits.shape[1]
    if action_mask is None:
        centered = expert_logits - expert_logits.mean(-1, keepdim=True)
    else:
        if action_mask.shape != (expert_logits.shape[0], expert_logits.shape[2]):
            raise ValueError(
                f"action_mask: expected {(expert_logits.shape[0], expert_logits.shape[2])}, "
                f"got {tuple(action_mask.shape)}"
            )
        legal = action_mask.bool().unsqueeze(1)  # [B, 1, A]
        logits = expert_logits.masked_fill(~legal, 0.0)
        mean = logits.sum(-1, keepdim=True) / legal.sum(-1, keepdim=True).clamp(min=1)  # [B, K, 1]
        centered = (logits - mean).masked_fill(~legal, 0.0)
    if num_experts == 1:
        return expert_logits.new_zeros(())
    # The floor bounds the gradient of logits without preference: a norm below 0.01 is no difference between actions.
    unit = centered * torch.rsqrt(centered.square().sum(-1, keepdim=True) + _COSINE_FLOOR)
    first, second = torch.triu_indices(num_experts, num_experts, 1, device=unit.device)
    cosine = (unit[:, first] * unit[:, second]).sum(-1)  # [B, K * (K - 1) / 2]
    return cosine.clamp(min=0).mean()


def persistence_loss(candidates: Tensor, is_followed: Tensor) -> Tensor:
    """Minus the mutual information of the choices of experts in two consecutive states of an episode.

    Situations last and noise does not, so the experts become situations that persist: invariant information clustering
    (https://arxiv.org/abs/1807.06653) over time instead of augmentations, with its weight above 1 on the entropy of the
    use. Two equal experts and an unused one both cost; nothing is named by anyone.

    Args:
        candidates: Logits of the router's candidates [M, B, K], with a standard deviation of `router.SCALE`.
        is_followed: Where the next row is the next step of the same episode, bool [B]; the last row's has no next one.

    Returns:
        Raw losses [M], each at least `-(2 * _USE_WEIGHT - 1) ln K`; 0 without a pair.

    Raises:
        ValueError: On shapes other than [M, B, K] and [B].
    """
    if candidates.dim() != 3:
        raise ValueError(f"candidates: expected [M, B, K], got shape {tuple(candidates.shape)}")
    if is_followed.shape != candidates.shape[1:2]:
        raise ValueError(f"is_followed: expected [{candidates.shape[1]}], got shape {tuple(is_followed.shape)}")
    # A softmax of a temperature of its own, whatever gate the phase has: as soft as the gate of warmup the choice would
    # tell next to nothing of a state, since its logits have a fixed spread, and there would be no gradient; a sparse
    # gate has none for an expert that is never chosen.
    choice = (candidates / _CHOICE_TEMPERATURE).softmax(-1)
    first = choice[:, :-1] * is_followed[:-1, None]
    joint = first.mT @ choice[:, 1:] / is_followed[:-1].sum().clamp(min=1)  # [M, K, K]
    joint = (joint + joint.mT) / 2
    return -(2 * _USE_WEIGHT * _entropy(joint.sum(1)) - _entropy(joint.flatten(1)))


def role_loss(candidates: Tensor, roles: Tensor) -> Tensor:
    """Cross-entropy of the router's choice to the roles that the environment names.

    The choice is made of logits standardized over the batch, each expert's by itself, and adjusted by the logarithm of
    the roles' shares (logit adjustment, https://arxiv.org/abs/2007.07314). A cross-entropy asks for a spread and for
    offsets of its own, and the router holds both fixed: measured against the router's constants it shrinks what the
    constants then stretch again, until rounding is all that is left of the raw logits.

    Args:
        candidates: Logits of the router's candidates [M, B, K]; their scale and offsets change nothing.
        roles: Weights of the roles in each state [B, K], rows that sum to 1.

    Returns:
        Raw losses [M] in nats.

    Raises:
        ValueError: On shapes other than [M, B, K] and [B, K].
    """
    if candidates.shape[1:] != roles.shape:
        raise ValueError(
            f"expected candidates [M, B, K] and roles [B, K], got {tuple(candidates.shape)} and {tuple(roles.shape)}"
        )
    centered = candidates - candidates.mean(1, keepdim=True)
    standardized = centered * torch.rsqrt(centered.square().mean(1, keepdim=True) + _LEAST_VARIANCE)
    shares = roles.mean(0).clamp(min=_ENTROPY_FLOOR)
    return -(roles * (_ROLE_SPREAD * standardized + shares.log()).log_softmax(-1)).sum(-1).mean(-1)
