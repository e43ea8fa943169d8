"""The plan of a comparison: variants of one training, the seeds of each, and how they are judged. Read from YAML.

Every training command of the plan is parsed before the first one starts, so that hours of runs do not end at a typing
error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.description import describe
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.request import policy_error
from rllib_moe.training.checkpoints import CheckpointError
from rllib_moe.training.command_line import parse
from rllib_moe.validation import ConfigError, did_you_mean

BUNDLED = ("nethack",)
"""Plans that come with the package, by name."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How every run is judged."""

    episodes: int
    """Episodes with drawn actions."""
    seed_base: int
    """Seed of the first one."""
    most_probable_episodes: int | None = None
    """Episodes with the most probable actions; None as many as with drawn ones, 0 leaves that out."""
    without_expert_episodes: int = 0
    """Episodes with each expert of the first variant removed in turn; 0 leaves that out."""
    baselines: tuple[str, ...] = ()
    """Players that learn nothing, to stand beside the variants: `random`, `random-legal` and the environment's own."""

    @property
    def num_most_probable(self) -> int:
        """Episodes with the most probable actions in force."""
        return self.episodes if self.most_probable_episodes is None else self.most_probable_episodes


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of training."""

    name: str
    """Short name, part of its runs' names."""
    about: str = ""
    """What it is, in a line."""
    flags: tuple[str, ...] = ()
    """Its flags of scripts/train.py, after the plan's."""
    seeds: tuple[int, ...]
    """Seeds to train with."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of a plan."""

    variant: str
    """The variant's name."""
    seed: int
    """Seed of the training."""
    flags: tuple[str, ...]
    """All flags of scripts/train.py but name and directory."""

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return f"{self.variant}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison; the first variant is what the others are compared with."""

    episodes: int
    """Training episodes of each run."""
    flags: tuple[str, ...]
    """Flags of scripts/train.py for all variants."""
    evaluation: Evaluation
    """How the runs are judged."""
    variants: tuple[Variant, ...]
    """The variants, the reference first."""
    chosen: frozenset[str] | None = None
    """Names of the variants to carry out now; None all."""

    def runs(self) -> Iterator[Run]:
        """All runs: first seeds first, so that an early stop leaves something of every variant."""
        for place in range(max(len(variant.seeds) for variant in self.variants)):
            for variant in self.variants:
                if place < len(variant.seeds):
                    yield self._run(variant, variant.seeds[place])

    def chosen_runs(self) -> Iterator[Run]:
        """The runs to carry out now, in the same order."""
        return (run for run in self.runs() if self.chosen is None or run.variant in self.chosen)

    @property
    def environment(self) -> EnvironmentConfig:
        """The environment of the first variant: that of the baselines."""
        return parse(next(self.runs()).flags, description="").config.environment

    def of_reference(self, run: Run) -> bool:
        """Whether a run is one of the first variant's."""
        return run.variant == self.variants[0].name

    def only(self, names: list[str]) -> Plan:
        """The plan with some of its variants chosen; what the others have found already still counts.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        known = [variant.name for variant in self.variants]
        unknown = [name for name in names if name not in known]
        if faults := [f"variants: no variant {name!r}{did_you_mean(name, known)}" for name in unknown]:
            raise ConfigError(faults)
        if not names:
            raise ConfigError([f"variants: expected at least one of {', '.join(known)}"])
        return dataclasses.replace(self, chosen=frozenset(names))

    def _run(self, variant: Variant, seed: int) -> Run:
        own = ("--episodes", str(self.episodes), "--seed", str(seed))
        return Run(variant=variant.name, seed=seed, flags=(*self.flags, *variant.flags, *own))


def load_plan(source: str) -> Plan:
    """Read a plan by the name of a bundled one, or from a YAML file.

    Raises:
        ConfigError: naming every fault: of the file, of its keys and values, and of every training command.
    """
    try:
        path = resources.files(__package__) / "plans" / f"{source}.yaml" if source in BUNDLED else Path(source)
        data = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no text, or a date that does not exist
        known = ", ".join(BUNDLED)
        raise ConfigError(
            [f"plan: cannot read {source!r} ({error}); expected a YAML file or one of {known}"]
        ) from error
    if faults := list(_faults(data)):
        raise ConfigError([f"{source}: {fault}" for fault in faults])
    plan = Plan(
        episodes=data["episodes"],
        flags=tuple(shlex.split(data.get("flags", ""))),
        evaluation=Evaluation(**data["evaluation"] | {"baselines": tuple(data["evaluation"].get("baselines", ()))}),
        variants=tuple(
            Variant(**row | {"flags": tuple(shlex.split(row.get("flags", ""))), "seeds": tuple(row["seeds"])})
            for row in data["variants"]
        ),
    )
    faults = [fault for run in plan.runs() for fault in _command_faults(run)]
    if faults := faults or list(_baseline_faults(plan)):
        raise ConfigError([f"{source}: {fault}" for fault in faults])
    return plan


def _faults(data: Any) -> Iterator[str]:
    """Everything wrong with the plain form but the training commands."""
    if not isinstance(data, Mapping):
        yield f"expected a mapping, got {data!r}"
        return
    yield from _key_faults("plan", data, needed=("episodes", "evaluation", "variants"), optional=("flags",))
    yield from _whole_fault("episodes", data.get("episodes", 1), least=1)
    yield from _flags_fault("flags", data.get("flags", ""))
    evaluation = data.get("evaluation", {"episodes": 1, "seed_base": 0})
    if isinstance(evaluation, Mapping):
        optional = ("most_probable_episodes", "without_expert_episodes")
        yield from _key_faults("evaluation", evaluation, ("episodes", "seed_base"), (*optional, "baselines"))
        names = evaluation.get("baselines", [])
        if not isinstance(names, list) or len(set(map(str, names))) < len(names):
            yield f"evaluation.baselines: expected a list of different names, got {names!r}"
        for key, least in (("episodes", 1), ("seed_base", 0), *((key, 0) for key in optional)):
            yield from _whole_fault(f"evaluation.{key}", evaluation.get(key, least), least)
    else:
        yield f"evaluation: expected a mapping, got {evaluation!r}"
    variants = data.get("variants", [None])
    if not isinstance(variants, list) or not variants:
        yield f"variants: expected a list of at least one, got {variants!r}"
        return
    names = []
    for index, row in enumerate(variants):
        if not isinstance(row, Mapping):
            if "variants" in data:
                yield f"variants[{index}]: expected a mapping, got {row!r}"
            continue
        where = f"variants[{index}]"
        yield from _key_faults(where, row, ("name", "seeds"), ("about", "flags"))
        name, seeds = row.get("name", "variant"), row.get("seeds", [0])
        if not isinstance(name, str) or not name or Path(name).name != name or name in names:
            yield f"{where}.name: expected a plain directory name that no other variant has, got {name!r}"
        names.append(name)
        if not isinstance(row.get("about", ""), str):
            yield f"{where}.about: expected text, got {row['about']!r}"
        yield from _flags_fault(f"{where}.flags", row.get("flags", ""))
        if (
            not isinstance(seeds, list)
            or not seeds
            or not all(type(seed) is int for seed in seeds)
            or len(set(seeds)) < len(seeds)
        ):
            yield f"{where}.seeds: expected a list of different whole numbers, got {seeds!r}"


def _baseline_faults(plan: Plan) -> Iterator[str]:
    """Baselines that the plan's environment does not know."""
    if not plan.evaluation.baselines:
        return
    environment = plan.environment
    try:
        with closing(make_env(environment.env, max_steps=environment.max_steps, **environment.env_args)) as env:
            known = [name for name in describe(env).policies if name != "checkpoint"]
    except (ValueError, TypeError, ImportError) as error:
        yield f"env: {error}"
        return
    for name in plan.evaluation.baselines:
        if fault := policy_error(str(name), known):
            yield f"evaluation.baselines: {fault}"


def _key_faults(
    where: str, data: Mapping[str, Any], needed: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[str]:
    known = (*needed, *optional)
    yield from (f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}" for key in data if key not in known)
    yield from (f"{where}: {key} is missing" for key in needed if key not in data)


def _whole_fault(name: str, value: Any, least: int) -> Iterator[str]:
    if type(value) is not int or value < least:
        yield f"{name}: expected a whole number, {least} or more, got {value!r}"


def _flags_fault(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{name}: expected text, got {value!r}"
    else:
        try:
            shlex.split(value)
        except ValueError as error:
            yield f"{name}: {error}, got {value!r}"


def _command_faults(run: Run) -> Iterator[str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parse([*run.flags, "--exp-name", run.name], description="")
    except ConfigError as error:
        yield from (f"{run.name}: {fault}" for fault in error.errors)
    except CheckpointError as error:
        yield f"{run.name}: {error}"
    except SystemExit:  # the parser's own answer to an unknown flag
        yield f"{run.name}: flags refused: {shlex.join(run.flags)}\n{said.getvalue().strip()}"
