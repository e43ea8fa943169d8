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

from rllib_moe.cli.flags import Parser, words_of
from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.runtime.console import standard_console
from rllib_moe.runtime.invocation import exit_statuses


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one evaluation and return its numbers (see `evaluation.evaluate.evaluate`)."""
    parser = Parser("evaluate", str(__doc__))
    parser.add_argument("--config", metavar="FILE", help="Evaluation to begin with, in YAML; flags override.")
    parser.add_settings("evaluation", EvaluationRequest)
    return evaluate(parser.read(words_of(argv), _request), standard_console())


def _request(given: dict[str, Any]) -> EvaluationRequest:
    if "config" not in given:
        return EvaluationRequest(**given)
    begun = EvaluationRequest.load(given.pop("config"))
    if "env_args" in given:
        given["env_args"] = {**begun.env_args, **given["env_args"]}
    return begun.replace(**given)


def run() -> None:
    """Run the command as a process."""
    with exit_statuses("Interrupted: nothing was written."):
        main()
