"""Hints at what an unknown word may have meant."""

from rllib_moe.spelling import nearest


def test_nearest() -> None:
    assert nearest("temprature", ["name", "temperature"]) == " (did you mean 'temperature'?)"
    assert nearest("cartpole-v1", ["CartPole-v1", "nethack"]) == " (did you mean 'CartPole-v1'?)"
    assert nearest("zzz", ["name", "Start"]) == "; expected one of name, Start"
    assert nearest("zzz", ["name", "Start"], otherwise="") == ""
