"""Hand-drawn levels and environments for the NetHack tests."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.nethack.environment import NetHackGraphEnv
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE, LevelMemory
from rllib_moe.envs.nethack.observation import ObservationBuilder
from rllib_moe.envs.nethack.state import NO_ACTION, Circumstances

TOP, LEFT = 4, 20
"""Place of a drawing's upper left corner on the map."""
QUICK_SEED = 3
"""The scripted player finds the stairs of this game in some 20 steps."""
DEADLY_SEEDS = (16, 10, 12, 18)
"""Games in which diving kills it within some 600 steps; several, so that one version's luck does not matter."""
QUIET_SEED = 35
"""A game in which the hero may rest at its start until it is weak of hunger."""


def monster(name: str) -> int:
    """Return the number of a kind of monster."""
    return next(i for i in range(nethack.NUMMONS) if nethack.permonst(i).mname == name)


def _object(name: str) -> int:
    return next(i for i in range(nethack.NUM_OBJECTS) if nethack.OBJ_NAME(nethack.objclass(i)) == name)


_CMAP = nethack.GLYPH_CMAP_OFF
GLYPHS = {
    " ": _CMAP,
    "|": _CMAP + 1,
    "-": _CMAP + 2,
    ":": _CMAP + 12,
    "'": _CMAP + 13,
    "+": _CMAP + 15,
    ".": _CMAP + 19,
    "#": _CMAP + 21,
    "<": _CMAP + 23,
    ">": _CMAP + 24,
    "_": _CMAP + 27,
    "{": _CMAP + 31,
    "}": _CMAP + 32,
    "^": _CMAP + 42,
    "O": _CMAP + 55,
    "@": nethack.GLYPH_MON_OFF + monster("monk"),
    "d": nethack.GLYPH_MON_OFF + monster("jackal"),
    "e": nethack.GLYPH_MON_OFF + monster("floating eye"),
    "f": nethack.GLYPH_PET_OFF + monster("kitten"),
    "$": nethack.GLYPH_OBJ_OFF + _object("gold piece"),
    "%": nethack.GLYPH_OBJ_OFF + _object("food ration"),
    "0": nethack.GLYPH_OBJ_OFF + _object("boulder"),
}
""": doorway without door, ' open door, + closed door, O trap door."""


class Scene(NamedTuple):
    """A drawn level with everything an observation is built from."""

    glyphs: np.ndarray
    blstats: np.ndarray
    memory: LevelMemory
    circumstances: Circumstances

    def observe(self, max_nodes: int = 32) -> tuple[dict[str, np.ndarray], dict[str, bool], int, int]:
        return ObservationBuilder(max_nodes).build(self.glyphs, self.blstats, b"", self.memory, self.circumstances)


@pytest.fixture
def draw() -> Callable[..., Scene]:
    """Build a scene from lines of text; `@` is the hero."""

    def build(*lines: str, **stats: int) -> Scene:
        glyphs = np.full(MAP_SHAPE, GLYPHS[" "], dtype=np.int16)
        hero = (TOP, LEFT)
        for dy, line in enumerate(lines):
            for dx, char in enumerate(line):
                glyphs[TOP + dy, LEFT + dx] = GLYPHS[char]
                if char == "@":
                    hero = (TOP + dy, LEFT + dx)
        blstats = np.zeros(nethack.BLSTATS_SHAPE, dtype=np.int64)
        values = {"X": hero[1], "Y": hero[0], "HP": 10, "HPMAX": 10, "DEPTH": 1, "HUNGER": 1} | stats
        for name, value in values.items():
            blstats[getattr(nethack, f"NLE_BL_{name}")] = value
        memory = LevelMemory.blank()
        memory.arrive(*hero, None)
        circumstances = Circumstances(
            now=1,
            max_depth=1,
            steps_left=1.0,
            no_progress=0.0,
            clock_stands=False,
            prompt=0,
            last_action=NO_ACTION,
        )
        return Scene(glyphs, blstats, memory, circumstances)

    return build


@pytest.fixture
def make_env(tmp_path: Any) -> Iterator[Callable[..., NetHackGraphEnv]]:
    """Environments with their temporary files under the test's own directory, closed at the end."""
    made: list[NetHackGraphEnv] = []

    def make(**arguments: Any) -> NetHackGraphEnv:
        made.append(NetHackGraphEnv(**({"temp_root": str(tmp_path)} | arguments)))
        return made[-1]

    yield make
    for env in made:
        env.close()
