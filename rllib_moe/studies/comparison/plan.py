"""The plan of a comparison: variants of one experiment, the seeds of each, and how they are evaluated. Read from YAML.

The experiment of every run is made before the first one starts, so that hours of runs do not end at a typing error.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rllib_moe.evaluation.spec import seed_errors
from rllib_moe.experiment import Experiment
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.words import did_you_mean
from rllib_moe.validation.yaml_files import bundled_files

BUNDLED = bundled_files(Path(__file__).parent / "plans")
"""Files of the plans that come with the package, by name."""
FROZEN = "frozen"
"""Name of the variant, where there is one, whose router keeps its random start: the null of what the gate tells."""
NORMALIZED = "normalized_mean"
"""Name of the outcome that a plan with `normalize` adds to every evaluation."""
INFORMATION = "information."
"""Begin of the name of an outcome: the share of a label's entropy that the gate tells."""
OUTCOMES = ("score_mean", "score_median", "return_mean", "length_mean", "alpha_entropy", "mutual_information")
"""Outcomes of every evaluation; an environment's own measures are outcomes too."""
RESERVED = {
    "episodes": "expected the plan's own `episodes`",
    "seed": "expected the plan's own `seeds`",
    "exp_name": "a run is named by its variant and seed",
    "output_dir": "the directory of the runs is that of the command, --output-dir",
}
"""Settings of a run that the plan gives it, with what is said of an override of one."""

Test = Literal["sign-flips", "t"]
"""`sign-flips`: paired permutation test, which assumes nothing and whose least p is 2 / 2^seeds; `t`: paired t-test,
which assumes normal differences."""


class EvaluationSpec(Settings):
    """Evaluation of every run."""

    episodes: int = Field(ge=1)
    """Episodes with drawn actions."""
    seed_base: int = Field(ge=0)
    """Seed of the first one."""
    most_probable_episodes: int | None = Field(None, ge=0)
    """Episodes with the most probable actions; None as many as with drawn ones, 0 leaves that out."""
    without_expert_episodes: int = Field(0, ge=0)
    """Episodes with each expert of the reference and of a variant named `frozen` removed in turn; 0 none."""
    baselines: list[str] = Field(default_factory=list)
    """Players that learn nothing, to stand beside the variants: `random`, `random-legal` and the environment's own."""

    @property
    def most_probable(self) -> int:
        """Episodes with the most probable actions."""
        return self.episodes if self.most_probable_episodes is None else self.most_probable_episodes

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if errors := seed_errors(self.seed_base, max(self.episodes, self.most_probable, self.without_expert_episodes)):
            raise ConfigError(errors)
        return self

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


@dataclass(frozen=True)
class PlannedRun:
    """One training of a plan."""

    variant: str
    experiment: Experiment
    """Its experiment but the `output_dir`."""

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return self.experiment.run.exp_name

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return self.experiment.training.seed


class Plan(Settings):
    """A comparison: every variant with every seed, and the one outcome that is tested, fixed before the first run.

    Raises:
        ConfigError: naming every error of the plan, or else of its runs' experiments.
    """

    file_kind: ClassVar[str] = "plan"
    bundled: ClassVar[Mapping[str, Path]] = BUNDLED

    episodes: int = Field(ge=1)
    """Training episodes of each run."""
    config: Experiment = Experiment()
    """Experiment that all variants begin with; in a file also a path, or the name of a bundled one."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values of all variants over those of `config`."""
    evaluation: EvaluationSpec
    """Evaluation of the runs."""
    variants: list[Variant] = Field(min_length=1)
    """The variants."""
    seeds: list[int] = Field(min_length=1)
    """Seeds that each variant is trained with: variants are compared seed by seed."""
    normalize: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)
    """Values of the environment's own measures that count as 0 and as 1 (a random player's and the best single-task
    policy's): the mean over these measures, so normalized, is the outcome `normalized_mean`."""
    primary: str = "score_mean"
    """The outcome that is tested: a number of the evaluation with drawn actions, or `information.<label>`."""
    reference: str | None = None
    """Name of the variant that the others are compared with; by default the first."""
    test: Test = "sign-flips"
    """Test of the differences, over the seeds."""

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected different seeds, got {seeds!r}")
        return seeds

    @field_validator("normalize")
    @classmethod
    def _check_normalize(cls, normalize: dict[str, list[float]]) -> dict[str, list[float]]:
        if alike := [name for name, (zero, one) in normalize.items() if zero == one]:
            raise ValueError(f"expected two different values, got one for {', '.join(alike)}")
        return normalize

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
        if self.reference not in (None, *names):
            errors.append(f"reference: no variant {self.reference!r}{did_you_mean(str(self.reference), names)}")
        for source, overrides in {"": self.overrides, **{f"{v.name}: ": v.overrides for v in self.variants}}.items():
            errors += [f"{source}overrides: {RESERVED[name]}, got {name!r}" for name in RESERVED if name in overrides]
        for variant, seed in itertools.product(self.variants, self.seeds):
            try:
                self._run(variant, seed)
            except ConfigError as error:
                errors += [f"{variant.name}: {each}" for each in error.errors]
        if errors:
            raise ConfigError(dict.fromkeys(errors))
        return self

    def runs(self) -> list[PlannedRun]:
        """Return all runs: first seeds first, so that an early stop leaves something of every variant."""
        return [self._run(variant, seed) for seed in self.seeds for variant in self.variants]

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Experiment of each variant with the first seed, for what is the same with every seed."""
        return {variant.name: self._run(variant, self.seeds[0]).experiment for variant in self.variants}

    @property
    def reference_name(self) -> str:
        """Name of the variant that the others are compared with."""
        return self.reference or self.variants[0].name

    def _run(self, variant: Variant, seed: int) -> PlannedRun:
        own = {"exp_name": f"{variant.name}-seed{seed}", "episodes": self.episodes, "seed": seed}
        return PlannedRun(variant.name, self.config.with_overrides({**self.overrides, **variant.overrides, **own}))
