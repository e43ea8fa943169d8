"""Search over schedules and settings: many trainings as Ray Tune trials, a table, and the best one ready to train.

How to run:
    python scripts/tune.py --exp-name first --space coefficients --trials 20 --episodes 2000 --phase-boundaries 400,1200
    python scripts/tune.py --exp-name second --space my_space.yaml --search optuna --scheduler asha --cpus-per-trial 0.5
    python scripts/tune.py --resume results/tune/second
    python scripts/tune.py --help

Results to expect: a line now and then for each trial, a table with the best trial first, and under
results/tune/<exp-name> the trials as CSV and JSON, a plot, and in best/ the schedule, the command that trains it and
the trial's checkpoint. Ctrl-C stops and says how to go on. Exit status: 0 done, 2 refused, 1 every trial failed, 130 or
143 stopped by a signal.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

from rllib_moe.runtime.exit_status import FAILED, exit_statuses
from rllib_moe.studies.tuning.request import parse
from rllib_moe.studies.tuning.search import run_search


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one search and return its outcome."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_search(parse(arguments, description=str(__doc__)), ["scripts/tune.py", *arguments])


if __name__ == "__main__":
    with exit_statuses("Interrupted before the search began."):
        outcome = main()
    if outcome["stopped_by"]:
        sys.exit(128 + signal.Signals[outcome["stopped_by"]])
    sys.exit(0 if outcome["best"] is not None else FAILED)
