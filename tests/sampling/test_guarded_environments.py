"""Environments that fail in every way: replaced, counted, and nothing of it in a batch."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tree

from rllib_moe.algorithms.policy import MoEPPOPolicy
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.sampling.guarded_environments import (
    MAX_REPLACED_IN_A_ROW,
    Env,
    EnvironmentsFailError,
    GuardedEnvironments,
)
from rllib_moe.sampling.vector_sampler import VectorSampler
from rllib_moe.sampling.watchdog import HungError, Watchdog
from tests.faulty_environment import FAULTS, FaultyEnv
from tests.sampling.played import LENGTH, NUM_ENVS, Recorder, assert_played, rows_of, stacked

EPISODE = 9


def faulty(fault: str, place: tuple[int, ...], **options: Any) -> Recorder:
    return Recorder(EpisodeSeeds(FaultyEnv(fault=fault, max_steps=EPISODE, **options), place))


def guarded(make: Callable[[int, int], Env], seconds: float = 0.3) -> tuple[GuardedEnvironments, Watchdog]:
    watchdog = Watchdog(seconds)
    return GuardedEnvironments([make(e, 0) for e in range(NUM_ENVS)], make, watchdog), watchdog


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_environment_is_replaced_and_its_episode_cut(
    fault: str, config: MoEPPOConfig, policy: MoEPPOPolicy
) -> None:
    """Environment 1 fails at its 12th step, so 3 steps into its second episode, and its replacements likewise."""
    made: list[list[Recorder]] = [[] for _ in range(NUM_ENVS)]

    def make(e: int, number: int) -> Recorder:
        made[e].append(faulty(fault, (5, e, number), every=12 if e == 1 else 0))
        return made[e][-1]

    environments, watchdog = guarded(make)
    batch = VectorSampler(environments, policy, config, watchdog).get_data()

    assert batch.count == NUM_ENVS * LENGTH
    assert environments.replaced == 2  # of 32 steps: 11 good ones, 11 of the first replacement, 10 of the second
    for e in range(NUM_ENVS):
        played = [step for each in made[e] for step in each.steps]
        rows = rows_of(batch, e)
        assert_played(rows, played, policy, config)
        # Cut at the environment's own ends, and after the last good step of one that broke.
        ends = [t for t, step in enumerate(played) if step["truncateds"]]
        broken = [10, 21] if e == 1 else []
        assert np.flatnonzero(rows["truncateds"]).tolist() == sorted({*ends, *broken})
        assert not rows["terminateds"].any()
    assert all(np.isfinite(column).all() for column in tree.flatten(dict(batch)))


def test_a_replacement_has_the_present_arguments() -> None:
    environments, _ = guarded(lambda *_: EpisodeSeeds(make_env("Faulty-v0", max_steps=EPISODE), (5,)))
    environments.begin(0)
    assert environments.numbers(0) == {}
    environments.arguments = {"max_steps": 3, "switch_probability": 1}
    environments.replace(0, RuntimeError("broken"))
    assert environments.numbers(0) == {"max_steps": 3, "switch_probability": 1}
    arrays = (
        stacked([environments.begin(e) for e in range(NUM_ENVS)]),
        np.zeros(NUM_ENVS),
        np.zeros((2, NUM_ENVS), bool),
    )
    for _ in range(3):
        environments.step(range(NUM_ENVS), np.zeros(NUM_ENVS, int), *arrays, [{}] * NUM_ENVS)
    assert arrays[2][1].all()


def test_slow_environments_are_not_hung() -> None:
    """The limit is one step's; many environments together may take longer."""

    class Slow(RegimesEnv):
        def step(self, action: Any) -> Any:
            time.sleep(0.1)
            return super().step(action)

    environments, watchdog = guarded(lambda *_: Slow(), seconds=0.25)
    observations = stacked([environments.begin(e) for e in range(NUM_ENVS)])
    arrays = observations, np.zeros(NUM_ENVS, np.float32), np.zeros((2, NUM_ENVS), bool)
    with watchdog:
        assert environments.step(range(NUM_ENVS), np.zeros(NUM_ENVS, int), *arrays, [{}] * NUM_ENVS) == {}


def test_an_episode_that_broke_is_not_counted(config: MoEPPOConfig, policy: MoEPPOPolicy) -> None:
    environments, watchdog = guarded(lambda e, number: faulty("raise", (5, e, number), every=12 if e == 1 else 0))
    sampler = VectorSampler(environments, policy, config, watchdog)
    sampler.get_data()
    finished = sampler.get_metrics()
    assert {episode.episode_length for episode in finished} == {EPISODE}
    assert len(finished) == 3 * (LENGTH // EPISODE) + 3  # the broken one's: one a life
    assert sum(episode.hist_data["replaced_environments"][0] for episode in finished) == environments.replaced == 2


def test_a_reset_that_fails_replaces_too(config: MoEPPOConfig, policy: MoEPPOPolicy) -> None:
    environments, watchdog = guarded(
        lambda e, number: faulty("raise", (5, e, number), every=0, at_reset=e == 2 and number < 2)
    )
    sampler = VectorSampler(environments, policy, config, watchdog)
    batches = [sampler.get_data() for _ in range(2)]
    assert environments.replaced == 2
    assert [batch.count for batch in batches] == [NUM_ENVS * LENGTH] * 2
    # Nothing was under way when it broke: all episodes are whole.
    assert {episode.episode_length for episode in sampler.get_metrics()} == {EPISODE}


@pytest.mark.parametrize("every", [1, 5], ids=["the first step", "before an episode ends"])
def test_one_that_always_fails_ends_the_sampling_with_its_reason(
    every: int, config: MoEPPOConfig, policy: MoEPPOPolicy
) -> None:
    environments, watchdog = guarded(lambda e, number: faulty("nan reward", (5, e, number), every=every if e else 0))
    sampler = VectorSampler(environments, policy, config, watchdog)
    told = rf"environment 1 was replaced {MAX_REPLACED_IN_A_ROW} times .*ValueError: its reward is nan"
    with pytest.raises(EnvironmentsFailError, match=told):
        [sampler.get_data() for _ in range(MAX_REPLACED_IN_A_ROW)]


def test_what_cannot_be_made_anew_ends_the_sampling(config: MoEPPOConfig, policy: MoEPPOPolicy) -> None:
    def make(e: int, number: int) -> Recorder:
        if number:
            raise OSError("no room")
        return faulty("raise", (5, e), every=7)

    environments, watchdog = guarded(make)
    with pytest.raises(EnvironmentsFailError, match="OSError: no room"):
        VectorSampler(environments, policy, config, watchdog).get_data()


def test_a_replacement_plays_other_episodes(config: MoEPPOConfig) -> None:
    algorithm = config.build_algo()
    worker: Any = algorithm.env_runner
    first, again = (
        {pickle.dumps(worker._make_another(e, number).reset()[0]) for e in range(4) for number in range(4)}
        for _ in range(2)
    )
    algorithm.stop()
    assert len(first) == 16
    assert first == again


def test_the_watchdog_interrupts_and_restores() -> None:
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with Watchdog(0.2) as watchdog:
        watchdog.watch()
        with pytest.raises(HungError, match=r"no answer within 0\.2 s"):
            time.sleep(30)
    assert time.monotonic() - began < 25, "it slept on"
    with Watchdog(0.2) as watchdog:
        watchdog.watch()
        watchdog.rest()
        time.sleep(0.5)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_resting_watchdog_ends_no_process() -> None:
    program = (
        "import time; from rllib_moe.sampling.watchdog import Watchdog\n"
        "with Watchdog(0.1, ends_process=True) as watchdog: watchdog.watch(); watchdog.rest(); time.sleep(1)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
