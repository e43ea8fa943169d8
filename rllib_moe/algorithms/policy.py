"""The policy of PPO and APPO: shuffled batches, the active phase, and a guard against updates that are not finite."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import numpy as np
import torch
import tree
from ray.rllib.algorithms.ppo.ppo_torch_policy import PPOTorchPolicy
from ray.rllib.policy.sample_batch import SampleBatch
from torch.nn.utils import clip_grad_norm_

from rllib_moe.models.phase_state import PhaseState
from rllib_moe.models.rllib_model import IS_FOLLOWED
from rllib_moe.schedule.phases import PhaseConfig
from rllib_moe.validation.errors import FailedError

MAX_SKIPPED_IN_A_ROW = 20
"""Gradient steps in a row that were not finite after which learning stops: nothing would ever change again."""

GRAD_NORM = "grad_norm"
"""Key, among a model's metrics, of the gradient norm before it was clipped."""

logger = logging.getLogger(__name__)


class NonFiniteUpdatesError(FailedError):
    """No update is finite any more; the weights are those of the last good one. The message names the losses."""


class ActivePhase(NamedTuple):
    """Values that a policy learns under, as its model and optimizer hold them."""

    phase: PhaseState
    """The model's phase."""
    learning_rate: float
    """The optimizer's learning rate."""
    candidate: int
    """Number of the router's candidate that answers."""


def shuffled_pairs(batch: SampleBatch) -> SampleBatch:
    """Return the rows of whole fragments in random order but for pairs, each followed by its next row.

    The steps of one environment come after those of another. `IS_FOLLOWED`, which is added, is set in the first row of
    a pair whose second is the next step of its episode.
    """
    ids = batch[SampleBatch.EPS_ID]
    is_followed = np.zeros(len(ids), bool)
    is_followed[:-1:2] = ids[:-1:2] == ids[1::2]
    pairs = np.random.permutation((len(ids) + 1) // 2)
    order = (2 * pairs[:, None] + (0, 1)).ravel()
    order = order[order < len(ids)]
    rows: dict[str, Any] = tree.map_structure(lambda column: column[order], dict(batch))
    return SampleBatch({**rows, IS_FOLLOWED: is_followed[order]})


class MoEPPOPolicy(PPOTorchPolicy):
    """PPO's policy with shuffled batches, a fused optimizer and a guard against updates that are not finite."""

    skipped_updates: int = 0
    """Gradient steps skipped so far because a gradient was NaN or infinite."""
    _skipped_in_a_row: int = 0

    def __init__(self, observation_space: Any, action_space: Any, config: dict[str, Any]) -> None:
        super().__init__(observation_space, action_space, config)
        for tower in self.model_gpu_towers:
            tower.network.mixed_precision = config.get("mixed_precision", False)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam; the learning rate is the phase's.

        The router is a group of its own, and the gradient of each group is clipped by itself: how the experts are
        divided does not slow the policy down.
        """
        router = set(self.model.network.router.parameters())
        others = [parameter for parameter in self.model.parameters() if parameter not in router]
        groups = [{"params": others}, {"params": list(self.model.network.router.parameters())}]
        return torch.optim.Adam(groups, lr=self.config["lr"], fused=True)

    def request_phase(self, phase: PhaseConfig, episodes: int) -> None:
        """Activate the phase of an episode count: gate, temperature, all coefficients and the learning rate.

        Called between two batches, so before that a better candidate of the router takes over.
        """
        self._choose_router(episodes)
        self.model.network.phase.apply_phase(phase, episodes)
        self.sync_optimizer()

    def _choose_router(self, episodes: int) -> None:
        network = self.model.network
        if network.router.choose(renumber=network.phase.value("role_coef") == 0):
            chosen, number = int(network.router.chosen) + 1, network.router.num_candidates
            logger.info(f"Episode {episodes}, Router: candidate {chosen} of {number} takes over")

    def sync_optimizer(self) -> None:
        """Make the optimizer and the loss agree with the phase that the model holds.

        RLlib's own learning rate and entropy schedules stay unset, or they would overwrite these values.
        """
        state = self.model.network.phase
        self.cur_lr, self.entropy_coeff = state.value("learning_rate"), state.value("entropy_coef")
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.cur_lr

    @property
    def learned_under(self) -> ActivePhase:
        """The phase that the last batch was learned under."""
        network = self.model.network
        return ActivePhase(network.phase, self._optimizers[0].param_groups[0]["lr"], int(network.router.chosen))

    def load_batch_into_buffer(self, batch: SampleBatch, buffer_index: int = 0) -> int:
        """Shuffle the rows first, two consecutive ones together.

        RLlib permutes the order of minibatches but not their rows, so a minibatch would hold a few whole trajectories:
        correlated gradients, and load balance measured over a handful of episodes. Pairs are what the persistence loss
        compares.
        """
        return super().load_batch_into_buffer(shuffled_pairs(batch), buffer_index)

    def extra_grad_process(self, local_optimizer: Any, loss: Any) -> dict[str, Any]:
        """Do nothing. RLlib would clip here, before the mean over several GPUs, and only the first one's gradients."""
        del local_optimizer, loss
        return {}

    def apply_gradients(self, gradients: Any) -> None:
        """Clip each group's gradient and take the optimizer's step.

        A gradient that is not finite is skipped: weights and optimizer stay as they were. The router's running mean and
        std, which no gradient moves, have seen the batch (as far as it was finite).

        Raises:
            NonFiniteUpdatesError: `MAX_SKIPPED_IN_A_ROW` steps in a row were not finite.
        """
        limit = self.config["grad_clip"] or math.inf
        norms = [clip_grad_norm_(group["params"], limit) for group in self._optimizers[0].param_groups]
        norm = float(sum(norms))  # that of a router without gradients is on the CPU
        for tower in self.model_gpu_towers:  # RLlib's mean over them takes equal keys
            tower.metrics()[GRAD_NORM] = norm
        if math.isfinite(norm):
            super().apply_gradients(gradients)
            self._skipped_in_a_row = 0
            return
        self.skipped_updates += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
            measures = self.model.metrics().items()
            losses = [f"{name} = {value}" for name, value in measures if name != GRAD_NORM and not math.isfinite(value)]
            told = ", ".join(losses) or "all losses are finite"
            raise NonFiniteUpdatesError(
                f"{MAX_SKIPPED_IN_A_ROW} gradient steps in a row were not finite ({told}); none of them was taken"
            )
