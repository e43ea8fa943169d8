"""Six actions that survival needs beyond the 23 of ``NetHackScore-v0``, and what the hero must remember for them.

Each stands for several keys: what opens it, and what it answers to the questions that follow.

| action     | does                                    | legal                                                     |
|------------|-----------------------------------------|-----------------------------------------------------------|
| rest       | searches 20 times, or until disturbed   | no monster adjacent, or ``Elbereth`` under foot           |
| pray       | heals, or feeds                         | hit points low or weak, and a god who should be in a mood |
| eat_pack   | eats food under foot or in the pack     | hungry, and there is some                                 |
| eat_corpse | eats the corpse under foot              | one that is fresh and safe, unless satiated               |
| quaff      | drinks the first potion in the pack     | at most half of the hit points, and there is one          |
| elbereth   | writes the word that most monsters fear | a monster adjacent, at most half of the hit points        |

Hit points are low as NetHack's prayers see it (`low_hit_points`). A god listens from turn 101 on, `PRAYER_INTERVAL`
turns after the last prayer, and never again once it was displeased. A monk who eats meat feels guilty, which costs
alignment.

Sources: https://nethackwiki.com/wiki/Prayer, /wiki/Elbereth, /wiki/Count.
"""

from collections import defaultdict
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.actions import NUM_ACTIONS, REST, move_direction
from rllib_moe.envs.nethack.corpses import (
    LONG_AGO,
    NO_CORPSE,
    STOPPED_EATING,
    Corpses,
    is_good,
    safe_corpses,
    watch_corpses,
)
from rllib_moe.envs.nethack.prompts import Keyboard, Played, converse


class SurvivalAction(IntEnum):
    """The actions, numbered on from the 23."""

    REST = REST
    PRAY = NUM_ACTIONS + 1
    EAT_PACK = NUM_ACTIONS + 2
    EAT_CORPSE = NUM_ACTIONS + 3
    QUAFF = NUM_ACTIONS + 4
    ELBERETH = NUM_ACTIONS + 5


SURVIVAL_ACTIONS: Final = tuple(action.name.lower() for action in SurvivalAction)
"""Their names."""

SURVIVAL_FEATURES: Final = (
    *("trouble", "prayer_due", "turns_since_prayer", "food_left", "potion_left", "corpse_here", "elbereth_here"),
    *(f"last_action_{name}" for name in SURVIVAL_ACTIONS),
)
"""Entries of `SurvivalMemory` in the status vector. trouble: what a prayer mends; turns_since_prayer: 1 at 1,000."""

PRAYER_INTERVAL: Final = 600
"""Turns after a prayer before the next one: about nine in ten are answered by then."""
FIRST_PRAYER: Final = 101
"""Turn from which a first prayer in trouble is answered: the prayer timeout has fallen from 300 to 200."""

_SATIATED, _HUNGRY, _WEAK = 0, 2, 3
_FIRST_OFFERED = b""
"""Answer: the first letter that the question offers."""

Place = tuple[int, int]
"""A level: dungeon branch, and number in it."""


class _Keys(NamedTuple):
    """Keys that an action types, and reads what they say."""

    opening: bytes
    """First keys."""

    answers: Mapping[bytes, bytes] = MappingProxyType({})
    """Answer to each question, by a phrase in it."""

    closing: bytes = b""
    """Last keys, once no question is open."""


_KEYS: Final = {
    SurvivalAction.REST: _Keys(b"20s"),
    SurvivalAction.PRAY: _Keys(bytes([int(nethack.Command.PRAY)]), {b"want to pray?": b"y"}),
    # What lies under foot comes first, where it is fit to eat for sure.
    SurvivalAction.EAT_PACK: _Keys(
        b"e",
        {
            **dict.fromkeys((b"corpse", b" egg", b" tin", b" glob", b"tripe"), b"n"),
            **{b"here; eat": b"y", b"want to eat?": _FIRST_OFFERED},
        },
    ),
    SurvivalAction.EAT_CORPSE: _Keys(b"e", {b"here; eat": b"y"}),
    SurvivalAction.QUAFF: _Keys(b"q", {b"rink from": b"n", b"want to drink?": _FIRST_OFFERED}),
    SurvivalAction.ELBERETH: _Keys(
        b"E",
        {b"want to write with?": b"-", b"add to the current": b"n", b"want to write in": b"Elbereth\r"},
        closing=b":",  # looks down, which takes no time: a letter in 25 goes wrong
    ),
}
_WRITTEN = b'"Elbereth"'
_ANGER = (b"displeased", b"arrogant", b"angered", b"thunders", b"Thou must relearn")


def low_hit_points(hp: int, max_hp: int, level: int) -> bool:
    """Return whether hit points are so low that a prayer mends them (``critically_low_hp`` of NetHack 3.6)."""
    divisor = 5 if level < 6 else 6 if level < 14 else 7 if level < 22 else 8 if level < 30 else 9
    return hp <= 5 or hp * divisor <= min(max_hp, 15 * level)


def type_keys(game: Keyboard, action: SurvivalAction) -> tuple[bool, bytes]:
    """Type an action's keys, and answer the questions that follow; one without an answer is closed.

    Returns:
        Whether the game is over, and all messages on the way.
    """
    opening, answers, closing = _KEYS[action]

    def answer(message: bytes) -> bytes:
        known = next((answer for phrase, answer in answers.items() if phrase in message), None)
        return message[message.rfind(b"[") + 1 :][:1] if known == _FIRST_OFFERED else known or b""

    played = converse(game, opening, answer)
    if played.is_over or not closing:
        return played.is_over, played.messages
    closed = converse(game, closing)
    return closed.is_over, played.messages + b"\n" + closed.messages


class SurvivalMemory:
    """Memory of an episode for survival: prayers, supplies, corpses, the word under foot.

    Args:
        character: as in ``characters``.
    """

    def __init__(self, character: str) -> None:
        self._is_safe = safe_corpses(character)
        self._last_prayer = FIRST_PRAYER - PRAYER_INTERVAL
        self._god_listens = True
        # Food is never picked up by itself, potions are.
        self._has_food = self._has_potion = True
        self._action: int | None = None
        self._at: tuple[Place, int] | None = None
        self._hp = 0
        self._is_written = False
        self._cannot_write: set[tuple[Place, int]] = set()
        self._corpses = defaultdict[Place, Corpses](Corpses.none)

    def record(self, action: int | None, blstats: np.ndarray, glyphs: np.ndarray, message: bytes, place: Place) -> None:
        """Record what an action came to (see `action_sets.FurtherMemory`)."""
        turn, hp = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HP])
        y, x = int(blstats[nethack.NLE_BL_Y]), int(blstats[nethack.NLE_BL_X])
        cell = y * glyphs.shape[1] + x
        if action == SurvivalAction.PRAY and b"You begin praying" in message:
            self._last_prayer = turn
            self._god_listens = not any(word in message for word in _ANGER)
        elif action == SurvivalAction.EAT_PACK and b"have anything" in message:
            self._has_food = False
        elif action == SurvivalAction.QUAFF and b"have anything" in message:
            self._has_potion = False
        if b" potion" in message and b" - " in message:  # picked up
            self._has_potion = True
        if action == SurvivalAction.ELBERETH:
            self._is_written = _WRITTEN in message
            if b"want to write in" not in message:
                self._cannot_write.add((place, cell))
        elif self._at != (place, cell) or hp < self._hp or (action is not None and move_direction(action) >= 0):
            self._is_written = False  # steps and attacks smudge it, and who is hurt on it cannot trust it
        self._action, self._at, self._hp = action, (place, cell), hp
        corpses = self._corpses[place]
        if action == SurvivalAction.EAT_CORPSE and STOPPED_EATING not in message:
            corpses.kind[y, x] = NO_CORPSE
        watch_corpses(glyphs, corpses, turn if b"You kill" in message else LONG_AGO, y, x)

    def play(self, game: Keyboard, action: int, steps_left: int) -> Played:
        """Play one of the actions; it is one step."""
        del steps_left
        is_over, messages = type_keys(game, SurvivalAction(action))
        return Played(is_over, messages, steps=1)

    def write(
        self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, moves: np.ndarray, *, monster_adjacent: bool
    ) -> None:
        """Write features and mask of a state in which no question is open (see `action_sets.FurtherMemory`)."""
        del moves
        turn, hunger = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HUNGER])
        hp, max_hp = int(blstats[nethack.NLE_BL_HP]), int(blstats[nethack.NLE_BL_HPMAX])
        trouble = hunger >= _WEAK or low_hit_points(hp, max_hp, int(blstats[nethack.NLE_BL_XP]))
        since_prayer = turn - self._last_prayer
        prayer_due = self._god_listens and since_prayer >= PRAYER_INTERVAL
        half_dead = 2 * hp <= max_hp
        corpse = self._corpse_is_good(blstats, turn)
        written = self._is_written
        state = (trouble, prayer_due, min(since_prayer / 1000, 1), self._has_food, self._has_potion, corpse, written)
        features[: len(state)] = state
        if self._action is not None and self._action >= NUM_ACTIONS:
            features[len(state) + self._action - NUM_ACTIONS] = 1
        mask[:] = (
            not monster_adjacent or written,
            trouble and prayer_due,
            hunger >= _HUNGRY and self._has_food,
            corpse and hunger != _SATIATED,
            half_dead and self._has_potion,
            half_dead and monster_adjacent and not written and self._at not in self._cannot_write,
        )

    def _corpse_is_good(self, blstats: np.ndarray, turn: int) -> bool:
        """Return whether a corpse lies under foot that may be eaten."""
        assert self._at is not None, "write() before record()"
        if blstats[nethack.NLE_BL_CONDITION] & nethack.BL_MASK_HALLU:
            return False
        y, x = int(blstats[nethack.NLE_BL_Y]), int(blstats[nethack.NLE_BL_X])
        return is_good(self._corpses[self._at[0]], self._is_safe, y, x, turn)
