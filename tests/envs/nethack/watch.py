"""A memory for further actions, told by hand what happens."""

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.action_sets import ACTION_SETS, ActionSetName
from rllib_moe.envs.nethack.actions import FIRST_MOVE
from rllib_moe.envs.nethack.hero import Cell
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE
from tests.envs.nethack.conftest import CHARACTER, GLYPHS, monster

QUIET_SEED = 35
"""A game in which the hero may rest at its start until it is weak of hunger."""
HERO, EAST_OF_HERO, WEST_OF_HERO = (10, 40), (10, 41), (10, 39)
ALL_MOVES = np.ones(8, np.uint8)


class Watch:
    """A memory that is told of a hero who stands still on bare ground while things happen around."""

    def __init__(self, actions: ActionSetName) -> None:
        self.set_of_actions = ACTION_SETS[actions]
        assert self.set_of_actions.make_memory is not None
        self.memory = self.set_of_actions.make_memory(CHARACTER)
        self.glyphs = np.full(MAP_SHAPE, GLYPHS["."], np.int16)
        self.stats = np.zeros(nethack.BLSTATS_SHAPE, np.int64)
        self.happens(None, Y=HERO[0], X=HERO[1], HP=20, HPMAX=20, HUNGER=1, TIME=1, XP=1)

    def set_stats(self, **values: int) -> None:
        for name, value in values.items():
            self.stats[getattr(nethack, f"NLE_BL_{name}")] = value

    def happens(self, action: int | None, message: bytes = b"", **values: int) -> None:
        self.set_stats(**values)
        self.memory.record(action, self.stats, self.glyphs, message)

    def falls(self, name: str, at: Cell = EAST_OF_HERO, message: bytes = b"You kill it!", **values: int) -> None:
        """A monster falls, and leaves its corpse."""
        self.glyphs[at] = nethack.GLYPH_BODY_OFF + monster(name)
        self.happens(FIRST_MOVE, message, **values)

    def steps_onto(self, at: Cell = EAST_OF_HERO) -> None:
        self.glyphs[at] = GLYPHS["@"]
        self.happens(FIRST_MOVE, Y=at[0], X=at[1])

    def write(
        self, moves: np.ndarray = ALL_MOVES, *, monster_adjacent: bool = False
    ) -> tuple[dict[str, float], set[str]]:
        """Features by name, and the legal actions."""
        names, features = self.set_of_actions.names, self.set_of_actions.features
        values, mask = np.zeros(len(features), np.float32), np.zeros(len(names), np.uint8)
        self.memory.write(self.stats, values, mask, moves, monster_adjacent=monster_adjacent)
        legal = {name for name, is_legal in zip(names, mask, strict=True) if is_legal}
        return dict(zip(features, values.tolist(), strict=True)), legal

    def legal(self, moves: np.ndarray = ALL_MOVES, *, monster_adjacent: bool = False) -> set[str]:
        return self.write(moves, monster_adjacent=monster_adjacent)[1]
