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

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.actions import NUM_ACTIONS, REST, move_direction
from rllib_moe.envs.nethack.corpses import NO_CORPSE, STOPPED_EATING, CorpseMemory
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.hero import HUNGRY, SATIATED, WEAK, Cell, Level, cell_of, level_of
from rllib_moe.envs.nethack.prompts import Played, converse, offered_keys


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

_FIRST_OFFERED = b""
"""Answer: the first letter that the question offers."""


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


class SurvivalMemory:
    """Memory of an episode for survival: prayers, supplies, corpses, the word under foot.

    Args:
        character: as in ``characters``.
    """

    def __init__(self, character: str) -> None:
        self._last_prayer = FIRST_PRAYER - PRAYER_INTERVAL
        self._god_listens = True
        # Food is never picked up by itself, potions are.
        self._has_food = self._has_potion = True
        self._action: int | None = None
        self._at: tuple[Level, Cell] | None = None
        self._hp = 0
        self._is_written = False
        self._cannot_write: set[tuple[Level, Cell]] = set()
        self._corpses = CorpseMemory(character)

    def play(self, game: Game, action: int, steps_left: int) -> Played:
        """Play one of the actions, which is one step; a question that it has no answer to is closed."""
        del steps_left
        opening, answers, closing = _KEYS[SurvivalAction(action)]

        def answer(message: bytes) -> bytes:
            known = next((answer for phrase, answer in answers.items() if phrase in message), None)
            return offered_keys(message)[:1] if known == _FIRST_OFFERED else known or b""

        played = converse(game, opening, answer)
        if closing and not played.is_over:
            played = played.then(converse(game, closing))
        return played._replace(steps=1)

    def record(self, action: int | None, blstats: np.ndarray, glyphs: np.ndarray, message: bytes) -> None:
        """Record what an action came to (see `action_sets.FurtherMemory`)."""
        turn, hp = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HP])
        at = level_of(blstats), cell_of(blstats)
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
                self._cannot_write.add(at)
        elif self._at != at or hp < self._hp or (action is not None and move_direction(action) >= 0):
            self._is_written = False  # steps and attacks smudge it, and who is hurt on it cannot trust it
        self._action, self._at, self._hp = action, at, hp
        if action == SurvivalAction.EAT_CORPSE and STOPPED_EATING not in message:
            self._corpses.here(blstats).kind[cell_of(blstats)] = NO_CORPSE
        self._corpses.watch(blstats, glyphs, message)

    def write(
        self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, moves: np.ndarray, *, monster_adjacent: bool
    ) -> None:
        """Write features and mask of a state in which no question is open (see `action_sets.FurtherMemory`)."""
        del moves
        turn, hunger = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HUNGER])
        hp, max_hp = int(blstats[nethack.NLE_BL_HP]), int(blstats[nethack.NLE_BL_HPMAX])
        trouble = hunger >= WEAK or low_hit_points(hp, max_hp, int(blstats[nethack.NLE_BL_XP]))
        since_prayer = turn - self._last_prayer
        prayer_due = self._god_listens and since_prayer >= PRAYER_INTERVAL
        half_dead = 2 * hp <= max_hp
        corpse = self._corpses.is_good(blstats, cell_of(blstats))
        written = self._is_written
        state = (trouble, prayer_due, min(since_prayer / 1000, 1), self._has_food, self._has_potion, corpse, written)
        features[: len(state)] = state
        if self._action is not None and self._action >= NUM_ACTIONS:
            features[len(state) + self._action - NUM_ACTIONS] = 1
        mask[:] = (
            not monster_adjacent or written,
            trouble and prayer_due,
            hunger >= HUNGRY and self._has_food,
            corpse and hunger != SATIATED,
            half_dead and self._has_potion,
            half_dead and monster_adjacent and not written and self._at not in self._cannot_write,
        )
