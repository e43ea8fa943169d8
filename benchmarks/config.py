"""Settings of a benchmark: flags to a checked configuration.

Network, training and schedule are those of `scripts/train.py`, by the same flags, so that a setting can be measured
before it is used. The stock reference has settings of its own: it stays what it is while ours are tuned.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rllib_moe.cli.experiment_flags import add_experiment_flags, experiment_of
from rllib_moe.cli.flags import Parser
from rllib_moe.config import TrainingConfig
from rllib_moe.experiment import Experiment
from rllib_moe.runtime.files import file_errors
from rllib_moe.training.fit import experiment_errors
from rllib_moe.validation.errors import ConfigError, collected
from rllib_moe.validation.settings import Settings

STOCK_PREFIX = "stock."
"""Prefix of the stock reference's flags."""
REPEATS = {"quick": 3, "full": 7}
"""Measured iterations of whole training, and repeats of every single measurement."""
ALGORITHM_NAMES: tuple[str, ...] = get_args(TrainingConfig.model_fields["algo"].annotation)
"""Algorithms there are."""
TRAIN = "scripts/train.py"
"""The command of a training in a checkout."""
MODES = {
    "soak": (),
    "algorithms": ("minutes",),
    "minutes_to_score": ("seeds", "episodes", "checkouts"),
    "phase_push": (),
    "encoders": (),
}
"""Settings that leave out all other measurements, with those that are of one alone."""
FULL_SCALING = (1, 2, 4)
"""Scaling factors of a run that is not quick."""


def _listed(expected: str, is_item: Callable[[str], object], kind: Callable[[str], Any] = str) -> BeforeValidator:
    """Return a reader of items with commas between them."""

    def read(items: Any) -> Any:
        if isinstance(items, tuple):
            return items
        words = str(items).split(",") if items != "" else []
        if wrong := [word for word in words if not is_item(word)]:
            raise ValueError(f"expected {expected}, got {','.join(wrong)!r}")
        return tuple(map(kind, words))

    return BeforeValidator(read)


_NUMBERS: Any = {"metavar": "N,N"}
Numbers = Annotated[tuple[int, ...], _listed("whole numbers such as 1,2,4", re.compile(r"[1-9]\d*").fullmatch, int)]
"""Whole numbers above 0."""
Seeds = Annotated[tuple[int, ...], _listed("seeds such as 0,1,2", re.compile(r"\d{1,9}").fullmatch, int)]
Algorithms = Annotated[
    tuple[str, ...], _listed(f"names from {','.join(ALGORITHM_NAMES)}", ALGORITHM_NAMES.__contains__)
]
Checkouts = Annotated[
    tuple[str, ...], _listed(f"directories with {TRAIN}", lambda word: (Path(word) / TRAIN).is_file())
]


class StockConfig(Settings):
    """The stock reference: RLlib's PPO with its default network and default hyperparameters, but for these."""

    num_workers: int = 2
    """Rollout workers."""
    num_envs_per_worker: int = 16
    """Environments of one worker."""
    batch_size: int = 4096
    """Environment steps a learning iteration."""
    minibatch_size: int = 512
    """Rows of one gradient step."""
    num_epochs: int = 4
    """Passes over each batch."""

    @model_validator(mode="after")
    def _check_as_ours(self) -> Self:
        """Refuse what our own training would not take either."""
        try:
            TrainingConfig(**dict(self))
        except ConfigError as error:
            raise ConfigError([f"{STOCK_PREFIX}{each}" for each in error.errors]) from None
        return self


class BenchmarkConfig(Settings):
    """One benchmark."""

    quick: bool = False
    """Fewer repeats and no scaling: about two minutes on 2 cores."""
    repeats: int | None = Field(None, ge=1)
    """Measured iterations; the median counts. None: 7, quick 3."""
    scaling: Numbers | None = Field(None, json_schema_extra=_NUMBERS)
    """Factors such as 1,2,4: so many workers; so many times the environments of a worker. None: 1,2,4, quick none."""
    soak: float = Field(0.0, ge=0)
    """Minutes of training in which memory, files and directories are watched; above 0 nothing else is measured."""
    algorithms: Algorithms = Field((), json_schema_extra={"metavar": "NAME,NAME"})
    """Algorithms such as ppo,appo to train in turn for equal wall time; nothing else is measured then."""
    minutes: float = Field(3.0, gt=0)
    """Minutes of training of each of `algorithms`."""
    minutes_to_score: Numbers = Field((), json_schema_extra=_NUMBERS)
    """Scores such as 300,400: minutes of training until the mean of the last 200 episodes is above each; nothing else
    is measured then."""
    seeds: Seeds = Field((0, 1, 2), min_length=1, json_schema_extra=_NUMBERS)
    """Seeds of `minutes_to_score`, a training each."""
    episodes: int = Field(5000, ge=1)
    """Episodes after which a training of `minutes_to_score` is given up."""
    checkouts: Checkouts = Field((".",), min_length=1, json_schema_extra={"metavar": "DIRECTORY,DIRECTORY"})
    """Directories such as .,../before whose scripts/train.py is measured by `minutes_to_score`, in turn."""
    phase_push: Numbers = Field((), json_schema_extra=_NUMBERS)
    """Numbers of workers such as 2,16,128: what sending weights and phase to them costs; nothing else is measured."""
    encoders: bool = False
    """Compare the graph encoder with torch-geometric's convolutions; nothing else is measured."""
    json_file: str | None = Field(None, json_schema_extra={"metavar": "FILE", "flag": "json"})
    """File to write all numbers to."""
    experiment: Experiment = Experiment()
    """Experiment that is measured."""
    stock: StockConfig = StockConfig()
    """The stock reference."""

    @property
    def num_repeats(self) -> int:
        """Repeats."""
        return self.repeats or REPEATS["quick" if self.quick else "full"]

    @property
    def factors(self) -> tuple[int, ...]:
        """Scaling factors; empty: none."""
        default = () if self.quick else FULL_SCALING
        return default if self.scaling is None else self.scaling

    @property
    def num_rounds(self) -> int:
        """Rounds in which each of the compared algorithms is trained."""
        return self.repeats or (1 if self.quick else 2)

    @property
    def training(self) -> TrainingConfig:
        """Learning and sampling of the experiment."""
        return self.experiment.training

    def with_overrides(self, **changes: object) -> Experiment:
        """Return the experiment with some of its settings changed."""
        return self.experiment.with_overrides(changes)

    def scaled(self, factors: Sequence[int]) -> list[dict[str, int]]:
        """Changes of `TrainingConfig`: so many workers each, then so many times the environments of a worker.

        Batches are as near to the usual size as environments and minibatches allow.
        """
        training = self.training
        settings = [(factor, training.num_envs_per_worker) for factor in factors]
        settings += [(training.num_workers, factor * training.num_envs_per_worker) for factor in factors]
        changes = []
        for num_workers, num_envs in dict.fromkeys(settings):
            unit = math.lcm(max(1, num_workers) * num_envs, training.minibatch_size)
            batch_size = max(1, round(training.batch_size / unit)) * unit
            changes.append({"num_workers": num_workers, "num_envs_per_worker": num_envs, "batch_size": batch_size})
        return changes

    @field_validator("json_file")
    @classmethod
    def _check_file(cls, file: str | None) -> str | None:
        if errors := list(file_errors("json", file)) if file is not None else []:
            raise ConfigError(errors)
        return file

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if errors := list(self._contradictions()):
            raise ConfigError(errors)
        for name in self.algorithms:
            self.with_overrides(algo=name)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Options of which one would be ignored."""
        fields = type(self).model_fields
        modes = [name for name in MODES if getattr(self, name)]
        if len(modes) > 1:
            yield f"{', '.join(modes)}: each measures nothing else; give one of them"
        if modes and self.scaling is not None:
            yield f"scaling: is of whole training, which {modes[0]} leaves out"
        for mode, name in itertools.product(("soak", "minutes_to_score"), ("quick", "repeats")):
            if mode in modes and getattr(self, name):
                yield f"{name}: {mode} has no repeats"
        for mode, names in MODES.items():
            for name in names:
                if mode not in modes and getattr(self, name) != fields[name].default:
                    yield f"{name}: is of {mode}, which is not given"
        for mode, instead, name in (("minutes_to_score", "seeds", "seed"), ("algorithms", "algorithms", "algo")):
            value = getattr(self.training, name)
            if mode in modes and value != getattr(TrainingConfig(), name):
                trained = ",".join(map(str, getattr(self, instead)))
                yield f"{name}: {instead}={trained} says what is trained, got {value!r} besides"
        if not modes and self.training.algo == "appo":
            yield "algo: 'appo' in turn with stock would work on in stock's time; compare it by --algorithms ppo,appo"


def parse(arguments: Sequence[str], description: str) -> BenchmarkConfig:
    """Read a command line.

    Args:
        arguments: Words after the program's name.
        description: Text above the flags in the help.

    Raises:
        ConfigError: naming every error.
        SystemExit: `--help` was asked for.
    """
    parser = Parser("python -m benchmarks", description)
    parser.add_settings("benchmark", BenchmarkConfig, leave_out=("experiment", "stock"))
    parser.add_settings("stock reference", StockConfig, prefix=STOCK_PREFIX)
    add_experiment_flags(parser, ("environment", "training", "model"))
    config = parser.read(arguments, _made)
    if errors := experiment_errors(config.experiment):
        raise ConfigError(errors)
    return config


def _made(given: dict[str, Any]) -> BenchmarkConfig:
    """Return the benchmark that flags ask for."""
    errors: list[str] = []
    parts: dict[str, Any] = {name: given[name] for name in BenchmarkConfig.model_fields if name in given}
    stock = {name.removeprefix(STOCK_PREFIX): value for name, value in given.items() if name.startswith(STOCK_PREFIX)}
    with collected(errors):
        parts["experiment"] = experiment_of(given)
    with collected(errors):
        parts["stock"] = StockConfig(**stock)
    with collected(errors):
        config = BenchmarkConfig(**parts)
    if errors:
        raise ConfigError(errors)
    return config
