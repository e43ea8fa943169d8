"""What a phase schedule must look like, checked on its plain form (as read from YAML).

Works on mappings and lists alone, so that one reading names every fault at once; `phases.py` builds from what passes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from rllib_moe.errors import did_you_mean

ROUTINGS = ("softmax", "entmax15", "sparsemax")
"""The gates by name, from soft to sparse."""

VALUE_KEYS = (
    "temperature",
    "learning_rate",
    "entropy_coef",
    "alpha_entropy_coef",
    "alpha_entropy_target",
    "load_balance_coef",
    "diversity_coef",
)
"""Keys whose value is a number or a ramp."""
PHASE_KEYS = ("name", "start", "routing", *VALUE_KEYS)
OPTIONAL_KEYS = ("alpha_entropy_target",)
POSITIVE_KEYS = ("temperature", "learning_rate")


class ScheduleError(ValueError):
    """A schedule was refused. The message lists every fault, one a line."""

    def __init__(self, faults: Sequence[str], source: str = "schedule") -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__(f"{source} refused:\n" + "\n".join(f"  - {fault}" for fault in self.faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults, self.source)


def schedule_faults(data: Any) -> list[str]:
    """Return everything wrong with a schedule's plain form, in words; empty when it is right."""
    if not isinstance(data, Mapping) or set(data) != {"phases"} or not isinstance(data["phases"], list):
        return ["expected one key 'phases' holding a list of phases"]
    rows = data["phases"]
    if not rows:
        return ["phases: expected at least one"]
    faults: list[str] = []
    for index, row in enumerate(rows):
        if isinstance(row, Mapping):
            faults += _row_faults(row, str(row.get("name") or f"phases[{index}]"), is_last=index == len(rows) - 1)
        else:
            faults.append(f"phases[{index}]: expected a mapping, got {row!r}")
    return faults + list(_order_faults([row for row in rows if isinstance(row, Mapping)]))


def number(value: Any) -> float:
    """Read a finite number; YAML 1.1 reads 1e-4, without a dot, as a string, so strings are taken too.

    Raises:
        ValueError: not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no number")
    try:
        read = float(value)
    except OverflowError:  # a whole number beyond every float
        read = math.inf
    if not math.isfinite(read):
        raise ValueError(f"{value!r} is not finite")
    return read


def _row_faults(row: Mapping[str, Any], where: str, is_last: bool) -> Iterator[str]:
    for key in row:
        if key not in PHASE_KEYS:
            yield f"{where}: unknown key {key!r}{did_you_mean(str(key), PHASE_KEYS)}"
    for key in PHASE_KEYS:
        if key not in row:
            if key not in OPTIONAL_KEYS:
                yield f"{where}.{key}: missing"
        elif key == "name":
            if not isinstance(row[key], str) or not row[key] or row[key] == "*":
                yield f"{where}.name: expected a non-empty string other than '*', got {row[key]!r}"
        elif key == "start":
            if not _is_episode(row[key]):
                yield f"{where}.start: expected a whole episode number, 0 or more, got {row[key]!r}"
        elif key == "routing":
            if row[key] not in ROUTINGS:
                yield f"{where}.routing: expected one of {', '.join(ROUTINGS)}, got {row[key]!r}"
        else:
            yield from _value_faults(key, row[key], f"{where}.{key}", is_last)


def _is_episode(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _value_faults(key: str, value: Any, where: str, is_last: bool) -> Iterator[str]:
    if value is None and key in OPTIONAL_KEYS:
        return
    is_ramp = isinstance(value, (list, tuple))
    try:
        numbers = [number(part) for part in value] if is_ramp else [number(value)]
    except ValueError:
        numbers = []
    if not numbers or (is_ramp and len(numbers) != 2):
        yield f"{where}: expected a finite number or [start, end], got {value!r}"
    elif key in POSITIVE_KEYS and min(numbers) <= 0:
        yield f"{where}: expected above 0, got {value!r}"
    elif min(numbers) < 0:
        yield f"{where}: expected 0 or more, got {value!r}"
    if is_ramp and is_last:
        yield f"{where}: the last phase has no end, so it can't ramp; give one number or add a phase"


def _order_faults(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [str(row["name"]) for row in rows if "name" in row]
    if len(set(names)) < len(names):
        yield f"names: expected each once, got {', '.join(names)}"
    starts = [(str(row.get("name")), row.get("start")) for row in rows]
    if starts and _is_episode(starts[0][1]) and starts[0][1] != 0:
        yield f"{starts[0][0]}.start: the first phase must begin at episode 0, got {starts[0][1]}"
    for (before, first), (after, second) in itertools.pairwise(starts):
        if _is_episode(first) and _is_episode(second) and second <= first:
            yield f"{after}.start: must come after {before}'s start {first}, got {second}"
