"""One comparison from its request to its table: the plan is read, the directory checked, the runs carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from rllib_moe.studies.comparison.done import check_reuse
from rllib_moe.studies.comparison.plan import load_plan
from rllib_moe.studies.comparison.result import write_result
from rllib_moe.studies.comparison.runner import Runner, check_directory


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """What to compare, and where."""

    plan: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PLAN")]
    """Name of a bundled plan (nethack), or a YAML file."""
    output_dir: str | None = None
    """Where the runs go; by default results/comparison-<plan>."""
    variants: str | None = None
    """Some variants to carry out now, as name,name; by default all. The table is over all that is done."""
    jobs: int = 1
    """Runs at a time."""

    @property
    def directory(self) -> Path:
        """Where the runs go."""
        return Path(self.output_dir or f"results/comparison-{Path(self.plan).stem}")


def compare(request: ComparisonRequest, console: Console) -> dict[str, Any]:
    """Carry out a plan; the table is written also where a run failed, or all were interrupted.

    Args:
        request: What to compare.
        console: Where progress goes.

    Returns:
        What `write_result` returns, and `failures`, a line a run that failed.

    Raises:
        ConfigError: the plan or the directory is refused; nothing was started or written.
        KeyboardInterrupt: after a signal; the runs were told to save, and have ended.
    """
    plan = load_plan(request.plan)
    if request.variants:
        plan = plan.only([name.strip() for name in request.variants.split(",")])
    check_directory(request.directory, request.jobs)
    check_reuse(plan, request.directory)
    try:
        failures = Runner(plan, request.directory, request.jobs, console).carry_out()
    finally:
        result = write_result(plan, request.directory)
        if result["variants"]:
            console.print(f"table: {request.directory / 'table.md'}", highlight=False, markup=False, soft_wrap=True)
    return {**result, "failures": failures}
