"""Rollout workers that are killed, stopped or hang: training goes on with full batches, and they come back."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rllib_moe import metrics as m
from rllib_moe.algorithms.build import algorithm_config
from rllib_moe.algorithms.ppo import MoEPPO
from rllib_moe.experiment import Experiment
from tests.conftest import EPISODE, SMALL

pytestmark = pytest.mark.slow

BATCH, WORKERS = SMALL["batch_size"], 2
SAMPLE_TIMEOUT, STEP_TIMEOUT = 10.0, 2.0


@pytest.fixture
def build(ray_session: None) -> Iterator[Callable[..., MoEPPO]]:
    del ray_session
    built: list[MoEPPO] = []

    def make(env: str = "regimes", training: dict[str, Any] | None = None, **env_args: Any) -> MoEPPO:
        small = {**SMALL, "env": env, "env_args": env_args, "num_workers": WORKERS}
        small |= {"step_timeout": STEP_TIMEOUT, "sample_timeout": SAMPLE_TIMEOUT}
        experiment = Experiment().with_overrides(small | (training or {}))
        built.append(algorithm_config(experiment).build_algo())
        return built[-1]

    yield make
    for each in built:
        each.stop()


def process_ids(algorithm: MoEPPO) -> dict[int, int]:
    group: Any = algorithm.env_runner_group
    return dict(group.foreach_env_runner(lambda worker: (worker.worker_index, os.getpid()), local_env_runner=False))


class Books:
    """Trains, and checks after each iteration that counters rise as they should."""

    def __init__(self, algorithm: MoEPPO) -> None:
        self.algorithm = algorithm
        self.rows: list[m.Row] = []
        self.empty = 0

    def train(self) -> dict[str, Any]:
        result = self.algorithm.train()
        row, before = result["moe"], self.rows[-1] if self.rows else None
        steps, episodes = row[m.ENV_STEPS_TOTAL.key], row[m.EPISODES_TOTAL.key]
        if before:
            sampled = steps - before[m.ENV_STEPS_TOTAL.key]
            assert sampled in (0, BATCH), "a batch is full, or there is none"
            self.empty += sampled == 0
            assert episodes == before[m.EPISODES_TOTAL.key] + row[m.EPISODES.key]
        # Every episode is 16 steps; one that is counted twice would need steps that were not played.
        assert episodes * EPISODE <= steps
        assert row[m.SKIPPED_UPDATES.key] == 0
        self.rows.append(row)
        return result

    def train_until_whole(self, patience: float = 120) -> float:
        """Iterate until all workers are back; the seconds that took."""
        began = time.monotonic()
        while self.train()["num_healthy_workers"] < WORKERS:
            assert time.monotonic() - began < patience
            time.sleep(0.2)
        return time.monotonic() - began


def test_a_worker_killed_in_each_of_twenty_iterations(
    build: Callable[..., MoEPPO], repeats: Callable[[int], int]
) -> None:
    algorithm, kills = build(), repeats(20)
    books, rng = Books(algorithm), random.Random(0)
    began = time.monotonic()
    for _ in range(3):
        books.train()
    pace = (time.monotonic() - began) / 3
    back = []
    for _ in range(kills):
        victim = rng.choice(list(process_ids(algorithm).values()))
        timer = threading.Timer(rng.uniform(0, pace), os.kill, (victim, signal.SIGKILL))
        timer.start()
        books.train()
        timer.join()
        books.train()  # where the kill came after the iteration, this one meets it
        back.append(books.train_until_whole())
    assert books.rows[-1][m.ENV_STEPS_TOTAL.key] == BATCH * (len(books.rows) - books.empty)
    episodes, steps = books.rows[-1][m.EPISODES_TOTAL.key], books.rows[-1][m.ENV_STEPS_TOTAL.key]
    print(
        f"{kills} kills in {len(books.rows)} iterations ({books.empty} empty): all other batches full, {episodes} of "
        f"{steps // EPISODE} episodes counted, {books.rows[-1][m.WORKER_RESTARTS.key]} restarts, back after "
        f"{statistics.median(back):.1f} s (at most {max(back):.1f} s)"
    )
    assert len(books.rows) >= 3 + 2 * kills
    assert episodes > 0.5 * steps / EPISODE


def test_a_lone_worker_has_the_time_to_start_anew(build: Callable[..., MoEPPO]) -> None:
    """Iterations without a worker are quick: as many as end a run would be over before it is back."""
    algorithm = build(training={"num_workers": 1, "sample_timeout": 100.0})
    steps = algorithm.train()["moe"][m.ENV_STEPS_TOTAL.key]
    os.kill(process_ids(algorithm)[1], signal.SIGKILL)
    began, empty = time.monotonic(), 0
    while algorithm.train()["moe"][m.ENV_STEPS_TOTAL.key] == steps:
        empty += 1
        algorithm.check_samples()
    print(f"a lone worker, killed: {empty} empty iterations, back after {time.monotonic() - began:.1f} s")


def test_a_stopped_worker_stalls_training_once_and_comes_back(build: Callable[..., MoEPPO]) -> None:
    algorithm = build()
    books = Books(algorithm)
    books.train()
    victim = process_ids(algorithm)[1]
    os.kill(victim, signal.SIGSTOP)
    began = time.monotonic()
    books.train()
    stalled = time.monotonic() - began
    back = books.train_until_whole()
    assert victim not in process_ids(algorithm).values()
    began = time.monotonic()
    books.train()
    after = time.monotonic() - began
    print(
        f"SIGSTOP: one iteration of {stalled:.1f} s at a timeout of {SAMPLE_TIMEOUT:.0f} s, back {back:.1f} s later, "
        f"{after:.1f} s from then on"
    )
    assert SAMPLE_TIMEOUT <= stalled < 4 * SAMPLE_TIMEOUT
    assert after < SAMPLE_TIMEOUT


@pytest.mark.parametrize(("num_workers", "timeout"), [(2, SAMPLE_TIMEOUT), (1, 4 * SAMPLE_TIMEOUT)])
def test_under_appo_a_stopped_worker_stalls_training_once_and_comes_back(
    build: Callable[..., MoEPPO], num_workers: int, timeout: float
) -> None:
    """Beside another one, and alone; episodes of 16 steps are counted as they are played, but for those it takes along.

    A worker's restart has to fit into the second timeout of one that is alone.
    """
    algorithm = build(training={"algo": "appo", "num_workers": num_workers, "sample_timeout": timeout})
    algorithm.train()
    os.kill(process_ids(algorithm)[1], signal.SIGSTOP)
    seconds: list[float] = []
    row: m.Row = {m.WORKER_RESTARTS.key: 0}
    while not row[m.WORKER_RESTARTS.key] or row[m.LOST_WORKERS.key]:
        began = time.monotonic()
        row = algorithm.train()["moe"]
        seconds.append(time.monotonic() - began)
        assert sum(seconds) < 12 * SAMPLE_TIMEOUT
    began = time.monotonic()
    row = algorithm.train()["moe"]
    after = time.monotonic() - began
    print(
        f"APPO, {num_workers} workers, SIGSTOP: iterations of {', '.join(f'{each:.1f}' for each in seconds)} s at a "
        f"timeout of {timeout:.0f} s, {after:.1f} s from then on"
    )
    assert 1 <= sum(each >= timeout for each in seconds) <= 2  # on a busy machine the restart may take as long again
    assert after < timeout
    assert row[m.WORKER_RESTARTS.key] == 1
    assert row[m.ENV_STEPS_TOTAL.key] - row[m.EPISODES_TOTAL.key] * EPISODE < 4 * BATCH


def test_native_code_that_hangs_ends_its_worker_which_comes_back(build: Callable[..., MoEPPO]) -> None:
    """Environments hang at their 40th step: both workers in the third iteration, and again every third."""
    algorithm = build("tests.faulty_environment:Faulty-v0", fault="native hang", every=40)
    began, sampled = time.monotonic(), 0
    while sampled < 6 * BATCH:
        row = algorithm.train()["moe"]
        sampled = row[m.ENV_STEPS_TOTAL.key]
        assert time.monotonic() - began < 240
        time.sleep(0.2)
    print(f"native hangs: {sampled} steps in {time.monotonic() - began:.0f} s, {row[m.WORKER_RESTARTS.key]} restarts")
    assert row[m.WORKER_RESTARTS.key] >= 2


def test_environments_that_fail_in_remote_workers_are_counted(build: Callable[..., MoEPPO]) -> None:
    algorithm = build("tests.faulty_environment:Faulty-v0", fault="nan observation", every=40)
    for _ in range(8):
        row = algorithm.train()["moe"]
        assert row[m.NONFINITE_LOSS.key] == row[m.SKIPPED_UPDATES.key] == 0
    # 8 environments of 128 steps, 39 good ones a life: 3 replacements each, the last ones not yet told.
    print(f"{row[m.REPLACED_ENVIRONMENTS.key]} environments replaced in {row[m.ENV_STEPS_TOTAL.key]} steps")
    assert 16 <= row[m.REPLACED_ENVIRONMENTS.key] <= 24
    assert row[m.ENV_STEPS_TOTAL.key] == 8 * BATCH
