"""One benchmark from flags to numbers, in order: whole training beside stock, the parts alone, how cost grows."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.policy.sample_batch import SampleBatch
from rich.console import Console

from benchmarks import memory, parts, scaling
from benchmarks.algorithms import compare_algorithms
from benchmarks.config import BenchmarkConfig
from benchmarks.encoder_forms import compare_encoders
from benchmarks.iterations import medians, plain, take_turns
from benchmarks.learning import compare_learning, local_algorithm, sample_alone
from benchmarks.phase_push import phase_push
from benchmarks.report import show
from benchmarks.stock import stock_config
from benchmarks.timing import torch_threads
from rllib_moe.algorithms.rllib_config import algorithm_config
from rllib_moe.callbacks.phase_curriculum import episodes_of
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.packing import PackedSpace
from rllib_moe.envs.registry import prepare
from rllib_moe.runtime import provenance
from rllib_moe.runtime.files import atomic_write
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.checkpoints import LATEST, point, prune, save_checkpoint

ENCODER_ROWS = 512
"""Graphs of the largest batch on which encoders are compared."""
LOG_WIDTH = 120
"""Columns of the tables when the output is no terminal."""


def run_benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure, show the tables, write the JSON file.

    Args:
        config: A checked configuration.

    Returns:
        All numbers, as in the JSON file.
    """
    console = Console(width=None if Console().is_terminal else LOG_WIDTH)
    numbers: dict[str, Any] = {"environment": provenance.describe(), "settings": _settings(config)}
    prepare(config.env)
    # Room for ours and stock at once; all else as in training, its threads too.
    processes = max([config.training.num_workers + config.stock.num_workers, *config.factors]) + 1
    with ray_session(None, processes, config.training.num_gpus):
        if config.algorithm_names:
            numbers["algorithms"] = compare_algorithms(config)
        elif config.push_counts:
            numbers |= _phase_push(config)
        elif config.encoders:
            numbers["encoder_forms"] = _encoders(config)
        else:
            numbers |= _soak(config) if config.soak else _measure(config, console)
    numbers["environment"]["load_average_end"] = os.getloadavg()[0]
    show(numbers, console)
    if config.json:
        with atomic_write(Path(config.json)) as partial:
            partial.write_text(json.dumps(numbers, indent=2) + "\n")
    return numbers


def _settings(config: BenchmarkConfig) -> dict[str, Any]:
    experiment = config.experiment.to_dict()
    del experiment["run"]
    return {
        **experiment,
        "stock": vars(config.stock),
        "schedule": config.schedule,
        "repeats": config.num_rounds if config.algorithms else config.num_repeats,
    }


def _soak(config: BenchmarkConfig) -> dict[str, Any]:
    experiment, phases = config.experiment, config.phases()
    algorithm = algorithm_config(experiment, phases).build_algo()
    with tempfile.TemporaryDirectory() as directory:

        def save() -> None:
            episodes, iteration = episodes_of(algorithm), algorithm.iteration
            path = Path(directory) / f"episode_{episodes:06d}"
            save_checkpoint(algorithm, path, experiment, phases, episodes=episodes, iteration=iteration, score=None)
            point(path.parent, LATEST, path)
            prune(path.parent, experiment.run.keep_checkpoints)

        try:
            return {"soak": memory.soak(algorithm, config.soak, save)}
        finally:
            algorithm.stop()


def _phase_push(config: BenchmarkConfig) -> dict[str, Any]:
    algorithm = local_algorithm(config)
    try:
        weights = algorithm.get_policy().get_weights()
    finally:
        algorithm.stop()
    return {"phase_push": phase_push(weights, config.push_counts, config.num_repeats)}


def _encoders(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Compare graph encoders on what a worker samples at once, on a minibatch, and on a larger batch."""
    training = config.training
    algorithm = local_algorithm(config)
    try:
        batch, _ = sample_alone(algorithm, repeats=1)
        policy: Any = algorithm.get_policy()
        space: PackedSpace = policy.observation_space
        leaves = space.layout.unpack_torch(torch.from_numpy(np.asarray(batch[SampleBatch.OBS])).to(policy.device))
        sizes = sorted({training.num_envs_per_worker, training.minibatch_size, ENCODER_ROWS})
        shape = GraphShape.from_space(space)
        return compare_encoders(shape, config.model, leaves, config.num_repeats, sizes, (1, 2))
    finally:
        algorithm.stop()


def _measure(config: BenchmarkConfig, console: Console) -> dict[str, Any]:
    console.print("whole training, beside stock RLlib ...", highlight=False)
    whole, alone, workers = _whole(config)
    console.print("each part alone ...", highlight=False)
    alone_too, others = _alone(config, worker_threads=min(each["threads"] for each in workers.values()))
    alone |= alone_too
    alone["transfer_seconds"] = parts.time_transfer(
        others.pop("batch"), config.training.num_workers, config.num_repeats
    )
    ours = medians(whole["ours"])
    stock = medians(whole["stock"])
    ratios = [a.steps_per_second / b.steps_per_second for a, b in zip(whole["ours"], whole["stock"], strict=True)]
    numbers = {
        "train_steps_per_second": ours["steps_per_second"],
        "stock_steps_per_second": stock["steps_per_second"],
        "ratio_to_stock": statistics.median(ratios),
        **{f"{name}_seconds": ours[f"{name}_seconds"] for name in ("wall", "sample", "learn", "sync")},
        **others.pop("learning"),
        "ours": ours,
        "stock": stock,
        "iterations": {name: plain(iterations) for name, iterations in whole.items()},
        "ratios_to_stock": ratios,
        "parts": parts.breakdown(ours, alone, config.training),
        "alone": alone,
        **others,
        "memory": alone.pop("memory"),
        "processes": workers,
        "scaling": [],
    }
    if config.factors:
        console.print("training with more workers and environments ...", highlight=False)
        numbers["scaling"] = scaling.training_scaling(config, config.factors)
    return numbers


def _whole(config: BenchmarkConfig) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Iterations of both, what needs rollout workers, and the processes."""
    ours = algorithm_config(config.experiment, config.phases()).build_algo()
    stock = stock_config(config.experiment.environment, config.stock, config.training.seed).build_algo()
    try:
        whole = take_turns({"ours": ours, "stock": stock}, config.num_repeats)
        alone = {"weight_sync_ms": parts.time_sync(ours, config.num_repeats), "memory": memory.resident(ours)}
        return whole, alone, memory.processes(ours)
    finally:
        stock.stop()
        ours.stop()


def _alone(config: BenchmarkConfig, worker_threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts of sampling and learning, and what grows with batch and nodes, in this process.

    Args:
        config: The benchmark.
        worker_threads: Torch threads of a rollout worker: parts of sampling are measured with as many.
    """
    training, repeats = config.training, config.num_repeats
    algorithms = {"ours": local_algorithm(config), "dense": local_algorithm(config, dense=True)}
    try:
        policy: Any = algorithms["ours"].get_policy()
        space: PackedSpace = policy.observation_space
        layout, shape = space.layout, GraphShape.from_space(space)
        with torch_threads(worker_threads):
            batch, sample_us = sample_alone(algorithms["ours"], repeats)
            inference_us = parts.time_inference(policy, batch, training.num_envs_per_worker, repeats)
        learned = compare_learning(algorithms, batch, repeats)
        observations = np.asarray(batch[SampleBatch.OBS])
        leaves = layout.unpack_torch(torch.from_numpy(observations).to(policy.device))
        nodes = layout.unpack(observations)["node_mask"].sum(1)
        alone = {
            **vars(parts.time_environment(config.experiment.environment)),
            "inference_us": inference_us,
            "sample_us": sample_us,
            "minibatch_ms": parts.time_minibatch(policy, batch, training, repeats),
            "nodes_room": shape.max_nodes,
            "nodes_mean": float(nodes.mean()),
            "nodes_max": int(nodes.max()),
        }
        others = {
            "learning": {
                "alone_learn_seconds": learned["ours"],
                "dense_learn_seconds": learned["dense"],
                "learn_speedup_over_dense": learned["dense"] / learned["ours"],
            },
            "encoder_forms": compare_encoders(
                shape, config.model, leaves, repeats, (ENCODER_ROWS,), (torch.get_num_threads(),)
            ),
            "batch_scaling": scaling.batch_scaling(policy, observations, repeats),
            "node_scaling": scaling.node_scaling(policy, layout, shape, repeats),
            "batch": batch,
        }
        return alone, others
    finally:
        for algorithm in algorithms.values():
            algorithm.stop()
