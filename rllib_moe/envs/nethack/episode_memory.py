"""Memory of an episode, and the entry of an action's outcome into it: of every level, and for further actions."""

from collections import defaultdict

import numpy as np

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.action_sets import FurtherMemory
from rllib_moe.envs.nethack.actions import DOWN, REST, SEARCH, UP, move_direction
from rllib_moe.envs.nethack.hero import Level, cell_of, level_of
from rllib_moe.envs.nethack.level_memory import LevelMemory, neighbor


class EpisodeMemory:
    """Memory of an episode.

    Args:
        blstats: int64 [27], of the hero at the start.
        glyphs: int16 [H, W], the map at the start.
        further: of the actions beyond the 23, where there are any.

    Attributes:
        place: level (branch, number) the hero is on.
        position: row and column of the hero.
        level: memory of that level.
        further: as given.
    """

    def __init__(self, blstats: np.ndarray, glyphs: np.ndarray, further: FurtherMemory | None = None) -> None:
        self._levels = defaultdict[Level, LevelMemory](LevelMemory.blank)
        self.further = further
        self._move(blstats)
        self.level.arrive(*self.position, None)
        # A game begins on the stairs up, which the hero's own symbol hides.
        self.level.terrain[self.position] = g.STAIRS_UP
        if further is not None:
            further.record(None, blstats, glyphs, b"")

    def _move(self, blstats: np.ndarray) -> None:
        self.place, self.position = level_of(blstats), cell_of(blstats)
        self.level = self._levels[self.place]

    def record(
        self,
        action: int,
        blstats: np.ndarray,
        glyphs: np.ndarray,
        message: bytes,
        *,
        read: bytes,
        now: int,
        turns: int,
        in_prompt: bool,
    ) -> None:
        """Record what an action came to.

        Args:
            action: the action.
            blstats: int64 [27], of the hero after it.
            glyphs: int16 [H, W], the map after it.
            message: the message right after it.
            read: the messages that followed as questions were closed, a line each.
            now: number of the step.
            turns: turns of the game that it took.
            in_prompt: whether it answered or opened a question, so that it was no move.
        """
        place_before, before = self.place, self.position
        self._move(blstats)
        if self.further is not None:
            self.further.record(action, blstats, glyphs, message + b"\n" + read)
        if self.place != place_before:
            self.level.arrive(*self.position, None)
            if action == DOWN:
                self.level.terrain[self.position] = g.STAIRS_UP
            elif action == UP:
                self.level.terrain[self.position] = g.STAIRS_DOWN
            return
        self.level.arrive(*self.position, before)
        # Objects hide the stairs they lie on; stepping there, the game names both.
        if b"staircase down here" in message:
            self.level.terrain[self.position] = g.STAIRS_DOWN
        elif b"staircase up here" in message:
            self.level.terrain[self.position] = g.STAIRS_UP
        if in_prompt:
            return
        if action == SEARCH:
            self.level.search(*self.position)
        elif action == REST:
            self.level.search(*self.position, times=turns)
        direction = move_direction(action)
        if direction < 0 or self.position != before:
            return
        if b"locked" in message:
            self.level.lock(*before, direction)
        elif not turns and self._is_refusal(glyphs, direction, message):
            self.level.refuse(*before, direction, now)

    def _is_refusal(self, glyphs: np.ndarray, direction: int, message: bytes) -> bool:
        """Return whether a move that changed nothing is worth not repeating.

        The clock also stands still in a fast hero's extra move, when attacking or pulling at a stuck door.
        """
        if b"Really attack" in message:
            return True
        cell = neighbor(*self.position, direction)
        if cell is None:
            return True
        monster = g.GLYPH_TABLE[glyphs[cell], g.NODE_COLUMN] == g.NODE_MONSTER
        return not monster and self.level.terrain[cell] != g.CLOSED_DOOR
