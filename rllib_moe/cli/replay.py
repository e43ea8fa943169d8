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

from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.evaluation.replay.replay import replay
from rllib_moe.evaluation.spec import ReplayRequest
from rllib_moe.runtime.console import standard_console
from rllib_moe.runtime.invocation import exit_statuses


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Write one replay and return its measures (see `evaluation.replay.replay.replay`)."""
    parser = Parser("replay", str(__doc__))
    parser.add_settings("replay", ReplayRequest)
    return replay(parser.read(words_of(argv), ReplayRequest.from_dict), standard_console())


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted: nothing was written."):
        main()
