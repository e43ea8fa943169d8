"""Overrides of a schedule: single values by name, from a flag, a plan or a search space. Pure.

Names are `<phase>.<key>`, `*.<key>` (every phase), `<phase>.<key>.from` and `.to` (one end of a ramp), where a key may
be `env.<argument of the environment>`, and `phase_boundaries` (first episodes of all phases but the first: a list, or a
text such as `1000,3000`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_moe.schedule.phases import KEYS, VALUES, PhaseSchedule, is_episode
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.words import did_you_mean

BOUNDARIES = "phase_boundaries"
"""Name under which overrides give the first episodes of all phases but the first."""
RAMP_ENDS = ("from", "to")
"""Suffixes under which overrides give one end of a ramp."""
ENV = "env."
"""Prefix of a key that stands for one argument of the environment."""


def override_schedule(schedule: PhaseSchedule, overrides: Mapping[str, Any]) -> PhaseSchedule:
    """Return a schedule with some of its values replaced, all at once.

    Args:
        schedule: The schedule.
        overrides: New values by name, such as
            `{"transition.temperature": [1.0, 0.5], "*.env.max_steps": 500, "phase_boundaries": [300, 700]}`.

    Raises:
        ConfigError: naming every unknown phase or key, and every value that is out of range.
    """
    errors = [error for name in overrides if (error := phase_override_error(name, schedule))]
    rows = {row["name"]: row for row in schedule.to_dict()["phases"]}
    if (boundaries := overrides.get(BOUNDARIES)) is not None:
        if isinstance(boundaries, str):
            boundaries = [int(word) if word.strip().isdecimal() else word for word in boundaries.split(",")]
        if not isinstance(boundaries, list) or not all(map(is_episode, boundaries)):
            errors.append(f"{BOUNDARIES}: expected whole episode numbers such as 1000,3000, got {boundaries!r}")
        elif len(boundaries) != len(rows) - 1:
            errors.append(f"{BOUNDARIES}: expected {len(rows) - 1} for {len(rows)} phases, got {boundaries}")
        else:
            for row, start in zip(list(rows.values())[1:], boundaries, strict=True):
                row["start"] = start
    if not errors:
        # Ends of ramps come after whole values, which they change.
        for name, value in sorted(overrides.items(), key=lambda item: bool(split_override(item[0])[2])):
            phase, key, end = split_override(name)
            for row in rows.values() if phase == "*" else [rows[phase]] if phase else ():
                values, place = (row["env"], key.removeprefix(ENV)) if key.startswith(ENV) else (row, key)
                values[place] = _with_end(values.get(place), end, value) if end else value
        try:
            return PhaseSchedule.from_dict({"phases": list(rows.values())})
        except ConfigError as error:
            errors += error.errors
    raise ConfigError(errors, "schedule override")


def phase_override_error(name: str, schedule: PhaseSchedule) -> str | None:
    """Return the reason why an override of this name is refused; None where it is known."""
    if name == BOUNDARIES:
        return None
    phase, key, end = split_override(name)
    names = [each.name for each in schedule.phases]
    if not phase:
        return f"{name}: expected <phase>.<key>, such as {names[0]}.temperature or *.temperature"
    if phase != "*" and phase not in names:
        return f"{name}: no phase {phase!r}{did_you_mean(phase, ['*', *names])}"
    if key in ("env", ENV):
        return f"{name}: expected an argument of the environment, such as {phase}.{ENV}max_steps"
    known = [each for each in KEYS if each != "name"]
    if key not in known and not key.startswith(ENV):
        return f"{name}: unknown key {key!r}{did_you_mean(key, known)}"
    if end and not can_ramp(key):
        return f"{name}: {key} is no value that can ramp"
    if phase == "*" and (key == "start" or end):
        return f"{name}: expected the name of one phase in place of '*'"
    return None


def can_ramp(key: str) -> bool:
    """Return whether a phase's value of this key may move from its first episode to its last."""
    return key in VALUES or key.startswith(ENV)


def split_override(name: str) -> tuple[str, str, str]:
    """Return phase, key and end of a ramp that an override's name stands for; empty where it has none.

    A phase's name may hold dots, a key holds none but that behind `env`.
    """
    path, _, end = name.rpartition(".")
    if end not in RAMP_ENDS or "." not in path:
        path, end = name, ""
    phase, _, key = path.rpartition(".")
    if phase.endswith(".env"):
        phase, key = phase.removesuffix(".env"), ENV + key
    return phase, key, end


def _with_end(value: Any, end: str, new: Any) -> list[Any]:
    """Return a value as a ramp with one end replaced."""
    ramp = list(value) if isinstance(value, list) else [value, value]
    ramp[RAMP_ENDS.index(end)] = new
    return ramp
