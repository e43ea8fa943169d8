"""The phase as the network holds it: buffers, because only those travel.

RLlib copies a model's `state_dict` to rollout workers, into checkpoints and into recreated workers; Python attributes
stay behind. So all of a phase is here, the learning rate included: whoever holds the model can see what should be in
force, whatever way the model came to it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from rllib_moe.phase_checks import ROUTINGS
from rllib_moe.phases import PhaseConfig


class PhaseState(nn.Module):
    """The phase in force. Until `apply_phase` is called: softmax at temperature 1, all coefficients 0."""

    routing_index: Tensor
    """Position in `ROUTINGS`, int64 scalar."""
    episodes: Tensor
    """Global episode count the phase was applied at, int64 scalar."""
    temperature: Tensor
    """Gate temperature, float32 scalar."""
    learning_rate: Tensor
    """Adam's learning rate, float32 scalar."""
    entropy_coef: Tensor
    """Weight of the action entropy bonus, float32 scalar."""
    alpha_entropy_coef: Tensor
    """Weight of the alpha entropy term, float32 scalar."""
    alpha_entropy_target: Tensor
    """Target in nats, NaN for a plain bonus; float32 scalar."""
    load_balance_coef: Tensor
    """Weight of the load balance loss, float32 scalar."""
    diversity_coef: Tensor
    """Weight of the diversity loss, float32 scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("routing_index", torch.tensor(0, dtype=torch.int64))
        self.register_buffer("episodes", torch.tensor(0, dtype=torch.int64))
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("learning_rate", torch.tensor(0.0))
        self.register_buffer("entropy_coef", torch.tensor(0.0))
        self.register_buffer("alpha_entropy_coef", torch.tensor(0.0))
        self.register_buffer("alpha_entropy_target", torch.tensor(math.nan))
        self.register_buffer("load_balance_coef", torch.tensor(0.0))
        self.register_buffer("diversity_coef", torch.tensor(0.0))

    @property
    def routing(self) -> str:
        """Name of the gate in force."""
        return ROUTINGS[int(self.routing_index)]

    def value(self, name: str) -> float:
        """One of the float buffers as the schedule wrote it: 5e-05, not 4.999999873689376e-05.

        RLlib's weight sync turns float64 into float32, so the buffers are float32; the shortest decimal that rounds to
        one is what the schedule said.
        """
        return float(str(np.float32(getattr(self, name).item())))

    def apply_phase(self, phase: PhaseConfig, episodes: int) -> None:
        """Write a phase into the buffers, in place (they may be shared with other holders of the module)."""
        self.routing_index.fill_(ROUTINGS.index(phase.routing))
        self.episodes.fill_(episodes)
        self.temperature.fill_(phase.temperature)
        self.learning_rate.fill_(phase.learning_rate)
        self.entropy_coef.fill_(phase.entropy_coef)
        self.alpha_entropy_coef.fill_(phase.alpha_entropy_coef)
        self.alpha_entropy_target.fill_(math.nan if phase.alpha_entropy_target is None else phase.alpha_entropy_target)
        self.load_balance_coef.fill_(phase.load_balance_coef)
        self.diversity_coef.fill_(phase.diversity_coef)
