"""A report made from its request: the runs read, drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_moe.studies.report.comparison import comparison_figures, comparison_rows
from rllib_moe.studies.report.figures import RUN_FIGURES, NotLoggedError
from rllib_moe.studies.report.groups import group_runs, run_names
from rllib_moe.studies.report.page import RunSection, render, state_of, write
from rllib_moe.studies.report.request import ReportRequest
from rllib_moe.studies.report.runs import ReportError, Run, read_runs
from rllib_moe.studies.report.scenes import scene_figure
from rllib_moe.studies.report.style import Drawing, png, styled


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
    places = [Path(run) for run in request.runs]
    runs = read_runs(places)
    output = Path(request.output) if request.output else places[0] / "report"
    if output.exists() and not output.is_dir():
        raise ReportError([f"output: expected a directory, {output} is a file"])
    with styled():
        sections = [_section(run) for run in runs]
        groups = group_runs(runs, request.group)
        comparison = list(comparison_figures(groups)) if len(runs) > 1 else []
        rows = comparison_rows(groups) if len(runs) > 1 else []
        pictures = {f"{drawing.key}.png": png(drawing.figure) for drawing in comparison}
        for index, section in enumerate(sections):
            prefix = "" if len(runs) == 1 else f"{index}_{section.run.name}_"
            pictures |= {f"{prefix}{drawing.key}.png": png(drawing.figure) for drawing in section.drawings}
        page = render(sections, comparison, rows, command)
    names = run_names(runs)
    try:
        path = write(page, pictures, output)
    except OSError as error:
        raise ReportError([f"output: cannot write to {output} ({error.strerror})"]) from error
    return {
        "page": str(path),
        "pictures": sorted(pictures),
        "runs": {names[run.path]: state_of(run) for run in runs},
        "omissions": {names[section.run.path]: [*section.run.omissions, *section.omitted] for section in sections},
    }


def _section(run: Run) -> RunSection:
    """Draw one run; what cannot be drawn is named."""
    drawings: list[Drawing] = []
    omitted: list[str] = []
    for draw in RUN_FIGURES:
        try:
            drawings.append(draw(run))
        except NotLoggedError as error:
            omitted.append(f"figure {draw.__name__}: {error}")
    for name, numbers in run.evaluations.items():
        if (drawing := scene_figure(name, numbers)) is not None:
            drawings.append(drawing)
    if not run.evaluations:
        omitted.append("figure scenes: no evaluation*.json in the run (scripts/evaluate.py --json writes it)")
    return RunSection(run=run, drawings=drawings, omitted=omitted)
