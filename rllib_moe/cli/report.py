"""Report on one run or several, finished or still going: one HTML page without a network, and a PNG of each figure.

How to run:
    python scripts/report.py results/full_training
    python scripts/report.py results/seed0 results/seed1 results/other --output results/comparison
    python scripts/report.py --help

Results to expect: results/full_training/report/index.html and pictures beside it; the path of the page, the state of
each run and what had to be left out are printed. Exit status: 0 done, 2 refused, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.runtime.invocation import called_as, exit_statuses
from rllib_moe.studies.report.make import ReportRequest, make_report


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Write one report and return what was written (see `studies.report.make.make_report`)."""
    words = words_of(argv)
    parser = Parser("report", str(__doc__))
    parser.add_settings("report", ReportRequest)
    made = make_report(parser.read(words, ReportRequest.from_dict), called_as("report", *words))
    for name, state in made["runs"].items():
        print(f"{name}: {state}")
        for omission in made["omissions"][name]:
            print(f"  {omission}")
    print(f"page: {made['page']}")
    return made


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted: the report may be incomplete."):
        main()
