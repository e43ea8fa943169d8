"""All that an observation is made of: what the hero sees and remembers, and where he can walk to."""

from typing import Final, NamedTuple

import numpy as np

from rllib_moe.envs.nethack.level_memory import LevelMemory
from rllib_moe.envs.nethack.path_search import Paths

NO_ACTION: Final = -1
"""Last action at the start of an episode."""


class Circumstances(NamedTuple):
    """Facts that an observation shows besides the game's own state."""

    now: int
    """Number of the current step."""

    max_depth: int
    """Deepest level so far."""

    steps_left: float
    """Share of the episode's steps left, 0 to 1."""

    no_progress: float
    """Share of the no-progress limit used up, 0 to 1."""

    clock_stands: bool
    """True when the game clock stood still in the last step."""

    prompt: int
    """The open question, see ``prompts.Prompt``."""

    last_action: int
    """An action, or `NO_ACTION`."""


class State(NamedTuple):
    """State of the game as the hero knows it; a tuple of arrays, because that is what numba takes whole."""

    glyphs: np.ndarray
    """int16 [H, W], the map as shown."""

    blstats: np.ndarray
    """int64 [27], of the living hero, see ``nethack.NLE_BL_*``."""

    memory: LevelMemory
    """Memory of the level, its ground up to date."""

    paths: Paths
    """Ways from the hero."""

    circumstances: Circumstances
    """Facts besides the game's own state."""

    y: int
    """Row of the hero."""

    x: int
    """Column of the hero."""
