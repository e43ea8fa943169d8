"""Arguments that change while an environment lives, at its next reset and not before."""

import re
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.saved_state import get_environment_state, set_environment_state
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import PhaseSchedule


class OwnLimit(RegimesEnv):
    """Takes `max_steps`, and does not say that it may change."""

    changeable: ClassVar = {}

    def __init__(self, max_steps: int = 9) -> None:
        super().__init__(max_steps=max_steps)


class Endless(OwnLimit):
    """Takes no limit."""

    def __init__(self) -> None:
        super().__init__(10**4)


class Unkept(OwnLimit):
    changeable: ClassVar = {"speed": float}


@pytest.fixture(autouse=True)
def registered():
    classes = (OwnLimit, Endless, Unkept)
    for each in classes:
        gymnasium.register(f"{each.__name__}-v0", each)
    yield
    for each in classes:
        del gymnasium.registry[f"{each.__name__}-v0"]


def length(env, **arguments):
    env.reset(**arguments)
    steps, ended = 0, False
    while not ended:
        ended = env.step(0)[3]
        steps += 1
    return steps


@pytest.mark.parametrize("name", ["regimes", "Endless-v0"])
def test_the_limit_changes_at_the_next_reset(name):
    env = EpisodeSeeds(make_env(name, max_steps=5), (1,))
    assert length(env) == 5
    env.reset()
    env.step(0)
    env.get_wrapper_attr("set_arguments")(max_steps=8)
    assert [env.step(0)[3] for _ in range(4)] == [False, False, False, True]
    assert length(env) == 8
    assert length(env, options={"env": {"max_steps": 3}}) == 3
    assert length(env) == 3


def test_a_limit_may_come_later():
    env = make_env("Endless-v0")
    env.set_arguments(max_steps=4)
    assert length(env) == 4


def test_a_limit_that_the_environment_keeps_for_itself_can_only_be_lowered():
    env = make_env("OwnLimit-v0", max_steps=6)
    env.set_arguments(max_steps=4)
    assert length(env) == 4
    with pytest.raises(ValueError, match=r"max_steps: expected a whole number from 1 to 6, got 7"):
        env.set_arguments(max_steps=7)


def test_declared_arguments_are_set_where_they_are_kept():
    env = make_env("regimes", max_steps=500, switch_probability=1.0)
    env.reset(seed=0, options={"env": {"switch_probability": 0.0}})
    assert len({env.step(0)[4]["regime"] for _ in range(500)}) == 1
    env.set_arguments(switch_probability=0.9)
    assert env.unwrapped.switch_probability == 0.0
    env.reset()
    assert len({env.step(0)[4]["regime"] for _ in range(500)}) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_cues": 3}, "num_cues: may not change while the environment lives"),
        ({"max_step": 3}, "max_step: may not change while the environment lives (did you mean 'max_steps'?)"),
        ({"max_steps": 0}, "max_steps: expected a whole number, 1 or more, got 0"),
        ({"max_steps": 2.5}, "max_steps: expected a whole number, 1 or more, got 2.5"),
        ({"max_steps": True}, "max_steps: expected a whole number, 1 or more, got True"),
        ({"switch_probability": float("nan")}, "switch_probability: expected a finite number from 0 to 1, got nan"),
        ({"switch_probability": "often", "num": 1, "max_steps": 4}, "got 'often'"),
    ],
)
def test_what_may_not_change_or_does_not_fit_is_refused_and_changes_nothing(values, message):
    env = make_env("regimes", max_steps=5)
    with pytest.raises(ValueError, match=re.escape(message)):
        env.set_arguments(**values)
    with pytest.raises(ValueError, match=re.escape(message)):
        env.reset(options={"env": values})
    assert length(env) == 5


def test_a_declared_argument_needs_an_attribute():
    with pytest.raises(ValueError, match="changeable: argument 'speed' is kept in no attribute of its name"):
        make_env("Unkept-v0")


def test_a_phase_gives_arguments_and_the_others_are_the_environments_own():
    schedule = override_schedule(
        PhaseSchedule.load("default"),
        {
            "transition.env.max_steps": [5, 8],
            "transition.env.switch_probability": [0, 1],
            "fine-tune.env.switch_probability": 1,
        },
    )
    env = make_env("regimes", max_steps=7, switch_probability=0.5)
    assert env.phase_errors(schedule) == []
    assert [env.phase_arguments(schedule, episode) for episode in (0, 1000, 1500, 3000)] == [
        {"max_steps": 7, "switch_probability": 0.5},
        {"max_steps": 5, "switch_probability": 0.0},
        {"max_steps": 6, "switch_probability": 0.25},
        {"max_steps": 7, "switch_probability": 1},
    ]
    env.reset(options={"env": env.phase_arguments(schedule, 1000)})
    assert env.arguments == {"max_steps": 5, "switch_probability": 0.0}
    assert env.phase_arguments(schedule, 0) == {"max_steps": 7, "switch_probability": 0.5}


def test_both_ends_of_a_ramp_must_fit():
    schedule = override_schedule(PhaseSchedule.load("default"), {"warmup.env.max_steps": [2.5, 0], "*.env.num_cues": 3})
    assert make_env("regimes", max_steps=7).phase_errors(schedule)[:3] == [
        "warmup.env.num_cues: may not change while the environment lives; expected one of max_steps, "
        "switch_probability",
        "warmup.env.max_steps: expected a whole number, 1 or more, got 2.5",
        "warmup.env.max_steps: expected a whole number, 1 or more, got 0",
    ]


def test_nethack_takes_what_progressive_gives(tmp_path):
    env = make_env("nethack", max_steps=500, temp_root=str(tmp_path))
    schedule = PhaseSchedule.load("progressive")
    assert env.phase_errors(schedule) == []
    env.reset(seed=1, options={"env": env.phase_arguments(schedule, 3000)})
    assert env.unwrapped.max_steps == 5000
    env.close()


def test_what_was_changed_is_saved_and_comes_back():
    env, other = (EpisodeSeeds(make_env("regimes", max_steps=5), (1,)) for _ in range(2))
    env.reset(options={"env": {"max_steps": 9}})
    env.get_wrapper_attr("set_arguments")(max_steps=12)
    env.step(0)
    assert set_environment_state(other, get_environment_state(env))
    for _ in range(8):
        (seen, *rest), (also, *others) = env.step(0), other.step(0)
        assert all(np.array_equal(seen[leaf], also[leaf]) for leaf in seen)
        assert rest == others
    assert rest[2]
    assert length(env) == length(other) == 12


def test_nethack_changes_its_limits_and_rewards(tmp_path):
    env = make_env("nethack", max_steps=500, temp_root=str(tmp_path))
    env.set_arguments(
        max_steps=4, no_progress_limit=100, depth_bonus=1.0, tile_bonus=0.5, reward_scale=1, frozen_penalty=0
    )
    env.reset(seed=1)
    assert [env.step(22)[3] for _ in range(4)] == [False, False, False, True]
    observation, _ = env.reset(seed=1)
    observation, reward, _, _, info = env.step(int(np.flatnonzero(observation["action_mask"][1:9])[0]) + 1)
    assert reward == info["shaping"] + info["score"]
    with pytest.raises(
        ValueError, match=r"character: may not change .*; tile_bonus: expected a finite number, 0 or more"
    ):
        env.set_arguments(character="@", tile_bonus=-1)
    env.close()
