"""Corpses of a level: which lie where, how old they are, and which do a hero no harm.

Source: https://nethackwiki.com/wiki/Corpse.
"""

import functools
import operator
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.level_memory import MAP_SHAPE
from rllib_moe.runtime.numba_cache import compiled

FRESH_TURNS: Final = 30
"""Turns for which a corpse does no harm."""
LONG_AGO: Final = -1_000_000
"""Turn from which a corpse of unknown age dates."""
NO_CORPSE: Final = -1
STOPPED_EATING: Final = b"You stop eating"
"""Message of a meal that was disturbed."""

_BODIES, _RIDDEN, _MAP = nethack.GLYPH_BODY_OFF, nethack.GLYPH_RIDDEN_OFF, nethack.GLYPH_CMAP_OFF
_OBJECTS, _EXPLOSIONS = nethack.GLYPH_OBJ_OFF, nethack.GLYPH_EXPLODE_OFF

# Flags of ``include/monflag.h``.
_ACIDIC, _POISONOUS = 0x08000000, 0x10000000
_UNDEAD, _WERE, _HUMAN, _DOMESTIC = 0x2, 0x4, 0x8, 0x00400000
_RACES: Final = {"hum": _HUMAN, "elf": 0x10, "dwa": 0x20, "gno": 0x40, "orc": 0x80}
_HARMFUL_NAMES: Final = {
    *("cockatrice", "chickatrice", "Medusa", "stalker", "chameleon", "doppelganger", "sandestin", "violet fungus"),
    *("small mimic", "large mimic", "giant mimic", "bat", "giant bat", "green slime", "disenchanter"),
    *("quantum mechanic", "Death", "Pestilence", "Famine"),
}


@functools.cache
def safe_corpses(character: str) -> np.ndarray:
    """Return bool [NUMMONS]: whether the fresh corpse of each monster does a hero no harm but to a monk's conscience.

    Args:
        character: as in ``characters``; who does not name a race eats none of them.
    """
    own = [flag for race, flag in _RACES.items() if race in character.split("-")] or _RACES.values()
    harmful = functools.reduce(operator.or_, own, _UNDEAD | _WERE | _HUMAN | _DOMESTIC)
    monsters = [nethack.permonst(index) for index in range(nethack.NUMMONS)]
    return np.array(
        [
            not (monster.mflags1 & (_ACIDIC | _POISONOUS) or monster.mflags2 & harmful)
            and monster.mname not in _HARMFUL_NAMES
            for monster in monsters
        ]
    )


class Corpses(NamedTuple):
    """Corpses of a level."""

    kind: np.ndarray
    """int16 [H, W], monster, or `NO_CORPSE`."""

    since: np.ndarray
    """int32 [H, W], turn from which the oldest dates; 0: there is none."""

    @classmethod
    def none(cls) -> "Corpses":
        """Corpses of a level just entered."""
        return cls(np.full(MAP_SHAPE, NO_CORPSE, np.int16), np.zeros(MAP_SHAPE, np.int32))


def is_good(corpses: Corpses, is_safe: np.ndarray, y: int, x: int, turn: int) -> bool:
    """Return whether the corpse of a cell may be eaten: there is one, fresh and safe (see `safe_corpses`)."""
    kind = int(corpses.kind[y, x])
    return kind != NO_CORPSE and bool(is_safe[kind]) and turn - int(corpses.since[y, x]) <= FRESH_TURNS


@compiled
def watch_corpses(glyphs: np.ndarray, corpses: Corpses, fallen: int, hero_y: int, hero_x: int) -> None:
    """Bring the corpses of the level up to date; who stands on one only hides it.

    Only what falls beside the hero as he kills is known to be fresh: others are found, and what he destroys, such as a
    zombie, leaves a corpse that is old already.

    Args:
        glyphs: int16 [H, W], the map.
        corpses: of the level.
        fallen: turn from which a corpse dates that appears beside the hero.
        hero_y: row of the hero.
        hero_x: column of the hero.
    """
    kind, since = corpses
    for y in range(glyphs.shape[0]):
        for x in range(glyphs.shape[1]):
            glyph = glyphs[y, x]
            if _BODIES <= glyph < _RIDDEN:
                kind[y, x] = glyph - _BODIES
                if since[y, x] == 0:
                    is_beside = max(abs(y - hero_y), abs(x - hero_x)) <= 1
                    since[y, x] = fallen if is_beside else LONG_AGO
            elif (y != hero_y or x != hero_x) and _OBJECTS <= glyph < _EXPLOSIONS and glyph != _MAP:
                kind[y, x] = NO_CORPSE
                if glyph > _MAP:  # bare ground; below another object an old corpse may lie
                    since[y, x] = 0
