"""Meaning of each of NetHack's glyphs: lookup tables, built once at import.

Owns three categories: terrain (what the ground is), node type (what becomes a graph node), and crop class (the
compact picture of the neighborhood). Glyph numbering: https://nethackwiki.com/wiki/Glyph and ``include/rm.h``.
"""

from typing import Final

import numpy as np
from nle import nethack

# Terrain, as far as walking is concerned.
UNKNOWN: Final = 0
FLOOR: Final = 1
CORRIDOR: Final = 2
DOORWAY: Final = 3
OPEN_DOOR: Final = 4
CLOSED_DOOR: Final = 5
WALL: Final = 6
STAIRS_DOWN: Final = 7
STAIRS_UP: Final = 8
ALTAR: Final = 9
FOUNTAIN: Final = 10
TRAP: Final = 11
HOLE: Final = 12
HAZARD: Final = 13
ASSUMED: Final = 14
"""Ground under something seen before the ground was: taken to be walkable."""
KEEP: Final = 255
"""The glyph says nothing of the ground (monsters, objects, effects): what is remembered stays."""

# Node types; 0 is an absent node.
NODE_TYPE_NAMES: Final = (
    "none",
    "ego",
    "monster",
    "pet",
    "gold",
    "item",
    "door",
    "stairs_down",
    "stairs_up",
    "hole",
    "altar",
    "fountain",
    "trap",
    "boulder",
    "frontier",
    "search_spot",
)
(
    NODE_NONE,
    NODE_EGO,
    NODE_MONSTER,
    NODE_PET,
    NODE_GOLD,
    NODE_ITEM,
    NODE_DOOR,
    NODE_STAIRS_DOWN,
    NODE_STAIRS_UP,
    NODE_HOLE,
    NODE_ALTAR,
    NODE_FOUNTAIN,
    NODE_TRAP,
    NODE_BOULDER,
    NODE_FRONTIER,
    NODE_SEARCH_SPOT,
) = range(16)
NUM_NODE_TYPES: Final = len(NODE_TYPE_NAMES)

CROP_CLASS_NAMES: Final = (
    "unseen",
    "wall",
    "floor",
    "corridor",
    "doorway",
    "open_door",
    "closed_door",
    "stairs_down",
    "stairs_up",
    "altar",
    "fountain",
    "furniture",
    "hazard",
    "bars_or_tree",
    "trap",
    "hole",
    "monster_weak",
    "monster_middling",
    "monster_strong",
    "monster_do_not_touch",
    "monster_peaceful",
    "monster_unseen",
    "pet",
    "gold",
    "food",
    "item",
    "boulder",
    "engulfed",
    "effect",
    "statue",
)
NUM_CROP_CLASSES: Final = len(CROP_CLASS_NAMES)

# Columns of `GLYPH_TABLE`.
TERRAIN_COLUMN: Final = 0
NODE_COLUMN: Final = 1
CROP_COLUMN: Final = 2
AVOID_COLUMN: Final = 3
"""1 = a monster that must not be walked into: harmful to touch, or always peaceful."""
LEVEL_COLUMN: Final = 4
"""Experience level of a monster."""

_MOLDS = ("brown mold", "yellow mold", "green mold", "red mold")
_JELLIES = ("blue jelly", "spotted jelly", "acid blob", "gelatinous cube")
_DO_NOT_TOUCH = frozenset((*_MOLDS, *_JELLIES, "floating eye", "gas spore", "cockatrice", "chickatrice"))
_PEACEFUL = frozenset(
    ("shopkeeper", "guard", "prisoner", "Oracle", "aligned priest", "high priest", "watchman", "watch captain")
)

# (first, last) index among the map symbols ("cmap") -> terrain, node type, crop class.
_MAP_SYMBOLS: tuple[tuple[int, int, int, int, str], ...] = (
    (0, 0, UNKNOWN, NODE_NONE, "unseen"),
    (1, 11, WALL, NODE_NONE, "wall"),
    (12, 12, DOORWAY, NODE_DOOR, "doorway"),
    (13, 14, OPEN_DOOR, NODE_DOOR, "open_door"),
    (15, 16, CLOSED_DOOR, NODE_DOOR, "closed_door"),
    (17, 18, WALL, NODE_NONE, "bars_or_tree"),
    (19, 20, FLOOR, NODE_NONE, "floor"),
    (21, 22, CORRIDOR, NODE_NONE, "corridor"),
    (23, 23, STAIRS_UP, NODE_STAIRS_UP, "stairs_up"),
    (24, 24, STAIRS_DOWN, NODE_STAIRS_DOWN, "stairs_down"),
    (25, 25, STAIRS_UP, NODE_STAIRS_UP, "stairs_up"),
    (26, 26, STAIRS_DOWN, NODE_STAIRS_DOWN, "stairs_down"),
    (27, 27, ALTAR, NODE_ALTAR, "altar"),
    (28, 29, FLOOR, NODE_NONE, "furniture"),
    (30, 31, FOUNTAIN, NODE_FOUNTAIN, "fountain"),
    (32, 32, HAZARD, NODE_NONE, "hazard"),
    (33, 33, FLOOR, NODE_NONE, "floor"),
    (34, 34, HAZARD, NODE_NONE, "hazard"),
    (35, 36, FLOOR, NODE_NONE, "floor"),
    (37, 38, WALL, NODE_NONE, "wall"),
    (39, 40, FLOOR, NODE_NONE, "floor"),
    (41, 41, HAZARD, NODE_NONE, "hazard"),
    (42, 53, TRAP, NODE_TRAP, "trap"),
    (54, 55, HOLE, NODE_HOLE, "hole"),
    (56, 63, TRAP, NODE_TRAP, "trap"),
    (64, 64, FLOOR, NODE_NONE, "floor"),
    (65, 86, KEEP, NODE_NONE, "effect"),
)


def _monster(monster: int) -> tuple[int, str, int, int]:
    kind = nethack.permonst(monster)
    level = min(int(kind.mlevel), 255)
    if kind.mname in _PEACEFUL:
        return NODE_MONSTER, "monster_peaceful", 1, level
    if kind.mname in _DO_NOT_TOUCH:
        return NODE_MONSTER, "monster_do_not_touch", 1, level
    return NODE_MONSTER, f"monster_{'weak' if level <= 1 else 'middling' if level <= 5 else 'strong'}", 0, level


def _object(number: int) -> tuple[int, str]:
    kind = nethack.objclass(number)
    if nethack.OBJ_NAME(kind) == "boulder":
        return NODE_BOULDER, "boulder"
    letter = ord(kind.oc_class)
    if letter == nethack.COIN_CLASS:
        return NODE_GOLD, "gold"
    return NODE_ITEM, "food" if letter == nethack.FOOD_CLASS else "item"


def _meaning(glyph: int) -> tuple[int, str] | tuple[int, str, int, int]:
    """Return the node type and crop class of a glyph, and of some monsters whether to avoid it, and its level."""
    if nethack.glyph_is_pet(glyph):
        return NODE_PET, "pet"
    if nethack.glyph_is_invisible(glyph) or nethack.glyph_is_warning(glyph):
        return NODE_MONSTER, "monster_unseen", 0, 1
    if nethack.glyph_is_monster(glyph):
        return _monster(nethack.glyph_to_mon(glyph))
    if nethack.glyph_is_statue(glyph):
        return NODE_NONE, "statue"
    if nethack.glyph_is_body(glyph):
        return NODE_ITEM, "food"
    if nethack.glyph_is_object(glyph):
        return _object(nethack.glyph_to_obj(glyph))
    if nethack.glyph_is_swallow(glyph):
        return NODE_MONSTER, "engulfed", 0, 1
    return NODE_NONE, "effect"


def _build_glyph_table() -> np.ndarray:
    """Table uint8 [MAX_GLYPH + 1, 5]; the last row is NO_GLYPH, which means nothing is known."""
    table = np.zeros((nethack.MAX_GLYPH + 1, 5), dtype=np.uint8)
    for glyph in range(nethack.MAX_GLYPH):
        node, name, *monster = _meaning(glyph)
        table[glyph] = (KEEP, node, CROP_CLASS_NAMES.index(name), *(monster or (0, 0)))
    for first, last, terrain, node, name in _MAP_SYMBOLS:
        rows = slice(nethack.GLYPH_CMAP_OFF + first, nethack.GLYPH_CMAP_OFF + last + 1)
        table[rows] = (terrain, node, CROP_CLASS_NAMES.index(name), 0, 0)
    return table


GLYPH_TABLE: Final = _build_glyph_table()
"""uint8 [MAX_GLYPH + 1, 5]: terrain, node type, crop class, avoid, monster level."""

TERRAIN_NODE: Final = np.zeros(256, dtype=np.uint8)
"""uint8 [256]: node type of a terrain, for ground remembered under a monster or an object."""
TERRAIN_CROP: Final = np.zeros(256, dtype=np.uint8)
"""uint8 [256]: crop class of a terrain, for the tile under foot."""
for _, _, _terrain, _node, _name in _MAP_SYMBOLS:
    if _terrain != KEEP and not TERRAIN_CROP[_terrain]:
        TERRAIN_NODE[_terrain] = _node
        TERRAIN_CROP[_terrain] = CROP_CLASS_NAMES.index(_name)
TERRAIN_CROP[ASSUMED] = CROP_CLASS_NAMES.index("floor")
