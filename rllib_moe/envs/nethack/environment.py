"""NetHack as a gymnasium environment with graph observations.

Owns the episode: seeding, the order of a step, reward and limits. The game itself is the subject of ``game``, the
observation of ``observation``, what an episode has come to of ``tally``.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import Field

from rllib_moe.envs.arguments import StepLimit
from rllib_moe.envs.nethack.action_sets import ACTION_SETS, ActionSetName
from rllib_moe.envs.nethack.actions import ACTION_KEYS, NUM_ACTIONS
from rllib_moe.envs.nethack.characters import Character
from rllib_moe.envs.nethack.description import NetHackDescription
from rllib_moe.envs.nethack.episode_memory import EpisodeMemory
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE
from rllib_moe.envs.nethack.observation import ObservationBuilder, warm_up
from rllib_moe.envs.nethack.prompts import Prompt, settle
from rllib_moe.envs.nethack.scene_flags import ROLE_NAMES
from rllib_moe.envs.nethack.state import NO_ACTION
from rllib_moe.envs.nethack.tally import Tally
from rllib_moe.envs.nethack.tasks import GOLD, GOLD_OPTIONS, TASKS, some_of, task_names
from rllib_moe.envs.nethack.temp_dirs import sweep_stale
from rllib_moe.validation.arguments import argument_types, checks_arguments
from rllib_moe.validation.errors import ConfigError

MAX_NODES: Final = 24
"""Nodes of a scene graph, the hero included."""

Observation = dict[str, np.ndarray]
AtLeastZero = Annotated[float, Field(ge=0)]


def episode_seeds(seed: int, episode: int) -> tuple[int, int]:
    """Return the seeds of a game's main and display generators: a hash of the environment's seed and the episode."""
    core, display = np.random.SeedSequence([seed, episode]).generate_state(2, np.uint64)
    return int(core >> np.uint64(1)), int(display >> np.uint64(1))


class NetHackGraphEnv(gymnasium.Env[Observation, int]):
    """``NetHackScore-v0``'s game and reward, and its actions or more, with a scene graph as observation.

    Reward: ``reward_scale`` times (score gained in the step - ``frozen_penalty`` if the game clock stood still),
    plus shaping. That is the score task's own reward, scaled. Its last reward is counted up to the last reading
    before death, never as the fall to zero that the game shows afterwards.

    With ``tasks`` each episode has one of them, drawn by the environment's generator and shown as the leaf ``task``
    (one-hot). Its points (see ``tasks``), times the task's weight, stand in place of score, in the reward too.

    ``terminated``: the game ended by itself (death, or leaving the dungeon), or the task is done. ``truncated``: cut by
    ``max_steps`` or ``no_progress_limit``; NetHack itself is not told.

    ``info``: ``score`` (raw, as last read alive; of a task its points), ``max_depth``, ``experience_level`` (its
    highest), ``progression`` (see ``progression``), ``turns`` (of the game), ``scene`` (flags, see
    ``scene_flags.SCENE_FLAGS``), ``shaping`` (share of the step's reward that is shaping), ``nodes_cut``,
    ``prompts_dismissed`` (keys spent on closing questions after this step), ``no_progress`` (steps in a row without the
    game clock moving), ``steps`` (so far, as the limit counts them); after the last step ``ending`` (how the episode
    ended, in words); with ``tasks`` also ``task`` (its name) and ``task_<name>`` (its points).

    All numbers may change while it lives (``changeable``), and ``tasks`` to some of those that it was made with.

    Args:
        max_steps: steps after which the episode is truncated.
        action_mask: whether the observation has the leaf ``action_mask``.
        path_summary: whether ``features`` has the first steps to the nearest targets.
        reward_scale: factor from score to reward. 0.05 makes a new level worth 2.5.
        frozen_penalty: score points taken off for a step in which the game clock stands still; the task's own value.
        depth_bonus: shaping reward for each level of new maximum depth; below 0 going down costs.
        tile_bonus: shaping reward for each passable tile seen for the first time.
        dismiss_prompts: close questions the actions cannot usefully answer, within the step that opened them.
        no_progress_limit: steps in a row without the game clock moving after which the episode is truncated.
        tasks: names of tasks, separated by commas; None plays for score without a leaf ``task``.
        roles: what the leaf ``roles`` names: the ``scene``'s (see ``scene_flags``), or the ``task`` itself.
        actions: ``score``, the 23 of ``NetHackScore-v0``; ``macro``, three more that are made of the same keys, each
            of which counts as a step (``macro_actions``); or ``extended``, six more, each one step (``survival``).
        character: role, race, gender and alignment, see ``characters``.
        temp_root: directory for NLE's temporary files, see ``temp_dirs.temp_root``.
        render_mode: ``ansi`` makes :meth:`render` show the screen, at some cost for every step; None shows nothing.

    Raises:
        ConfigError: An argument is out of range; every error in one message.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 (gymnasium's own declaration)

    @checks_arguments
    def __init__(
        self,
        *,
        max_steps: StepLimit = 500,
        action_mask: bool = True,
        path_summary: bool = True,
        reward_scale: AtLeastZero = 0.05,
        frozen_penalty: AtLeastZero = 0.01,
        depth_bonus: float = 0.0,
        tile_bonus: AtLeastZero = 0.0,
        dismiss_prompts: bool = True,
        no_progress_limit: StepLimit = 150,
        tasks: Annotated[str, some_of(TASKS)] | None = None,
        roles: Literal["scene", "task"] = "scene",
        actions: ActionSetName = "score",
        character: Character = "mon-hum-neu-mal",
        temp_root: str | None = None,
        render_mode: Literal["ansi"] | None = None,
    ) -> None:
        if roles == "task" and tasks is None:
            raise ConfigError(["roles: expected 'scene' where there are no tasks, got 'task'"], "NetHackGraphEnv")
        self.max_steps = max_steps
        self.no_progress_limit = no_progress_limit
        self.reward_scale = reward_scale
        self.frozen_penalty = frozen_penalty
        self.depth_bonus = depth_bonus
        self.tile_bonus = tile_bonus
        self.tasks = tasks
        self._character = character
        self._dismiss_prompts = dismiss_prompts
        self._task_names = [] if tasks is None else task_names(tasks)
        role_names = self._task_names if roles == "task" else ROLE_NAMES
        self._further = ACTION_SETS[actions]
        if self._task_names:
            self.changeable = {**self.changeable, "tasks": Annotated[str, some_of(self._task_names)]}
        self.description = NetHackDescription(self._task_names, role_names, self._further)
        make_game = partial(Game, character=character, temp_root=temp_root, has_screen=render_mode == "ansi")
        self._game = self._usual_game = make_game()
        self._gold_game = make_game(options=GOLD_OPTIONS)
        self.render_mode = render_mode
        self._shown: str | None = None
        self._builder = ObservationBuilder(
            MAX_NODES,
            action_mask=action_mask,
            path_summary=path_summary,
            further=self._further,
            num_tasks=len(self._task_names),
            roles_are_tasks=roles == "task",
        )
        self.observation_space = self._builder.space
        self.action_space = spaces.Discrete(self._builder.num_actions)
        self._seed: int | None = None
        self._episode = 0
        self._running = False
        self._is_over: bool | None = None  # None before the first episode, and after `close`
        self._living_glyphs = np.zeros(MAP_SHAPE, dtype=np.int16)

    changeable: Mapping[str, Any] = argument_types(
        __init__, "max_steps", "no_progress_limit", "reward_scale", "frozen_penalty", "depth_bonus", "tile_bonus"
    )

    @staticmethod
    def prepare() -> None:
        """Compile what a game needs, and remove the temporary files of processes that are gone."""
        warm_up()
        sweep_stale()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: fixes this episode and begins a new sequence of episodes. None goes on with the sequence.
            options: none are known.

        Returns:
            Observation and info.

        Raises:
            GameStartError: NetHack could not be started.
            ValueError: There are options, or the seed is negative.
        """
        if options:
            raise ValueError(f"NetHackGraphEnv knows no reset options, got {sorted(options)}")
        if seed is not None:
            if seed < 0:
                raise ValueError(f"seed must be 0 or greater, got {seed}")
            self._seed, self._episode = int(seed), 0
        elif self._seed is None:
            self._seed, self._episode = int(np.random.SeedSequence().generate_state(1, np.uint64)[0]), 0
        else:
            self._episode += 1
        super().reset(seed=seed)
        task = None if self.tasks is None else str(self.np_random.choice(task_names(self.tasks)))
        self._game = self._gold_game if task == GOLD else self._usual_game
        self._game.start(*episode_seeds(self._seed, self._episode))
        self._tally = Tally(self._game, task, max_steps=self.max_steps, no_progress_limit=self.no_progress_limit)
        self._task_leaf = np.array([name == task for name in self._task_names], np.float32)
        self._running = True
        self._is_over = False
        self._prompt = Prompt.NONE
        self._last_action = NO_ACTION
        np.copyto(self._living_glyphs, self._game.glyphs)
        further = self._further.make_memory(self._character) if self._further.make_memory else None
        self._memory = EpisodeMemory(self._game.living_blstats, self._living_glyphs, further)
        observation, info, _ = self._observe()
        return observation, info | {"shaping": 0.0, "prompts_dismissed": 0}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one action; see the class for rewards, ends and info.

        Raises:
            ValueError: No such action.
            RuntimeError: No episode is under way.
        """
        if not 0 <= action < self._builder.num_actions:
            raise ValueError(f"action must be in 0..{self._builder.num_actions - 1}, got {action}")
        if not self._running:
            raise RuntimeError("step() needs an episode under way: call reset() first")
        game = self._game
        action = int(action)
        asked, self._prompt = self._prompt, Prompt.NONE
        tally = self._tally
        dismissed, steps = 0, 1
        if action < NUM_ACTIONS:
            is_over = game.press(ACTION_KEYS[action])
            message = b"" if is_over else game.message_bytes()
        else:
            assert self._memory.further is not None
            is_over, message, steps = self._memory.further.play(game, action, tally.steps_left)
        if not is_over:
            self._prompt, dismissed, is_over, read = settle(game, before=asked, dismiss=self._dismiss_prompts)
        self._last_action = action
        gain, new_levels = tally.count(is_over=is_over, steps=steps)
        if not is_over:
            np.copyto(self._living_glyphs, game.glyphs)
            self._memory.record(
                action,
                game.living_blstats,
                self._living_glyphs,
                message,
                read=read,
                now=tally.steps,
                turns=tally.turns,
                in_prompt=asked != Prompt.NONE or self._prompt != Prompt.NONE,
            )
        observation, info, new_tiles = self._observe()

        shaping = self.depth_bonus * new_levels + self.tile_bonus * new_tiles
        penalty = self.frozen_penalty if tally.clock_stands and not is_over else 0.0
        reward = self.reward_scale * tally.weight * (gain - penalty) + shaping
        terminated = is_over or tally.is_task_done
        truncated = not terminated and tally.is_cut
        self._running = not (terminated or truncated)
        self._is_over = is_over
        info |= {"shaping": float(shaping), "prompts_dismissed": dismissed}
        if not self._running:
            info["ending"] = tally.ending()
        return observation, float(reward), terminated, truncated, info

    def render(self) -> str | None:  # type: ignore[override]
        """The game's screen as text with ANSI colors; once the game is over, the last one that was shown.

        None without ``render_mode="ansi"``.

        Raises:
            RuntimeError: No episode was begun.
        """
        if self.render_mode is None:
            return None
        if self._is_over is None:
            raise RuntimeError("render() needs an episode: call reset() first")
        if not self._is_over:
            self._shown = self._game.screen()
        return self._shown

    def node_positions(self) -> np.ndarray:
        """Row and column [n, 2] on the map of the latest observation's nodes, the hero first."""
        return self._builder.positions()

    def place(self) -> tuple[int, int]:
        """Return the dungeon branch, and the level in it, of the latest observation."""
        return self._memory.place

    def message(self) -> bytes:
        """The game's message line."""
        return self._game.message_bytes()

    def close(self) -> None:
        """End the game and remove its temporary files; `reset` starts anew."""
        self._running = False
        self._is_over = None
        self._usual_game.close()
        self._gold_game.close()

    def _observe(self) -> tuple[Observation, dict[str, Any], int]:
        """Observation, info without the step's own entries, and new tiles; after death of the last living state."""
        observation, scene, nodes_cut, new_tiles = self._builder.build(
            self._living_glyphs,
            self._game.living_blstats,
            self._game.message_bytes(),
            self._memory.level,
            self._tally.circumstances(self._prompt, self._last_action),
            self._memory.further,
            self._task_leaf,
        )
        return observation, self._tally.info() | {"scene": scene, "nodes_cut": nodes_cut}, new_tiles
