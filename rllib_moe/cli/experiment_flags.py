"""Flags that say what an experiment is: every field of its sections, its schedule and a file to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rllib_moe.cli.flags import Assignments, Parser
from rllib_moe.experiment import BUNDLED as EXPERIMENTS
from rllib_moe.experiment import ENV_ARG, SCHEDULE, SECTION_OF, SECTIONS, Experiment
from rllib_moe.schedule.overrides import BOUNDARIES
from rllib_moe.schedule.phases import BUNDLED, VALUES

CONFIG = "config"
"""Name of the flag for the file that an experiment begins with."""


def add_experiment_flags(parser: Parser, sections: Iterable[str] = SECTIONS, leave_out: Iterable[str] = ()) -> None:
    """Add the flags of an experiment."""
    group = parser.add_argument_group("start")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="Experiment to begin with: a YAML file, such as config.yaml of a run, or one of "
        f"{', '.join(EXPERIMENTS)}; flags override.",
    )
    for name in sections:
        parser.add_settings(name, SECTIONS[name], leave_out)
    group = parser.add_argument_group("schedule")
    group.add_argument("--schedule", metavar="FILE", help=f"Schedule: a YAML file, or one of {', '.join(BUNDLED)}.")
    group.add_argument(
        "--phase-boundaries",
        dest=BOUNDARIES,
        metavar="A,B",
        help="First episodes of the phases after the first, such as 1000,3000.",
    )
    group.add_argument(
        "--set",
        action=Assignments,
        metavar="PHASE.KEY=VALUE",
        help="One value of the schedule, such as transition.temperature=[1.0,0.5] or *.learning_rate=3e-4; repeatable.",
    )
    for key in ("routing", *VALUES):
        parser.told_instead[f"--{key.replace('_', '-')}"] = f"each phase has its own, given by --set '*.{key}=VALUE'"


def overrides_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of an experiment that flags ask for; flags of anything else are left out."""
    fields = {*SECTION_OF, SCHEDULE, BOUNDARIES} - {"env_args"}
    overrides = {name: value for name, value in given.items() if name in fields}
    overrides |= {f"{ENV_ARG}{name}": value for name, value in given.get("env_args", {}).items()}
    return overrides | given.get("set", {})


def experiment_of(given: Mapping[str, Any], base: Experiment | None = None) -> Experiment:
    """Return the experiment that flags ask for.

    Args:
        base: Values where neither a flag nor `--config` says otherwise; None takes the defaults.

    Raises:
        ConfigError: naming every error.
    """
    start = Experiment.load(given[CONFIG]) if CONFIG in given else base or Experiment()
    return start.with_overrides(overrides_of(given))
