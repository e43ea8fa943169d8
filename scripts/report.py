"""Report on one run or several, finished or still going: one HTML page without a network, and a PNG of each figure.

How to run:
    python scripts/report.py results/full_training
    python scripts/report.py results/seed0 results/seed1 results/other --output results/comparison
    python scripts/report.py --help

Results to expect: results/full_training/report/index.html and pictures beside it; the path of the page, the state of
each run and what had to be left out are printed. Exit status: 0 done, 2 refused, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import tyro

from rllib_moe.runtime.exit_status import exit_statuses
from rllib_moe.studies.report.make import ReportRequest, make_report
from rllib_moe.studies.report.runs import ReportError


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Write one report and return what was written."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    request = tyro.cli(ReportRequest, args=arguments, description=__doc__, prog="report.py")
    made = make_report(request, ["scripts/report.py", *arguments])
    for name, state in made["runs"].items():
        print(f"{name}: {state}")
        for omission in made["omissions"][name]:
            print(f"  left out: {omission}")
    print(f"page: {made['page']}")
    return made


if __name__ == "__main__":
    with exit_statuses("Interrupted: the report may be incomplete.", refused=(ReportError,)):
        main()
