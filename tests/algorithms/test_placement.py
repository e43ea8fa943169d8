"""Placement of processes on a real cluster of several nodes, and training while nodes come and go."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from rllib_moe import metrics as m
from rllib_moe.training.run_directory import RunDirectory
from tests.program import PATIENCE, Program

NODES = """
import json, sys
from collections import Counter
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.algorithms.build import algorithm_config
from rllib_moe.experiment import Experiment
from rllib_moe.validation.errors import ConfigError
from rllib_moe.algorithms.placement import check_cluster
from rllib_moe.runtime.ray_session import ray_session
import ray

sizes = {"num_workers": 4, "num_envs_per_worker": 2, "batch_size": 64, "minibatch_size": 32}
experiment = Experiment().with_overrides({"env": "regimes", "max_steps": 8, **sizes})
with ray_session(sys.argv[1], 5):
    said = check_cluster(9, 0)
    try:
        refused = check_cluster(1, 1)
    except ConfigError as error:
        refused = list(error.errors)
    algorithm = algorithm_config(experiment).build_algo()
    where = algorithm.env_runner_group.foreach_env_runner(
        lambda worker: ray.get_runtime_context().get_node_id(), local_env_runner=False)
    algorithm.stop()
print(json.dumps({"nodes": Counter(where), "said": said, "refused": refused}))
"""
"""Places where four workers are started."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head with no CPUs for workers, and two nodes of 2 CPUs, one of which says it has a GPU."""
    with tempfile.TemporaryDirectory(prefix="moe-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "temp_dir": temp, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=2, num_gpus=1)
        cluster.add_node(num_cpus=2)
        yield cluster
        cluster.shutdown()


@pytest.mark.slow
def test_workers_are_spread_over_the_nodes(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "nodes.py"
    script.write_text(NODES)
    process = Program(script, cluster.address)
    assert process.status() == 0, process.output
    found = json.loads(process.output.splitlines()[-1])
    print(json.dumps(found, indent=1))

    assert Counter(found["nodes"].values()) == {2: 2}  # two on each of the two nodes
    assert found["said"] == [
        "Cluster: 3 nodes, 4 CPUs, 1 GPUs",
        "9 rollout workers need a CPU each: the run waits until nodes with them join",
    ]
    (fault,) = found["refused"]
    assert "this node has 0 GPUs, not 1; scripts/submit.py starts it on a node that has them" in fault


@pytest.mark.slow
def test_training_goes_on_while_nodes_come_and_go(
    cluster: Cluster, small_flags: tuple[str, ...], tmp_path: Path
) -> None:
    lost = next(iter(cluster.worker_nodes))
    flags = ("--num-workers", "4", "--exp-name", "mine", "--output-dir", str(tmp_path), "--num-envs-per-worker", "2")
    process = Program("scripts/train.py", *small_flags, *flags, "--episodes", "800", "--address", cluster.address)
    directory = tmp_path / "mine"

    def wait_for(condition: Callable[[], bool], what: str) -> float:
        begin = time.monotonic()
        while not condition():
            assert process.process.poll() is None, process.status()
            assert time.monotonic() < begin + PATIENCE, what
            time.sleep(0.2)
        return time.monotonic() - begin

    def rows() -> list[m.Row]:
        return RunDirectory(directory).rows() if directory.exists() else []

    def iterations_more(number: int) -> float:
        before = len(rows())
        return wait_for(lambda: len(rows()) >= before + number, f"{number} more iterations")

    print(f"5 iterations, start included: {iterations_more(5):.1f} s")
    cluster.remove_node(lost, allow_graceful=False)
    print(f"a node with 2 of 4 workers lost at iteration {len(rows())}; 5 more: {iterations_more(5):.1f} s")
    cluster.add_node(num_cpus=2)
    print(f"a node joined at iteration {len(rows())}; 5 more: {iterations_more(5):.1f} s")
    assert process.status() == 0

    played = rows()
    assert [row[m.ITERATION.key] for row in played] == list(range(1, len(played) + 1))
    totals = [row[m.EPISODES_TOTAL.key] for row in played]
    assert totals == [sum(row[m.EPISODES.key] for row in played[: index + 1]) for index in range(len(played))]
    steps = [row[m.ENV_STEPS_TOTAL.key] for row in played]
    batches = {after - before for before, after in zip([0, *steps], steps, strict=False)}
    print(f"{len(played)} iterations, {totals[-1]} episodes, batches {sorted(batches)}")
    assert min(batches) >= 128  # full, by fewer workers where some were lost
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["episodes_total"] == totals[-1] >= 800
