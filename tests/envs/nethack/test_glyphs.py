import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g

CMAP = nethack.GLYPH_CMAP_OFF


def test_map_symbols_are_where_nethack_has_them():
    """The table counts on NetHack's numbering; its own explanations say whether that still holds."""
    expected = {
        "doorway": (g.DOORWAY,),
        "open door": (g.OPEN_DOOR,),
        "closed door": (g.CLOSED_DOOR,),
        "staircase up": (g.STAIRS_UP,),
        "staircase down": (g.STAIRS_DOWN,),
        "wall": (g.WALL,),
        "corridor": (g.CORRIDOR,),
        "floor of a room": (g.FLOOR,),
        "fountain": (g.FOUNTAIN,),
        "altar": (g.ALTAR,),
        "trap door": (g.HOLE,),
        "hole": (g.HOLE,),
        "water": (g.HAZARD,),
        "molten lava": (g.HAZARD,),
        "arrow trap": (g.TRAP,),
        "teleportation trap": (g.TRAP,),
        "polymorph trap": (g.TRAP,),
    }
    seen = set()
    for index in range(nethack.MAXPCHARS - nethack.MAXEXPCHARS):
        name = nethack.symdef.from_idx(index).explanation
        if name in expected:
            assert g.GLYPH_TABLE[CMAP + index, g.TERRAIN_COLUMN] in expected[name], name
            seen.add(name)
    assert seen == set(expected)


def test_classes_agree_with_nethacks_own_predicates():
    for glyph in range(nethack.MAX_GLYPH):
        node = g.GLYPH_TABLE[glyph, g.NODE_COLUMN]
        if nethack.glyph_is_pet(glyph):
            assert node == g.NODE_PET
        elif nethack.glyph_is_normal_monster(glyph):
            assert node == g.NODE_MONSTER
        elif nethack.glyph_is_normal_object(glyph):
            assert node in (g.NODE_ITEM, g.NODE_GOLD, g.NODE_BOULDER)
        elif nethack.glyph_is_trap(glyph):
            # NetHack counts the vibrating square (64) and what follows among the traps; one can walk there.
            assert node in (g.NODE_TRAP, g.NODE_HOLE) or glyph >= CMAP + 64


def test_categories_fit():
    assert g.GLYPH_TABLE.shape == (nethack.MAX_GLYPH + 1, 5)
    assert g.GLYPH_TABLE[:, g.CROP_COLUMN].max() < g.NUM_CROP_CLASSES
    assert g.GLYPH_TABLE[:, g.NODE_COLUMN].max() < g.NUM_NODE_TYPES
    assert g.NODE_TYPE_NAMES[g.NODE_SEARCH_SPOT] == "search_spot"
    assert len(np.unique(g.GLYPH_TABLE[:, g.CROP_COLUMN])) == g.NUM_CROP_CLASSES


def test_harmful_monsters_are_found_by_name():
    avoided = {
        nethack.permonst(nethack.glyph_to_mon(glyph)).mname
        for glyph in range(nethack.GLYPH_MON_OFF, nethack.GLYPH_PET_OFF)
        if g.GLYPH_TABLE[glyph, g.AVOID_COLUMN]
    }
    assert {"floating eye", "gas spore", "shopkeeper", "cockatrice"} <= avoided
    assert "newt" not in avoided
