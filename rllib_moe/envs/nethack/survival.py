"""Six actions that survival needs beyond the 23 of ``NetHackScore-v0``, and what the hero must remember for them.

Each stands for several keys: what opens it, and what it answers to the questions that follow.

| action     | does                                    | legal                                                     |
|------------|-----------------------------------------|-----------------------------------------------------------|
| rest       | waits 20 turns, or for a monster        | no monster adjacent, or ``Elbereth`` under foot           |
| pray       | heals, or feeds                         | hit points below 1/7 or weak, and no prayer for some time |
| eat_pack   | eats the first food in the pack         | hungry, and there is some                                 |
| eat_corpse | eats the corpse under foot              | one that is fresh and safe, unless satiated               |
| quaff      | drinks the first potion in the pack     | at most half of the hit points, and there is one          |
| elbereth   | writes the word that most monsters fear | a monster adjacent, at most half of the hit points        |

Sources: https://nethackwiki.com/wiki/Prayer, /wiki/Corpse, /wiki/Elbereth, /wiki/Count.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.actions import KEY_ESCAPE, KEY_SPACE, NUM_ACTIONS, move_direction
from rllib_moe.envs.nethack.prompts import Keyboard, Prompt, open_prompt
from rllib_moe.runtime.numba_cache import compiled


class SurvivalAction(IntEnum):
    """The actions, numbered on from the 23."""

    REST = NUM_ACTIONS
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
"""What `SurvivalMemory` adds to the status vector. trouble: what a prayer mends; turns_since_prayer: 1 at 1,000."""

PRAYER_INTERVAL: Final = 600
"""Turns after a prayer before the next one: about nine in ten are answered by then."""
FIRST_PRAYER: Final = 100
"""Turn from which a first prayer in trouble is answered: the prayer timeout has fallen from 300 to 200."""
FRESH_TURNS: Final = 30
"""Turns for which a corpse does no harm."""

_SATIATED, _HUNGRY, _WEAK = 0, 2, 3
_MAX_QUESTIONS = 16
_FIRST_OFFERED = b""
"""Answer: the first letter that the question offers."""
_NO_CORPSE = -1

Place = tuple[int, int]
"""A level: dungeon branch, and number in it."""


class _Keys(NamedTuple):
    """Keys that an action types."""

    opening: bytes
    """First keys."""

    answers: Mapping[bytes, bytes] = MappingProxyType({})
    """Answer to each question, by a phrase in it."""


_KEYS: Final = {
    SurvivalAction.REST: _Keys(b"20s"),
    SurvivalAction.PRAY: _Keys(bytes([int(nethack.Command.PRAY)]), {b"want to pray?": b"y"}),
    SurvivalAction.EAT_PACK: _Keys(b"e", {b"here; eat": b"n", b"want to eat?": _FIRST_OFFERED}),
    SurvivalAction.EAT_CORPSE: _Keys(b"e", {b"here; eat": b"y"}),
    SurvivalAction.QUAFF: _Keys(b"q", {b"rink from": b"n", b"want to drink?": _FIRST_OFFERED}),
    SurvivalAction.ELBERETH: _Keys(
        b"E",
        {b"want to write with?": b"-", b"add to the current": b"n", b"want to write in": b"Elbereth\r"},
    ),
}


def _safe_corpses() -> np.ndarray:
    """Return bool [NUMMONS]: whether the fresh corpse of each monster does a human no harm."""
    # Flags of ``include/monflag.h``: acidic, poisonous; undead, were, human, domestic.
    harmful_body, harmful_kind = 0x08000000 | 0x10000000, 0x2 | 0x4 | 0x8 | 0x00400000
    harmful_names = {
        *("cockatrice", "chickatrice", "Medusa", "stalker", "chameleon", "doppelganger", "sandestin", "violet fungus"),
        *("small mimic", "large mimic", "giant mimic", "bat", "giant bat", "green slime"),
        *("Death", "Pestilence", "Famine"),
    }
    monsters = [nethack.permonst(index) for index in range(nethack.NUMMONS)]
    return np.array(
        [
            not (monster.mflags1 & harmful_body or monster.mflags2 & harmful_kind or monster.mname in harmful_names)
            for monster in monsters
        ]
    )


SAFE_CORPSES: Final = _safe_corpses()


def type_keys(game: Keyboard, action: SurvivalAction) -> tuple[bool, bytes]:
    """Type an action's keys, and answer the questions that follow; one without an answer is closed.

    Returns:
        Whether the game is over, and all messages on the way.
    """
    opening, answers = _KEYS[action]
    messages: list[bytes] = []
    typed = opening
    for _ in range(_MAX_QUESTIONS):
        for key in typed:
            if game.press(key):
                return True, b"\n".join(messages)
        message = game.message_bytes()
        messages.append(message)
        prompt = open_prompt(game)
        if prompt == Prompt.NONE:
            break
        if prompt == Prompt.MORE:
            typed = bytes([KEY_SPACE])
            continue
        typed = next((answer for phrase, answer in answers.items() if phrase in message), bytes([KEY_ESCAPE]))
        if typed == _FIRST_OFFERED:
            typed = message[message.rfind(b"[") + 1 :][:1]
    return False, b"\n".join(messages)


class SurvivalMemory:
    """What the hero remembers of an episode to survive: prayers, supplies, corpses, engravings."""

    def __init__(self) -> None:
        self._last_prayer = FIRST_PRAYER - PRAYER_INTERVAL
        self._has_food = self._has_potion = True
        self._action: int | None = None
        self._at: tuple[Place, int] | None = None
        self._engraved: set[tuple[Place, int]] = set()
        self._corpses: dict[Place, _Corpses] = {}

    def record(self, action: int | None, blstats: np.ndarray, glyphs: np.ndarray, message: bytes, place: Place) -> None:
        """Record what an action came to.

        Args:
            action: None at the start of an episode.
            blstats: int64 [27], of the hero after it.
            glyphs: int16 [H, W], the map after it.
            message: all that it said.
            place: level the hero is on.
        """
        turn = int(blstats[nethack.NLE_BL_TIME])
        cell = int(blstats[nethack.NLE_BL_Y]) * glyphs.shape[1] + int(blstats[nethack.NLE_BL_X])
        stayed = self._at == (place, cell)
        self._action, self._at = action, (place, cell)
        if action == SurvivalAction.PRAY and b"You begin praying" in message:
            self._last_prayer = turn
        elif action == SurvivalAction.EAT_PACK and b"have anything" in message:
            self._has_food = False
        elif action == SurvivalAction.QUAFF and b"have anything" in message:
            self._has_potion = False
        elif action == SurvivalAction.ELBERETH and b"want to write in" in message:
            self._engraved.add(self._at)
        elif stayed and action is not None and move_direction(action) >= 0:
            self._engraved.discard(self._at)  # an attack scuffs the engraving under foot
        if b" potion" in message and b" - " in message:  # picked up
            self._has_potion = True
        if place not in self._corpses:
            self._corpses[place] = _Corpses.none(glyphs.size)
        corpses = self._corpses[place]
        if action == SurvivalAction.EAT_CORPSE:
            corpses.kind[cell], corpses.since[cell] = _NO_CORPSE, 0
        _watch_corpses(glyphs.ravel(), corpses, turn, cell)

    def write(self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, *, monster_adjacent: bool) -> None:
        """Write features and mask of a state in which no question is open.

        Args:
            blstats: int64 [27], of the living hero.
            features: float32 [len(SURVIVAL_FEATURES)], zeros, written.
            mask: uint8 [len(SURVIVAL_ACTIONS)], written.
            monster_adjacent: whether a monster stands beside the hero.
        """
        turn, hunger = int(blstats[nethack.NLE_BL_TIME]), int(blstats[nethack.NLE_BL_HUNGER])
        hp, max_hp = int(blstats[nethack.NLE_BL_HP]), int(blstats[nethack.NLE_BL_HPMAX])
        assert self._at is not None, "write() before record()"
        place, cell = self._at
        trouble = hp < 6 or 7 * hp <= max_hp or hunger >= _WEAK
        since_prayer = turn - self._last_prayer
        prayer_due = since_prayer >= PRAYER_INTERVAL
        half_dead = 2 * hp <= max_hp
        corpses = self._corpses[place]
        kind = int(corpses.kind[cell])
        corpse = kind != _NO_CORPSE and bool(SAFE_CORPSES[kind]) and turn - int(corpses.since[cell]) <= FRESH_TURNS
        engraved = self._at in self._engraved
        state = (trouble, prayer_due, min(since_prayer / 1000, 1), self._has_food, self._has_potion, corpse, engraved)
        features[: len(state)] = state
        if self._action is not None and self._action >= NUM_ACTIONS:
            features[len(state) + self._action - NUM_ACTIONS] = 1
        mask[:] = (
            not monster_adjacent or engraved,
            trouble and prayer_due,
            hunger >= _HUNGRY and self._has_food,
            corpse and hunger != _SATIATED,
            half_dead and self._has_potion,
            half_dead and monster_adjacent and not engraved,
        )


class _Corpses(NamedTuple):
    """Corpses of a level, by cell."""

    kind: np.ndarray
    """int16 [H * W], monster, or `_NO_CORPSE`."""

    since: np.ndarray
    """int32 [H * W], turn at which the oldest was seen to fall, 1 if it lay there before; 0: there is none."""

    shown: np.ndarray
    """uint8 [H * W], 1 = the cell has been in view."""

    @classmethod
    def none(cls, cells: int) -> "_Corpses":
        return cls(np.full(cells, _NO_CORPSE, np.int16), np.zeros(cells, np.int32), np.zeros(cells, np.uint8))


_BODIES, _RIDDEN, _MAP = nethack.GLYPH_BODY_OFF, nethack.GLYPH_RIDDEN_OFF, nethack.GLYPH_CMAP_OFF
_OBJECTS, _EXPLOSIONS = nethack.GLYPH_OBJ_OFF, nethack.GLYPH_EXPLODE_OFF


@compiled
def _watch_corpses(glyphs: np.ndarray, corpses: _Corpses, turn: int, hero: int) -> None:
    """Bring the corpses of the level up to date; who stands on one only hides it.

    Args:
        glyphs: int16 [H * W], the map.
        corpses: of the level.
        turn: of the game.
        hero: cell the hero is on.
    """
    kind, since, shown = corpses
    for cell in range(glyphs.size):
        glyph = glyphs[cell]
        if glyph == _MAP:
            continue
        if _BODIES <= glyph < _RIDDEN:
            kind[cell] = glyph - _BODIES
            if since[cell] == 0:
                since[cell] = turn if shown[cell] else 1
        elif cell != hero and _OBJECTS <= glyph < _EXPLOSIONS:
            kind[cell] = _NO_CORPSE
            if glyph > _MAP:  # bare ground; below another object an old corpse may lie
                since[cell] = 0
        shown[cell] = 1
