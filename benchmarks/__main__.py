"""Measure training: whole, beside stock RLlib in the same run, and each part alone.

How to run:
    python -m benchmarks --quick --json numbers.json
    python -m benchmarks --scaling 1,2,4
    python -m benchmarks --soak 30
    python -m benchmarks --algorithms ppo,appo --minutes 3
    python -m benchmarks --minutes-to-score 300,400 --checkouts .,../before
    python -m benchmarks --phase-push 2,16,128
    python -m benchmarks --encoders
    python -m benchmarks --help

Results to expect: tables of steps/s beside stock, where an iteration goes, each part alone, learning beside the dense
form of the attention, and how cost grows; `--json` writes the same numbers. Flags of training and network are
those of scripts/train.py. Nothing is learned for keeps. docs/performance.md says how each number is taken. Exit status:
0 done, 2 refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.config import parse
from benchmarks.run import run_benchmark
from rllib_moe.runtime.invocation import exit_statuses


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one benchmark and return its numbers."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_benchmark(parse(arguments, description=str(__doc__)))


if __name__ == "__main__":
    with exit_statuses("Interrupted: nothing was written."):
        main()
