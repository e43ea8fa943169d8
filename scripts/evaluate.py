"""Evaluate a checkpoint, or a baseline beside it, on a fixed list of seeds.

How to run:
    python scripts/evaluate.py --checkpoint results/full_training --json results/full_training/evaluation.json
    python scripts/evaluate.py --checkpoint results/full_training --episodes 1000 --remove-expert 2
    python scripts/evaluate.py --policy scripted --episodes 1000
    python scripts/evaluate.py --help

Results to expect: a line now and then, a table of scores and routing, a table of the experts by scene. Exit status:
0 done, 2 refused, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tyro

from rllib_moe.evaluation.evaluate import EvaluationRequest, evaluate
from rllib_moe.runtime.exit_status import exit_statuses
from rllib_moe.training.progress import standard_console


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one evaluation and return its numbers."""
    request = tyro.cli(EvaluationRequest, args=argv, description=__doc__, prog="evaluate.py")
    return evaluate(request, standard_console())


if __name__ == "__main__":
    with exit_statuses("Interrupted: nothing was written."):
        main()
