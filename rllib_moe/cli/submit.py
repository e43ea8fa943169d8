"""Send a training to a Ray cluster as a job, and follow it.

How to run (the flags of a training follow after `--`):
    python scripts/submit.py --address http://127.0.0.1:8265 -- --exp-name mine --output-dir /mnt/shared/results
    python scripts/submit.py -- --config mine.yaml --output-dir /mnt/shared/results
    python scripts/submit.py --attach raysubmit_...
    python scripts/submit.py --stop raysubmit_...
    python scripts/submit.py --fetch raysubmit_... --into results
    python scripts/submit.py --help

Results to expect: the job's id, where its results will be, then its log as scripts/train.py prints it. Ctrl-C leaves
the job running and says how to return to it. Exit status: the job's own (143 when it was stopped); 2 refused, 1 no job
server, 130 by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.cli.train import read_experiment
from rllib_moe.experiment import Experiment
from rllib_moe.jobs.submit_config import TASKS, SubmitConfig, job_errors
from rllib_moe.models.encoder_registry import encoder_errors
from rllib_moe.runtime.invocation import exit_statuses
from rllib_moe.validation.errors import ConfigError, collected


def main(argv: Sequence[str] | None = None) -> int:
    """Send, follow, stop or fetch one job, and return the exit status."""
    config, experiment = read(words_of(argv))

    from rllib_moe.jobs import submit  # late, so that help and most refusals take no time

    return submit.run(config, experiment)


def read(words: Sequence[str]) -> tuple[SubmitConfig, Experiment | None]:
    """Return what a command line asks for, and the experiment of a new job.

    Raises:
        ConfigError: naming every error, those of the training's flags too.
        CheckpointError: The checkpoint to resume is missing or damaged.
        SystemExit: `--help` was asked for.
    """
    cut = words.index("--") if "--" in words else len(words)
    parser = Parser("submit", str(__doc__))
    parser.add_settings("job", SubmitConfig)
    return parser.read(words[:cut], partial(_request, words[cut + 1 :]))


def _request(training: Sequence[str], given: dict[str, Any]) -> tuple[SubmitConfig, Experiment | None]:
    errors: list[str] = []
    config, experiment = SubmitConfig(), None
    with collected(errors):
        config = SubmitConfig(**given)
    if given.keys() & set(TASKS):
        if training:
            errors.append(f"flags of training after --: a job is there already, got {' '.join(training)}")
    elif not training:
        errors.append("expected flags of training after --, such as -- --exp-name mine --output-dir /mnt/results")
    else:
        with collected(errors):
            experiment, resumed = read_experiment(training, "train", "Flags of scripts/train.py.")
            errors += job_errors(experiment.run)
            if ":" not in experiment.model.graph_encoder:  # a class of one's own may travel with --tree
                errors += encoder_errors(experiment.model.graph_encoder)
            errors += resumed.errors(experiment) if resumed else ()
    if errors:
        raise ConfigError(errors)
    return config, experiment


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted before a job was sent."):
        status = main()
    sys.exit(status)
