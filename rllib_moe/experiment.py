"""An experiment: all settings and the schedule as one object with one YAML form.

Command line, run directory, checkpoints, comparisons, searches and jobs hand on experiments, or plain mappings of
overrides over one. `with_overrides` is the one place that knows what the name of an override stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import field_validator, model_validator

from rllib_moe.config import EnvironmentConfig, ModelConfig, RunConfig, TrainingConfig
from rllib_moe.schedule.overrides import BOUNDARIES, override_schedule, phase_override_error
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError, collected
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.words import did_you_mean
from rllib_moe.validation.yaml_files import bundled_files

BUNDLED = bundled_files(Path(__file__).parent / "experiments")
"""Files of the experiments that come with the package, by name."""
SECTIONS: dict[str, type[Settings]] = {
    "run": RunConfig,
    "environment": EnvironmentConfig,
    "training": TrainingConfig,
    "model": ModelConfig,
}
"""The sections of an experiment beside its schedule."""
SECTION_OF = {field: name for name, section in SECTIONS.items() for field in section.model_fields}
"""Section of each field: no two sections have a field of the same name."""
ENV_ARG = "env_args."
"""Prefix of the overrides that stand for one keyword argument of the environment."""
SCHEDULE = "schedule"
"""Override that replaces the whole schedule: a name, a file, or the plain form."""


class Experiment(Settings):
    """All that makes a training run.

    Raises:
        ConfigError: naming every value that is out of range or contradicts another.
    """

    bundled: ClassVar[Mapping[str, Path]] = BUNDLED

    run: RunConfig = RunConfig()
    """The run."""
    environment: EnvironmentConfig = EnvironmentConfig()
    """The environment."""
    training: TrainingConfig = TrainingConfig()
    """Learning and sampling."""
    model: ModelConfig = ModelConfig()
    """The network."""
    schedule: PhaseSchedule = PhaseSchedule.load("default")
    """The phases; in a file also the name of a bundled schedule, or another file."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _load_schedule(cls, schedule: Any) -> Any:
        return PhaseSchedule.load(schedule) if isinstance(schedule, str) else schedule

    @model_validator(mode="after")
    def _check_timeouts(self) -> Self:
        if self.training.sample_timeout <= 2 * self.environment.step_timeout:
            raise ConfigError(
                [
                    f"sample_timeout: expected above twice step_timeout={self.environment.step_timeout:g}, so that a "
                    f"hung environment is replaced before its worker is, got {self.training.sample_timeout:g}"
                ]
            )
        return self

    @property
    def teaches_roles(self) -> bool:
        """True where experts are given the environment's roles: only then do they bear their names."""
        taught = any(end.role_coef for phase in self.schedule.phases for end in (phase.first, phase.last))
        return taught or self.model.router == "roles"

    def with_overrides(self, overrides: Mapping[str, Any]) -> Experiment:
        """Return the experiment with some of its values replaced, all at once.

        Args:
            overrides: New values by the name of a field (`gamma`, `num_experts`, `exp_name`), by `env_args.<name>`, by
                the names of `schedule/overrides.py` (`transition.temperature`, `phase_boundaries`), or by
                `schedule` for another schedule, to which the others then apply.

        Raises:
            ConfigError: naming every unknown name, and every value that is out of range or contradicts another.
        """
        values: dict[str, Any] = {name: dict(getattr(self, name)) for name in SECTIONS}
        arguments: dict[str, Any] = {}
        phases: dict[str, Any] = {}
        errors: list[str] = []
        schedule = self.schedule
        if (source := overrides.get(SCHEDULE)) is not None:
            with collected(errors):
                schedule = PhaseSchedule.load(source) if isinstance(source, str) else PhaseSchedule.from_dict(source)
        for name, value in overrides.items():
            if name in SECTION_OF:
                values[SECTION_OF[name]][name] = value
            elif name.startswith(ENV_ARG):
                arguments[name.removeprefix(ENV_ARG)] = value
            elif refusal := override_error(name, schedule):
                errors.append(refusal)
            elif name != SCHEDULE:
                phases[name] = value
        if isinstance(whole := values["environment"]["env_args"], Mapping):  # else it is refused below
            values["environment"]["env_args"] = {**whole, **arguments}
        with collected(errors):
            schedule = override_schedule(schedule, phases) if phases else schedule
        with collected(errors):
            changed = Experiment(**values, schedule=schedule)
        if errors:
            raise ConfigError(dict.fromkeys(errors))
        return changed


def override_error(name: str, schedule: PhaseSchedule) -> str | None:
    """Return the reason why an override of this name is refused; None where it is known."""
    if name in SECTION_OF or name == SCHEDULE or (name.startswith(ENV_ARG) and name != ENV_ARG):
        return None
    if "." in name or name == BOUNDARIES:
        return phase_override_error(name, schedule)
    return f"{name}: unknown setting{did_you_mean(name, [*SECTION_OF, SCHEDULE, BOUNDARIES], otherwise='')}"
