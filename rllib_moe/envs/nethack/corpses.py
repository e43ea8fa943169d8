"""Corpses: which lie where, how old they are, and which do a hero no harm.

Source: https://nethackwiki.com/wiki/Corpse.
"""

import functools
import operator
from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack.hero import Cell, Level, cell_of, level_of
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


class CorpseMemory:
    """Memory of the corpses of all levels of an episode, and of which a hero may eat.

    Args:
        character: as in ``characters``.
    """

    def __init__(self, character: str) -> None:
        self._is_safe = safe_corpses(character)
        self._levels = defaultdict[Level, Corpses](Corpses.none)

    def here(self, blstats: np.ndarray) -> Corpses:
        """Return the corpses of the hero's level, to be read and written."""
        return self._levels[level_of(blstats)]

    def watch(self, blstats: np.ndarray, glyphs: np.ndarray, message: bytes) -> None:
        """Bring the corpses of the hero's level up to date after an action (see `action_sets.FurtherMemory`)."""
        fallen = int(blstats[nethack.NLE_BL_TIME]) if b"You kill" in message else LONG_AGO
        _watch(glyphs, self.here(blstats), fallen, *cell_of(blstats))

    def is_good(self, blstats: np.ndarray, cell: Cell) -> bool:
        """Return whether the corpse of a cell may be eaten: there is one for sure, fresh and safe."""
        corpses = self.here(blstats)
        kind = int(corpses.kind[cell])
        if kind == NO_CORPSE or blstats[nethack.NLE_BL_CONDITION] & nethack.BL_MASK_HALLU:
            return False
        age = int(blstats[nethack.NLE_BL_TIME]) - int(corpses.since[cell])
        return bool(self._is_safe[kind]) and age <= FRESH_TURNS


@compiled
def _watch(glyphs: np.ndarray, corpses: Corpses, fallen: int, hero_y: int, hero_x: int) -> None:
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
