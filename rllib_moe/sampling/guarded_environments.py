"""The environments of one rollout worker, each of which may fail: what is broken is replaced and counted.

Broken is an environment that raises, hangs, or returns what the learner must never see: a reward or observation that is
not finite, or an observation of another shape, dtype or range. Its unfinished episode is the caller's to cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np

from rllib_moe.envs.description import EpisodeMeasure, describe
from rllib_moe.envs.observation_check import ObservationCheck
from rllib_moe.envs.saved_state import get_environment_state, set_environment_state
from rllib_moe.sampling.watchdog import Watchdog
from rllib_moe.validation.arguments import is_finite_number
from rllib_moe.validation.errors import FailedError

MAX_REPLACED_IN_A_ROW = 10
"""Replacements of one environment without a finished episode between after which sampling stops."""

logger = logging.getLogger(__name__)

Observation = dict[str, np.ndarray]
"""Leaves of one graph observation, or of a batch of them, by name."""

Env = gymnasium.Env[Observation, Any]


class EnvironmentsFailError(FailedError):
    """An environment fails again and again. The message says how."""


class GuardedEnvironments:
    """Environments E with equal graph observation spaces.

    Args:
        environments: The environments; the list is kept, and a replacement takes its place in it.
        make: Makes the replacement of an environment from its index and a number that is new each time, for its seed.
        watchdog: Watches every step, reset and start; to be entered by the caller.
    """

    replaced: int = 0
    """Environments replaced so far."""
    arguments: Mapping[str, Any] = MappingProxyType({})
    """Arguments that an environment takes when an episode begins (see `envs/arguments.py`)."""

    def __init__(self, environments: list[Env], make: Callable[[int, int], Env], watchdog: Watchdog) -> None:
        self._environments = environments
        self._make = make
        self._watchdog = watchdog
        self._check = ObservationCheck(environments[0].observation_space)  # type: ignore[arg-type]  # a Dict
        self._in_a_row = [0] * len(environments)

    def __len__(self) -> int:
        return len(self._environments)

    @property
    def measures(self) -> tuple[EpisodeMeasure, ...]:
        """The environments' own episode measures."""
        return describe(self._environments[0]).episode_measures

    def numbers(self, e: int) -> dict[str, float]:
        """Return the numbers among the arguments that environment `e` plays its episode with."""
        if not self.arguments:
            return {}
        present = self._environments[e].get_wrapper_attr("arguments")
        return {name: float(present[name]) for name in self.arguments if is_finite_number(present[name])}

    def begin(self, e: int) -> Observation:
        """Reset environment `e` for its next episode; replace it if the reset fails."""
        self._in_a_row[e] = 0
        try:
            return self._reset(e)
        except Exception as error:  # whatever the environment raises
            return self.replace(e, error)

    def replace(self, e: int, error: Exception) -> Observation:
        """Put a new environment in place of `e`, which failed, and begin an episode. Returns its first observation.

        Raises:
            EnvironmentsFailError: it fails again and again.
        """
        while True:
            self.replaced += 1
            self._in_a_row[e] += 1
            told = f"{type(error).__name__}: {error}"
            if self._in_a_row[e] > MAX_REPLACED_IN_A_ROW:
                raise EnvironmentsFailError(
                    f"environment {e} was replaced {MAX_REPLACED_IN_A_ROW} times without finishing an episode; "
                    f"its last failure: {told}"
                ) from error
            logger.warning("Environment %d is replaced: %s", e, told)
            try:
                self._watchdog.watch()
                with suppress(Exception):
                    self._environments[e].close()
                self._watchdog.watch()
                self._environments[e] = self._make(e, self.replaced)
                return self._reset(e)
            except Exception as another:  # whatever the environment raises
                error = another
            finally:
                self._watchdog.rest()

    def step(
        self,
        which: Iterable[int],
        actions: np.ndarray,
        observations: Mapping[str, np.ndarray],
        rewards: np.ndarray,
        ends: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> dict[int, Exception]:
        """Step some environments and write what they answer to the arrays, at their indices.

        Args:
            which: Their indices.
            actions: Actions of all [E].
            observations: Gets observations, a leaf [E, ...] by its name.
            rewards: Gets rewards float32 [E].
            ends: Gets terminated and truncated [2, E].
            infos: Gets their `info` [E].

        Returns:
            Why an environment failed, by its index; what it answered is meaningless.
        """
        failures: dict[int, Exception] = {}
        terminated, truncated = ends
        for e in which:
            try:
                self._watchdog.watch()
                observation, rewards[e], terminated[e], truncated[e], info = self._environments[e].step(actions[e])
                self._check.write(observation, observations, e)
                if not isinstance(info, dict):
                    raise TypeError(f"info must be a dict, got {info!r}")
                infos[e] = info
            except Exception as error:  # whatever the environment raises
                failures[e] = error
                rewards[e] = 0
                for leaf in observations.values():
                    leaf[e] = 0
        self._watchdog.rest()
        for e in np.flatnonzero(~np.isfinite(rewards)).tolist():
            failures.setdefault(e, ValueError(f"its reward is {rewards[e]}"))
        for e in np.flatnonzero(self._check.bad_rows(observations)).tolist():
            try:
                self._check.check({name: leaf[e] for name, leaf in observations.items()})
            except ValueError as error:
                failures.setdefault(e, error)
        return failures

    def get_state(self) -> dict[str, Any] | None:
        """Return the environments as they stand, None where one cannot be saved (see `saved_state`)."""
        states = []
        for environment in self._environments:
            if (state := get_environment_state(environment)) is None:
                return None
            states.append(state)
        return {"environments": states, "replaced": self.replaced, "in_a_row": self._in_a_row}

    def set_state(self, state: dict[str, Any]) -> bool:
        """Take over a state by `get_state`; return False, and change nothing, where the environments are others."""
        states = state["environments"]
        if len(states) != len(self) or not all(map(set_environment_state, self._environments, states)):
            return False
        self.replaced, self._in_a_row = state["replaced"], state["in_a_row"]
        return True

    def _reset(self, e: int) -> Observation:
        self._watchdog.watch()
        try:
            options = {"env": dict(self.arguments)} if self.arguments else None
            observation = self._environments[e].reset(options=options)[0]
        finally:
            self._watchdog.rest()
        self._check.check(observation)
        return observation
