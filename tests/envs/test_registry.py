"""Environments by name: what is made of a name, and what is refused."""

import inspect
import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import GraphInstance
from nle import nethack

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.description import GraphDescription
from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.gym_graph import GraphObservation
from rllib_moe.envs.nethack.temp_dirs import TEMP_ROOT_VARIABLE
from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.envs.registry import make_configured, make_env, prepare
from rllib_moe.validation.errors import ConfigError


class _GraphEnv(gymnasium.Env):
    """A graph of ``size`` nodes without an end of its own."""

    def __init__(self, size=3, action_space=None, observation_space=None, description=None):
        self.observation_space = observation_space or spaces.Graph(spaces.Discrete(4), None)
        self.action_space = action_space or spaces.Discrete(2)
        self.description = description
        self._graph = GraphInstance(np.zeros(size, np.int64), None, None)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return self._graph, {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self._graph, 1.0, False, False, {}

    def close(self):
        type(self).num_closed += 1

    num_closed = 0


@pytest.fixture
def graph_id():
    """The id of :class:`_GraphEnv`, registered for one test."""
    gymnasium.register("RllibMoeTest/Graph-v0", entry_point=_GraphEnv)
    yield "RllibMoeTest/Graph-v0"
    del gymnasium.registry["RllibMoeTest/Graph-v0"]


def _steps_until_truncated(env):
    env.reset(seed=0)
    steps = 0
    while True:
        _, _, terminated, truncated, _ = env.step(0)
        steps += 1
        assert not terminated
        if truncated:
            return steps


def test_short_names():
    assert isinstance(make_env("regimes").unwrapped, RegimesEnv)


def test_an_environment_with_a_limit_of_its_own_gets_it_as_an_argument():
    env = make_env("regimes", max_steps=7, num_cues=4)
    assert (env.unwrapped.max_steps, env.unwrapped.num_cues) == (7, 4)
    assert _steps_until_truncated(env) == 7
    own = inspect.signature(RegimesEnv).parameters["max_steps"].default
    assert make_env("regimes").unwrapped.max_steps == own


def test_a_gymnasium_id_with_a_graph_is_converted_and_limited_from_outside(graph_id):
    env = make_env(graph_id, max_steps=5, max_nodes=2, size=3)
    assert isinstance(env.env, GraphObservation)
    assert GraphShape.from_space(env.observation_space).max_nodes == 2
    observation, info = env.reset(seed=0)
    check_observation(observation, env.observation_space)
    assert info["nodes_cut"] == 1
    assert _steps_until_truncated(env) == 5
    endless = make_env(graph_id)
    endless.reset(seed=0)
    assert not any(endless.step(0)[3] for _ in range(1000))


def test_module_and_id(tmp_path, monkeypatch):
    (tmp_path / "graph_plugin_for_test.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('RllibMoeTest/Plugin-v0', entry_point='rllib_moe.envs.regimes:RegimesEnv')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    env = make_env("graph_plugin_for_test:RllibMoeTest/Plugin-v0", max_steps=3)
    assert _steps_until_truncated(env) == 3
    del gymnasium.registry["RllibMoeTest/Plugin-v0"]
    with pytest.raises(ValueError, match="no_such_module"):
        make_env("no_such_module:Env-v0")


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        ("nethak", {}, "unknown environment 'nethak' (did you mean 'nethack'?); known are nethack, regimes and every"),
        ("CartPole", {}, "CartPole-v1"),
        ("", {}, "unknown environment ''"),
        ("CartPole-v1", {}, "environment 'CartPole-v1' cannot be used: not a graph observation space: expected"),
        ("CartPole-v1", {"max_nodes": 3}, "max_nodes has no effect"),
        ("Pendulum-v1", {}, "the action space must be Discrete, got Box"),
        (
            "nethack",
            {"depth_bonus": "high"},
            "depth_bonus: expected a finite number, got 'high'",
        ),
        ("nethack", {"action_mask": 1}, "action_mask: expected true or false, got 1"),
        ("nethack", {"no_progress_limit": True}, "no_progress_limit: expected a whole number, 1 or more, got True"),
        ("regimes", {"num_cues": 2.5}, "num_cues: expected a whole number, 2 or more, got 2.5"),
        ("regimes", {"max_step": 3}, "environment 'regimes' takes no argument 'max_step' (did you mean 'max_steps'?)"),
        ("regimes", {"max_nodes": 4}, "max_nodes: expected above num_regimes=4, got 4"),
        ("regimes", {"max_steps": 0}, "max_steps: expected a whole number, 1 or more, got 0"),
        ("regimes", {"max_steps": 2.5}, "max_steps: expected a whole number, 1 or more, got 2.5"),
    ],
)
def test_what_cannot_be_made_is_named(env_id, kwargs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_env(env_id, **kwargs)


def test_what_an_experiment_says_of_its_environment_is_named_as_it_says_it():
    arguments = {"num_regimes": 1, "switch_probability": 2}
    with pytest.raises(ConfigError) as refused:
        make_configured(EnvironmentConfig(env="regimes", env_args=arguments))
    assert refused.value.errors == (
        "env_args.num_regimes: expected a whole number, 2 or more, got 1",
        "env_args.switch_probability: expected a finite number from 0 to 1, got 2",
    )
    with pytest.raises(ConfigError, match="env: environment 'regimes' takes no argument 'wings'"):
        make_configured(EnvironmentConfig(env="regimes", env_args={"wings": 2}))


def _masked_space(num_actions):
    return spaces.Dict(
        {
            "graph": spaces.Graph(spaces.Discrete(2), None),
            "action_mask": spaces.Box(0, 1, (num_actions,), np.int8),
        }
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"action_space": spaces.MultiDiscrete([2, 2])}, "the action space must be Discrete, got MultiDiscrete"),
        ({"action_space": spaces.Discrete(2, start=1)}, "the action space must start at 0"),
        ({"observation_space": _masked_space(3)}, "leaf 'action_mask' has 3 places for 2 actions"),
        ({"observation_space": spaces.Dict({"nodes": spaces.Discrete(2)})}, "leaf 'nodes' must be a Box"),
        ({"observation_space": spaces.Graph(spaces.Discrete(300), None)}, "at most 256 categories, got 300"),
        (
            {"description": GraphDescription(role_names=("a", "b"), action_names=("x",))},
            "description: expected 0 role_names, got 2; description: expected 2 action_names, got 1",
        ),
        ({"description": GraphDescription(node_type_names=("a", "b"))}, "expected 4 node_type_names, got 2"),
        ({"description": GraphDescription(edge_type_names=("a",) * 9)}, "edge_type_names, got 9"),
    ],
)
def test_spaces_that_cannot_be_played_are_named_and_the_environment_closed(graph_id, kwargs, message):
    before = _GraphEnv.num_closed
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make_env(graph_id, **kwargs)
    assert f"environment '{graph_id}' cannot be used" in str(error.value)
    assert _GraphEnv.num_closed == before + 1


def test_all_faults_of_an_environment_come_together(graph_id):
    with pytest.raises(ValueError, match=r"must be Discrete, got Box.*leaf 'edges' is missing"):
        make_env(
            graph_id, action_space=spaces.Box(0, 1, (1,)), observation_space=spaces.Dict({"x": spaces.Box(0, 1, (1,))})
        )


def test_preparing_compiles_and_sweeps_without_a_game(tmp_path, monkeypatch):
    monkeypatch.setenv(TEMP_ROOT_VARIABLE, str(tmp_path))
    left_over = tmp_path / "rllib_moe_nethack_1_0"  # process 1 began at another time
    left_over.mkdir()
    monkeypatch.setattr(nethack.Nethack, "__init__", pytest.fail)
    prepare("nethack")
    assert not left_over.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("env_id", ["regimes", "CartPole-v1"])
def test_nothing_to_prepare(env_id):
    prepare(env_id)


def test_an_environment_of_ones_own_prepares_itself(monkeypatch):
    done = []
    monkeypatch.setattr(RegimesEnv, "prepare", staticmethod(lambda: done.append("compiled")), raising=False)
    prepare("regimes")
    assert done == ["compiled"]
