"""The policy network: observation in, action logits, value and a record of the routing out.

Pure PyTorch, usable without Ray: `network(observation)` on a dict of tensors. `rllib_model.py` adapts it to RLlib.
`forward` is a deterministic function of observation, weights and phase. Shapes follow the legend of `rllib_moe.models`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_moe.config import STATE, ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.experts import ExpertBank, combine_experts
from rllib_moe.models.losses import (
    alpha_entropy_loss,
    diversity_loss,
    load_balance_loss,
    persistence_loss,
    role_loss,
)
from rllib_moe.models.observation_encoder import ObservationEncoder
from rllib_moe.models.phase_state import PhaseState
from rllib_moe.models.router import Router
from rllib_moe.models.routing import gate_weights, mask_experts
from rllib_moe.validation.errors import ConfigError

PHASE = "phase."
"""Prefix of the phase among the names of a state dict."""
_LEAST_COEF = 1e-8  # where no loss divides the experts: 0 / 1e-8
ILLEGAL = -1e9
"""Logit of a masked action: finite, so that a mask without any legal action gives no NaN."""


class PolicyOutput(NamedTuple):
    """Output of the network for a batch of observations."""

    logits: Tensor
    """Action logits [B, A], masked."""
    value: Tensor
    """Critic's estimate [B]."""
    gate: Tensor
    """Weights of the experts [B, K], called alpha in the schedule."""
    router_input: Tensor
    """Rows [B, I] that the router read."""
    router_logits: Tensor
    """Logits of the router [B, K], before gate function and temperature."""
    router_candidates: Tensor
    """Logits of all its candidates [M, B, K], of which `router_logits` are the chosen one's."""
    expert_logits: Tensor
    """Action logits of each expert [B, K, A], unmasked."""
    attention: Tensor | None
    """Attention [B, H, N] of the ego node over the nodes; only when asked for."""


class AuxiliaryLosses(NamedTuple):
    """Losses of the routing in a batch, under the active phase."""

    total: Tensor
    """Sum that is added to the loss of the policy, a scalar."""
    raw: dict[str, Tensor]
    """Scalars by name, before their coefficients; of the router's candidates the chosen one's."""
    candidate_losses: Tensor
    """Losses [M] by which the router's candidates divide the experts (persistence, roles), per unit of coefficients."""


class GATMoEPolicy(nn.Module):
    """Graph-attention encoder, router, bank of experts and critic.

    With `mixed_precision` set, the encoder computes in bfloat16 while the module is in training mode (a learner's,
    never a sampler's); all that follows, from the encoded state on, is in float32.

    Args:
        shape: Sizes of the observation.
        num_actions: Number A of actions.
        config: Sizes of the network.

    Raises:
        ValueError: The observation's action mask is not of `num_actions`.
        ConfigError: The observation has no leaf of a name among the inputs, or no role for each expert where the roles
            are the router.
    """

    def __init__(self, shape: GraphShape, num_actions: int, config: ModelConfig) -> None:
        super().__init__()
        if shape.num_actions not in (None, num_actions):
            raise ValueError(f"action_mask: expected {num_actions} actions, got {shape.num_actions}")
        if errors := config.errors(shape):
            raise ConfigError(errors)
        self.mixed_precision = False
        self.phase = PhaseState()
        self.encoder = ObservationEncoder(shape, config)
        self.router_inputs, self.expert_inputs = config.names(config.router_inputs), config.names(config.expert_inputs)
        self.has_roles, self.follows_roles = shape.num_roles == config.num_experts, config.router == "roles"
        is_learned = config.router == "learned"
        num_candidates = config.router_candidates if is_learned and config.num_experts > 1 else 1
        width = _width(self.router_inputs, config)
        self.router = Router(width, config.num_experts, num_candidates=num_candidates).requires_grad_(is_learned)
        expert_width = _width(self.expert_inputs, config)
        self.experts = ExpertBank(
            expert_width,
            config.num_experts,
            config.expert_hidden_size,
            num_actions,
            shared_size=config.shared_hidden_size,
        )
        self.critic = nn.Sequential(
            nn.Linear(config.trunk_size, config.critic_hidden_size), nn.ELU(), nn.Linear(config.critic_hidden_size, 1)
        )

    def forward(
        self,
        observation: Mapping[str, Tensor],
        *,
        available_experts: Tensor | None = None,
        return_attention: bool = False,
    ) -> PolicyOutput:
        """Run the network on a batch.

        Args:
            observation: Leaves of the graph observation, each with a batch dimension in front.
            available_experts: Which experts may answer, bool [K]; the gate is renormalized over them. None: all.
            return_attention: Return the ego node's attention too.
        """
        is_mixed = self.mixed_precision and self.training
        with torch.autocast(observation["features"].device.type, torch.bfloat16, enabled=is_mixed):
            state = self.encoder(observation, return_attention)
        z = state.z.float()
        # Detached: what divides the experts would else take the encoder away from the policy, and most of the clipped
        # gradient.
        router_input = _read(self.router_inputs, z, state.leaves).detach()
        router_candidates = self.router.candidate_logits(router_input)
        router_logits = self.router.select_chosen(router_candidates)
        gate = observation["roles"] if self.follows_roles else self._gate(router_logits)
        if available_experts is not None:
            gate = mask_experts(gate, available_experts)
        expert_logits = self.experts(_read(self.expert_inputs, z, state.leaves))
        logits = combine_experts(gate, expert_logits)
        if "action_mask" in observation:
            logits = logits.masked_fill(observation["action_mask"] == 0, ILLEGAL)
        value = self.critic(z).squeeze(-1)
        return PolicyOutput(
            logits, value, gate, router_input, router_logits, router_candidates, expert_logits, state.attention
        )

    def auxiliary_losses(
        self, output: PolicyOutput, observation: Mapping[str, Tensor], is_followed: Tensor | None = None
    ) -> AuxiliaryLosses:
        """Losses of the routing under the active phase. All candidates of the router learn to divide the experts.

        Args:
            output: What `forward` returned, with its graph.
            observation: The observation it was given.
            is_followed: Where the next row is the next step of the same episode, bool [B]; None: nowhere.
        """
        phase = self.phase
        # The entropy term sees each expert's logit less its mean over the batch, so it can move the entropy only by
        # telling states apart, never by preferring the same expert everywhere (see Router).
        centered = output.router_logits - output.router_logits.mean(0)
        raw = {
            "alpha_entropy": alpha_entropy_loss(self._gate(centered), phase.get_buffer("alpha_entropy_target")),
            "load_balance": load_balance_loss(output.gate),
            "diversity": diversity_loss(output.expert_logits, observation.get("action_mask")),
        }
        candidates = output.router_candidates
        dividing = {
            "persistence": candidates.new_zeros(len(candidates))
            if is_followed is None
            else persistence_loss(candidates, is_followed)
        }
        if self.has_roles:
            dividing["role"] = role_loss(candidates, observation["roles"])
        coefs = torch.stack([phase.get_buffer(f"{name}_coef") for name in dividing])
        weighted = (coefs.unsqueeze(1) * torch.stack(list(dividing.values()))).sum(0)
        total = torch.stack([phase.get_buffer(f"{name}_coef") * loss for name, loss in raw.items()]).sum()
        raw |= {name: self.router.select_chosen(losses) for name, losses in dividing.items()}
        return AuxiliaryLosses(total + weighted.sum(), raw, weighted / coefs.sum().clamp(min=_LEAST_COEF))

    def _gate(self, logits: Tensor) -> Tensor:
        """Return the gate [B, K] of router logits under the active phase."""
        return gate_weights(logits, self.phase.routing, self.phase.get_buffer("temperature"))


def _width(inputs: Sequence[str], config: ModelConfig) -> int:
    """Return the width of what is read."""
    return sum(config.trunk_size if name == STATE else config.hidden_size for name in inputs)


def _read(inputs: Sequence[str], z: Tensor, leaves: Mapping[str, Tensor]) -> Tensor:
    """Return what router or experts read, side by side [B, sum of their widths]."""
    return torch.cat([z if name == STATE else leaves[name].float() for name in inputs], -1)


def phase_of(weights: Mapping[str, Tensor]) -> PhaseState:
    """Return the phase in a network's state dict."""
    state = PhaseState()
    state.load_state_dict(
        {name.removeprefix(PHASE): value for name, value in weights.items() if name.startswith(PHASE)}
    )
    return state


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load a state dict into a network; return the reasons why it does not fit, one a weight, or nothing."""
    if "router.chosen" not in weights:
        return [
            "router: the checkpoint is older than the router's candidates; go on from it with the version that wrote "
            "it, or train anew"
        ]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        return _misfits(network.state_dict(), weights) or [str(error)]
    return []


def _misfits(needed: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Return what differs beside the phase: what a checkpoint lacks of that is off."""
    errors = [
        f"{name}: the checkpoint has {list(weights[name].shape) if name in weights else 'none'}, this environment and "
        f"network need {list(value.shape)}"
        for name, value in needed.items()
        if not name.startswith(PHASE) and (name not in weights or weights[name].shape != value.shape)
    ]
    unknown = [name for name in weights if name not in needed and not name.startswith(PHASE)]
    return errors + [f"{name}: the checkpoint has it, this network does not" for name in unknown]
