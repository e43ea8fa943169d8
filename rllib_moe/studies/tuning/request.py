"""The command line of `scripts/tune.py`: flags to a checked search.

The flags of `scripts/train.py` say what all trials share; the search's own are below. All faults are named in one
message before Ray starts or anything is written. The directory of a search keeps its request, for `--resume`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
import yaml

from rllib_moe.config import (
    ConfigError,
    EnvironmentConfig,
    ExperimentConfig,
    ModelConfig,
    RunConfig,
    Section,
    TrainingConfig,
)
from rllib_moe.envs.registry import environment_faults
from rllib_moe.phases import PhaseSchedule, ScheduleError
from rllib_moe.studies.tuning.search_space import BUNDLED, SearchSpace
from rllib_moe.studies.tuning.settings import ENV_ARG, SettingsError, Values
from rllib_moe.training.command_line import EnvironmentFlags, ScheduleFlags, read_flags, schedule_from_flags

PROGRAM = "tune.py"
REQUEST = "search.yaml"
"""File of the request in a search's directory."""
DEFAULT_TRIALS = 10


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Section):
    """The search: what is tried, how, and on what."""

    space: str | None = None
    """Search space: a YAML file, or `coefficients`, `routing` or `sizes`."""
    search: Literal["grid", "random", "optuna"] = "random"
    """Where trials come from: every combination of listed values, draws, or Optuna's proposals."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """Who goes on: all, those that ASHA lets pass, or all with the weak becoming changed copies of the strong (PBT)."""
    trials: int | None = None
    """Trials; 10 by default, and with grid every combination."""
    metric: Literal["score", "mutual_information"] = "score"
    """What is maximised, as the mean of the last 100 episodes."""
    exp_name: str = "search"
    """Name of the search; its directory is <output-dir>/<exp-name>."""
    output_dir: str = "results/tune"
    """Where search directories are made."""
    episodes: int = 5000
    """Episodes of a trial."""
    checkpoint_every: int = 500
    """Episodes between a trial's checkpoints: what an interruption can cost."""
    cpus_per_trial: float = 1.0
    """CPUs of a trial besides its workers; a fraction lets more trials than CPUs run at once."""
    max_concurrent: int | None = None
    """Trials at once; by default as many as there are CPUs for."""
    grace_episodes: int | None = None
    """ASHA stops no trial before this episode; a quarter of --episodes by default."""
    reduction_factor: float = 3.0
    """Of so many trials ASHA lets one pass each rung, and rungs lie so much apart."""
    perturb_every: int | None = None
    """Episodes between two comparisons of PBT; a fifth of --episodes by default."""
    address: str | None = None
    """Address of a Ray cluster; none starts Ray on this machine."""

    def faults(self) -> Iterator[str]:
        """Everything out of range or contradictory, in words."""
        for name in ("trials", "max_concurrent", "grace_episodes", "perturb_every"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                yield f"{name}: expected a whole number, 1 or more, got {value!r}"
        if not 0 < self.cpus_per_trial < float("inf"):
            yield f"cpus_per_trial: expected a number above 0, got {self.cpus_per_trial!r}"
        if not 1 < self.reduction_factor < float("inf"):
            yield f"reduction_factor: expected a number above 1, got {self.reduction_factor!r}"
        if self.grace_episodes is not None and self.grace_episodes > self.episodes:
            yield f"grace_episodes: expected at most episodes={self.episodes}, got {self.grace_episodes}"
        if self.space is None:
            yield f"space: expected a YAML file or one of {', '.join(BUNDLED)}"
        scheduled = {"grace_episodes": "asha", "reduction_factor": "asha", "perturb_every": "pbt"}
        for name, scheduler in scheduled.items():
            if self.scheduler != scheduler and getattr(self, name) != getattr(type(self), name):
                yield f"{name}: is for --scheduler {scheduler}, got --scheduler {self.scheduler}"
        if self.search == "grid" and self.trials is not None:
            yield "trials: grid tries every combination once; give no number, or --search random"
        if self.scheduler == "pbt" and self.search == "optuna":
            yield "scheduler: pbt changes values itself; use --search random or grid"
        yield from self.run().faults()

    def run(self) -> RunConfig:
        """What a trial knows of its run."""
        return RunConfig(
            exp_name=self.exp_name,
            episodes=self.episodes,
            output_dir=self.output_dir,
            checkpoint_every=self.checkpoint_every,
            address=self.address,
        )

    @property
    def directory(self) -> Path:
        """Where the search is written."""
        return Path(self.output_dir) / self.exp_name


@dataclass(frozen=True)
class SearchRequest:
    """What a command line asks for, checked."""

    search: SearchConfig
    """The search."""
    space: SearchSpace
    """What is searched, with the experiment that all trials share."""
    candidates: tuple[Values, ...]
    """The trials' values; empty when Optuna proposes them."""
    refused: int
    """Draws that made no valid experiment."""
    is_resumed: bool
    """Whether the search began earlier."""

    def to_plain(self, command: Sequence[str]) -> dict[str, Any]:
        """What `REQUEST` holds."""
        return {
            "command": list(command),
            "search": self.search.to_dict(),
            "config": self.space.config.to_dict(),
            "schedule": self.space.schedule.to_dict(),
            "space": self.space.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class ResumeFlags:
    """Going on with an interrupted search: all its settings are those of its directory."""

    resume: str
    """Directory of the search."""
    address: str | None = None
    """Address of a Ray cluster; none starts Ray on this machine."""


def parse(arguments: Sequence[str], description: str) -> SearchRequest:
    """Read a command line.

    Args:
        arguments: The words after the program's name.
        description: What `--help` says about the program.

    Raises:
        ConfigError: naming every fault.
        SystemExit: `--help`, or a flag that is unknown or no number where one is due.
    """
    peek = argparse.ArgumentParser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    peek.add_argument("--resume")
    if peek.parse_known_args(list(arguments))[0].resume is not None:
        flags = tyro.cli(ResumeFlags, args=list(arguments), description=description, prog=PROGRAM)
        return resumed(flags)
    return _new(_flags(arguments, description))


def _flags(arguments: Sequence[str], description: str) -> Any:
    sections = {
        "search": SearchConfig(),
        "schedule": ScheduleFlags(),
        "environment": EnvironmentFlags.of(EnvironmentConfig()),
        # Several trials share a machine, so each samples in its own process.
        "training": TrainingConfig(num_workers=0),
        "model": ModelConfig(),
    }
    about = f"{description}\nTo go on with an interrupted search: --resume <its directory>."
    return read_flags(arguments, sections, about, PROGRAM)


def _new(flags: Any) -> SearchRequest:
    search: SearchConfig = flags.search
    faults = list(search.faults())
    config = ExperimentConfig(
        model=flags.model,
        environment=flags.environment.config(faults),
        training=flags.training,
        run=search.run(),
    )
    try:
        schedule = schedule_from_flags(flags.schedule, None, faults)
    except ScheduleError as error:
        faults += [f"{error.source}: {fault}" for fault in error.errors]
        schedule = PhaseSchedule.load("default")  # what the space says can still be checked
    # Faults of the configuration come with the space, which may mend them: hidden_size for another num_heads.
    space = None
    if search.space is not None:
        try:
            space = SearchSpace.load(search.space, config, schedule)
        except ConfigError as error:
            faults += error.errors
    if space is None:
        raise ConfigError(list(dict.fromkeys([*faults, *config.faults()])))
    candidates, refused = _candidates(search, space, faults)
    faults += [] if faults else _environment_faults(space)
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return SearchRequest(search, space, candidates, refused, is_resumed=False)


def _candidates(search: SearchConfig, space: SearchSpace, faults: list[str]) -> tuple[tuple[Values, ...], int]:
    """The trials' values, as far as they are known beforehand, and how many draws were refused."""
    candidates: list[Values] = []
    refused = 0
    try:
        if search.search == "grid":
            candidates = space.combinations()
        elif search.search == "random":
            generator = np.random.default_rng(space.config.training.seed)
            for _ in range(search.trials or DEFAULT_TRIALS):
                values, more = space.draw(generator)
                candidates.append(values)
                refused += more
    except ConfigError as error:
        faults += error.errors
    if search.scheduler == "pbt" and len(candidates) == 1:
        faults.append("trials: pbt compares trials; expected 2 or more, got 1")
    return tuple(candidates), refused


def _environment_faults(space: SearchSpace) -> Iterator[str]:
    """Make the environment once with each argument that is searched, so that a wrong one is refused at once."""
    generator = np.random.default_rng(0)
    values, _ = space.draw(generator)
    variants = [values]
    for parameter in space.parameters:
        if any(name.startswith(ENV_ARG) for name in parameter.names):
            variants += [{**values, parameter.name: value} for value in parameter.corners()]
    told: set[str] = set()
    for variant in variants:
        try:
            environment = space.settled(variant)[0].environment
        except SettingsError:  # this value needs others beside it
            continue
        told |= set(environment_faults(environment.env, environment.max_steps, environment.env_args))
    yield from sorted(told)


def resumed(flags: ResumeFlags) -> SearchRequest:
    """The request of a search that began earlier.

    Raises:
        ConfigError: there is none in the directory, or it was written by another version.
    """
    directory = Path(flags.resume).resolve()  # its own name and place, whatever leads there
    file = directory / REQUEST
    if not file.is_file():
        raise ConfigError([f"resume: {directory} holds no search ({REQUEST} is missing)"])
    try:
        plain = yaml.safe_load(file.read_text())
        search = SearchConfig.from_dict(plain["search"])
        search = dataclasses.replace(
            search, exp_name=directory.name, output_dir=os.path.relpath(directory.parent), address=flags.address
        )
        space = SearchSpace.from_dict(
            plain["space"], ExperimentConfig.from_dict(plain["config"]), PhaseSchedule.from_dict(plain["schedule"])
        )
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:  # ConfigError and ScheduleError are ValueErrors
        raise ConfigError([f"resume: {file} is damaged or was written by another version: {error}"]) from error
    return SearchRequest(search, space, (), 0, is_resumed=True)
