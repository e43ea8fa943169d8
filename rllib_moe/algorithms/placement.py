"""Placement of a run's processes on a cluster: rollout workers spread over the nodes, the learner where its GPU is.

The learner is the driver's own process, so it runs where `scripts/train.py` was started; `scripts/submit.py` has Ray
start it on a node with the GPUs it needs. A worker whose node is lost is started again by Ray wherever there is a free
CPU, also on a node that joins later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.rllib.algorithms import algorithm as rllib_algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_moe.validation.errors import ConfigError


class SpreadEnvRunnerGroup(EnvRunnerGroup):
    """RLlib's group of rollout workers, spread over the nodes instead of filling the first one to its half.

    In a Tune trial the trial's placement group decides, as before.
    """

    def _setup(self, **kwargs: Any) -> None:
        # By value: Ray warns of each actor that may restart with an argument in the object store, which can be lost.
        self._remote_config_obj_ref: Any = self._remote_config
        if ray.util.get_current_placement_group() is None:
            self._remote_args["scheduling_strategy"] = "SPREAD"
        super()._setup(**kwargs)


@contextmanager
def spread_workers() -> Iterator[None]:
    """Let an algorithm that is set up inside the block make a `SpreadEnvRunnerGroup`.

    RLlib has no option for the strategy of workers (`placement_strategy` is Tune's), and makes the group by its name.
    """
    original = rllib_algorithm.EnvRunnerGroup
    rllib_algorithm.EnvRunnerGroup = SpreadEnvRunnerGroup  # type: ignore[misc]
    try:
        yield
    finally:
        rllib_algorithm.EnvRunnerGroup = original  # type: ignore[misc]


def check_cluster(num_workers: int, num_gpus: float) -> list[str]:
    """Return notes about a run on the cluster this process is connected to: its nodes, and a wait for CPUs.

    Args:
        num_workers: Rollout workers, one CPU each.
        num_gpus: GPUs of the learner.

    Raises:
        ConfigError: the learner's GPU is not on this node.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    here = next(node for node in nodes if node["NodeID"] == ray.get_runtime_context().get_node_id())
    own = here["Resources"].get("GPU", 0)
    if num_gpus > own:
        most = max(node["Resources"].get("GPU", 0) for node in nodes)
        hint = (
            "scripts/submit.py starts it on a node that has them" if most >= num_gpus else f"no node has over {most:g}"
        )
        raise ConfigError(
            [f"num_gpus: the learner runs where train.py does; this node has {own:g} GPUs, not {num_gpus:g}; {hint}"]
        )
    cpus = sum(node["Resources"].get("CPU", 0) for node in nodes)
    gpus = sum(node["Resources"].get("GPU", 0) for node in nodes)
    said = [f"Cluster: {len(nodes)} node{'s' * (len(nodes) > 1)}, {cpus:g} CPUs, {gpus:g} GPUs"]
    if cpus < num_workers:
        said.append(f"{num_workers} rollout workers need a CPU each: the run waits until nodes with them join")
    return said
