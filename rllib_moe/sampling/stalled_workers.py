"""Rollout workers that neither answer nor fail: stopped, swapped out, or hung in native code.

RLlib waits for such a worker until `sample_timeout_s`, learns from the others' samples, and then waits for it again:
only a worker that *fails* is restarted. So a worker that was waited for in vain is made to fail here.
"""

from __future__ import annotations

import logging

import ray
from ray.rllib.algorithms.algorithm import Algorithm

ANSWER_SECONDS = 5.0
"""Time in which a worker with nothing to do must answer."""

logger = logging.getLogger(__name__)


def kill_stalled_workers(algorithm: Algorithm) -> list[int]:
    """Kill the remote rollout workers that do not answer; Ray starts them anew.

    Args:
        algorithm: An algorithm whose sampling is over, so that its workers have nothing to do.

    Returns:
        Their indices.
    """
    group = algorithm.env_runner_group
    if group is None:
        return []
    expected = group.healthy_worker_ids()
    answers: list[int] = group.foreach_env_runner(
        lambda worker: worker.worker_index, local_env_runner=False, timeout_seconds=ANSWER_SECONDS
    )
    # One that failed in answering is RLlib's to restart.
    stalled = sorted(set(expected) & set(group.healthy_worker_ids()) - set(answers))
    for index in stalled:
        logger.warning("Rollout worker %d does not answer: it is killed and started anew", index)
        ray.kill(group._worker_manager.actors()[index], no_restart=False)
    return stalled
