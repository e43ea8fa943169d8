"""A search space: parameters read from one YAML file, checked against the experiment they change. Pure.

    parameters:
      transition.temperature.to, fine-tune.temperature: {uniform: [0.3, 0.8]}
      "*.entropy_coef": {loguniform: [1e-4, 1e-1]}
      num_experts: {grid: [2, 4, 8]}
      gamma: 0.99

Every value is tried together with others before anything starts; what no trial could use is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rllib_moe.config import ExperimentConfig
from rllib_moe.phases import PhaseSchedule
from rllib_moe.studies.tuning.parameters import Parameter, read_parameter
from rllib_moe.studies.tuning.settings import SettingsError, Values, is_mutable, name_fault, settled, split_name
from rllib_moe.validation import ConfigError

BUNDLED = ("coefficients", "routing", "sizes")
"""Spaces that come with the package, by name."""
MAX_COMBINATIONS = 10_000
"""Largest grid."""
PATIENCE = 200
"""Draws after which no valid combination is expected to come any more."""
MUTATIONS = 20
"""Mutations tried until one is valid."""


@dataclass(frozen=True)
class SearchSpace:
    """Parameters and the experiment that they change."""

    parameters: tuple[Parameter, ...]
    """In the order of the file."""
    config: ExperimentConfig
    """What holds for all trials."""
    schedule: PhaseSchedule
    """The schedule that trials change."""

    @classmethod
    def load(cls, source: str | Path, config: ExperimentConfig, schedule: PhaseSchedule) -> SearchSpace:
        """Read a space by the name of a bundled one (`BUNDLED`) or from a YAML file, and check it.

        Raises:
            ConfigError: naming every fault.
        """
        try:
            if str(source) in BUNDLED:
                text = (
                    resources.files("rllib_moe").joinpath("studies", "tuning", "spaces", f"{source}.yaml").read_text()
                )
            else:
                text = Path(source).read_text()
            data = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                [f"space: cannot read {str(source)!r} ({reason}); expected a YAML file or one of {', '.join(BUNDLED)}"]
            ) from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
            raise ConfigError([f"space: {source} is not YAML: {error}"]) from error
        return cls.from_dict(data, config, schedule)

    @classmethod
    def from_dict(cls, data: Any, config: ExperimentConfig, schedule: PhaseSchedule) -> SearchSpace:
        """Build from the plain form.

        Raises:
            ConfigError: naming every fault.
        """
        if not isinstance(data, Mapping) or set(data) != {"parameters"} or not isinstance(data["parameters"], Mapping):
            raise ConfigError(["space: expected one key 'parameters' holding names and what they may be"])
        faults: list[str] = []
        parameters = []
        for name, spec in data["parameters"].items():
            parameter = read_parameter(str(name), spec, faults)
            unknown = [fault for each in str(name).split(",") if (fault := name_fault(each.strip(), schedule))]
            faults += unknown
            if parameter and not unknown:
                parameters.append(parameter)
        names = [name for parameter in parameters for name in parameter.names]
        faults += [f"{name}: expected once" for name in dict.fromkeys(names) if names.count(name) > 1]
        if not data["parameters"]:
            faults.append("parameters: expected at least one")
        elif all(parameter.kind == "fixed" for parameter in parameters) and not faults:
            faults.append("parameters: all are fixed; at least one must have several values")
        space = cls(tuple(parameters), config, schedule)
        if not names or len(set(names)) < len(names):
            raise ConfigError(faults)
        # What was understood is checked although something else was not, for one message with everything in it.
        faults += space._value_faults()
        if faults:
            raise ConfigError(faults)
        return space

    def to_dict(self) -> dict[str, Any]:
        """Plain form, the inverse of `from_dict`."""
        return {"parameters": {parameter.name: parameter.to_plain() for parameter in self.parameters}}

    def settled(self, values: Values) -> tuple[ExperimentConfig, PhaseSchedule]:
        """The configuration and schedule of a trial.

        Raises:
            SettingsError: the values do not go together.
        """
        return settled(self.config, self.schedule, values)

    def faults_of(self, values: Values) -> list[str]:
        """What is wrong with one combination; empty when a trial can have it."""
        try:
            self.settled(values)
        except SettingsError as error:
            return error.errors
        return []

    def combinations(self) -> list[Values]:
        """Every combination of the listed values.

        Raises:
            ConfigError: a range has no list of values, there are too many, or a combination is not valid.
        """
        ranges = [each for each in self.parameters if not each.is_list]
        faults = [f"{each.name}: {each.kind} has no list of values for a grid; use --search random" for each in ranges]
        size = math.prod(len(each.values) for each in self.parameters)
        if not faults and size > MAX_COMBINATIONS:
            faults.append(f"space: expected at most {MAX_COMBINATIONS} combinations for a grid, got {size}")
        if faults:
            raise ConfigError(faults)
        names = [each.name for each in self.parameters]
        every = [
            dict(zip(names, values, strict=True))
            for values in itertools.product(*(each.values for each in self.parameters))
        ]
        refused = [(values, found) for values in every if (found := self.faults_of(values))]
        if refused:
            shown = [f"{self.searched(values)}: {'; '.join(found)}" for values, found in refused[:3]]
            more = [f"... {len(refused)} of {size} combinations are not valid"] if len(refused) > len(shown) else []
            raise ConfigError([*shown, *more])
        return every

    def draw(self, generator: np.random.Generator) -> tuple[Values, int]:
        """Draw one valid combination.

        Returns:
            The values, and how many draws were refused before them.

        Raises:
            ConfigError: no valid one came.
        """
        for refused in range(PATIENCE):
            values = self._drawn(generator)
            if not self.faults_of(values):
                return values, refused
        raise ConfigError([f"space: {PATIENCE} draws gave no valid combination: {'; '.join(self.faults_of(values))}"])

    def mutated(self, values: Values, generator: np.random.Generator) -> Values:
        """Values near the given ones, for a trial that goes on with another one's network at its episode count.

        Only parameters that cannot break off the curriculum change (`settings.is_mutable`): a boundary or a size is
        taken over as it is.
        """
        for _ in range(MUTATIONS):
            changed = dict(values)
            for each in self.parameters:
                if all(is_mutable(name) for name in each.names):
                    changed[each.name] = each.mutated(values[each.name], generator)
            if not self.faults_of(changed):
                return changed
        return dict(values)

    def searched(self, values: Values) -> Values:
        """The values that differ between trials."""
        return {each.name: values[each.name] for each in self.parameters if each.kind != "fixed"}

    def _drawn(self, generator: np.random.Generator) -> Values:
        return {each.name: each.draw(generator) for each in self.parameters}

    def _value_faults(self) -> Iterator[str]:
        """Every value that is valid in no combination, and every one that no trial would come to use."""
        generator = np.random.default_rng(0)
        told = self._always_refused({}, generator)
        yield from sorted(told)
        for parameter in self.parameters:
            for value in parameter.corners():
                if found := self._always_refused({parameter.name: value}, generator) - told:
                    told |= found
                    yield f"{parameter.name} = {value!r}: {'; '.join(sorted(found))}"
        if not told:
            yield from self._unreached(generator)

    def _always_refused(self, fixed: Values, generator: np.random.Generator) -> set[str]:
        """The faults that values have whatever the others are, empty when they are valid with some."""
        always: set[str] | None = None
        for _ in range(PATIENCE):
            found = set(self.faults_of({**self._drawn(generator), **fixed}))
            if not found:
                return set()
            always = found if always is None else always & found or found
        return always or set()

    def _unreached(self, generator: np.random.Generator) -> Iterator[str]:
        """Parameters of phases that begin after the last episode in every combination."""
        episodes = self.config.run.episodes
        starts: dict[str, int] = {}
        for _ in range(PATIENCE):
            values = self._drawn(generator)
            if self.faults_of(values):
                continue
            for each in self.settled(values)[1].phases:
                starts[each.name] = min(starts.get(each.name, each.start), each.start)
        for name in (name for parameter in self.parameters for name in parameter.names):
            phase = split_name(name)[0]
            if phase in starts and starts[phase] >= episodes:
                yield (
                    f"{name}: has no effect, {phase} begins at episode {starts[phase]} and trials end at {episodes} "
                    "(--phase-boundaries, --episodes)"
                )
