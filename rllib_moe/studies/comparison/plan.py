"""The plan of a comparison: variants of one experiment, the seeds of each, and how they are evaluated. Read from YAML.

The experiment of every run is made before the first one starts, so that hours of runs do not end at a typing error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from rllib_moe.experiment import Experiment
from rllib_moe.validation import ConfigError, Settings, bundled_files, load_yaml

BUNDLED = bundled_files(Path(__file__).parent / "plans")
"""Files of the plans that come with the package, by name."""


class EvaluationSpec(Settings):
    """Evaluation of every run."""

    episodes: int = Field(ge=1)
    """Episodes with drawn actions."""
    seed_base: int = Field(ge=0)
    """Seed of the first one."""
    most_probable_episodes: int | None = Field(None, ge=0)
    """Episodes with the most probable actions; None as many as with drawn ones, 0 leaves that out."""
    without_expert_episodes: int = Field(0, ge=0)
    """Episodes with each expert of the first variant removed in turn; 0 leaves that out."""
    baselines: list[str] = Field(default_factory=list)
    """Players that learn nothing, to stand beside the variants: `random`, `random-legal` and the environment's own."""

    @field_validator("baselines")
    @classmethod
    def _check_baselines(cls, names: list[str]) -> list[str]:
        if "checkpoint" in names or len(set(names)) < len(names):
            raise ValueError(f"expected different players that learn nothing, got {names!r}")
        return names


class Variant(Settings):
    """One way of training."""

    name: str = Field(min_length=1)
    """Short name, part of its runs' names."""
    about: str = ""
    """Description in a line."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Its values over those of the plan, by the names that `Experiment.with_overrides` knows."""
    seeds: list[int] = Field(min_length=1)
    """Seeds to train with."""

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected different seeds, got {seeds!r}")
        return seeds


@dataclass(frozen=True)
class PlannedRun:
    """One training of a plan."""

    variant: str
    """The variant's name."""
    experiment: Experiment
    """The experiment but its `output_dir`."""

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return self.experiment.run.exp_name

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return self.experiment.training.seed


class Plan(Settings):
    """A comparison; the first variant is what the others are compared with.

    Raises:
        ConfigError: naming every error of the plan, or else of its runs' experiments.
    """

    episodes: int = Field(ge=1)
    """Training episodes of each run."""
    config: Experiment = Experiment()
    """Experiment that all variants begin with; in a file also the path of one, such as config.yaml of a run."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values of all variants over those of `config`."""
    evaluation: EvaluationSpec
    """Evaluation of the runs."""
    variants: list[Variant] = Field(min_length=1)
    """The variants, the reference first."""

    @field_validator("config", mode="before")
    @classmethod
    def _load_config(cls, config: Any) -> Any:
        return Experiment.load(config) if isinstance(config, str) else config

    @field_validator("evaluation", mode="before")
    @classmethod
    def _read_evaluation(cls, evaluation: Any) -> Any:
        if isinstance(evaluation, EvaluationSpec):
            return evaluation
        try:
            return EvaluationSpec.from_dict(evaluation)
        except ConfigError as error:  # both a plan and its evaluation have episodes
            raise ConfigError(f"evaluation: {each}" for each in error.errors) from None

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        names = Counter(variant.name for variant in self.variants)
        errors = [f"variants: expected different names, got {name!r} twice" for name in names if names[name] > 1]
        for variant, seed in self._order():
            try:
                self._run(variant, seed)
            except ConfigError as error:
                errors += [f"{variant.name}: {each}" for each in error.errors]
        if errors:
            raise ConfigError(dict.fromkeys(errors))
        return self

    def runs(self) -> list[PlannedRun]:
        """Return all runs: first seeds first, so that an early stop leaves something of every variant."""
        return [self._run(variant, seed) for variant, seed in self._order()]

    def is_reference(self, run: PlannedRun) -> bool:
        """Return whether a run is one of the first variant's."""
        return run.variant == self.variants[0].name

    def _order(self) -> Iterator[tuple[Variant, int]]:
        for place in range(max(len(variant.seeds) for variant in self.variants)):
            for variant in self.variants:
                if place < len(variant.seeds):
                    yield variant, variant.seeds[place]

    def _run(self, variant: Variant, seed: int) -> PlannedRun:
        own = {"exp_name": f"{variant.name}-seed{seed}", "episodes": self.episodes, "seed": seed}
        return PlannedRun(variant.name, self.config.with_overrides({**self.overrides, **variant.overrides, **own}))


def load_plan(source: str) -> Plan:
    """Read a plan by the name of a bundled one, or from a YAML file.

    Raises:
        ConfigError: naming every error of the file.
    """
    return Plan.from_dict(load_yaml(source, BUNDLED, "plan"), f"plan {source}")
