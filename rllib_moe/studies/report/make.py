"""A report made from its request: the runs read, drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_moe.runtime.figures import save, styled
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.report.comparison import comparison_rows, group_runs
from rllib_moe.studies.report.figures import draw_figures, scene_figures
from rllib_moe.studies.report.page import render, state_of
from rllib_moe.studies.report.request import ReportRequest
from rllib_moe.studies.report.runs import read_runs
from rllib_moe.validation import ConfigError


@styled()
def make_report(request: ReportRequest, command: Sequence[str]) -> dict[str, Any]:
    """Write the page and one PNG a figure.

    Args:
        request: What to report on.
        command: The command line, to be written on the page.

    Returns:
        `page` (its path), `pictures` (file names), `runs` (name and state of each) and `omissions` (by name).

    Raises:
        ConfigError: naming every run that cannot be read, or the place that cannot be written; nothing was written.
    """
    places = [Path(run) for run in request.runs]
    runs = read_runs(places)
    output = Path(request.output) if request.output else places[0] / "report"
    if output.exists() and not output.is_dir():
        raise ConfigError([f"output: expected a directory, {output} is a file"], "report")
    groups = group_runs(runs, request.group)
    drawings, omitted = draw_figures(groups)
    drawings += scene_figures(runs)
    rows = comparison_rows(groups) if len(runs) > 1 else []
    omissions = {run.name: [*run.omissions, *omitted] for run in runs}
    page = render(runs, rows, drawings, omissions, command)
    try:
        for drawing in drawings:
            save(drawing.figure, output / f"{drawing.key}.png")
        with atomic_write(output / "index.html") as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"output: cannot write to {output} ({error.strerror})"], "report") from error
    return {
        "page": str(output / "index.html"),
        "pictures": sorted(f"{drawing.key}.png" for drawing in drawings),
        "runs": {run.name: state_of(run) for run in runs},
        "omissions": omissions,
    }
