"""Seeds of episodes: a sequence of its own for every place, whatever RLlib passes."""

import itertools
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rllib_moe.envs.seeding import EpisodeSeeds


class SeedEnv(gymnasium.Env):
    """Keeps the seeds and options it is reset with."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.seeds = []
        self.options = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.options.append(options)
        return 0, {}


def seeds_of(place, episodes=5, passed=None):
    env = SeedEnv()
    wrapped = EpisodeSeeds(env, place)
    for _ in range(episodes):
        wrapped.reset(seed=passed)
    return env.seeds


def test_every_reset_is_seeded_with_another_number():
    seeds = seeds_of((0, 0, 0), episodes=50)
    assert all(type(seed) is int and 2**20 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 50


def test_seeds_of_evaluations_are_passed_over():
    wrapped = EpisodeSeeds(SeedEnv(), (0,))
    drawn = iter([5, 2**20 - 1, 2**20, 7, 2**31 - 1])
    wrapped._generator = SimpleNamespace(integers=lambda _: next(drawn))
    wrapped.reset()
    wrapped.reset()
    assert wrapped.env.seeds == [2**20, 2**31 - 1]


def test_a_place_has_its_sequence_whatever_is_passed():
    assert seeds_of((3, 1, 2)) == seeds_of((3, 1, 2), passed=7) == seeds_of([3, 1, 2], passed=0)


@pytest.mark.parametrize("length", [1, 3, 5])
def test_places_differ_in_every_coordinate(length):
    """Neighbors above all: environment 1 of worker 1 is not environment 0 of worker 2."""
    places = list(itertools.product((0, 1, 2), repeat=min(length, 3)))
    places = [(*place, *range(7, 7 + length - len(place))) for place in places]
    sequences = [tuple(seeds_of(place)) for place in places]
    assert len({seed for sequence in sequences for seed in sequence}) == 5 * len(places)


def test_the_global_generator_plays_no_part():
    np.random.seed(0)
    first = seeds_of((1, 2))
    np.random.seed(1)
    assert seeds_of((1, 2)) == first


def test_options_and_spec_pass_through():
    env = SeedEnv()
    wrapped = EpisodeSeeds(env, (1,))
    assert wrapped.reset(options={"a": 1}) == (0, {})
    assert env.options == [{"a": 1}]
    assert wrapped._saved_kwargs == {"place": (1,)}


def test_a_place_holds_no_negative_number():
    with pytest.raises(ValueError, match="non-negative"):
        EpisodeSeeds(SeedEnv(), (0, -1))
