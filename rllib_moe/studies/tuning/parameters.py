"""One line of a search space: what a parameter may be, how it is drawn, and how PBT changes it. Pure.

Kinds: `{grid: [...]}` and `{choice: [...]}` (a list), `{uniform: [low, high]}`, `{loguniform: [low, high]}`,
`{randint: [low, high]}` (both ends included), and a plain value, which is fixed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_moe.phase_checks import number
from rllib_moe.validation import did_you_mean

LISTS = ("grid", "choice")
RANGES = ("uniform", "loguniform", "randint")
KINDS = (*LISTS, *RANGES, "fixed")

DIGITS = 4
"""Significant digits of a drawn number: it is exactly what the tables show."""
RESAMPLE = 0.25
"""Chance that a mutation draws a value anew; otherwise it takes a step from the present one."""
FACTORS = (0.8, 1.25)
"""Steps of a mutation in a range (https://arxiv.org/abs/1711.09846 has 0.8 and 1.2; these undo each other)."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched parameter. Made by `read_parameter`, which checks it."""

    name: str
    """As in the file; several names joined by commas take the same value."""
    kind: str
    """One of `KINDS`."""
    values: tuple[Any, ...] = ()
    """What there is to choose from, for lists; the one value, when fixed."""
    low: float = 0
    """Lower end of a range."""
    high: float = 0
    """Upper end of a range, included."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that take the value."""
        return tuple(name.strip() for name in self.name.split(","))

    @property
    def is_list(self) -> bool:
        """Whether all values can be listed."""
        return self.kind not in RANGES

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw a value."""
        if self.is_list:
            return self.values[int(generator.integers(len(self.values)))]
        if self.kind == "randint":
            return int(generator.integers(int(self.low), int(self.high), endpoint=True))
        if self.kind == "loguniform":
            return self._within(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))
        return self._within(generator.uniform(self.low, self.high))

    def mutated(self, value: Any, generator: np.random.Generator) -> Any:
        """A value near the given one: the next in a list, a step up or down in a range, now and then any at all."""
        if self.kind == "fixed":
            return value
        if generator.random() < RESAMPLE or (self.is_list and value not in self.values):
            return self.draw(generator)
        if self.is_list:
            place = self.values.index(value) + int(generator.choice((-1, 1)))
            return self.values[min(max(place, 0), len(self.values) - 1)]
        factor = float(generator.choice(FACTORS))
        if self.kind == "randint":  # a step of one at least: a factor of 1.25 leaves 1 and 2 where they are
            least = value + (1 if factor > 1 else -1)
            return self._within(max(value * factor, least) if factor > 1 else min(value * factor, least))
        return self._within(value * factor)

    def corners(self) -> tuple[Any, ...]:
        """The values that tell whether all are usable: every one of a list, both ends of a range."""
        if self.is_list:
            return self.values
        return (int(self.low), int(self.high)) if self.kind == "randint" else (self.low, self.high)

    def _within(self, value: float) -> Any:
        """A number rounded and held inside the range."""
        value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        return round(value) if self.kind == "randint" else value

    def to_plain(self) -> Any:
        """The form it has in the file."""
        if self.kind == "fixed":
            return self.values[0]
        return {self.kind: list(self.values) if self.is_list else list(self.corners())}


def read_parameter(name: str, spec: Any, faults: list[str]) -> Parameter | None:
    """Read one parameter.

    Args:
        name: Its name, or several joined by commas.
        spec: Its plain form, as read from YAML.
        faults: Gets one entry for everything wrong.

    Returns:
        The parameter, None where something is wrong.
    """
    if not isinstance(spec, Mapping):
        return Parameter(name=name, kind="fixed", values=(scalar(spec),))
    if len(spec) != 1:
        faults.append(f"{name}: expected one kind ({', '.join(KINDS)}), got {sorted(map(str, spec))}")
        return None
    ((kind, content),) = spec.items()
    if kind not in KINDS:
        faults.append(f"{name}: unknown kind {kind!r}{did_you_mean(str(kind), KINDS)}")
        return None
    if kind == "fixed":
        return Parameter(name=name, kind=kind, values=(scalar(content),))
    if kind in LISTS:
        return _read_list(name, kind, content, faults)
    return _read_range(name, kind, content, faults)


def _read_list(name: str, kind: str, content: Any, faults: list[str]) -> Parameter | None:
    if not isinstance(content, list) or not content:
        faults.append(f"{name}.{kind}: expected a list of one value or more, got {content!r}")
        return None
    values = [scalar(value) for value in content]
    if twice := [value for index, value in enumerate(values) if value in values[:index]]:
        faults.append(f"{name}.{kind}: expected each value once, got {twice[0]!r} again")
        return None
    return Parameter(name=name, kind=kind, values=tuple(values))


def _read_range(name: str, kind: str, content: Any, faults: list[str]) -> Parameter | None:
    try:
        low, high = [number(end) for end in content] if isinstance(content, list) else []
    except ValueError:
        faults.append(f"{name}.{kind}: expected [low, high], two finite numbers, got {content!r}")
        return None
    if low >= high:
        faults.append(f"{name}.{kind}: expected low below high, got {content!r}")
    elif kind == "loguniform" and low <= 0:
        faults.append(f"{name}.{kind}: expected low above 0 (a logarithm is taken), got {content!r}")
    elif kind == "randint" and (low % 1 or high % 1):
        faults.append(f"{name}.{kind}: expected whole numbers, got {content!r}")
    else:
        return Parameter(name=name, kind=kind, low=low, high=high)
    return None


def scalar(value: Any) -> Any:
    """A value as meant: YAML 1.1 takes 1e-4, without a dot, for a string."""
    if isinstance(value, list):
        return [scalar(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
