"""The adapter between the policy network and RLlib's old API stack: a `TorchModelV2`.

The only RLlib code among the models. It caches what the loss and the metrics of one minibatch need, and adds the
routing losses to PPO's. The network itself is `policy_network.py`.
"""

from __future__ import annotations

import math
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from ray.rllib.models.torch.torch_modelv2 import TorchModelV2
from ray.rllib.utils.typing import ModelConfigDict
from torch import Tensor, nn

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.gate_histograms import Histogram, gate_histograms
from rllib_moe.models.losses import expert_share, gate_entropy
from rllib_moe.models.policy_network import GATMoEPolicy, PolicyOutput

IS_FOLLOWED = "is_followed"
"""Column of a batch: whether the next row is the next step of the same episode, bool [B]."""


class GATMoEModel(TorchModelV2, nn.Module):
    """`GATMoEPolicy` as RLlib wants it.

    Sizes come from `custom_model_config` (the fields of `ModelConfig`).

    Raises:
        ConfigError: an unknown key or a value out of range in `custom_model_config`.
        ValueError: the observation space is not a graph observation, or the action space not discrete.
    """

    def __init__(
        self,
        obs_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_outputs: int,
        model_config: ModelConfigDict,
        name: str,
        **custom_model_config: Any,
    ) -> None:
        # RLlib's catalog hands custom_model_config over as keywords, and again in model_config; when the keywords raise
        # a TypeError it tries once more without them. Reading the dict, and raising no TypeError, leaves it no way to
        # swallow an unknown key.
        del custom_model_config
        TorchModelV2.__init__(self, obs_space, action_space, num_outputs, model_config, name)
        nn.Module.__init__(self)
        if not isinstance(action_space, gymnasium.spaces.Discrete):
            raise ValueError(f"action space: expected Discrete, got {action_space}")
        config = ModelConfig.from_dict(model_config.get("custom_model_config") or {})
        # RLlib's default preprocessor flattens a Dict to float32, and keeps the Dict's space beside the flat one.
        space: Any = getattr(obs_space, "original_space", obs_space)
        self.network = GATMoEPolicy(GraphShape.from_space(space), num_outputs, config)
        self._categories = {
            name: getattr(torch, box.dtype.name)
            for name, box in space.spaces.items()
            if np.issubdtype(box.dtype, np.integer)
        }
        self._policy_output: PolicyOutput | None = None
        self._observation: dict[str, Tensor] = {}
        self._metrics: dict[str, float] = {}
        self._learned_gate: Tensor | None = None

    def forward(  # type: ignore[override]  # Ray's TensorType is also numpy's and TensorFlow's
        self, input_dict: dict[str, Any], state: list[Tensor], seq_lens: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return action logits [B, A] of observations, each leaf [B, ...]."""
        del seq_lens
        observation: dict[str, Tensor] = dict(input_dict["obs"])
        for name, dtype in self._categories.items():
            observation[name] = observation[name].to(dtype)
        self._policy_output, self._observation = self.network(observation), observation
        return self._policy_output.logits, state

    def train(self, mode: bool = True) -> Self:
        """Set the mode. RLlib does so at every action, and going through all modules takes a tenth of the action."""
        return self if mode == self.training else super().train(mode)

    def value_function(self) -> Tensor:
        """Critic's estimates [B] of the last forward pass."""
        return self._cached().value

    def custom_loss(  # type: ignore[override]
        self, policy_loss: list[Tensor], loss_inputs: Any
    ) -> list[Tensor]:
        """Add the routing losses of the minibatch that `policy_loss` was computed on.

        PPO runs one forward pass a minibatch before this call, so the cached output is that of the same rows.
        """
        output = self._cached()
        losses = self.network.auxiliary_losses(output, self._observation, loss_inputs.get(IS_FOLLOWED))
        # The forward pass is done: what moves here is first seen by the next minibatch.
        self.network.router.update_statistics(output.router_candidates, losses.candidate_losses)
        self._learned_gate = output.gate.detach()
        with torch.no_grad():
            names = [f"{name}_loss" for name in losses.raw]
            values = [loss.detach() for loss in losses.raw.values()]
            scalars = torch.stack([*values, losses.total, policy_loss[0], gate_entropy(output.gate).mean()])
            share = expert_share(output.gate)
            numbers = torch.cat((scalars, share)).tolist()  # one transfer from a GPU instead of a dozen
        names += ["routing_loss", "policy_objective", "alpha_entropy"]
        names += [f"expert_share_{index}" for index in range(len(share))]
        self._metrics = dict(zip(names, numbers, strict=True))
        # RLlib averages over minibatches with nanmean, which hides what it should show: a flag, of which it keeps the
        # largest (by its name).
        self._metrics["max_nonfinite_loss"] = float(not math.isfinite(sum(numbers)))
        return [loss + losses.total for loss in policy_loss]

    def metrics(self) -> dict[str, float]:  # type: ignore[override]
        """Routing measures of the last minibatch, one float a key (RLlib averages over minibatches)."""
        return self._metrics

    def gate_histograms(self) -> dict[str, Histogram]:
        """Histograms of the gate over the last minibatch that was learned; none before the first."""
        return {} if self._learned_gate is None else gate_histograms(self._learned_gate)

    def _cached(self) -> PolicyOutput:
        if self._policy_output is None:
            raise RuntimeError("forward must run before anything is asked about its output")
        return self._policy_output
