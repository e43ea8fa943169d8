"""Compare ways of training: every variant of a plan, over its seeds, trained and evaluated unattended.

How to run:
    python scripts/experiment.py nethack --jobs 2
    python scripts/experiment.py nethack --variants curriculum,one-expert --output-dir results/comparison
    python scripts/experiment.py my_plan.yaml

Results to expect: the commands as they are run, then table.json, table.md (means over seeds, what each expert is worth)
and curves.png in the output directory, beside the runs' own directories and logs. Interrupted at any moment, the same
command goes on where it was stopped. Exit status: 0 done, 1 a run failed, 2 refused, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from rllib_moe.comparison.plan import load_plan
from rllib_moe.comparison.result import write_result
from rllib_moe.comparison.runner import Runner, check_directory
from rllib_moe.config import ConfigError
from rllib_moe.training.progress import standard_console


def compare(
    plan: tyro.conf.Positional[str], /, *, output_dir: str = "", variants: str = "", jobs: int = 1
) -> dict[str, Any]:
    """Carry out a plan.

    Args:
        plan: Name of a bundled plan (nethack), or a YAML file.
        output_dir: Where the runs go; by default results/comparison-<plan>.
        variants: Some variants only, as name,name; by default all.
        jobs: Runs at a time.
    """
    chosen = load_plan(plan)
    if variants:
        chosen = chosen.only([name.strip() for name in variants.split(",")])
    directory = Path(output_dir or f"results/comparison-{Path(plan).stem}")
    check_directory(directory, jobs)
    console = standard_console()
    try:
        failures = Runner(chosen, directory, Path(__file__).parent, jobs, console).carry_out()
    finally:
        result = write_result(chosen, directory)
        if result["variants"]:
            console.print(f"table: {directory / 'table.md'}", highlight=False, markup=False, soft_wrap=True)
    return {**result, "failures": failures}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one comparison and return its table."""
    return tyro.cli(compare, args=argv, description=__doc__, prog="experiment.py")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failures = main()["failures"]
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    sys.exit(1 if failures else 0)
