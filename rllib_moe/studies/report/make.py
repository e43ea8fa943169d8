"""The request for a report, and its making: read the runs, draw, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from rllib_moe.runtime.figures import save, styled
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.report.comparison import Grouping, comparison_rows, group_runs
from rllib_moe.studies.report.figures import draw_figures, scene_figures
from rllib_moe.studies.report.page import render, state_of
from rllib_moe.studies.report.runs import ReportError, read_runs


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """Which runs to report on, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run directories, such as results/full_training; the first one gets the report."""
    output: Path | None = None
    """Directory for the page and the pictures; by default `report` in the first run's directory."""
    group: Grouping = "seed"
    """Which runs are compared as one, by their mean: those that differ in seed only, none, or all."""


@styled()
def make_report(request: ReportRequest, command: Sequence[str]) -> dict[str, Any]:
    """Write the page and one PNG a figure.

    Args:
        request: What to report on.
        command: The command line, to be written on the page.

    Returns:
        `page` (its path), `pictures` (file names), `runs` (name and state of each) and `omissions` (by name).

    Raises:
        ReportError: naming every run that cannot be read, or the place that cannot be written; nothing was written.
    """
    if not request.runs:
        raise ReportError(["runs: expected one run directory or more, such as results/full_training"])
    runs = read_runs(list(request.runs))
    output = request.output or request.runs[0] / "report"
    if output.exists() and not output.is_dir():
        raise ReportError([f"output: expected a directory, {output} is a file"])
    groups = group_runs(runs, request.group)
    drawings, omitted = draw_figures(groups)
    for index, run in enumerate(runs):
        drawings += scene_figures(run, "scenes" if len(runs) == 1 else f"scenes-{index}")
    rows = comparison_rows(groups) if len(runs) > 1 else []
    omissions = {run.name: [*run.omissions, *omitted] for run in runs}
    page = render(runs, rows, drawings, omissions, command)
    try:
        for drawing in drawings:
            save(drawing.figure, output / f"{drawing.key}.png")
        with atomic_write(output / "index.html") as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ReportError([f"output: cannot write to {output} ({error.strerror})"]) from error
    return {
        "page": str(output / "index.html"),
        "pictures": sorted(f"{drawing.key}.png" for drawing in drawings),
        "runs": {run.name: state_of(run) for run in runs},
        "omissions": omissions,
    }
