"""Actions that survival needs beyond the 23 of ``NetHackScore-v0``, and what the hero must remember for them.

Each stands for several keys: what opens it, and what it answers to the questions that follow. Three are macro-actions
of the keys that the 23 have (`ACTION_SETS`): whatever they do, an agent with those 23 alone can do too.

| action     | does                                    | legal                                                     |
|------------|-----------------------------------------|-----------------------------------------------------------|
| rest       | waits 20 turns, or for a monster        | no monster adjacent, or ``Elbereth`` under foot           |
| pray       | heals, or feeds                         | hit points low or weak, and a god who should be in a mood |
| eat_pack   | eats food in the pack                   | hungry, and there is some                                 |
| eat_corpse | eats the corpse under foot              | one that is fresh and safe, unless satiated               |
| quaff      | drinks the first potion in the pack     | at most half of the hit points, and there is one          |
| elbereth   | writes the word that most monsters fear | a monster adjacent, at most half of the hit points        |

Hit points are low as NetHack's prayers see it (`low_hit_points`). A god listens from turn 101 on, `PRAYER_INTERVAL`
turns after the last prayer, and never again once it was displeased. A monk who eats meat feels guilty, which costs
alignment.

Sources: https://nethackwiki.com/wiki/Prayer, /wiki/Elbereth, /wiki/Count.
"""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import (
    ACTION_KEYS,
    KEY_ESCAPE,
    KEY_SPACE,
    NUM_ACTIONS,
    SEARCH,
    move_direction,
)
from rllib_moe.envs.nethack.corpses import FRESH_TURNS, LONG_AGO, NO_CORPSE, Corpses, safe_corpses, watch_corpses
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.prompts import Keyboard, Prompt, open_prompt


class SurvivalAction(IntEnum):
    """The actions, numbered on from the 23."""

    REST = NUM_ACTIONS
    PRAY = NUM_ACTIONS + 1
    EAT_PACK = NUM_ACTIONS + 2
    EAT_CORPSE = NUM_ACTIONS + 3
    QUAFF = NUM_ACTIONS + 4
    ELBERETH = NUM_ACTIONS + 5


MACRO: Final = "macro"
ACTION_SETS: Final[Mapping[str, tuple[SurvivalAction, ...]]] = {
    "score": (),
    MACRO: (SurvivalAction.REST, SurvivalAction.EAT_PACK, SurvivalAction.EAT_CORPSE),
    "extended": tuple(SurvivalAction),
}
"""Further actions of each set, indexed from `NUM_ACTIONS` on in this order. In `MACRO` all keys are of the 23."""

_FACTS = ("trouble", "prayer_due", "turns_since_prayer", "food_left", "potion_left", "corpse_here", "elbereth_here")

PRAYER_INTERVAL: Final = 600
"""Turns after a prayer before the next one: about nine in ten are answered by then."""
FIRST_PRAYER: Final = 101
"""Turn from which a first prayer in trouble is answered: the prayer timeout has fallen from 300 to 200."""

REST_TURNS: Final = 20

_SATIATED, _HUNGRY, _WEAK = 0, 2, 3
_MAX_QUESTIONS = 16
_FIRST_OFFERED = b""
"""Answer: the first letter that the question offers."""
_READ_ON, _CANCEL = bytes([KEY_SPACE]), bytes([KEY_ESCAPE])

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
    SurvivalAction.REST: _Keys(b"%ds" % REST_TURNS),
    SurvivalAction.PRAY: _Keys(bytes([int(nethack.Command.PRAY)]), {b"want to pray?": b"y"}),
    SurvivalAction.EAT_PACK: _Keys(b"e", {b"here; eat": b"n", b"want to eat?": _FIRST_OFFERED}),
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


def action_names(actions: Sequence[SurvivalAction]) -> tuple[str, ...]:
    """Return the names of further actions."""
    return tuple(action.name.lower() for action in actions)


def survival_features(actions: Sequence[SurvivalAction]) -> tuple[str, ...]:
    """Return the names of what `SurvivalMemory` adds to the status vector for these actions; nothing without any.

    trouble: what a prayer mends; turns_since_prayer: 1 at 1,000.
    """
    return (*_FACTS, *(f"last_action_{name}" for name in action_names(actions))) if actions else ()


def low_hit_points(hp: int, max_hp: int, level: int) -> bool:
    """Return whether hit points are so low that a prayer mends them (``critically_low_hp`` of NetHack 3.6)."""
    divisor = 5 if level < 6 else 6 if level < 14 else 7 if level < 22 else 8 if level < 30 else 9
    return hp <= 5 or hp * divisor <= min(max_hp, 15 * level)


class Typed(NamedTuple):
    """Outcome of `type_keys` and `type_macro`."""

    is_over: bool
    """True: the game is over."""

    messages: bytes
    """All messages on the way, a line each."""

    keys: int
    """Keys of the action; those that read on or close a question are none of it."""


def type_keys(game: Keyboard, action: SurvivalAction, letters: Container[int] = range(256)) -> Typed:
    """Type an action's keys, and answer the questions that follow; one without an answer is closed.

    Args:
        game: in which no question is open.
        action: what to do.
        letters: keys that may choose among the things offered.
    """
    opening, answers, closing = _KEYS[action]
    messages: list[bytes] = []
    typed, keys = opening, 0
    for _ in range(_MAX_QUESTIONS):
        keys += 0 if typed in (_READ_ON, _CANCEL) else len(typed)
        for key in typed:
            if game.press(key):
                return Typed(True, b"\n".join(messages), keys)
        message = game.message_bytes()
        messages.append(message)
        prompt = open_prompt(game)
        if prompt == Prompt.NONE and not closing:
            break
        if prompt == Prompt.NONE:
            typed, closing = closing, b""
        elif prompt == Prompt.MORE:
            typed = _READ_ON
        else:
            typed = next((answer for phrase, answer in answers.items() if phrase in message), _CANCEL)
            if typed == _FIRST_OFFERED:
                offered = message[message.rfind(b"[") + 1 :].partition(b" or ")[0]
                typed = next((bytes([letter]) for letter in offered if letter in letters), _CANCEL)
    return Typed(False, b"\n".join(messages), keys)


def type_macro(game: Game, action: SurvivalAction, max_keys: int) -> Typed:
    """Do as `type_keys` does with keys of the 23 alone, of which 20 searches make a rest.

    A rest ends early when something happens: a wound, a monster that comes into sight, a change of hunger, a question.

    Args:
        game: in which no question is open.
        action: one of those in `ACTION_SETS`.
        max_keys: searches at most.
    """
    if action != SurvivalAction.REST:
        return type_keys(game, action, ACTION_KEYS)
    messages: list[bytes] = []
    sight = _sight(game)
    for keys in range(1, min(REST_TURNS, max_keys) + 1):
        before = sight
        if game.press(ACTION_KEYS[SEARCH]):
            return Typed(True, b"\n".join(messages), keys)
        messages.append(game.message_bytes())
        sight = _sight(game)
        if game.misc.any() or sight.hp < before.hp or sight.monsters > before.monsters or sight.hunger != before.hunger:
            break
    return Typed(False, b"\n".join(messages), keys)


class _Sight(NamedTuple):
    """Signs that end a rest when they change."""

    hp: int
    hunger: int
    monsters: int


def _sight(game: Game) -> _Sight:
    stats = game.living_blstats
    monsters = int(np.count_nonzero(g.GLYPH_TABLE[game.glyphs, g.NODE_COLUMN] == g.NODE_MONSTER))
    return _Sight(int(stats[nethack.NLE_BL_HP]), int(stats[nethack.NLE_BL_HUNGER]), monsters)


class SurvivalMemory:
    """Memory of an episode for survival: prayers, supplies, corpses, the word under foot.

    Args:
        character: as in ``characters``.
        actions: that the hero has.
    """

    def __init__(self, character: str, actions: Sequence[SurvivalAction]) -> None:
        self._actions = tuple(actions)
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
        """Record what an action came to.

        Args:
            action: None at the start of an episode.
            blstats: int64 [27], of the hero after it.
            glyphs: int16 [H, W], the map after it.
            message: all that it said.
            place: level the hero is on.
        """
        turn, hp = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HP])
        y, x = int(blstats[nethack.NLE_BL_Y]), int(blstats[nethack.NLE_BL_X])
        cell = y * glyphs.shape[1] + x
        if action == SurvivalAction.PRAY and b"You begin praying" in message:
            self._last_prayer = turn
            self._god_listens = not any(word in message for word in _ANGER)
        elif action == SurvivalAction.EAT_PACK and (b"have anything" in message or b"Never mind" in message):
            self._has_food = False  # or none under a letter that can be typed
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
        if action == SurvivalAction.EAT_CORPSE:
            corpses.kind[y, x] = NO_CORPSE
        watch_corpses(glyphs, corpses, turn if b"You kill" in message else LONG_AGO, y, x)

    def write(self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, *, monster_adjacent: bool) -> None:
        """Write features and mask of a state in which no question is open.

        Args:
            blstats: int64 [27], of the living hero.
            features: float32 [F], zeros, written; see `survival_features`.
            mask: uint8 [number of actions], written.
            monster_adjacent: whether a monster stands beside the hero.
        """
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
        legal = {
            SurvivalAction.REST: not monster_adjacent or written,
            SurvivalAction.PRAY: trouble and prayer_due,
            SurvivalAction.EAT_PACK: hunger >= _HUNGRY and self._has_food,
            SurvivalAction.EAT_CORPSE: corpse and hunger != _SATIATED,
            SurvivalAction.QUAFF: half_dead and self._has_potion,
            SurvivalAction.ELBERETH: half_dead
            and monster_adjacent
            and not written
            and self._at not in self._cannot_write,
        }
        for index, action in enumerate(self._actions):
            features[len(state) + index] = action == self._action
            mask[index] = legal[action]

    def _corpse_is_good(self, blstats: np.ndarray, turn: int) -> bool:
        """Return whether a corpse lies under foot that may be eaten."""
        assert self._at is not None, "write() before record()"
        corpses = self._corpses[self._at[0]]
        y, x = int(blstats[nethack.NLE_BL_Y]), int(blstats[nethack.NLE_BL_X])
        kind = int(corpses.kind[y, x])
        if kind == NO_CORPSE or blstats[nethack.NLE_BL_CONDITION] & nethack.BL_MASK_HALLU:
            return False
        return bool(self._is_safe[kind]) and turn - int(corpses.since[y, x]) <= FRESH_TURNS
