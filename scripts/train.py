"""Train a graph-attention mixture-of-experts policy through the phases of a schedule.

How to run:
    python scripts/train.py --exp-name full_training --episodes 3000 --max-steps 500
    python scripts/train.py --exp-name finetune_5000 --episodes 5000 --resume results/full_training
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

from rllib_moe.config import ConfigError
from rllib_moe.runtime.exit_status import exit_statuses
from rllib_moe.training.checkpoints import CheckpointError
from rllib_moe.training.command_line import parse
from rllib_moe.training.experiment import TrainingStoppedError, run_experiment


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one experiment and return its summary."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_experiment(parse(arguments, description=str(__doc__)), ["scripts/train.py", *arguments])


if __name__ == "__main__":
    interrupted = "Interrupted before training began."
    with exit_statuses(interrupted, refused=(ConfigError, CheckpointError), failed=(TrainingStoppedError,)):
        stopped_by = main()["stopped_by"]
    sys.exit(128 + signal.Signals[stopped_by] if stopped_by else 0)
