"""One comparison from its request to its table: the plan is read, the directory checked, the runs trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field

from rllib_moe.envs.description import describe
from rllib_moe.envs.registry import make_configured
from rllib_moe.evaluation.resolve import resolve
from rllib_moe.runtime.console import say, standard_console
from rllib_moe.runtime.files import directory_errors, locked, write_whole
from rllib_moe.studies.comparison.done import PLAN, baselines, reuse_errors
from rllib_moe.studies.comparison.plan import BUNDLED, INFORMATION, NORMALIZED, OUTCOMES, Plan
from rllib_moe.training.fit import experiment_errors
from rllib_moe.training.forecast import skip_warnings
from rllib_moe.training.resume import Resumed
from rllib_moe.validation.errors import ConfigError, RefusedError
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.words import did_you_mean


class ComparisonRequest(Settings):
    """A plan to compare by, and the place of its runs."""

    plan: str = Field(
        description=f"Plan: a YAML file, or one of {', '.join(BUNDLED)}.",
        json_schema_extra={"positional": True, "metavar": "PLAN"},
    )
    output_dir: str | None = Field(None, min_length=1)
    """Directory of the runs; by default results/comparison-<plan>."""
    variants: str | None = Field(None, json_schema_extra={"metavar": "NAME,NAME"})
    """Variants to train now, as name,name; by default all. The table is over all that is done."""
    jobs: int = Field(1, ge=1)
    """Runs at a time."""

    @property
    def directory(self) -> Path:
        """Directory of the runs."""
        return Path(self.output_dir or f"results/comparison-{Path(self.plan).stem}")


def compare(request: ComparisonRequest) -> dict[str, Any]:
    """Carry out a plan; the table is written also where a run failed, or all were interrupted.

    Returns:
        The result of `write_result`, and `failures`, a line for each run that failed.

    Raises:
        ConfigError: The plan or the directory is refused; nothing was started or written.
        KeyboardInterrupt: After a signal; the runs were told to save, and have ended.
    """
    plan, directory = Plan.load(request.plan), request.directory
    known = [variant.name for variant in plan.variants]
    chosen = known if request.variants is None else [name.strip() for name in request.variants.split(",")]
    errors = [f"variants: no variant {name!r}{did_you_mean(name, known)}" for name in chosen if name not in known]
    errors += directory_errors("output_dir", directory)
    if errors:
        raise ConfigError(errors)
    if errors := [*_play_errors(plan, directory), *reuse_errors(plan, directory)]:
        raise ConfigError(errors)

    # Late, so that a wrong plan is refused in no time.
    from rllib_moe.studies.comparison.controls import unfair_controls
    from rllib_moe.studies.comparison.result import write_result
    from rllib_moe.studies.comparison.runner import Runner
    from rllib_moe.studies.comparison.table import limits

    console = standard_console()
    for line in (*forecasts(plan), *unfair_controls(plan), *limits(plan)):
        say(console, line)
    runs = [run for run in plan.runs() if run.variant in chosen]
    directory.mkdir(parents=True, exist_ok=True)
    with locked("output_dir", directory):
        write_whole(directory / PLAN, plan.to_yaml())
        try:
            failures = Runner(plan, directory, request.jobs, console).run(runs)
        finally:
            result = write_result(plan, directory)
            if result["variants"]:
                say(console, (directory / "table.md").read_text(encoding="utf-8"))
                say(console, f"table: {directory / 'table.md'}")
    return {**result, "failures": failures}


def forecasts(plan: Plan) -> Iterator[str]:
    """Yield a warning for each phase of a variant that may be skipped."""
    for name, experiment in plan.experiments.items():
        if experiment.run.resume is None:
            yield from (f"{name}: {warning}" for warning in skip_warnings(experiment, first=0))


def _play_errors(plan: Plan, directory: Path) -> list[str]:
    """Return the reasons why no evaluation can have the primary outcome, a baseline cannot play, or a run not begin."""
    environment = plan.runs()[0].experiment.environment
    try:
        with closing(make_configured(environment)) as env:
            measures = [measure.name for measure in describe(env).episode_measures]
    except ConfigError as error:
        return list(error.errors)
    errors = [
        f"normalize: no evaluation has {name!r}{did_you_mean(name, measures)}"
        for name in plan.normalize
        if name not in measures
    ]
    known = [*OUTCOMES, *measures, *([NORMALIZED] if plan.normalize else ())]
    if plan.primary == NORMALIZED and not plan.normalize:
        errors.append(f"normalize: {NORMALIZED} takes the values of each measure that count as 0 and as 1, got none")
    elif plan.primary not in known and not plan.primary.startswith(INFORMATION):
        hint = did_you_mean(plan.primary, known)
        errors.append(f"primary: no evaluation has {plan.primary!r}{hint} or {INFORMATION}<label>")
    for request in baselines(plan, directory).values():
        try:
            resolve(request)
        except ConfigError as error:
            errors += [f"evaluation: baselines: {each}" for each in error.errors]
    for name, experiment in plan.experiments.items():
        errors += [f"{name}: {each}" for each in experiment_errors(experiment)]
        if experiment.run.resume is not None:
            try:
                errors += [f"{name}: {each}" for each in Resumed.find(experiment.run.resume).errors(experiment)]
            except RefusedError as error:
                errors.append(f"{name}: {error}")
    return list(dict.fromkeys(errors))
