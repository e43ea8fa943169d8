"""Shared by all tests: one torch thread a process, one Ray for the session, small experiments on `regimes`."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from rllib_moe.algorithms.build import algorithm_config
from rllib_moe.algorithms.ppo import MoEPPOConfig
from rllib_moe.experiment import Experiment
from rllib_moe.runtime.ray_session import start
from scripts.train import main
from tests.expected_skips import (  # noqa: F401, hooks are found by their names
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)

os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as where it is active
torch.set_num_threads(1)  # the tests' tensors are small, and Ray's workers share the cores

EPISODE = 16
"""Steps of an episode of the small experiments."""
SMALL: dict[str, Any] = {
    **{"env": "regimes", "max_steps": EPISODE, "phase_boundaries": "16,32", "num_envs_per_worker": 4},
    **{"batch_size": 8 * EPISODE, "minibatch_size": 64, "num_epochs": 4},
    **{"hidden_size": 16, "trunk_size": 16, "expert_hidden_size": 16, "critic_hidden_size": 16},
}
"""Overrides that make an experiment small: `regimes`, 8 episodes an iteration, phases at 16 and 32."""
SmallConfig = Callable[..., MoEPPOConfig]
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray, once for all tests that need it."""
    start({"address": "local", "num_cpus": 4, "include_dashboard": False, "log_to_driver": False})
    yield
    ray.shutdown()


@pytest.fixture
def small_config(ray_session: None) -> SmallConfig:
    """Make the configuration of a small experiment's algorithm."""
    del ray_session  # running is all that is asked of it

    def make(num_workers: int = 1, **training: Any) -> MoEPPOConfig:
        overrides = {**SMALL, "schedule": "v3", "num_workers": num_workers, **training}
        return algorithm_config(Experiment().with_overrides(overrides))

    return make


@pytest.fixture(scope="session")
def small_flags() -> tuple[str, ...]:
    """Flags of `scripts/train.py` for a small experiment, sampled in the driver."""
    values = {**SMALL, "num_workers": 0}
    return tuple(word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value)))


@pytest.fixture
def train(ray_session: None, small_flags: tuple[str, ...], tmp_path: Path) -> Train:
    """Run `scripts/train.py` in this process, below `tmp_path`; with `resume` the resumed run's flags hold."""
    del ray_session

    def run(exp_name: str, episodes: int, *flags: str, resume: Path | None = None) -> dict[str, Any]:
        start = small_flags if resume is None else ("--resume", str(resume))
        place = ("--output-dir", str(tmp_path), "--exp-name", exp_name, "--episodes", str(episodes))
        return main([*start, *place, *flags])

    return run


@pytest.fixture(scope="session")
def trained_runs(
    ray_session: None, small_flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Make the directory of a run of so many episodes, once for all tests, which leave it as it is."""
    del ray_session
    place = tmp_path_factory.mktemp("trained")

    @functools.cache
    def make(episodes: int) -> Path:
        main([*small_flags, "--output-dir", str(place), "--exp-name", f"{episodes}", "--episodes", str(episodes)])
        return place / f"{episodes}"

    return make


@pytest.fixture
def trained(trained_runs: Callable[[int], Path], tmp_path: Path) -> Path:
    """A run of 8 episodes, one iteration, of the test's own: `mine` below `tmp_path`."""
    return Path(shutil.copytree(trained_runs(8), tmp_path / "mine", symlinks=True))


@pytest.fixture(scope="session")
def repeats() -> Callable[[int], int]:
    """Return how often a test repeats its fault: as often as it asks, or `TEST_REPEATS` times if that is less."""
    return lambda asked: min(asked, int(os.environ.get("TEST_REPEATS", asked)))


BROWSER_FLAGS = (
    "--headless",
    "--no-sandbox",  # root, as in containers, cannot have Chromium's sandbox
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
    # No name but this machine's is resolved: a page that is not self-contained fails its test.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium without a network, one for the session; its console is kept (`get_log("browser")`)."""
    chromium, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The path given, selenium looks for no driver on the network.
    started = webdriver.Chrome(options, Service(driver, env={**os.environ, "SE_AVOID_STATS": "true"}))
    yield started
    started.quit()
