"""Three macro-actions of the keys of ``NetHackScore-v0``'s 23 actions, and what the hero remembers for them.

Each key is a step of the episode, and those that close a question are dealt with as for the 23 (see ``prompts``): so an
agent with the 23 alone could play the same game in as many steps.

| action     | does                                                | legal                                             |
|------------|-----------------------------------------------------|---------------------------------------------------|
| rest       | searches 20 times, or until healed or disturbed     | hit points lost, and no monster adjacent          |
| eat_pack   | eats what has a letter among the keys: the oranges  | hungry, and there is some                         |
| eat_corpse | steps onto the corpse, if need be, and eats it      | one under foot or beside the hero, fresh and safe |
|            |                                                     | (``corpses``), not satiated, no monster adjacent  |

Source: https://nethackwiki.com/wiki/Nutrition.
"""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import (
    ACTION_KEYS,
    EAT,
    FIRST_MOVE,
    NUM_ACTIONS,
    NUM_DIRECTIONS,
    REST,
    SEARCH,
)
from rllib_moe.envs.nethack.corpses import NO_CORPSE, STOPPED_EATING, CorpseMemory
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.hero import HUNGRY, SATIATED, WEAK, Cell, Level, cell_of, level_of
from rllib_moe.envs.nethack.level_memory import neighbor
from rllib_moe.envs.nethack.prompts import Played, converse, offered_keys


class MacroAction(IntEnum):
    """The actions, numbered on from the 23."""

    REST = REST
    EAT_PACK = NUM_ACTIONS + 1
    EAT_CORPSE = NUM_ACTIONS + 2


MACRO_ACTIONS: Final = tuple(action.name.lower() for action in MacroAction)
"""Their names."""
MACRO_FEATURES: Final = (
    *("nutrition", "food_left", "corpse_near"),
    *(f"last_action_{name}" for name in MACRO_ACTIONS),
)
"""Entries of `MacroMemory` in the status vector. nutrition: as far as the hero can know it, 1 at 1,000."""

MAX_SEARCHES: Final = 20
FIRST_NUTRITION: Final = 900
_ORANGE = 80
_NUTRITION_OF = {SATIATED: (1001, 2000), 1: (151, 1000), HUNGRY: (51, 150), WEAK: (1, 50)}
"""Least and most nutrition of each value of ``NLE_BL_HUNGER``; who faints has none."""
_HERE = NUM_DIRECTIONS


class MacroMemory:
    """Memory of an episode for the macro-actions: food and corpses.

    Args:
        character: as in ``characters``.
    """

    def __init__(self, character: str) -> None:
        self._has_food = True
        self._nutrition = float(FIRST_NUTRITION)
        self._turn = 1
        self._action: int | None = None
        self._level: Level = (0, 0)
        self._corpses = CorpseMemory(character)
        self._meal: int | None = None
        """Direction of the corpse to eat, or `_HERE`."""
        self._aim: Cell | None = None
        """Cell of that corpse."""

    def play(self, game: Game, action: int, steps_left: int) -> Played:
        """Play one of the actions; each of its keys is a step, and there are no more than are left."""
        if action == MacroAction.REST:
            return _rest(game, min(MAX_SEARCHES, steps_left))
        if action == MacroAction.EAT_PACK:
            return _eat(game, steps_left, corpse=False)
        if self._meal is None or self._meal == _HERE:
            return _eat(game, steps_left, corpse=True)
        stats = game.living_blstats
        target = level_of(stats), self._aim
        walked = converse(game, bytes([ACTION_KEYS[FIRST_MOVE + self._meal]]))
        if walked.is_over or steps_left == 1 or (level_of(stats), cell_of(stats)) != target:
            return walked  # dead, out of steps, or held back: by a pit, a peaceful monster that came in between
        return walked.then(_eat(game, steps_left - 1, corpse=True))

    def record(self, action: int | None, blstats: np.ndarray, glyphs: np.ndarray, message: bytes) -> None:
        """Record what an action came to (see `action_sets.FurtherMemory`)."""
        turn, hunger = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HUNGER])
        self._nutrition -= turn - self._turn
        kinds, cell, level = self._corpses.here(blstats).kind, cell_of(blstats), level_of(blstats)
        is_done = STOPPED_EATING not in message and b"Never mind" not in message
        if action == MacroAction.EAT_PACK:
            if b"have anything" in message or b"Never mind" in message:
                self._has_food = False  # or none under a letter that can be typed
            elif is_done:
                self._nutrition += _ORANGE
        elif action == MacroAction.EAT_CORPSE:
            if is_done and (kind := int(kinds[cell])) != NO_CORPSE:
                self._nutrition += nethack.permonst(kind).cnutrit
            if STOPPED_EATING not in message:  # eaten, or not there
                kinds[cell] = NO_CORPSE
                if self._aim is not None and level == self._level:
                    kinds[self._aim] = NO_CORPSE  # it could not be walked to
        least, most = _NUTRITION_OF.get(hunger, (0, 0))
        self._nutrition = min(max(self._nutrition, least), most)
        self._turn, self._action, self._level = turn, action, level
        self._corpses.watch(blstats, glyphs, message)

    def write(
        self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, moves: np.ndarray, *, monster_adjacent: bool
    ) -> None:
        """Write features and mask of a state in which no question is open (see `action_sets.FurtherMemory`)."""
        hunger = int(blstats[nethack.NLE_BL_HUNGER])
        is_hurt = blstats[nethack.NLE_BL_HP] < blstats[nethack.NLE_BL_HPMAX]
        self._meal = self._find_meal(blstats, moves)
        features[:3] = min(self._nutrition / 1000, 1.0), self._has_food, self._meal is not None
        if self._action is not None and self._action >= NUM_ACTIONS:
            features[3 + self._action - NUM_ACTIONS] = 1
        mask[:] = (
            is_hurt and not monster_adjacent,
            hunger >= HUNGRY and self._has_food,
            self._meal is not None and hunger != SATIATED and not monster_adjacent,
        )

    def _find_meal(self, blstats: np.ndarray, moves: np.ndarray) -> int | None:
        """Return the direction of a good corpse that can be stepped onto, `_HERE` for one under foot, None for none."""
        hero = cell_of(blstats)
        for direction in (_HERE, *np.flatnonzero(moves).tolist()):
            self._aim = hero if direction == _HERE else neighbor(*hero, direction)
            if self._aim is not None and self._corpses.is_good(blstats, self._aim):
                return direction
        self._aim = None
        return None


def _rest(game: Game, searches: int) -> Played:
    """Search until healed, or until something happens.

    That is a wound, a monster that comes into sight or beside the hero, a change of hunger, a find, or a question.
    """
    messages: list[bytes] = []
    before = _sight(game)
    for steps in range(1, searches + 1):
        if game.press(ACTION_KEYS[SEARCH]):
            return Played(True, b"\n".join(messages), steps)
        messages.append(game.message_bytes())
        now = _sight(game)
        is_healed = now.hp >= int(game.living_blstats[nethack.NLE_BL_HPMAX])
        if is_healed or now.is_disturbed(before) or b"You find" in messages[-1] or game.misc.any():
            break
        before = now
    return Played(False, b"\n".join(messages), steps)


class _Sight(NamedTuple):
    """Signs of a disturbance."""

    hp: int
    hunger: int
    monsters: int
    monsters_beside: int

    def is_disturbed(self, before: "_Sight") -> bool:
        """Return whether something happened since."""
        have_come = self.monsters > before.monsters or self.monsters_beside > before.monsters_beside
        return have_come or self.hp < before.hp or self.hunger != before.hunger


def _sight(game: Game) -> _Sight:
    stats = game.living_blstats
    y, x = cell_of(stats)
    monsters = g.GLYPH_TABLE[game.glyphs, g.NODE_COLUMN] == g.NODE_MONSTER
    beside = monsters[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
    return _Sight(
        int(stats[nethack.NLE_BL_HP]), int(stats[nethack.NLE_BL_HUNGER]), int(monsters.sum()), int(beside.sum())
    )


def _eat(game: Game, steps_left: int, *, corpse: bool) -> Played:
    """Eat the corpse under foot, or else what in the pack has a letter among the keys; other questions are closed."""

    def answer(message: bytes) -> bytes:
        if b"here; eat" in message:
            return b"y" if corpse and b"corpse" in message else b"n"
        if b"want to eat?" in message and not corpse:
            return bytes([key for key in offered_keys(message) if key in ACTION_KEYS][:1])
        return b""

    return converse(game, bytes([ACTION_KEYS[EAT]]), answer, steps_left)
