"""Rollout workers that neither answer nor fail: stopped, swapped out, or hung in native code.

RLlib waits for such a worker until a timeout, goes on with the others' samples, and then waits for it again: only a
worker that *fails* is restarted. So a worker that was waited for in vain is made to fail here. Who waits in turn knows
that from RLlib's count of calls without an answer; who samples asynchronously, from the time since a worker's last
batch (`BatchClock`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import ray
from ray.exceptions import RayError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

ANSWER_SECONDS = 5.0
"""Time in which a worker with nothing to do must answer."""
RETRY_SECONDS = 0.2
"""Time between two questions to a worker that is started anew."""

logger = logging.getLogger(__name__)


class BatchClock:
    """Seconds since the rollout workers gave a batch, by a clock that goes while the driver would take one.

    What happens between two iterations (a checkpoint to a storage that hangs) is no worker's delay, nor is a learner's.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._stood, self._stopped_at = 0.0, now()
        self._any = self._time()
        self._last: dict[int, float] = {}

    @contextmanager
    def going(self) -> Iterator[None]:
        """Let the clock go inside the block, an iteration."""
        self._go()
        try:
            yield
        finally:
            self._stopped_at = self._now()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Stop the clock inside the block, a part of an iteration in which no batch would be taken."""
        self._stopped_at = self._now()
        try:
            yield
        finally:
            self._go()

    def note(self, workers: Iterable[int]) -> None:
        """Note that these workers, by index, have given a batch just now."""
        for index in workers:
            self._any = self._last[index] = self._time()

    def silence(self) -> float:
        """Return the seconds since any worker gave a batch, or since the beginning."""
        return self._time() - self._any

    def late(self, workers: Iterable[int], seconds: float) -> list[int]:
        """Return those of all workers in service, by index, whose last batch is longer ago than so many seconds.

        One that is new, was away or has been named here has all its time yet.
        """
        now = self._time()
        self._last = {index: self._last.get(index, now) for index in workers}
        late = [index for index, at in self._last.items() if now - at > seconds]
        self._last |= dict.fromkeys(late, now)
        return late

    def _go(self) -> None:
        self._stood, self._stopped_at = self._stood + self._now() - self._stopped_at, math.inf

    def _time(self) -> float:
        return min(self._now(), self._stopped_at) - self._stood


def kill_stalled_workers(group: EnvRunnerGroup, suspects: Iterable[int]) -> None:
    """Kill the remote rollout workers that do not answer, which Ray starts anew.

    Args:
        group: The workers.
        suspects: Indices of healthy ones that have nothing to do, or should have.
    """
    asked = sorted(suspects)
    if not asked:  # RLlib takes no workers for all
        return
    answers: list[int] = group.foreach_env_runner(
        lambda worker: worker.worker_index,
        local_env_runner=False,
        remote_worker_ids=asked,
        timeout_seconds=ANSWER_SECONDS,
    )
    # One that failed in answering is RLlib's to restart.
    for index in sorted(set(asked) & set(group.healthy_worker_ids()) - set(answers)):
        logger.warning("Rollout worker %d does not answer: it is killed and started anew", index)
        ray.kill(group._worker_manager.actors()[index], no_restart=False)


def wait_for_restart(group: EnvRunnerGroup, seconds: float) -> None:
    """Wait, so many seconds at most, until one of the remote rollout workers answers; RLlib takes it back by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for worker in group._worker_manager.actors().values():
            with suppress(RayError):  # it is being started
                ray.get(worker.ping.remote(), timeout=ANSWER_SECONDS)
                return
        time.sleep(RETRY_SECONDS)
