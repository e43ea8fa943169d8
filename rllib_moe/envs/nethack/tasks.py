"""NetHack's tasks as NLE has them: the same game under another reward and end.

| task      | a point is                                                  | ends besides                 |
|-----------|-------------------------------------------------------------|------------------------------|
| score     | a point of the game's score                                 |                              |
| gold      | a piece of gold gained (nothing else is picked up by itself) |                             |
| scout     | a cell of a level's map newly shown; one forgotten takes it |                              |
| eat       | nutrition gained; hunger costs nothing                      |                              |
| staircase | the hero standing on stairs down                            | as soon as it does           |

NLE's reward is the points that a step gains, less a penalty where the game clock stood still; none at the step in which
the game ends. Source: https://github.com/NetHack-LE/nle/blob/main/nle/env/tasks.py
"""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import numpy as np
from nle import nethack
from pydantic import PlainValidator

from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.hero import Level, level_of

GOLD, SCOUT, EAT, STAIRCASE = "gold", "scout", "eat", "staircase"


class Task(NamedTuple):
    """Facts about a task."""

    unit: str
    """Unit of an episode's score, the sum of its points."""

    weight: float
    """Reward for a point before it is scaled: brings a good episode of every task to the size of one of `score`."""


TASKS: Final = {
    "score": Task("points", 1.0),
    GOLD: Task("gold pieces", 4.0),
    SCOUT: Task("cells", 0.25),
    EAT: Task("nutrition", 0.5),
    STAIRCASE: Task("share", 200.0),
}
"""The tasks by name."""

GOLD_OPTIONS: Final = tuple(
    "pickup_types:$" if option.startswith("pickup_types") else option for option in nethack.NETHACKOPTIONS
)
"""NetHack's options in the task ``gold``."""

# Indices of ``internal``: https://github.com/NetHack-LE/nle/blob/main/src/nle.c
_ON_STAIRS_DOWN, _NUTRITION = 4, 7


def task_names(tasks: str) -> list[str]:
    """Return the names in a list of tasks."""
    return [name.strip() for name in tasks.split(",")]


def some_of(known: Collection[str]) -> PlainValidator:
    """Return the check of a list of tasks that takes those that are `known`, for an annotation."""

    def check(tasks: Any) -> Any:
        names = task_names(tasks) if isinstance(tasks, str) else []
        if not names or len({*names} & {*known}) < len(names):
            expected = f"one or more of {', '.join(known)}, each once, separated by commas"
            raise ValueError(f"expected {expected}, got {tasks!r}")
        return tasks

    return PlainValidator(check)


class TaskProgress:
    """Points of one episode.

    Args:
        task: Name of its task.
        game: The game, at its first move.

    Attributes:
        task: Name of its task.
        score: Points so far.
        is_done: True once the task is.
    """

    def __init__(self, task: str, game: Game) -> None:
        self.task, self.score, self.is_done = task, 0.0, False
        self._game = game
        # NLE counts what is shown of a level at the first step on it as well, but only gains of what the hero has.
        self._cells: dict[Level, int] = {}
        self._had = 0 if task in (SCOUT, STAIRCASE) else self._reading()

    def gain(self) -> float:
        """Return the points that an action gained, after which the game goes on."""
        reading = self._reading()
        if self.task == SCOUT:
            level = level_of(self._game.blstats)
            self._had = self._cells.get(level, 0)
            self._cells[level] = reading
        gained = reading - self._had
        if self.task == EAT:
            gained = max(0, gained)
        self._had = reading
        self.is_done = self.task == STAIRCASE and reading > 0
        self.score += gained
        return gained

    def _reading(self) -> int:
        """Return the amount of which gains are points."""
        game = self._game
        if self.task == SCOUT:
            return int(np.count_nonzero(game.glyphs != nethack.GLYPH_CMAP_OFF))
        if self.task == EAT:
            return int(game.internal[_NUTRITION])
        if self.task == STAIRCASE:
            return int(game.internal[_ON_STAIRS_DOWN])
        return int(game.blstats[nethack.NLE_BL_GOLD if self.task == GOLD else nethack.NLE_BL_SCORE])
