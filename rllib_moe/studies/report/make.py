"""A report made from its request: the runs read, drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from rllib_moe.runtime.files import directory_errors, write_whole
from rllib_moe.studies.report.runs import group_runs, read_runs
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings


class ReportRequest(Settings):
    """Runs to report on, and the place of the report."""

    runs: list[str] = Field(min_length=1, json_schema_extra={"positional": True, "nargs": "*", "metavar": "RUN"})
    """Run directories, such as results/full_training; the first one gets the report."""
    output: str | None = Field(None, min_length=1)
    """Directory for the page and the pictures; by default `report` in the first run's directory."""


def make_report(request: ReportRequest, command: Sequence[str]) -> dict[str, Any]:
    """Write the page and one PNG a figure.

    Args:
        command: Command line, to be written on the page.

    Returns:
        `page` (its path), `pictures` (file names), `runs` (name and state of each) and `omissions` (by name).

    Raises:
        ConfigError: naming every run that cannot be read, or the place that cannot be written; nothing was written.
    """
    places = [Path(run) for run in request.runs]
    runs = read_runs(places)
    output = Path(request.output) if request.output else places[0] / "report"
    if errors := list(directory_errors("output", output)):
        raise ConfigError(errors, "report")

    # Late, so that help and refusals take no time.
    from rllib_moe.runtime.figures import save, styled
    from rllib_moe.studies.report.curves import comparison_rows
    from rllib_moe.studies.report.figures import draw_figures, scene_figures
    from rllib_moe.studies.report.page import render, state_of

    groups = group_runs(runs)
    rows = comparison_rows(groups) if len(runs) > 1 else []
    with styled():
        drawings, omitted = draw_figures(groups)
        drawings += scene_figures(runs)
        omissions = {run.name: [*run.omissions, *omitted] for run in runs}
        page = render(runs, rows, drawings, omissions, command)
        for drawing in drawings:
            save(drawing.figure, output / f"{drawing.key}.png")
    write_whole(output / "index.html", page)
    return {
        "page": str(output / "index.html"),
        "pictures": sorted(f"{drawing.key}.png" for drawing in drawings),
        "runs": {run.name: state_of(run) for run in runs},
        "omissions": omissions,
    }
