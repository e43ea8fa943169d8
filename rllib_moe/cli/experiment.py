"""Compare ways of training: every variant of a plan, with every seed, trained and evaluated unattended.

How to run:
    python scripts/experiment.py nethack --jobs 2
    python scripts/experiment.py nethack --variants curriculum,one-expert --output-dir results/comparison
    python scripts/experiment.py my_plan.yaml

Results to expect: what the plan cannot show, the commands as they are run, then table.json, table.md (the primary
outcome and its test, means over seeds, what each expert is worth) and curves.png in the output directory, beside the
runs' own directories, configurations and logs. Interrupted at any moment, the same command goes on where it was
stopped. Exit status: 0 done, 1 a run failed, 2 refused, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.runtime.console import leave_terminal
from rllib_moe.runtime.invocation import FAILED, exit_statuses
from rllib_moe.studies.comparison.compare import ComparisonRequest, compare
from rllib_moe.training.stop_signals import stopping


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one comparison and return its table (see `studies.comparison.compare.compare`)."""
    parser = Parser("experiment", str(__doc__))
    parser.add_settings("comparison", ComparisonRequest)
    return compare(parser.read(words_of(argv), ComparisonRequest.from_dict))


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt


def run() -> None:
    """Run the command as a process."""
    for number in stopping():
        signal.signal(number, _interrupt)
    with exit_statuses(interrupted=None):
        failures = main()["failures"]
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    sys.exit(FAILED if failures else 0)
