"""Evaluation: a checkpoint, or a baseline, on a fixed list of seeds: checked, measured, told and written.

Ray and torch, which take seconds to import, are imported once an evaluation is sure to begin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_moe.evaluation.resolve import resolve
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.runtime.console import say
from rllib_moe.runtime.files import write_whole


def evaluate(request: EvaluationRequest, console: Console | None = None) -> dict[str, Any]:
    """Play the episodes and compute the numbers.

    Actions, and with them scores, do not depend on the numbers of workers and environments; routing numbers agree to
    five digits or so, as float32 sums depend on the batch.

    Progress and tables are printed where there is a console.

    Returns:
        The numbers of `evaluation_numbers` and what they were measured on, those of `information_numbers` as
        `information` (None for a baseline, one expert, or with an expert removed), and with `request.explain` those of
        `explanation_numbers` as `explain`; written to `request.json_file` if it is given.

    Raises:
        ConfigError: the request is refused, for all the errors it names; nothing was started or written.
        ValueError: the environment's labels changed while it was played.
    """
    resolved = resolve(request)
    console = console or Console(quiet=True)

    # Late: see above.
    from rllib_moe.evaluation.explanation_report import explanation_tables
    from rllib_moe.evaluation.measurement import measure
    from rllib_moe.evaluation.report import evaluation_tables

    numbers = measure(resolved, request, console)
    # Before anything is written, so that a full disk does not take the numbers along.
    explained = explanation_tables(numbers["explain"]) if request.explain else ()
    for table in (*evaluation_tables(numbers, resolved.description.episode_measures), *explained):
        console.print(table)
    if request.json_file is not None:
        write_whole(Path(request.json_file), json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        say(console, f"numbers: {request.json_file}")
    if request.plot is not None:
        from rllib_moe.evaluation.explanation_plot import write_plot  # matplotlib takes a second to import

        title = f"{request.checkpoint} on {numbers['env']}, {numbers['episodes']} episodes"
        write_plot(numbers["explain"], title, Path(request.plot))
        say(console, f"picture: {request.plot}")
    return numbers
