"""One benchmark from flags to numbers, in order: whole training beside stock, the parts alone, how cost grows."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from rich.console import Console

from benchmarks import memory, parts, scaling
from benchmarks.algorithms import compare_algorithms
from benchmarks.config import BenchmarkConfig
from benchmarks.encoder_forms import compare_encoders
from benchmarks.iterations import WARM_UP, iterate, stopped_after
from benchmarks.learning import compare_learning, local_algorithm
from benchmarks.minutes_to_score import minutes_to_score
from benchmarks.phase_push import phase_push
from benchmarks.report import show
from benchmarks.stock import stock_config
from benchmarks.timing import in_turn, medians
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.episodes import torch_threads
from rllib_moe.runtime import provenance
from rllib_moe.runtime.console import standard_console
from rllib_moe.runtime.files import atomic_write
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.algorithm_state import capture
from rllib_moe.training.checkpoints import LATEST, save_checkpoint
from rllib_moe.training.run_checkpoints import point, prune

ENCODER_ROWS = 512
"""Graphs of the largest batch on which encoders are compared."""


def run_benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure, show the tables, write the JSON file.

    Args:
        config: A checked configuration.

    Returns:
        All numbers, as in the JSON file.
    """
    console = standard_console()
    numbers: dict[str, Any] = {"environment": provenance.describe(), "settings": _settings(config)}
    if config.minutes_to_score:
        numbers["minutes_to_score"] = minutes_to_score(config)
        return _told(numbers, config, console)
    prepare(config.experiment.environment.env)
    # Room for ours and stock at once; all else as in training, its threads too.
    processes = max([config.training.num_workers + config.stock.num_workers, *config.factors]) + 1
    with ray_session(None, processes, config.training.num_gpus):
        if config.algorithms:
            numbers["algorithms"] = compare_algorithms(config)
        elif config.phase_push:
            numbers |= _phase_push(config)
        elif config.encoders:
            numbers["encoder_forms"] = _encoders(config)
        else:
            numbers |= _soak(config) if config.soak else _measure(config, console)
    return _told(numbers, config, console)


def _told(numbers: dict[str, Any], config: BenchmarkConfig, console: Console) -> dict[str, Any]:
    numbers["environment"]["load_average_end"] = os.getloadavg()[0]
    show(numbers, console)
    if config.json_file:
        with atomic_write(Path(config.json_file)) as partial:
            partial.write_text(json.dumps(numbers, indent=2) + "\n")
    return numbers


def _settings(config: BenchmarkConfig) -> dict[str, Any]:
    experiment = config.experiment.to_dict()
    del experiment["run"]
    return {
        **experiment,
        "stock": config.stock.to_dict(),
        "repeats": config.num_rounds if config.algorithms else config.num_repeats,
    }


def _soak(config: BenchmarkConfig) -> dict[str, Any]:
    experiment = config.experiment
    with tempfile.TemporaryDirectory() as directory, stopped_after(build_algorithm(experiment)) as algorithm:

        def save() -> None:
            episodes, iteration = algorithm.episodes_total, algorithm.iteration
            path = Path(directory) / f"episode_{episodes:06d}"
            state = capture(algorithm)
            save_checkpoint(state, path, experiment, episodes=episodes, iteration=iteration, score=None)
            point(path.parent, LATEST, path)
            prune(path.parent, experiment.run.keep_checkpoints)

        return {"soak": memory.soak(algorithm, config.soak, save)}


def _phase_push(config: BenchmarkConfig) -> dict[str, Any]:
    with stopped_after(local_algorithm(config)) as algorithm:
        weights = algorithm.get_policy().get_weights()
    return {"phase_push": phase_push(weights, config.phase_push, config.num_repeats)}


def _encoders(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Compare graph encoders on what a worker samples at once, on a minibatch, and on a larger batch."""
    training = config.experiment.training
    with stopped_after(local_algorithm(config)) as algorithm:
        batch, _ = parts.sample_alone(algorithm, repeats=1)
        policy: Any = algorithm.get_policy()
        leaves = convert_to_torch_tensor(batch[SampleBatch.OBS], policy.device)
        sizes = sorted({training.num_envs_per_worker, training.minibatch_size, ENCODER_ROWS})
        shape = GraphShape.from_space(policy.observation_space)
        return compare_encoders(shape, config.experiment.model, leaves, config.num_repeats, sizes, (1, 2))


def _measure(config: BenchmarkConfig, console: Console) -> dict[str, Any]:
    console.print("whole training, beside stock RLlib ...")
    whole, processes, sync_ms = _whole(config)
    ours, stock = medians(whole["ours"]), medians(whole["stock"])
    ratios = [a["steps_per_second"] / b["steps_per_second"] for a, b in zip(*whole.values(), strict=True)]
    console.print("each part alone ...")
    worker_threads = min(process["threads"] for process in processes["processes"].values())
    alone, others = _alone(config, worker_threads)
    alone["weight_sync_ms"] = sync_ms
    if config.factors:
        console.print("training with more workers and environments ...")
    return {
        "train_steps_per_second": ours["steps_per_second"],
        "stock_steps_per_second": stock["steps_per_second"],
        "ratio_to_stock": statistics.median(ratios),
        **{f"{name}_seconds": ours[f"{name}_seconds"] for name in ("wall", "sample", "learn", "sync")},
        "ours": ours,
        "stock": stock,
        "iterations": whole,
        "ratios_to_stock": ratios,
        "parts": parts.breakdown(ours, alone, config.training),
        "core_budget": parts.core_budget(ours["core_us"], alone, config.training),
        "alone": alone,
        **others,
        **processes,
        "scaling": scaling.training_scaling(config, config.factors),
    }


def _whole(config: BenchmarkConfig) -> tuple[dict[str, list[dict[str, float]]], dict[str, Any], float]:
    """Iterations of ours and stock; ours' `memory` and `processes`; milliseconds of sending its weights."""
    stock_algorithm = stock_config(config.experiment.environment, config.stock, config.training.seed)
    with (
        stopped_after(build_algorithm(config.experiment)) as ours,
        stopped_after(stock_algorithm.build_algo()) as stock,
    ):
        turns = {"ours": partial(iterate, ours), "stock": partial(iterate, stock)}
        whole = in_turn(turns, config.num_repeats, WARM_UP)
        sync_ms = parts.time_sync(ours, config.num_repeats)
        resident = {name: each["rss_mb"] for name, each in memory.read(ours).items()}
        return whole, {"memory": resident, "processes": memory.processes(ours)}, sync_ms


def _alone(config: BenchmarkConfig, worker_threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts of sampling and learning, and what grows with batch and nodes, in this process.

    Args:
        config: The benchmark.
        worker_threads: Torch threads of a rollout worker: parts of sampling are measured with as many.
    """
    training, repeats = config.training, config.num_repeats
    with stopped_after(local_algorithm(config)) as ours, stopped_after(local_algorithm(config, dense=True)) as dense:
        policy: Any = ours.get_policy()
        shape = GraphShape.from_space(policy.observation_space)
        with torch_threads(worker_threads):
            batch, sample_us = parts.sample_alone(ours, repeats)
            inference_us = parts.time_inference(policy, batch, training.num_envs_per_worker, repeats)
        learned = compare_learning({"ours": ours, "dense": dense}, batch, repeats)
        observations: Any = batch[SampleBatch.OBS]
        nodes = observations["node_mask"].sum(1)
        with torch_threads(1):
            minibatch_core_ms = parts.time_minibatch(policy, batch, training, repeats)
        alone = {
            **parts.time_environment(config.experiment.environment),
            "inference_us": inference_us,
            "sample_us": sample_us,
            "minibatch_ms": parts.time_minibatch(policy, batch, training, repeats),
            "minibatch_core_ms": minibatch_core_ms,
            "nodes_room": shape.max_nodes,
            "nodes_mean": float(nodes.mean()),
            "nodes_max": int(nodes.max()),
            "transfer_seconds": parts.time_transfer(batch, training.num_workers, repeats),
        }
        return alone, {
            "alone_learn_seconds": learned["ours"],
            "dense_learn_seconds": learned["dense"],
            "learn_speedup_over_dense": learned["dense"] / learned["ours"],
            "encoder_forms": compare_encoders(
                shape,
                config.experiment.model,
                convert_to_torch_tensor(observations, policy.device),
                repeats,
                (ENCODER_ROWS,),
                (torch.get_num_threads(),),
            ),
            "batch_scaling": scaling.batch_scaling(policy, observations, repeats),
            "node_scaling": scaling.node_scaling(policy, policy.observation_space, repeats),
        }
