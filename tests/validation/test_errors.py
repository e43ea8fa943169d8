"""Refusals as they travel between processes."""

import pickle

from rllib_moe.validation.errors import ConfigError


def test_a_refusal_survives_pickling_as_ray_does_it() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["one", "two"], "schedule x")))
    assert (error.errors, error.source) == (("one", "two"), "schedule x")
    assert str(error) == "schedule x refused:\n  - one\n  - two"
