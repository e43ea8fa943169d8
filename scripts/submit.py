"""Send a training to a Ray cluster as a job, and follow it.

How to run (flags of scripts/train.py follow after `--`):
    python scripts/submit.py --address http://127.0.0.1:8265 -- --exp-name mine --output-dir /mnt/shared/results
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
from typing import Any

from rllib_moe.jobs.request import parse
from rllib_moe.jobs.server import JobError
from rllib_moe.jobs.submit import run
from rllib_moe.runtime.exit_status import exit_statuses
from rllib_moe.training.checkpoints import CheckpointError
from rllib_moe.validation import ConfigError


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Send, follow, stop or fetch one job."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run(parse(arguments, description=str(__doc__)))


if __name__ == "__main__":
    interrupted = "Interrupted before a job was sent."
    with exit_statuses(interrupted, refused=(ConfigError, CheckpointError), failed=(JobError,)):
        status = main()["status"]
    sys.exit(status)
