"""Play one episode of a checkpoint and show, step by step, which expert acts, where it looks and what it would do.

How to run:
    python scripts/replay.py --checkpoint results/full_training --seed 1003 --out replay.html
    python scripts/replay.py --checkpoint results/full_training --seed 1003 --gif replay.gif --max-steps 200
    python scripts/replay.py --help

Results to expect: a page to open in any browser (it loads nothing from anywhere), or a moving picture.
The episode is the one that `scripts/evaluate.py` plays with this seed. Exit status: 0 done, 2 refused, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tyro

from rllib_moe.evaluation.replay.replay import ReplayRequest, replay
from rllib_moe.runtime.exit_status import exit_statuses
from rllib_moe.training.progress import standard_console


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Write one replay and return what it is of."""
    request = tyro.cli(ReplayRequest, args=argv, description=__doc__, prog="replay.py")
    return replay(request, standard_console())


if __name__ == "__main__":
    with exit_statuses("Interrupted: nothing was written."):
        main()
