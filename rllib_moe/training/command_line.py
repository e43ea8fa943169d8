"""The command line of `scripts/train.py`: flags to a checked configuration and schedule.

Every field of `config.py` is a flag. With `--resume`, flags not given keep the value of the run that is resumed. All
faults are named in one message before Ray starts or anything is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
import yaml

from rllib_moe.config import ConfigError, EnvironmentConfig, ExperimentConfig
from rllib_moe.phases import PhaseSchedule, ScheduleError
from rllib_moe.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from rllib_moe.training.storage import Fetched, StorageError, fetch, is_uri

PROGRAM = "train.py"
"""Name of the program in its usage."""


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """The phase schedule."""

    schedule: str | None = None
    """Schedule file, or `default` or `v3`; `default` when neither this nor --resume is given."""
    phase_boundaries: str | None = None
    """First episodes of the phases after the first, such as 1000,3000."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One value of the schedule, such as transition.temperature=[1.0,0.5] or *.learning_rate=3e-4; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentFlags(EnvironmentConfig):
    """The environment."""

    env_args: tyro.conf.Suppress[dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Keyword arguments that hold where no flag says otherwise."""
    env_arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One keyword argument of the environment, such as depth_bonus=1.0; may be repeated."""

    @classmethod
    def of(cls, environment: EnvironmentConfig) -> EnvironmentFlags:
        """The flags whose defaults are an environment's values."""
        return cls(**vars(environment))

    def config(self, faults: list[str]) -> EnvironmentConfig:
        """The environment that is asked for.

        Args:
            faults: Gets one entry an argument that cannot be read.
        """
        return EnvironmentConfig(
            env=self.env,
            max_steps=self.max_steps,
            env_args={**self.env_args, **assignments("env_arg", self.env_arg, faults)},
            step_timeout=self.step_timeout,
        )


@dataclass(frozen=True)
class Request:
    """What a command line asks for, checked."""

    config: ExperimentConfig
    """The configuration."""
    schedule: PhaseSchedule
    """The phases."""
    resumed: Checkpoint | None
    """The checkpoint to go on from."""
    fetched: Fetched | None = None
    """Where that checkpoint lies when it came from a storage."""


def parse(arguments: Sequence[str], description: str) -> Request:
    """Read a command line.

    Args:
        arguments: The words after the program's name.
        description: What `--help` says about the program.

    Raises:
        ConfigError: naming every fault of configuration and schedule.
        CheckpointError: the checkpoint to resume is missing or damaged.
        SystemExit: `--help`, or a flag that is unknown or no number where one is due.
    """
    peek = argparse.ArgumentParser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    peek.add_argument("--resume")
    resume = peek.parse_known_args(list(arguments))[0].resume
    resumed, fetched = _resumed(resume)
    base = resumed.config if resumed and fetched else _base(resumed)
    flags = _flags(arguments, base, description)

    faults: list[str] = []
    config = ExperimentConfig(
        model=flags.model,
        environment=flags.environment.config(faults),
        training=flags.training,
        run=flags.run,
    )
    faults += config.faults()
    schedule = None
    try:
        schedule = schedule_from_flags(flags.schedule, resumed, faults)
    except ScheduleError as error:
        faults += [f"{error.source}: {fault}" for fault in error.faults]
    if resumed:
        faults += _misfits(config, resumed)
    if faults or schedule is None:
        raise ConfigError(faults)
    return Request(config, schedule, resumed, fetched)


def _resumed(resume: str | None) -> tuple[Checkpoint | None, Fetched | None]:
    """The checkpoint to go on from, verified, and the run it was fetched with if it was."""
    if resume is None:
        return None, None
    if not is_uri(resume):
        return load_checkpoint(resume), None
    try:
        fetched = fetch(resume)
    except StorageError as error:
        raise CheckpointError(f"checkpoint {error}") from error
    return load_checkpoint(fetched.checkpoint), fetched


def _base(resumed: Checkpoint | None) -> ExperimentConfig:
    """What holds where no flag is given: the defaults, or the resumed run, which is where its checkpoint lies now."""
    if resumed is None:
        return ExperimentConfig()
    directory = resumed.path.parents[1]
    if resumed.path.parent.name != "checkpoints":
        return resumed.config
    run = dataclasses.replace(resumed.config.run, exp_name=directory.name, output_dir=os.path.relpath(directory.parent))
    return dataclasses.replace(resumed.config, run=run)


def _flags(arguments: Sequence[str], base: ExperimentConfig, description: str) -> Any:
    """Parse the flags with the values of `base` as defaults."""
    sections = {
        "run": dataclasses.replace(base.run, resume=None),
        "schedule": ScheduleFlags(),
        "environment": EnvironmentFlags.of(base.environment),
        "training": base.training,
        "model": base.model,
    }
    return read_flags(arguments, sections, description, PROGRAM)


def read_flags(arguments: Sequence[str], sections: Mapping[str, Any], description: str, program: str) -> Any:
    """Read flags whose names are the fields of several dataclasses, without a prefix.

    Args:
        arguments: The words after the program's name.
        sections: Instances of the dataclasses, which hold the defaults, by name.
        description: What `--help` says about the program.
        program: Its name in the usage.

    Returns:
        An object with the sections that were asked for as its attributes.

    Raises:
        SystemExit: `--help`, or a flag that is unknown or no number where one is due.
    """
    fields = [
        (name, Annotated[type(section), tyro.conf.arg(name="")], dataclasses.field(default=section))
        for name, section in sections.items()
    ]
    flags = dataclasses.make_dataclass("Flags", fields, frozen=True)
    return tyro.cli(
        flags, args=list(arguments), description=description, config=(tyro.conf.OmitArgPrefixes,), prog=program
    )


def assignments(flag: str, words: Sequence[str], faults: list[str]) -> dict[str, Any]:
    """Read `name=value` words, values as YAML.

    Args:
        flag: Where the words were given, for the faults.
        words: The words.
        faults: Gets one entry a word that cannot be read.

    Returns:
        What could be read.
    """
    read: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            faults.append(f"{flag}: expected name=value, got {word!r}")
            continue
        try:
            read[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
            faults.append(f"{flag}: expected name=value with a YAML value, got {word!r}")
            continue
        if isinstance(read[name], str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", read[name]):
            read[name] = float(read[name])  # YAML 1.1 takes 1e-4, without a dot or a sign, for a string
    return read


def schedule_from_flags(flags: ScheduleFlags, resumed: Checkpoint | None, faults: list[str]) -> PhaseSchedule:
    """The schedule asked for: bundled, from a file or from the resumed run, then boundaries, then single values.

    Args:
        flags: The flags.
        resumed: The checkpoint to go on from.
        faults: Gets what is wrong with the boundaries.

    Raises:
        ScheduleError: anything else that is wrong.
    """
    if flags.schedule is None and resumed:
        schedule = resumed.schedule
    else:
        schedule = PhaseSchedule.load(flags.schedule or "default")
    if flags.phase_boundaries is not None:
        words = flags.phase_boundaries.split(",")
        if all(re.fullmatch(r"\s*\d+\s*", word) for word in words):
            try:
                schedule = schedule.with_boundaries([int(word) for word in words])
            except ScheduleError as error:  # go on: the single values may have faults of their own
                faults += [f"phase_boundaries: {fault}" for fault in error.faults]
        else:
            faults.append(f"phase_boundaries: expected whole numbers such as 1000,3000, got {flags.phase_boundaries!r}")
    overrides = assignments("set", flags.set, faults)
    return schedule.with_overrides(overrides) if overrides else schedule


def _misfits(config: ExperimentConfig, resumed: Checkpoint) -> list[str]:
    """Why a checkpoint cannot go on under a configuration."""
    faults = [
        f"{name}: the checkpoint was made with {was!r}, this run asks for {getattr(config.model, name)!r}"
        for name, was in vars(resumed.config.model).items()
        if getattr(config.model, name) != was
    ]
    if config.environment.env != resumed.config.environment.env:
        faults.append(
            f"env: the checkpoint was made on {resumed.config.environment.env!r}, got {config.environment.env!r}"
        )
    if config.run.episodes <= resumed.episodes:
        faults.append(
            f"episodes: the checkpoint stands at episode {resumed.episodes}; the total must be above it, "
            f"got {config.run.episodes}"
        )
    return faults
