"""Environments saved in the middle of an episode, as plain data: for runs that resume exactly.

An environment or wrapper says that it can be saved by having `get_state` and `set_state` (`Saveable`). One that has not
keeps all around it from being saved, unless it is a wrapper that is known here.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from rllib_moe.envs.gym_graph import GraphObservation

_WRAPPER_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    TimeLimit: ("_elapsed_steps",),
    OrderEnforcing: ("_has_reset",),
    GraphObservation: (),
}
"""State that known wrappers keep from step to step."""

logger = logging.getLogger(__name__)


@runtime_checkable
class Saveable(Protocol):
    """An environment or wrapper that can be saved in the middle of an episode."""

    def get_state(self) -> dict[str, Any]:
        """Return what it keeps itself, its random generator included.

        Plain data: numbers, strings, None, numpy arrays, and lists and dicts with string keys of these.
        """

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state by `get_state`, where arrays are new and tuples have become lists."""


def get_environment_state(env: gymnasium.Env[Any, Any]) -> list[dict[str, Any]] | None:
    """Return the state of an environment and its wrappers, the outermost first; None where it cannot be saved."""
    layers = _layers(env)
    if layers is None:
        return None
    states = [
        layer.get_state() if isinstance(layer, Saveable) else {name: getattr(layer, name) for name in names}
        for layer, names in layers
    ]
    if not _is_plain(states):
        logger.warning("The episodes of %s are not saved: its `get_state` gives more than plain data", env)
        return None
    return states


def set_environment_state(env: gymnasium.Env[Any, Any], states: list[dict[str, Any]]) -> bool:
    """Put an environment made alike into a state; return False, and change nothing, where it has other wrappers."""
    layers = _layers(env)
    if layers is None or len(layers) != len(states):
        return False
    for (layer, names), state in zip(layers, states, strict=True):
        if isinstance(layer, Saveable):
            layer.set_state(state)
        else:
            for name in names:
                setattr(layer, name, state[name])
    return True


def _layers(env: gymnasium.Env[Any, Any]) -> list[tuple[Any, tuple[str, ...]]] | None:
    """Return wrappers and environment that keep a state, with its attributes; None where one cannot be saved."""
    layers: list[tuple[Any, tuple[str, ...]]] = []
    layer: Any = env
    while layer is not None:
        names = _WRAPPER_ATTRIBUTES.get(type(layer))
        if names is None and not isinstance(layer, Saveable):
            return None
        if names != ():
            layers.append((layer, names or ()))
        layer = layer.env if isinstance(layer, gymnasium.Wrapper) else None
    return layers


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype != object
    return value is None or isinstance(value, (bool, int, float, str))
