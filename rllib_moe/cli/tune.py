"""Search over schedules and settings: many trainings as Ray Tune trials, a table, and the best one ready to train.

How to run:
    python scripts/tune.py --exp-name first --space coefficients --trials 20 --episodes 2000 --phase-boundaries 400,1200
    python scripts/tune.py --exp-name second --space my_space.yaml --search optuna --scheduler asha --cpus-per-trial 0.5
    python scripts/tune.py --resume results/tune/second
    python scripts/tune.py --help

Results to expect: a line now and then for each trial, a table with the best trial first, and under
results/tune/<exp-name> the trials as CSV and JSON, their curves for TensorBoard, and in best/ the experiment that
`scripts/train.py --config` trains, and the trial's checkpoint. Ctrl-C stops and says how to go on. Exit status: 0 done,
2 refused, 1 every trial failed, 130 or 143 stopped by a signal.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

from rllib_moe.cli.experiment_flags import CONFIG, add_experiment_flags, overrides_of
from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.config import RunConfig
from rllib_moe.experiment import SCHEDULE, Experiment
from rllib_moe.runtime.invocation import FAILED, called_as, exit_statuses
from rllib_moe.studies.tuning.run import run_search
from rllib_moe.studies.tuning.search import Search
from rllib_moe.studies.tuning.search_config import SearchConfig
from rllib_moe.validation.errors import ConfigError, collected

RESUME, ADDRESS = "resume", "address"
SHARED_RUN_FIELDS = ("episodes", "checkpoint_every", ADDRESS)
"""Fields of a run that trials share; a search has a name and a place of its own."""


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one search and return its outcome (see `studies.tuning.run.run_search`)."""
    words = words_of(argv)
    parser = Parser("tune", str(__doc__))
    parser.add_argument("--resume", metavar="DIR", help="Directory of an interrupted search to go on with.")
    parser.add_settings("search", SearchConfig)
    own = {*SearchConfig.model_fields, *RunConfig.model_fields} - set(SHARED_RUN_FIELDS)
    add_experiment_flags(parser, leave_out=own)
    return run_search(parser.read(words, _search), called_as("tune", *words))


def _search(given: dict[str, Any]) -> Search:
    """Return the search that is asked for: a new one, or one to go on with."""
    if RESUME in given:
        if others := sorted(given.keys() - {RESUME, ADDRESS}):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in others)
            raise ConfigError([f"resume: a search goes on with its own settings; leave out {flags}"])
        return Search.load(given[RESUME], given.get(ADDRESS))
    errors: list[str] = []
    config, base, search = None, Experiment(), None
    with collected(errors):
        config = SearchConfig(**{name: given[name] for name in SearchConfig.model_fields if name in given})
    with collected(errors):
        base = Experiment.load(given[CONFIG]) if CONFIG in given else base
        base = base.with_overrides({SCHEDULE: given[SCHEDULE]}) if SCHEDULE in given else base  # read once
    shared = {name: value for name, value in overrides_of(given).items() if name not in ("output_dir", SCHEDULE)}
    with collected(errors):
        if config is None:
            base.with_overrides({"num_workers": 0, **shared})
        else:
            search = Search.plan(config, base, shared)
    if errors or search is None:
        raise ConfigError(dict.fromkeys(errors))
    return search


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted before the search began."):
        outcome = main()
    if outcome["stopped_by"]:
        sys.exit(128 + signal.Signals[outcome["stopped_by"]])
    sys.exit(0 if outcome["best"] is not None else FAILED)
