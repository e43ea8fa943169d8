"""Each part of a training iteration alone in one process, and their sum beside the whole, in wall time and core time.

What the parts do not explain is a part of its own: the sampler around environment and network, the waiting of two
workers for two cores, RLlib around the gradient steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.policy.sample_batch import SampleBatch, concat_samples
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from benchmarks.timing import now, seconds
from rllib_moe.config import EnvironmentConfig, TrainingConfig
from rllib_moe.envs.registry import make_configured

ENVIRONMENT_STEPS = 4000
"""Steps of one environment alone."""
SEED = 0
"""Of random actions and games."""


def time_environment(environment: EnvironmentConfig, num_steps: int = ENVIRONMENT_STEPS) -> dict[str, float | None]:
    """Measure one environment in this process: random legal actions, starts of episodes included.

    Returns:
        Microseconds `environment_us` (a step with its observation), `game_us` (a step of NetHack itself,
        without an observation; None for another environment).
    """
    env = make_configured(environment)
    random = np.random.default_rng(SEED)
    env.action_space.seed(SEED)
    playing = 0.0
    ended = True
    try:
        env.reset(seed=SEED)  # what is compiled or loaded is so now
        for _ in range(num_steps):
            begin = time.perf_counter()
            if ended:
                observation, _ = env.reset()
                playing += time.perf_counter() - begin
            mask = observation.get("action_mask")
            action = env.action_space.sample() if mask is None else random.choice(np.flatnonzero(mask))
            begin = time.perf_counter()
            observation, _, terminated, truncated, _ = env.step(action)
            playing += time.perf_counter() - begin
            ended = terminated or truncated
    finally:
        env.close()
    return {
        "environment_us": 1e6 * playing / num_steps,
        "game_us": time_game(environment.max_steps, num_steps) if environment.env == "nethack" else None,
    }


def time_game(max_steps: int, num_steps: int) -> float:
    """Microseconds a step of NetHack itself: random actions, questions closed, no observation made."""
    # Here, because other environments run where NetHack is not installed.
    from rllib_moe.envs.nethack.actions import ACTION_KEYS
    from rllib_moe.envs.nethack.game import Game
    from rllib_moe.envs.nethack.prompts import open_prompt, settle

    game = Game(character="mon-hum-neu-mal")
    keys = np.random.default_rng(SEED).choice(ACTION_KEYS, num_steps).tolist()
    game.start(SEED, SEED)
    over = False
    begin = time.perf_counter()
    for step, key in enumerate(keys):
        if over or step % max_steps == 0:
            game.start(SEED + step, SEED)
        before = open_prompt(game)
        over = game.press(key) or settle(game, before=before, dismiss=True)[2]
    taken = time.perf_counter() - begin
    game.close()
    return 1e6 * taken / num_steps


def sample_alone(algorithm: Algorithm, repeats: int) -> tuple[SampleBatch, float]:
    """Sample batches in this process.

    Returns:
        The last batch, well into its episodes, and the median microseconds a step.
    """
    group: Any = algorithm.env_runner_group
    sample = group.local_env_runner.sample
    taken = seconds(sample, repeats)
    batch = sample()
    return batch, 1e6 * taken / len(batch)


def time_inference(policy: TorchPolicyV2, batch: SampleBatch, num_rows: int, repeats: int) -> float:
    """Microseconds a row of the network on as many rows as one worker has environments."""
    rows = convert_to_torch_tensor(batch.slice(0, num_rows)[SampleBatch.OBS], policy.device)
    policy.model.eval()

    def call() -> None:
        with torch.no_grad():
            policy.model({"obs": rows})
            policy.model.value_function()

    return 1e6 * seconds(call, max(30, 10 * repeats), warm_up=5) / num_rows


def time_minibatch(
    policy: TorchPolicyV2, batch: SampleBatch, training: TrainingConfig, repeats: int
) -> dict[str, float]:
    """Milliseconds of one gradient step in plain torch: `forward` (with all losses), `backward`, `optimizer`."""
    model, size = policy.model, training.minibatch_size
    optimizer: Any = policy.optimizer()
    rows = convert_to_torch_tensor(dict(batch.slice(0, size)), policy.device)
    names = (SampleBatch.OBS, SampleBatch.ACTIONS, SampleBatch.ACTION_LOGP, "advantages", "value_targets")
    observations, actions, log_probabilities, advantages, targets = (rows[name] for name in names)
    model.train()
    taken = []
    for _ in range(2 + 2 * repeats):
        times = [now()]
        logits, _ = model({"obs": observations})
        chosen = torch.distributions.Categorical(logits=logits, validate_args=False)
        ratio = (chosen.log_prob(actions) - log_probabilities).exp()
        clipped = ratio.clamp(1 - training.clip_param, 1 + training.clip_param)
        surrogate = -torch.minimum(ratio * advantages, clipped * advantages).mean()
        critic = (model.value_function() - targets).square().mean()
        loss = surrogate + training.vf_loss_coef * critic - 0.01 * chosen.entropy().mean()
        (loss,) = model.custom_loss([loss], {})
        times.append(now())
        optimizer.zero_grad()
        loss.backward()
        times.append(now())
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.grad_clip)
        optimizer.step()
        times.append(now())
        taken.append(np.diff(times))
    return dict(zip(("forward", "backward", "optimizer"), 1e3 * np.median(taken[2:], axis=0), strict=True))


def time_sync(algorithm: Algorithm, repeats: int) -> float:
    """Milliseconds until new weights are with every rollout worker."""
    group: Any = algorithm.env_runner_group
    if not group.num_remote_env_runners():
        return 0.0
    return 1e3 * seconds(lambda: group.sync_weights(timeout_seconds=60), 3 * repeats)


def time_transfer(batch: SampleBatch, num_workers: int, repeats: int) -> float:
    """Seconds for a train batch through Ray's object store, in as many pieces as there are workers, and its joining."""
    if not num_workers:
        return 0.0
    size = len(batch) // num_workers
    pieces: list[Any] = [batch.slice(index * size, (index + 1) * size).copy() for index in range(num_workers)]
    return seconds(lambda: concat_samples([ray.get(ray.put(piece)) for piece in pieces]), repeats)


def breakdown(whole: Mapping[str, float], alone: Mapping[str, Any], training: TrainingConfig) -> list[dict[str, Any]]:
    """The parts of one iteration.

    Args:
        whole: Medians of `iterate`.
        alone: `*_us` a step or row, `minibatch_ms` (a dict), `sample_us` (the whole of sampling alone, a step),
            `transfer_seconds`; `game_us` may be None.
        training: The configuration.

    Returns:
        Rows `stage`, `part`, `seconds`, `share` (of the iteration). The stages' seconds are those of whole training,
        so a rest below zero says that a part is faster in training than alone.
    """
    # Of one worker, in millions: microseconds become seconds.
    steps = training.batch_size / max(1, training.num_workers) / 1e6
    sampling = {name: steps * value for name, value in _sampling_us(alone).items()}
    sampling["transfer of the batch"] = alone["transfer_seconds"]
    sampling["rest: sharing cores, waiting"] = whole["sample_seconds"] - sum(sampling.values())
    learning = {name: _minibatches(training) * value / 1e3 for name, value in alone["minibatch_ms"].items()}
    learning["rest: RLlib, loading, statistics"] = whole["learn_seconds"] - sum(learning.values())
    stages = whole["sample_seconds"] + whole["learn_seconds"] + whole["sync_seconds"]
    table = {
        "sampling": sampling,
        "learning": learning,
        "synchronization": {"weights": whole["sync_seconds"]},
        "other": {"results, callbacks, further syncs": whole["wall_seconds"] - stages},
    }
    return [
        {"stage": stage, "part": part, "seconds": value, "share": value / whole["wall_seconds"]}
        for stage, parts in table.items()
        for part, value in parts.items()
    ]


def core_budget(core_us: float, alone: Mapping[str, Any], training: TrainingConfig) -> list[dict[str, Any]]:
    """Core time of one environment step, all processes together.

    Args:
        core_us: Microseconds of core time a step of whole training.
        alone: As for `breakdown`, and `minibatch_core_ms`, that of one thread.
        training: The configuration.

    Returns:
        Rows `part`, `us`, `share`. The last, `rest`, makes them add up: results, callbacks, RLlib, Ray's own processes,
        threads that wait for each other, and what parts cost more side by side than alone.
    """
    parts = {**_sampling_us(alone), "transfer of the batch": 1e6 * alone["transfer_seconds"] / training.batch_size}
    a_step = 1e3 * _minibatches(training) / training.batch_size
    parts |= {name: a_step * value for name, value in alone["minibatch_core_ms"].items()}
    parts["rest"] = core_us - sum(parts.values())
    return [{"part": part, "us": value, "share": value / core_us} for part, value in parts.items()]


def _sampling_us(alone: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds a step of the parts of sampling, which add up to `sample_us`."""
    parts = {"environment": alone["environment_us"]}
    if alone["game_us"] is not None:
        parts = {"NetHack itself": alone["game_us"], "observation": alone["environment_us"] - alone["game_us"]}
    parts["inference (network)"] = alone["inference_us"]
    parts["the sampler and RLlib around them"] = alone["sample_us"] - sum(parts.values())
    return parts


def _minibatches(training: TrainingConfig) -> int:
    """Gradient steps of an iteration."""
    return training.num_epochs * (training.batch_size // training.minibatch_size)
