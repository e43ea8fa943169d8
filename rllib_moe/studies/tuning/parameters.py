"""One parameter of a search space: the values it may take, how they are drawn, and how PBT changes them. Pure.

Kinds: `{grid: [...]}` and `{choice: [...]}` (a list), `{uniform: [low, high]}`, `{loguniform: [low, high]}`, and
`{randint: [low, high]}` (both ends included). Tune's own domains know no inclusive ends, round to no digits that a
table shows, and their mutations leave the range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_moe.validation.arguments import is_finite_number
from rllib_moe.validation.words import did_you_mean

RANGES = ("uniform", "loguniform", "randint")
KINDS = ("grid", "choice", *RANGES)

DIGITS = 4
"""Significant digits of a drawn number: it is exactly what the tables show."""
RESAMPLE_PROBABILITY = 0.25
"""Probability that a mutation draws a value anew; otherwise it takes a step from the present one."""
PERTURBATION_FACTORS = (0.8, 1.25)
"""Steps of a mutation in a range (https://arxiv.org/abs/1711.09846 has 0.8 and 1.2; these undo each other)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter. Made by `read_parameter`, which checks it."""

    name: str
    """Name of an override of an `Experiment`; several joined by commas take the same value."""
    kind: str
    """One of `KINDS`."""
    values: tuple[Any, ...]
    """All values of a list, or both ends of a range: if these are usable, all are."""

    @property
    def names(self) -> tuple[str, ...]:
        """Overrides that take the value."""
        return split_names(self.name)

    @property
    def is_range(self) -> bool:
        """Return whether the values cannot be listed."""
        return self.kind in RANGES

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw a value."""
        if not self.is_range:
            return self.values[int(generator.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "randint":
            return int(generator.integers(low, high, endpoint=True))
        if self.kind == "loguniform":
            return self._within(math.exp(generator.uniform(math.log(low), math.log(high))))
        return self._within(generator.uniform(low, high))

    def mutated(self, value: Any, generator: np.random.Generator) -> Any:
        """Return a value near the given one: the next of a list, a step in a range, now and then any at all."""
        if generator.random() < RESAMPLE_PROBABILITY:
            return self.draw(generator)
        if not self.is_range:
            place = self.values.index(value) + int(generator.choice((-1, 1)))
            return self.values[min(max(place, 0), len(self.values) - 1)]
        factor = float(generator.choice(PERTURBATION_FACTORS))
        if self.kind == "randint":  # a step of one at least: a factor of 1.25 leaves 1 and 2 where they are
            return self._within(max(value * factor, value + 1) if factor > 1 else min(value * factor, value - 1))
        return self._within(value * factor)

    def _within(self, value: float) -> Any:
        value = min(max(float(f"{value:.{DIGITS}g}"), self.values[0]), self.values[1])
        return round(value) if self.kind == "randint" else value


def split_names(name: str) -> tuple[str, ...]:
    """Return the names that a parameter's name joins by commas."""
    return tuple(each.strip() for each in name.split(","))


def read_parameter(name: str, form: Mapping[Any, Any]) -> Parameter:
    """Read one parameter.

    Args:
        form: Plain form, as read from YAML.

    Raises:
        ValueError: The form is none of a parameter.
    """
    if len(form) != 1:
        raise ValueError(f"{name}: expected one kind ({', '.join(KINDS)}), got {sorted(map(str, form))}")
    ((kind, content),) = form.items()
    if kind not in KINDS:
        raise ValueError(f"{name}: unknown kind {kind!r}{did_you_mean(str(kind), KINDS)}")
    if error := _range_error(kind, content) if kind in RANGES else _list_error(content):
        raise ValueError(f"{name}.{kind}: expected {error}")
    return Parameter(name, kind, tuple(content))


def _list_error(content: Any) -> str | None:
    if not isinstance(content, list) or not content:
        return f"a list of one value or more, got {content!r}"
    twice = [value for index, value in enumerate(content) if value in content[:index]]
    return f"each value once, got {twice[0]!r} again" if twice else None


def _range_error(kind: str, content: Any) -> str | None:
    if not isinstance(content, list) or len(content) != 2 or not all(map(is_finite_number, content)):
        return f"[low, high], two finite numbers, got {content!r}"
    if content[0] >= content[1]:
        return f"low below high, got {content!r}"
    if kind == "loguniform" and content[0] <= 0:
        return f"low above 0 (a logarithm is taken), got {content!r}"
    if kind == "randint" and not all(isinstance(end, int) for end in content):
        return f"whole numbers, got {content!r}"
    return None
