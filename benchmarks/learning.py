"""Learning alone: one batch of real observations, this network and its form of dense layers in turn.

Both learn through RLlib's own update with the same settings; only how the attention layers compute differs. The batch
is what the untrained policy sampled, which is close to random legal play, so graphs have the sizes they have in games.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.execution.train_ops import multi_gpu_train_one_step
from ray.rllib.policy.sample_batch import SampleBatch

from benchmarks.config import BenchmarkConfig
from benchmarks.encoder_forms import use_dense_layers
from benchmarks.timing import in_turn, timed
from rllib_moe.algorithms.build import algorithm_config


def local_algorithm(config: BenchmarkConfig, *, dense: bool = False) -> Algorithm:
    """Build the algorithm without rollout workers: it samples and learns in this process.

    Args:
        config: The benchmark.
        dense: Whether the attention layers compute in their dense form.
    """
    algorithm = algorithm_config(config.with_overrides(num_workers=0)).build_algo()
    if dense:
        policy: Any = algorithm.get_policy()
        use_dense_layers(policy.model)
    return algorithm


def compare_learning(algorithms: Mapping[str, Algorithm], batch: SampleBatch, repeats: int) -> dict[str, float]:
    """Median seconds of a whole update (all epochs over `batch`) of each algorithm, taken in turn."""

    def learn(algorithm: Algorithm) -> float:
        # A batch of the same arrays: learning shuffles and converts its columns.
        return timed(lambda: multi_gpu_train_one_step(algorithm, SampleBatch(dict(batch))))

    taken = in_turn({name: partial(learn, algorithm) for name, algorithm in algorithms.items()}, repeats)
    return {name: statistics.median(values) for name, values in taken.items()}
