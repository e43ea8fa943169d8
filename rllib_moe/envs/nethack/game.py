"""A running game of NetHack: the native library's lifetime, seeding, keys, and what survives death.

Drives ``nle.nethack.Nethack``, the layer under ``NetHackScore-v0``, because that environment's own ``step`` copies
every observation twice, answers questions by its own rules, and quits the game at its step limit while reporting
"terminated". Without it there is no second step limit. Source: https://github.com/NetHack-LE/nle
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import temp_dirs
from rllib_moe.envs.nethack.actions import KEY_ESCAPE, KEY_SPACE
from rllib_moe.envs.nethack.shared_code import share_code

logger = logging.getLogger(__name__)

OBSERVATION_KEYS: Final = ("glyphs", "blstats", "message", "misc", "program_state", "internal")
"""The observations asked of the library; each further one but the smallest costs thousands of steps a second."""

SCREEN_KEYS: Final = ("tty_chars", "tty_colors")
"""Asked for as well where somebody looks on."""

MAX_START_ATTEMPTS = 3
MAX_START_KEYS = 1000
MAX_END_KEYS = 1000
MAX_RECORD_BYTES = 4096
"""Length, and more, of a game's line in NetHack's record."""

# Indices of ``program_state``: https://github.com/NetHack-LE/nle/blob/main/include/nletypes.h
_GAME_OVER, _IN_MOVELOOP = 0, 3


class GameStartError(RuntimeError):
    """A new game could not be brought to its first move."""


class Game:
    """One game at a time, in one native library.

    The library is loaded at the first `start`, so that an unused game can be pickled.

    Args:
        character: role, race, gender and alignment as NLE spells them.
        temp_root: where temporary directories go, see ``temp_dirs.temp_root``.
        has_screen: whether the library is asked for the terminal's screen.
        options: NetHack's.

    Attributes:
        glyphs: int16 [21, 79], the map; zeros after death. Shared with the library, like the other arrays.
        blstats: int64 [27], see ``nethack.NLE_BL_*``; zeros after death.
        message: uint8 [256].
        misc: int32 [3], which kind of question is open.
        internal: int32 [9], what the hero need not know, such as the exact nutrition.
        living_blstats: int64 [27], the last reading while alive.
    """

    def __init__(
        self,
        *,
        character: str,
        temp_root: str | None = None,
        has_screen: bool = False,
        options: Sequence[str] = nethack.NETHACKOPTIONS,
    ) -> None:
        self._character = character
        self._temp_root = temp_root
        self._has_screen = has_screen
        self._options = options
        self._library: nethack.Nethack | None = None
        self.living_blstats = np.zeros(nethack.BLSTATS_SHAPE, dtype=np.int64)

    def start(self, core_seed: int, display_seed: int) -> None:
        """Start a new game and bring it to its first move.

        Args:
            core_seed: seed of the game's main generator.
            display_seed: seed of the generator for what is only shown.

        Raises:
            GameStartError: The game did not reach its first move, in several fresh libraries.
        """
        for attempt in range(MAX_START_ATTEMPTS):
            try:
                self._start(core_seed, display_seed)
            except (RuntimeError, OSError) as error:
                logger.warning("NetHack did not start (attempt %d of %d): %s", attempt + 1, MAX_START_ATTEMPTS, error)
                self.close()
                failure = error
            else:
                return
        raise GameStartError(f"NetHack did not start in {MAX_START_ATTEMPTS} attempts") from failure

    def _start(self, core_seed: int, display_seed: int) -> None:
        library = self._library or self._load()
        # The seeds are used up by one reset; `reseed=True` would mix in real randomness as the game goes on.
        library.set_initial_seeds(core_seed, display_seed, False)
        library.reset()
        share_code(library._dl)  # at every reset: NLE loads its copy anew
        for _ in range(MAX_START_KEYS):
            if self._program_state[_IN_MOVELOOP]:
                self.living_blstats[:] = self.blstats
                return
            if library.step(KEY_ESCAPE if self.misc[1] else KEY_SPACE)[1]:
                raise GameStartError("the game ended before its first move")
        raise GameStartError(f"no first move after {MAX_START_KEYS} keys")

    def _load(self) -> nethack.Nethack:
        with temp_dirs.process_directory(self._temp_root) as self._directory:
            library = nethack.Nethack(
                observation_keys=OBSERVATION_KEYS + (SCREEN_KEYS if self._has_screen else ()),
                playername=f"Agent-{self._character}",
                ttyrec=None,
                options=self._options,
                fix_moon_phase=True,
            )
        # The library fills the same arrays at every step.
        self.glyphs, self.blstats, self.message, self.misc, *others = library._obs
        self._program_state, self.internal, *self._screen = others
        self._library = library
        return library

    def press(self, key: int) -> bool:
        """Press one key.

        Args:
            key: key code.

        Returns:
            Whether the game is over. Then the final screens have been read through and the arrays are zero.
        """
        assert self._library is not None, "press() before start()"
        done = self._library.step(key)[1]
        if not done and not self._program_state[_GAME_OVER]:
            self.living_blstats[:] = self.blstats
            return False
        for _ in range(MAX_END_KEYS):
            if done:
                break
            done = self._library.step(KEY_SPACE if self.misc[2] else KEY_ESCAPE)[1]
        return True

    def cause_of_death(self) -> str:
        """Say how the last game ended, as its record does: "killed by a jackal, while fainted from lack of food"."""
        assert self._library is not None, "cause_of_death() before start()"
        with Path(self._library._vardir, "xlogfile").open("rb") as record:
            record.seek(-min(MAX_RECORD_BYTES, record.seek(0, os.SEEK_END)), os.SEEK_END)
            last = record.read().decode("latin-1").rstrip("\n").rpartition("\n")[2]
        entries = dict(entry.partition("=")[::2] for entry in last.split("\t"))
        return entries["death"] + (f", while {entries['while']}" if "while" in entries else "")

    def message_bytes(self) -> bytes:
        """The message line, without padding."""
        return self.message.tobytes().partition(b"\0")[0]

    def screen(self) -> str:
        """The terminal's 24 lines of 80 columns, with ANSI colors. Needs `has_screen`."""
        chars, colors = self._screen
        return nethack.tty_render(chars, colors).lstrip("\n")

    def close(self) -> None:
        """Unload the library and remove its temporary directory."""
        if self._library is not None:
            self._library.close()
            self._library = None
            temp_dirs.remove_if_empty(self._directory)
