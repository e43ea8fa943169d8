"""What the names of a search space stand for: values put into an experiment's configuration and schedule. Pure.

Names are those of `scripts/train.py`: `<phase>.<key>` and `*.<key>` as in `--set` (`<phase>.start` is its first
episode; `<phase>.<key>.from` and `.to` are the ends of a ramp), `phase_boundaries` with a list, the fields of
`TrainingConfig` and `ModelConfig`, and `env_arg.<name>`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rllib_moe.config import ExperimentConfig, ModelConfig, TrainingConfig
from rllib_moe.phase_checks import PHASE_KEYS, VALUE_KEYS, ScheduleError
from rllib_moe.phases import PhaseSchedule
from rllib_moe.validation import did_you_mean

Values = dict[str, Any]
"""One trial's value for every parameter of the space, by the parameter's name."""

BOUNDARIES = "phase_boundaries"
ENV_ARG = "env_arg."
RAMP_ENDS = ("from", "to")

SAME_IN_ALL_TRIALS = ("algo", "num_workers", "num_gpus")
"""Fields that say what a trial runs on: flags of the search, not parameters."""
MODEL_FIELDS = tuple(each.name for each in dataclasses.fields(ModelConfig))
TRAINING_FIELDS = tuple(each.name for each in dataclasses.fields(TrainingConfig) if each.name not in SAME_IN_ALL_TRIALS)
MUTABLE_FIELDS = ("num_epochs", "gamma", "gae_lambda", "clip_param", "vf_loss_coef", "grad_clip")
"""Training fields that may change in the middle of a run: no shape, batch or seed hangs on them."""


class SettingsError(ValueError):
    """Values do not make a valid experiment. The message lists every fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


def name_fault(name: str, schedule: PhaseSchedule) -> str | None:
    """What is wrong with a parameter's name, None when it is known."""
    if name == BOUNDARIES or name in MODEL_FIELDS or name in TRAINING_FIELDS:
        return None
    if name in SAME_IN_ALL_TRIALS:
        return f"{name}: is the same in all trials; give it as a flag"
    if name.startswith(ENV_ARG) and name != ENV_ARG:
        return None
    phase, key, end = split_name(name)
    phases = [each.name for each in schedule.phases]
    if not phase:
        known = [
            *TRAINING_FIELDS,
            *MODEL_FIELDS,
            BOUNDARIES,
            *(f"{each}.{key}" for each in phases for key in PHASE_KEYS),
        ]
        return f"{name}: unknown parameter{did_you_mean(name, known)}"
    if phase != "*" and phase not in phases:
        return f"{name}: no phase {phase!r}{did_you_mean(phase, ['*', *phases])}"
    keys = [each for each in PHASE_KEYS if each != "name"]
    if key not in keys:
        return f"{name}: unknown key {key!r}{did_you_mean(key, keys)}"
    if phase == "*" and (key == "start" or end):
        return f"{name}: expected the name of one phase in place of '*'"
    if end and key not in VALUE_KEYS:
        return f"{name}: {key} is no value that can ramp"
    return None


def split_name(name: str) -> tuple[str, str, str]:
    """Phase, key and end of ramp that a name stands for; empty where it has none. A phase's name may hold dots."""
    path, _, end = name.rpartition(".")
    if end not in RAMP_ENDS or "." not in path:
        path, end = name, ""
    phase, _, key = path.rpartition(".")
    return phase, key, end


def is_mutable(name: str) -> bool:
    """Whether a parameter may change in the middle of a run without moving its episode count to another phase."""
    return name in MUTABLE_FIELDS or (not name.startswith(ENV_ARG) and split_name(name)[1] in VALUE_KEYS)


def settled(
    config: ExperimentConfig, schedule: PhaseSchedule, values: Mapping[str, Any]
) -> tuple[ExperimentConfig, PhaseSchedule]:
    """Put values into a configuration and a schedule.

    Args:
        config: What holds for all trials.
        schedule: The schedule that is changed.
        values: One trial's values; the names must be known (`name_fault`).

    Raises:
        SettingsError: they do not make a valid configuration and schedule; names every fault.
    """
    single = {name.strip(): value for names, value in values.items() for name in names.split(",")}
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **_picked(single, MODEL_FIELDS)),
        training=dataclasses.replace(config.training, **_picked(single, TRAINING_FIELDS)),
        environment=dataclasses.replace(
            config.environment,
            env_args=config.environment.env_args
            | {name.removeprefix(ENV_ARG): value for name, value in single.items() if name.startswith(ENV_ARG)},
        ),
    )
    faults = list(config.faults())
    try:
        schedule = _changed(schedule, single)
    except ScheduleError as error:
        faults += error.errors
    if faults:
        raise SettingsError(faults)
    return config, schedule


def _picked(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _changed(schedule: PhaseSchedule, values: Mapping[str, Any]) -> PhaseSchedule:
    """The schedule with all its values replaced at once: two boundaries may only be in order together."""
    if BOUNDARIES in values:
        boundaries = values[BOUNDARIES]
        if not isinstance(boundaries, list) or not all(type(each) is int for each in boundaries):
            raise ScheduleError([f"{BOUNDARIES}: expected a list of whole numbers, got {boundaries!r}"])
        schedule = schedule.with_boundaries(boundaries)
    rows = {row["name"]: row for row in schedule.to_dict()["phases"]}
    ends = []
    for name, value in values.items():
        phase, key, end = split_name(name)
        if name.startswith(ENV_ARG) or not phase:
            continue
        if end:
            ends.append((phase, key, end, value))
            continue
        for row in rows.values() if phase == "*" else [rows[phase]]:
            row[key] = value
    for phase, key, end, value in ends:  # after the whole values, which they change
        now = rows[phase].get(key)
        ramp = list(now) if isinstance(now, (list, tuple)) else [now, now]
        ramp[RAMP_ENDS.index(end)] = value
        rows[phase][key] = ramp
    return PhaseSchedule.from_dict({"phases": list(rows.values())})
