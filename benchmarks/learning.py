"""Learning alone: one batch of real observations, this network compiled and with its dense attention layers in turn.

Both learn through RLlib's own update with the same settings; only the form of the graph encoder differs. The batch is
what the untrained policy sampled, which is close to random legal play, so graphs have the sizes they have in games.
"""

from __future__ import annotations

import statistics
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.execution.train_ops import multi_gpu_train_one_step
from ray.rllib.policy.sample_batch import SampleBatch

from benchmarks.config import BenchmarkConfig
from benchmarks.encoder_forms import use_dense_layers
from benchmarks.timing import now
from rllib_moe.algorithms.rllib_config import algorithm_config


def local_algorithm(config: BenchmarkConfig, *, dense: bool = False) -> Algorithm:
    """The algorithm without rollout workers: it samples and learns in this process.

    Args:
        config: The benchmark.
        dense: Whether the attention layers compute in their dense form.
    """
    algorithm = algorithm_config(config.with_training(num_workers=0), config.phases()).build_algo()
    if dense:
        use_dense_layers(algorithm.get_policy().model)
    return algorithm


def compare_learning(algorithms: dict[str, Algorithm], batch: SampleBatch, repeats: int) -> dict[str, float]:
    """Median seconds of a whole update (all epochs over `batch`) of each algorithm, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in algorithms}
    for turn in range(1 + repeats):
        for name, algorithm in algorithms.items():
            begin = now()
            multi_gpu_train_one_step(algorithm, _copy(batch))
            if turn:
                taken[name].append(now() - begin)
    return {name: statistics.median(values) for name, values in taken.items()}


def sample_alone(algorithm: Algorithm, repeats: int) -> tuple[SampleBatch, float]:
    """Sample batches in this process.

    Returns:
        The last batch, and the median microseconds a step.
    """
    group: Any = algorithm.env_runner_group
    taken = []
    for _ in range(1 + repeats):
        begin = now()
        batch: Any = group.local_env_runner.sample()
        taken.append(1e6 * (now() - begin) / len(batch))
    return batch, statistics.median(taken[1:])


def _copy(batch: SampleBatch) -> SampleBatch:
    """A batch of the same arrays: learning shuffles and converts its columns."""
    return SampleBatch(dict(batch))
