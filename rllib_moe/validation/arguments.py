"""Checked arguments of functions, by their annotations, as fields of settings are checked."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.words import expectation

P = ParamSpec("P")
R = TypeVar("R")


def value_errors(types: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return the values that do not fit their types, in words; types are annotations, as those of settings."""
    errors = []
    for name, value in values.items():
        try:
            _adapter(types[name]).validate_python(value)
        except ValidationError as error:
            cause = error.errors()[0].get("ctx", {}).get("error")
            errors.append(f"{name}: {cause or f'expected {expectation(types[name])}, got {value!r}'}")
    return errors


@functools.lru_cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=Settings.model_config)


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments that do not fit their annotations, as settings are refused: a decorator.

    Raises:
        ConfigError: By the function, naming every argument that does not fit.
    """

    types, signature = argument_types(function), inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        if errors := value_errors(types, {name: value for name, value in given.items() if name in types}):
            raise ConfigError(errors, function.__qualname__.removesuffix(".__init__"))
        return function(*args, **kwargs)

    return checked


def argument_types(function: Callable[..., Any], *names: str) -> dict[str, Any]:
    """Return the annotations, bounds included, of some of a function's arguments by name; without names, of all."""
    types = get_type_hints(function, include_extras=True)
    return {name: types[name] for name in names or types}


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a number, neither NaN nor infinite (a bool is no number)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
