"""Names of characters, and what the game makes of them."""

import pytest

from rllib_moe.envs.nethack.characters import ROLES
from rllib_moe.envs.nethack.environment import NetHackGraphEnv


@pytest.mark.parametrize("name", ["mon-hum-neu-mal", "val", "wiz-orc", "cha-rog", "hum", "@", *ROLES])
def test_names_the_game_knows(name):
    NetHackGraphEnv(character=name)


@pytest.mark.parametrize("name", ["", "foo", "mon-", "mon-mon", "Mon", "mon hum", "mon-hum-neu-mal-x"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=f"character: expected one or more of a role .*, got '{name}'"):
        NetHackGraphEnv(character=name)


@pytest.mark.parametrize(
    ("name", "title"),
    [("val", "Valkyrie"), ("wiz-orc-cha-fem", "chaotic female orcish Wizard"), ("@", "welcome to NetHack")],
)
def test_the_game_plays_the_character(name, title):
    env = NetHackGraphEnv(character=name)
    env.reset(seed=0)
    assert title in bytes(env._game.message).decode()
    env.close()
