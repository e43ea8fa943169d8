"""What a benchmark measures: flags to a checked configuration.

Network, training and schedule are those of `scripts/train.py`, by the same flags, so that a setting can be measured
before it is used. The stock reference has settings of its own: it stays what it is while ours are tuned.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, get_args, get_type_hints

import tyro

from rllib_moe.config import ConfigError, EnvironmentConfig, ExperimentConfig, ModelConfig, TrainingConfig
from rllib_moe.envs.registry import environment_faults
from rllib_moe.phases import PhaseSchedule, ScheduleError
from rllib_moe.runtime.files import file_faults

REPEATS = {"quick": 3, "full": 7}
"""Measured iterations of whole training, and repeats of every single measurement."""
ALGORITHM_NAMES: tuple[str, ...] = get_args(get_type_hints(TrainingConfig)["algo"])
"""Algorithms there are."""
FULL_SCALING = "1,2,4"
"""Scaling factors of a run that is not quick."""


@dataclass(frozen=True, kw_only=True)
class StockConfig:
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

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words: the same limits as ours."""
        for fault in TrainingConfig(**dataclasses.asdict(self)).faults():
            yield f"stock.{fault}"


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """One benchmark."""

    quick: bool = False
    """Fewer repeats and no scaling: about two minutes on 2 cores."""
    repeats: int | None = None
    """Measured iterations; the median counts. None: 7, quick 3."""
    scaling: str | None = None
    """Factors such as 1,2,4: so many workers; so many times the environments of a worker. None: 1,2,4, quick none."""
    soak: float = 0.0
    """Minutes of training in which memory, files and directories are watched; above 0 nothing else is measured."""
    algorithms: str | None = None
    """Algorithms such as ppo,appo to train in turn for equal wall time; nothing else is measured then."""
    minutes: float = 3.0
    """Minutes of training of each of `algorithms`."""
    phase_push: str = ""
    """Numbers of workers such as 2,16,128: what sending weights and phase to them costs; nothing else is measured."""
    encoders: bool = False
    """Compare the graph encoder with torch-geometric's convolutions; nothing else is measured."""
    json: str | None = None
    """File to write all numbers to."""
    env: str = EnvironmentConfig.env
    """Environment, as in training."""
    max_steps: int = EnvironmentConfig.max_steps
    """Steps after which an episode is truncated, in stock's games too."""
    schedule: str = "default"
    """Schedule file, or a bundled one: its first phase is in force."""
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    """Learning and sampling."""
    model: Annotated[ModelConfig, tyro.conf.arg(name="")] = field(default_factory=ModelConfig)
    """The network."""
    stock: StockConfig = field(default_factory=StockConfig)
    """The stock reference."""

    @property
    def num_repeats(self) -> int:
        """Repeats in force."""
        return self.repeats or REPEATS["quick" if self.quick else "full"]

    @property
    def factors(self) -> list[int]:
        """Scaling factors in force; empty: none."""
        words = self.scaling if self.scaling is not None else "" if self.quick else FULL_SCALING
        return [int(word) for word in words.split(",") if word]

    @property
    def algorithm_names(self) -> list[str]:
        """Algorithms to compare; empty: none."""
        return self.algorithms.split(",") if self.algorithms else []

    @property
    def num_rounds(self) -> int:
        """How often each of the compared algorithms is trained."""
        return self.repeats or (1 if self.quick else 2)

    @property
    def push_counts(self) -> list[int]:
        """Numbers of workers to which the phase is pushed; empty: not measured."""
        return [int(word) for word in self.phase_push.split(",") if word]

    @property
    def experiment(self) -> ExperimentConfig:
        """The experiment that is measured."""
        environment = EnvironmentConfig(env=self.env, max_steps=self.max_steps)
        return ExperimentConfig(model=self.model, environment=environment, training=self.training)

    def with_training(self, **changes: object) -> ExperimentConfig:
        """The experiment with some fields of its `TrainingConfig` changed."""
        return dataclasses.replace(self.experiment, training=dataclasses.replace(self.training, **changes))  # type: ignore[arg-type]

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

    def phases(self) -> PhaseSchedule:
        """The schedule."""
        return PhaseSchedule.load(self.schedule)

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        if self.repeats is not None and self.repeats < 1:
            yield f"repeats: expected 1 or more, got {self.repeats}"
        if not 0 <= self.soak < float("inf"):
            yield f"soak: expected minutes, 0 or more, got {self.soak}"
        if not 0 < self.minutes < float("inf"):
            yield f"minutes: expected minutes, above 0, got {self.minutes}"
        if self.algorithms is not None and not set(self.algorithm_names) <= set(ALGORITHM_NAMES):
            yield f"algorithms: expected names from {','.join(ALGORITHM_NAMES)}, got {self.algorithms!r}"
        if self.scaling is not None and not re.fullmatch(r"([1-9]\d*(,[1-9]\d*)*)?", self.scaling):
            yield f"scaling: expected whole numbers such as 1,2,4, got {self.scaling!r}"
        if not re.fullmatch(r"([1-9]\d*(,[1-9]\d*)*)?", self.phase_push):
            yield f"phase_push: expected whole numbers such as 2,16,128, got {self.phase_push!r}"
        if self.json is not None:
            yield from file_faults("json", self.json)
        yield from self._contradictions()
        trained = [self.with_training(algo=name) for name in self.algorithm_names] or [self.experiment]
        yield from dict.fromkeys(fault for experiment in trained for fault in experiment.faults())
        yield from self.stock.faults()

    def _contradictions(self) -> Iterator[str]:
        """Options of which one would be ignored."""
        modes = [name for name in ("soak", "algorithms", "phase_push", "encoders") if getattr(self, name)]
        if len(modes) > 1:
            yield f"{', '.join(modes)}: each measures nothing else; give one of them"
        if modes and self.scaling is not None:
            yield f"scaling: is of whole training, which {modes[0]} leaves out"
        for name in ("quick", "repeats"):
            if self.soak and getattr(self, name):
                yield f"{name}: soak has no repeats"
        if "algorithms" not in modes and self.minutes != type(self).minutes:
            yield "minutes: are of algorithms, which is not given"
        if "algorithms" in modes and self.training.algo != TrainingConfig.algo:
            yield f"algo: algorithms={self.algorithms} says what is trained, got {self.training.algo!r} besides"
        if not modes and self.training.algo == "appo":
            yield "algo: 'appo' in turn with stock would work on in stock's time; compare it by --algorithms ppo,appo"


def parse(arguments: Sequence[str], description: str) -> BenchmarkConfig:
    """Read a command line.

    Args:
        arguments: The words after the program's name.
        description: What `--help` says about the program.

    Raises:
        ConfigError: naming every fault.
        SystemExit: `--help`, or a flag that is unknown or no number where one is due.
    """
    config = tyro.cli(BenchmarkConfig, args=list(arguments), description=description, prog="benchmark.py")
    faults = list(config.faults())
    try:
        config.phases()
    except ScheduleError as error:
        faults += [f"{error.source}: {fault}" for fault in error.faults]
    faults += [] if faults else environment_faults(config.env, config.max_steps, {})
    if faults:
        raise ConfigError(faults)
    return config
