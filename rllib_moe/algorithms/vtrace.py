"""V-trace over a batch that older policies sampled, by the critic as it is: then PPO can learn it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.sgd import standardized
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import Tensor

from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.sampling.advantages import gae
from rllib_moe.sampling.guarded_environments import Observation


def vtrace(policy: MoEPPOPolicy, batch: SampleBatch, bootstrap_obs: Observation | None) -> float:
    """Make a batch by older policies one that PPO can learn: V-trace (https://arxiv.org/abs/1802.01561), in place.

    Values, action probabilities and logits become those of the policy as it is: the anchor of PPO's ratio. Advantages
    are V-trace's with lambda, importance weights cut at 1; advantages are then standardized, as RLlib's PPO does.

    Args:
        policy: The policy that will learn.
        batch: Rows [S * T] of a `VectorSampler`: whole fragments of T steps, one environment's after another's.
        bootstrap_obs: Its `bootstrap_obs`; None where there are none.

    Returns:
        Mean of the importance weights: the share of the rows' weight that is kept.
    """
    config = policy.config
    behaviour = np.asarray(batch[SampleBatch.ACTION_LOGP])
    logits, values = _evaluated(policy, cast(Observation, batch[SampleBatch.OBS]))
    actions = torch.from_numpy(np.asarray(batch[SampleBatch.ACTIONS])).to(policy.device)
    logp = cast(Any, policy.dist_class)(logits, policy.model).logp(actions)
    for key, column in (
        (SampleBatch.ACTION_DIST_INPUTS, logits),
        (SampleBatch.VF_PREDS, values),
        (SampleBatch.ACTION_LOGP, logp),
    ):
        batch[key] = column.cpu().numpy()

    def by_time(column: Any) -> np.ndarray:  # [T, S]
        return np.asarray(column).reshape(-1, config["rollout_fragment_length"]).T

    terminated, truncated = by_time(batch[SampleBatch.TERMINATEDS]), by_time(batch[SampleBatch.TRUNCATEDS])
    current = by_time(batch[SampleBatch.VF_PREDS])
    next_values = np.zeros_like(current)
    next_values[:-1] = np.where(terminated[:-1], 0, current[1:])
    if bootstrap_obs is not None:
        is_last = np.arange(len(current))[:, None] == len(current) - 1
        # Transposed, so that places are in the order of the rows.
        next_values.T[(~terminated & (truncated | is_last)).T] = _evaluated(policy, bootstrap_obs)[1].cpu().numpy()
    ratios = np.exp(by_time(batch[SampleBatch.ACTION_LOGP]) - by_time(behaviour))
    advantages = gae(
        by_time(batch[SampleBatch.REWARDS]),
        current,
        next_values,
        terminated | truncated,
        config["gamma"],
        config["lambda"],
        ratios,
    )
    batch[Postprocessing.VALUE_TARGETS] = (advantages + current).T.reshape(-1)
    batch[Postprocessing.ADVANTAGES] = standardized(advantages.T.reshape(-1))
    return float(np.minimum(ratios, 1).mean())


@torch.no_grad()
def _evaluated(policy: MoEPPOPolicy, observations: Observation) -> tuple[Tensor, Tensor]:
    """Return logits [n, A] and critic's estimates [n] of n observations, evaluated a minibatch at a time."""
    model, size = policy.model, policy.config["minibatch_size"]
    model.eval()
    logits, values = [], []
    for begin in range(0, len(next(iter(observations.values()))), size):
        rows = {name: leaf[begin : begin + size] for name, leaf in observations.items()}
        logits.append(model({SampleBatch.OBS: convert_to_torch_tensor(rows, policy.device)})[0])
        values.append(model.value_function())
    return torch.cat(logits), torch.cat(values)
