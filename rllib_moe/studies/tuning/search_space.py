"""A search space: parameters read from one YAML file, each over overrides of one experiment. Pure.

    parameters:
      transition.temperature.to, fine-tune.temperature: {uniform: [0.3, 0.8]}
      "*.entropy_coef": {loguniform: [1e-4, 1e-1]}
      num_experts: {grid: [2, 4, 8]}
      gamma: 0.99

Names are those of `Experiment.with_overrides`; a plain value is the same in all trials. Every value is tried together
with others before anything starts; a value that no trial could use is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rllib_moe.config import RunConfig
from rllib_moe.experiment import ENV_ARG, Experiment, override_error
from rllib_moe.schedule.overrides import can_ramp, split_override
from rllib_moe.studies.tuning.parameters import Parameter, read_parameter, split_names
from rllib_moe.validation.errors import ConfigError

MAX_COMBINATIONS = 10_000
"""Largest grid."""
PATIENCE = 200
"""Draws after which no valid combination is expected to come any more."""
MUTATIONS = 20
"""Mutations tried until one is valid."""
SAME_IN_ALL_TRIALS = (*RunConfig.model_fields, "env", "algo", "num_workers", "num_gpus")
"""Fields that say what a trial runs on, and for how long: flags of the search, not parameters."""
MUTABLE_FIELDS = ("num_epochs", "gamma", "gae_lambda", "clip_param", "vf_loss_coef", "grad_clip")
"""Fields that may change in the middle of a run: no shape, batch or seed depends on them."""

Values = dict[str, Any]
"""One trial's value of every parameter, by the parameter's name."""


@dataclass(frozen=True)
class SearchSpace:
    """Parameters and the experiment that they change."""

    parameters: tuple[Parameter, ...]
    """Those that differ between trials, in the order of the file."""
    base: Experiment
    """Experiment that all trials begin with."""
    shared: Mapping[str, Any]
    """Overrides of all trials. They may need a parameter beside them: num_heads=3 another hidden_size."""

    @classmethod
    def from_dict(cls, data: Any, base: Experiment, shared: Mapping[str, Any] | None = None) -> SearchSpace:
        """Build from the plain form.

        Raises:
            ConfigError: naming every error.
        """
        forms = data.get("parameters") if isinstance(data, Mapping) and set(data) == {"parameters"} else None
        if not isinstance(forms, Mapping):
            raise ConfigError(["space: expected one key 'parameters' with a mapping of names to values"])
        errors: list[str] = []
        names: list[str] = []
        parameters: list[Parameter] = []
        fixed: dict[str, Any] = {}
        for name, form in ((str(name), form) for name, form in forms.items()):
            names += split_names(name)
            if refused := [error for each in split_names(name) if (error := _name_error(each, base))]:
                errors += refused
            elif not isinstance(form, Mapping):
                fixed |= dict.fromkeys(split_names(name), form)
            else:
                try:
                    parameters.append(read_parameter(name, form))
                except ValueError as error:
                    errors.append(str(error))
        errors += [f"{name}: expected once" for name in dict.fromkeys(names) if names.count(name) > 1]
        if not errors and not parameters:
            errors.append("parameters: expected at least one with several values")
        # What was understood is checked although something else was not, for one message with everything in it.
        space = cls(tuple(parameters), base, {**(shared or {}), **fixed})
        errors += space._value_errors()
        if errors:
            raise ConfigError(errors)
        return space

    def overrides(self, values: Values) -> dict[str, Any]:
        """Return the overrides of the base experiment that make a trial."""
        return {**self.shared, **{name: values[each.name] for each in self.parameters for name in each.names}}

    def values(self, overrides: Mapping[str, Any]) -> Values:
        """Return the values of the parameters in a trial's overrides: the inverse of `overrides`."""
        return {each.name: overrides[each.names[0]] for each in self.parameters}

    def apply_values(self, values: Values) -> Experiment:
        """Return the experiment of a trial.

        Raises:
            ConfigError: The values do not go together.
        """
        return self.base.with_overrides(self.overrides(values))

    def errors(self, values: Values) -> tuple[str, ...]:
        """Return the reasons why no trial can have a combination."""
        try:
            self.apply_values(values)
        except ConfigError as error:
            return error.errors
        return ()

    @cached_property
    def example(self) -> Experiment:
        """One experiment of the space, for what is the same in all trials."""
        return self.apply_values(self.draw(np.random.default_rng(0)))

    def combinations(self) -> list[Values]:
        """Return every combination of the listed values.

        Raises:
            ConfigError: A range has no list of values, there are too many, or a combination is not valid.
        """
        errors = [
            f"{each.name}: {each.kind} has no list of values for a grid; use --search random"
            for each in self.parameters
            if each.is_range
        ]
        size = math.prod(len(each.values) for each in self.parameters)
        if not errors and size > MAX_COMBINATIONS:
            errors.append(f"space: expected at most {MAX_COMBINATIONS} combinations for a grid, got {size}")
        if errors:
            raise ConfigError(errors)
        names = [each.name for each in self.parameters]
        lists = (each.values for each in self.parameters)
        every = [dict(zip(names, values, strict=True)) for values in itertools.product(*lists)]
        refused = [(values, found) for values in every if (found := self.errors(values))]
        if refused:
            shown = [f"{values}: {'; '.join(found)}" for values, found in refused[:3]]
            more = [f"... {len(refused)} of {size} combinations are not valid"] if len(refused) > len(shown) else []
            raise ConfigError([*shown, *more])
        return every

    def draw(self, generator: np.random.Generator) -> Values:
        """Draw one valid combination.

        Raises:
            ConfigError: No valid one came.
        """
        for _ in range(PATIENCE):
            values = self._drawn(generator)
            if not (errors := self.errors(values)):
                return values
        raise ConfigError([f"space: {PATIENCE} draws gave no valid combination: {'; '.join(errors)}"])

    def mutated(self, values: Values, generator: np.random.Generator) -> Values:
        """Return values near the given ones, for a trial that goes on with another one's network at its episode count.

        Only parameters that cannot break off the curriculum change (`is_mutable`): a boundary or a size is taken over.
        """
        for _ in range(MUTATIONS):
            changed = dict(values)
            for each in self.parameters:
                if all(map(is_mutable, each.names)):
                    changed[each.name] = each.mutated(values[each.name], generator)
            if not self.errors(changed):
                return changed
        return dict(values)

    def _drawn(self, generator: np.random.Generator) -> Values:
        return {each.name: each.draw(generator) for each in self.parameters}

    def _value_errors(self) -> Iterator[str]:
        """Yield an error for each name or value that is valid in no combination, and for each that has no effect."""
        generator = np.random.default_rng(0)
        told = self._always_refused({}, generator)
        yield from sorted(told)
        for parameter in self.parameters:
            for value in parameter.values:
                if found := self._always_refused({parameter.name: value}, generator) - told:
                    told |= found
                    yield f"{parameter.name} = {value!r}: {'; '.join(sorted(found))}"
        if not told:
            yield from self._unreached(generator)

    def _always_refused(self, fixed: Values, generator: np.random.Generator) -> set[str]:
        """Return the errors that values have whatever the others are; none when they are valid with some."""
        always: set[str] | None = None
        for _ in range(PATIENCE):
            found = set(self.errors({**self._drawn(generator), **fixed}))
            if not found:
                return set()
            always = found if always is None else always & found or found
        return always or set()

    def _unreached(self, generator: np.random.Generator) -> Iterator[str]:
        """Yield an error for each parameter of a phase that begins after the last episode in every combination."""
        starts: dict[str, int] = {}
        for schedule in (self.apply_values(self.draw(generator)).schedule for _ in range(PATIENCE)):
            starts |= {each.name: min(starts.get(each.name, each.start), each.start) for each in schedule.phases}
        episodes = self.example.run.episodes
        for name in (name for parameter in self.parameters for name in parameter.names):
            phase = split_override(name)[0]
            if phase in starts and starts[phase] >= episodes:
                yield (
                    f"{name}: has no effect, {phase} begins at episode {starts[phase]} and trials end at {episodes} "
                    "(--phase-boundaries, --episodes)"
                )


def _name_error(name: str, base: Experiment) -> str | None:
    if name in SAME_IN_ALL_TRIALS:
        return f"{name}: is the same in all trials; give it as a flag"
    return override_error(name, base.schedule)


def is_mutable(name: str) -> bool:
    """Return whether a value may change in the middle of a run and leave each episode count in its phase."""
    return name in MUTABLE_FIELDS or (not name.startswith(ENV_ARG) and can_ramp(split_override(name)[1]))
