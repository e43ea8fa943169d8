"""Environments saved in the middle of an episode: they go on alike through all wrappers, or say that they cannot."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rllib_moe.envs.registry import make_env
from rllib_moe.envs.saved_state import get_environment_state, set_environment_state
from rllib_moe.envs.seeding import EpisodeSeeds


class Walk(gymnasium.Env[Any, Any]):
    """A random walk that observes a bare graph, and can be saved."""

    observation_space = spaces.Graph(spaces.Box(-np.inf, np.inf, (1,)), None)
    action_space = spaces.Discrete(2)
    extra: Any = None

    def reset(self, **options: Any) -> Any:
        super().reset(**options)
        self._place = 0.0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self._place += float(action) + self.np_random.normal()
        return self._observation(), self._place, False, False, {}

    def _observation(self) -> spaces.GraphInstance:
        return spaces.GraphInstance(np.array([[self._place]], np.float32), None, np.zeros((0, 2), int))

    def get_state(self) -> dict[str, Any]:
        return {"place": self._place, "generator": self.np_random.bit_generator.state, "extra": self.extra}

    def set_state(self, state: dict[str, Any]) -> None:
        self._place, self.np_random.bit_generator.state = state["place"], state["generator"]


@pytest.fixture(autouse=True)
def registered() -> Any:
    gymnasium.register("Walk-v0", Walk, max_episode_steps=9)
    yield
    del gymnasium.registry["Walk-v0"]


def made(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    return EpisodeSeeds(make_env(name, **options), (3,))


def play(env: gymnasium.Env[Any, Any], steps: int) -> list[Any]:
    seen: list[Any] = []
    for t in range(steps):
        observation, reward, _, truncated, _ = env.step(t % 2)
        seen.append((pickle.dumps(observation), reward, truncated))
        if truncated:
            seen.append(pickle.dumps(env.reset()[0]))
    return seen


@pytest.mark.parametrize(("name", "options"), [("Walk-v0", {}), ("Walk-v0", {"max_steps": 7}), ("regimes", {})])
def test_goes_on_alike(name: str, options: dict[str, Any]) -> None:
    env, other = made(name, **options), made(name, **options)
    env.reset()
    play(env, 13)
    states = get_environment_state(env)
    assert states is not None
    assert set_environment_state(other, states)
    assert play(other, 50) == play(env, 50)


def test_other_wrappers_take_no_state() -> None:
    env, other = made("Walk-v0"), gymnasium.wrappers.TimeLimit(made("Walk-v0"), 7)
    for each in (env, other):
        each.reset()
    states = get_environment_state(env)
    assert states is not None
    before = get_environment_state(other)
    assert not set_environment_state(other, states)
    assert get_environment_state(other) == before


def test_what_cannot_be_saved_is_not(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    env = made("Walk-v0")
    env.reset()
    assert get_environment_state(gymnasium.wrappers.ClipReward(env, 0, 1)) is None  # whatever such a wrapper keeps
    monkeypatch.setattr(Walk, "extra", {"words": np.array(["a"]), "number": np.int64(3), "none": [None, (1, True)]})
    assert get_environment_state(env)
    for odd in (object(), b"bytes", {1: 2}, [np.array([None])]):
        monkeypatch.setattr(Walk, "extra", odd)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            logging.getLogger("rllib_moe").propagate = True  # a training in this process may have taken the log away
            assert get_environment_state(env) is None
        assert "gives more than plain data" in caplog.text
    monkeypatch.delattr(Walk, "set_state")
    assert get_environment_state(env) is None
