"""Train a graph-attention mixture-of-experts policy through the phases of a schedule.

How to run:
    python scripts/train.py --exp-name full_training --episodes 3000 --max-steps 500
    python scripts/train.py --exp-name finetune_5000 --episodes 5000 --resume results/full_training
    python scripts/train.py --config results/full_training/config.yaml --exp-name again
    python scripts/train.py --help

Results to expect: one line an iteration, a banner at each phase, a table of the phases at the end; everything is
written to results/<exp-name>. Ctrl-C saves and stops; `--resume` goes on. Exit status: 0 done, 2 refused, 130 or 143
stopped by a signal (saved), 1 failed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

from rllib_moe.cli.experiment_flags import CONFIG, add_experiment_flags, experiment_of
from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.experiment import Experiment
from rllib_moe.runtime.invocation import called_as, exit_statuses
from rllib_moe.training.resume import Resumed


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Train one experiment and return its summary (see `training.run.train`)."""
    words = words_of(argv)
    experiment, resumed = read_experiment(words, "train", str(__doc__))

    from rllib_moe.training.run import train  # late, so that help and most refusals take no time

    return train(experiment, called_as("train", *words), resumed)


def read_experiment(words: Sequence[str], name: str, description: str) -> tuple[Experiment, Resumed | None]:
    """Return the experiment that a command line asks for, and the checkpoint that `--resume` names.

    Raises:
        ConfigError: naming every error.
        CheckpointError: The checkpoint is missing or damaged.
        SystemExit: `--help` was asked for.
    """
    parser = Parser(name, description)
    add_experiment_flags(parser)
    return parser.read(words, _resolved)


def _resolved(given: dict[str, Any]) -> tuple[Experiment, Resumed | None]:
    """Return the experiment that is asked for, and the checkpoint that it goes on from where a flag names one."""
    if "resume" not in given:
        return experiment_of(given), None
    resumed = Resumed.find(given["resume"])
    return experiment_of(given, None if CONFIG in given else resumed.experiment), resumed


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted before training began."):
        stopped_by = main()["stopped_by"]
    sys.exit(128 + signal.Signals[stopped_by] if stopped_by else 0)
