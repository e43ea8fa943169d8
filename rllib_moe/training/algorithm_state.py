"""All of an algorithm that a resumed run needs, as tensors and plain data: read from it, and written into another one.

Works for PPO and APPO. The configuration is not part of it: a resumed run has its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.utils import make_callback
from torch import Tensor

from rllib_moe.algorithms.curriculum import CurriculumAlgorithm
from rllib_moe.sampling.rollout_worker import VectorRolloutWorker
from rllib_moe.training.checkpoints import AlgorithmState

POLICY_COUNTS = ("skipped_updates", "num_grad_updates", "global_timestep", "kl_coeff")
"""Attributes of a policy that its updates change, beside weights and optimizer."""


def capture(algorithm: CurriculumAlgorithm) -> AlgorithmState:
    """Return a copy of an algorithm's state, all of one moment.

    The episodes under way belong to it where the driver samples them and its environments can be saved.
    """
    policy, worker = algorithm.learner_policy, algorithm.env_runner
    network, (optimizer,) = policy.model.network, policy._optimizers
    with policy._lock:  # between two gradient steps, where the learner has a thread of its own
        return AlgorithmState(
            weights=_copied(network.state_dict()),
            optimizer={
                name: _copied(optimizer.state[parameter])
                for name, parameter in network.named_parameters()
                if parameter in optimizer.state
            },
            plain=deepcopy(
                {
                    "counters": dict(algorithm._counters),
                    "training_iteration": algorithm.training_iteration,
                    "policy": {name: getattr(policy, name) for name in POLICY_COUNTS},
                    "random": {"seed": _config(algorithm).seed, **_random_states()},
                    "episodes": worker.get_episodes() if isinstance(worker, VectorRolloutWorker) else None,
                }
            ),
        )


def restore(algorithm: CurriculumAlgorithm, state: AlgorithmState) -> None:
    """Copy a state by `capture` into an algorithm whose network has the same sizes, and into its rollout workers.

    Applies the phase of its episode count. Settings, the optimizer's included, stay those of the algorithm. With
    another seed than the state's, the random generators stay as they were seeded; with other environments, episodes
    begin anew.
    """
    policy, worker, plain = algorithm.learner_policy, algorithm.env_runner, deepcopy(state.plain)
    network, (optimizer,) = policy.model.network, policy._optimizers
    with policy._lock:
        network.load_state_dict(state.weights)
        names = {parameter: name for name, parameter in network.named_parameters()}
        in_order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
        moments = {i: _copied(state.optimizer[name]) for i, name in enumerate(in_order) if name in state.optimizer}
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        for name in POLICY_COUNTS:
            setattr(policy, name, plain["policy"][name])
    algorithm._counters.clear()
    algorithm._counters.update(plain["counters"])
    algorithm._iteration = plain["training_iteration"]
    make_callback(  # applies the phase and sends the weights
        "on_checkpoint_loaded",
        callbacks_objects=algorithm.callbacks,
        callbacks_functions=_config(algorithm).callbacks_on_checkpoint_loaded,
        kwargs={"algorithm": algorithm},
    )
    if plain["episodes"] and isinstance(worker, VectorRolloutWorker):
        worker.set_episodes(plain["episodes"])
    if plain["random"]["seed"] == _config(algorithm).seed:
        _set_random_states(plain["random"])


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _config(algorithm: CurriculumAlgorithm) -> AlgorithmConfig:
    return cast(AlgorithmConfig, algorithm.config)


def _random_states() -> dict[str, Any]:
    """State of this process's generators: Python's, numpy's and torch's, with which RLlib shuffles and samples."""
    version, words, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, np.array(words), gauss],
        "numpy": list(np.random.get_state()),
        "torch": torch.get_rng_state().numpy(),
        "cuda": [state.numpy() for state in cuda],
    }


def _set_random_states(states: Mapping[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(torch.from_numpy(states["torch"]))
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in states["cuda"]])
