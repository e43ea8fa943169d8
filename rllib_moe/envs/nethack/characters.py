"""Names of characters: role, race, gender and alignment by their first three letters, such as ``mon-hum-neu-mal``.

``@`` is NLE's name of one that the game draws whole.

What is left out, and what NetHack does not know, the game draws; so a misspelled name would play another character in
every episode without a word. Source: ``roles``, ``races``, ``genders`` and ``aligns`` in NetHack's ``src/role.c``.
"""

from typing import Annotated, Final

from pydantic import AfterValidator

ROLES: Final = ("arc", "bar", "cav", "hea", "kni", "mon", "pri", "rog", "ran", "sam", "tou", "val", "wiz")
RACES: Final = ("hum", "elf", "dwa", "gno", "orc")
GENDERS: Final = ("mal", "fem")
ALIGNMENTS: Final = ("law", "neu", "cha")
RANDOM: Final = "@"


def _check(name: str) -> str:
    words = name.split("-")
    kinds = (ROLES, RACES, GENDERS, ALIGNMENTS)
    used = [next((kind for kind in kinds if word in kind), None) for word in words]
    if name != RANDOM and (None in used or len({id(kind) for kind in used}) < len(words)):
        raise ValueError(
            f"expected one or more of a role ({', '.join(ROLES)}), a race ({', '.join(RACES)}), a gender "
            f"({', '.join(GENDERS)}) and an alignment ({', '.join(ALIGNMENTS)}), such as mon-hum-neu-mal, or {RANDOM} "
            f"for one that the game draws, got {name!r}"
        )
    return name


Character = Annotated[str, AfterValidator(_check)]
"""Name of a character.

Combinations that the game's rules forbid are not looked for: NetHack puts something allowed in their place.
"""
