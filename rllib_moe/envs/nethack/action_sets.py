"""The sets of actions to choose from: the 23 of ``NetHackScore-v0``, and those with further ones."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np

from rllib_moe.envs.description import EpisodeMeasure
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.macro_actions import MACRO_ACTIONS, MACRO_FEATURES, MacroMemory
from rllib_moe.envs.nethack.prompts import Played
from rllib_moe.envs.nethack.survival import SURVIVAL_ACTIONS, SURVIVAL_FEATURES, SurvivalMemory


class FurtherMemory(Protocol):
    """Memory of an episode for the actions beyond the 23, and their player."""

    def play(self, game: Game, action: int, steps_left: int) -> Played:
        """Play an action in a state in which no question is open.

        Args:
            game: the game.
            action: its index, from `NUM_ACTIONS` on.
            steps_left: steps to the episode's limit.
        """

    def record(self, action: int | None, blstats: np.ndarray, glyphs: np.ndarray, message: bytes) -> None:
        """Record what an action came to, one of the 23 or further.

        Args:
            action: None at the start of an episode.
            blstats: int64 [27], of the hero after it.
            glyphs: int16 [H, W], the map after it.
            message: all that it said.
        """

    def write(
        self, blstats: np.ndarray, features: np.ndarray, mask: np.ndarray, moves: np.ndarray, *, monster_adjacent: bool
    ) -> None:
        """Write features and mask of a state in which no question is open.

        Args:
            blstats: int64 [27], of the living hero.
            features: float32 [width of the set's features], zeros, written.
            mask: uint8 [number of further actions], written.
            moves: uint8 [8], legal steps.
            monster_adjacent: whether a monster stands beside the hero.
        """


class ActionSet(NamedTuple):
    """Actions beyond the 23."""

    names: tuple[str, ...] = ()
    """Their names."""

    features: tuple[str, ...] = ()
    """Entries of their memory in the status vector."""

    measures: tuple[EpisodeMeasure, ...] = ()
    """Measures of an episode that they need."""

    make_memory: Callable[[str], FurtherMemory] | None = None
    """Makes an episode's memory of a character; None where there are no further actions."""


_STEPS = EpisodeMeasure(key="steps", unit="steps", meaning="mean steps of an episode, each key one")

ActionSetName = Literal["score", "macro", "extended"]

ACTION_SETS: Final[Mapping[ActionSetName, ActionSet]] = {
    "score": ActionSet(),
    "macro": ActionSet(MACRO_ACTIONS, MACRO_FEATURES, (_STEPS,), MacroMemory),
    "extended": ActionSet(SURVIVAL_ACTIONS, SURVIVAL_FEATURES, (), SurvivalMemory),
}
"""The sets by the name of the argument ``actions``."""
