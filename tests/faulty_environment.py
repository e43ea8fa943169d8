"""An environment that fails on purpose, for the tests of what happens then: `regimes` with a fault at chosen steps."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import gymnasium
import numpy as np

from rllib_moe.envs.regimes import RegimesEnv

FAULTS = (
    "raise",
    "hang",
    "nan reward",
    "reward is none",
    "nan observation",
    "category out of range",
    "wrong shape",
    "wrong dtype",
    "leaf missing",
    "observation is none",
    "info is none",
    "five values missing",
)


class FaultyEnv(RegimesEnv):
    """Fails at every `every`-th step that this object is asked for; with `at_reset` also at its second reset.

    Args:
        fault: One of `FAULTS`, or `native hang`.
        every: Steps from one fault to the next, 0 for never.
        at_reset: Whether the second reset fails too.
        **kwargs: As for `RegimesEnv`.
    """

    def __init__(self, *, fault: str = "raise", every: int = 10, at_reset: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._fault, self._every, self._fails_at_reset = fault, every, at_reset
        self._asked, self._resets = 0, 0
        self._spoilt = False  # once broken it stays so: only a new one helps

    def reset(self, **options: Any) -> Any:
        self._resets += 1
        observation, info = super().reset(**options)
        if self._fails_at_reset and self._resets == 2:
            self._spoilt = True
        if self._spoilt:
            raise RuntimeError("broken at reset")
        return observation, info

    def step(self, action: Any) -> Any:
        self._asked += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if not self._every or (self._asked % self._every and not self._spoilt):
            return observation, reward, terminated, truncated, info
        self._spoilt = True
        match self._fault:
            case "raise":
                raise RuntimeError("broken")
            case "hang":
                time.sleep(3600)
            case "native hang":
                # A lock taken twice: no signal breaks that, and the interpreter's lock is held meanwhile.
                library, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
                library.pthread_mutex_lock(lock)
                library.pthread_mutex_lock(lock)
            case "nan reward":
                reward = float("nan")
            case "reward is none":
                reward = None  # type: ignore[assignment]
            case "nan observation":
                observation["nodes"][1, 0] = np.nan
            case "category out of range":
                observation["node_types"][2] = 200
            case "wrong shape":
                observation["features"] = observation["features"][:-1]
            case "wrong dtype":
                observation["features"] = observation["features"].astype(np.float64)
            case "leaf missing":
                del observation["edges"]
            case "observation is none":
                observation = None  # type: ignore[assignment]
            case "info is none":
                info = None  # type: ignore[assignment]
            case "five values missing":
                return observation, reward
        return observation, reward, terminated, truncated, info


gymnasium.register(id="Faulty-v0", entry_point=FaultyEnv)
