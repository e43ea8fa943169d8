"""The count of an episode: steps, points, levels, turns; its limits; and in the end, how it ended."""

from typing import Any

from nle import nethack

from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.progression import progression
from rllib_moe.envs.nethack.prompts import Prompt
from rllib_moe.envs.nethack.state import Circumstances
from rllib_moe.envs.nethack.tasks import TASKS, TaskProgress


class Tally:
    """Tally of one episode.

    Args:
        game: at its first move.
        task: name of the episode's task, None for the score.
        max_steps: steps after which the episode is cut.
        no_progress_limit: steps in a row without the game clock moving after which it is cut.

    Attributes:
        steps: steps so far.
        turns: turns of the game that the last one took.
        max_depth: deepest level.
        is_task_done: whether the task is done.
        weight: reward for a point before it is scaled.
    """

    def __init__(self, game: Game, task: str | None, *, max_steps: int, no_progress_limit: int) -> None:
        self._game = game
        self._max_steps, self._no_progress_limit = max_steps, no_progress_limit
        self._task = None if task is None else TaskProgress(task, game)
        self.weight = 1.0 if task is None else TASKS[task].weight
        self.steps = self._no_progress = self.turns = 0
        self.is_task_done = self._is_over = False
        self.max_depth, self._max_level = self._read(nethack.NLE_BL_DEPTH), 1
        self._score, self._time = self._read(nethack.NLE_BL_SCORE), self._read(nethack.NLE_BL_TIME)

    def count(self, *, is_over: bool, steps: int = 1) -> tuple[float, int]:
        """Count an action, after which the game is as the hero last saw it.

        Args:
            steps: how many it counts as.
            is_over: whether it ended the game.

        Returns:
            Points gained, levels of new depth.
        """
        score, time, depth = self._score, self._time, self.max_depth
        self._score, self._time = self._read(nethack.NLE_BL_SCORE), self._read(nethack.NLE_BL_TIME)
        self.steps += steps
        self.turns = self._time - time
        self._no_progress = 0 if self.turns else self._no_progress + steps
        self.max_depth = max(depth, self._read(nethack.NLE_BL_DEPTH))
        self._max_level = max(self._max_level, self._read(nethack.NLE_BL_XP))
        self._is_over = is_over
        gain = float(self._score - score)
        if self._task is not None:
            gain = 0.0 if is_over else self._task.gain()
            self.is_task_done = self._task.is_done
        return gain, self.max_depth - depth

    @property
    def steps_left(self) -> int:
        """Steps to the limit."""
        return self._max_steps - self.steps

    @property
    def clock_stands(self) -> bool:
        """True if the game clock stood still in the last action."""
        return self.steps > 0 and self.turns == 0

    @property
    def is_cut(self) -> bool:
        """True if the episode has reached a limit."""
        return self.steps >= self._max_steps or self._no_progress >= self._no_progress_limit

    def circumstances(self, prompt: Prompt, last_action: int) -> Circumstances:
        """Return what an observation shows of it, with the open question and the last action."""
        return Circumstances(
            now=self.steps,
            max_depth=self.max_depth,
            steps_left=1.0 - self.steps / self._max_steps,
            no_progress=self._no_progress / self._no_progress_limit,
            clock_stands=self.clock_stands,
            prompt=int(prompt),
            last_action=last_action,
        )

    def info(self) -> dict[str, Any]:
        """Return the entries of ``info`` that it knows."""
        info: dict[str, Any] = {
            "score": float(self._score),
            "max_depth": self.max_depth,
            "experience_level": self._max_level,
            "progression": progression(self.max_depth, self._max_level),
            "turns": self._time,
            "no_progress": self._no_progress,
            "steps": self.steps,
        }
        if (task := self._task) is not None:
            info |= {"score": task.score, "task": task.task, f"task_{task.task}": task.score}
        return info

    def ending(self) -> str:
        """Say how the episode ended."""
        if self._is_over:
            return self._game.cause_of_death()
        if self.is_task_done:
            return "task done"
        return "limit of steps" if self.steps >= self._max_steps else "no progress"

    def _read(self, number: int) -> int:
        return int(self._game.living_blstats[number])
