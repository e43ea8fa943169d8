"""Hints at what an unknown word may have meant."""

from rllib_moe.validation.words import did_you_mean


def test_did_you_mean() -> None:
    assert did_you_mean("temprature", ["name", "temperature"]) == " (did you mean 'temperature'?)"
    assert did_you_mean("cartpole-v1", ["CartPole-v1", "nethack"]) == " (did you mean 'CartPole-v1'?)"
    assert did_you_mean("zzz", ["name", "Start"]) == "; expected one of name, Start"
    assert did_you_mean("zzz", ["name", "Start"], otherwise="") == ""
