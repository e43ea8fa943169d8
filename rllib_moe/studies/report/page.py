"""The report's page: what is said of every run, and the template filled with it. One file, no network."""

from __future__ import annotations

import dataclasses
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import DARK, LIGHT, WARNING, expert_color
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.runs import PROGRESS, Run
from rllib_moe.studies.report.style import Drawing, svg
from rllib_moe.training.summary import SCORE_WINDOW

STALE_SECONDS = 600
"""A run that is short of its episodes and wrote nothing for so long is called stopped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSection:
    """What the page shows of one run."""

    run: Run
    """The run."""
    drawings: Sequence[Drawing]
    """Its figures."""
    omitted: Sequence[str]
    """Figures that could not be drawn, and why."""


def render(
    sections: Sequence[RunSection],
    comparison: Sequence[Drawing],
    comparison_rows: Sequence[dict[str, Any]],
    command: Sequence[str],
) -> str:
    """Fill the template.

    Args:
        sections: One for each run.
        comparison: Figures that compare the runs; empty for one.
        comparison_rows: Lines of the table that compares them.
        command: The command that made the report.
    """
    environment = Environment(
        loader=PackageLoader("rllib_moe.studies.report", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "heading": m.measure_heading}
    return environment.get_template("report.html").render(
        title=", ".join(section.run.name for section in sections),
        made=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        command=shlex.join(command),
        light=LIGHT,
        dark=DARK,
        warning=WARNING,
        window=SCORE_WINDOW,
        comparison=[_figure("comparison", drawing) for drawing in comparison],
        rows=comparison_rows,
        runs=[_described(f"run{index}", section) for index, section in enumerate(sections)],
    )


def _described(key: str, section: RunSection) -> dict[str, Any]:
    run = section.run
    return {
        "key": key,
        "name": run.name,
        "path": str(run.path),
        "state": state_of(run),
        "facts": _facts(run),
        "omissions": [*run.omissions, *section.omitted],
        "phases": run.summary()["phases"],
        "expert_colors": [expert_color(index) for index in range(run.num_experts)],
        "figures": [_figure(key, drawing) for drawing in section.drawings],
        "evaluations": run.evaluations,
        "measures": dict.fromkeys(
            name for numbers in run.evaluations.values() for name in m.evaluated_measures(numbers)
        ),
        "command": None if run.command is None else shlex.join(run.command),
        "config": None if run.config is None else yaml.safe_dump(run.config, sort_keys=False),
        "schedule": None if run.schedule is None else yaml.safe_dump(run.schedule.to_dict(), sort_keys=False),
    }


def state_of(run: Run) -> str:
    """Whether the run is done, going on, or stopped short, in words."""
    played, asked = int(run.rows[-1][m.EPISODES_TOTAL.key]), run.episodes_asked
    if asked is None:
        return f"{played} episodes played"
    if played >= asked:
        return f"done: {played} of {asked} episodes"
    written, summary = (run.path / PROGRESS).stat().st_mtime, run.path / "summary.json"
    ended = summary.exists() and summary.stat().st_mtime >= written  # an older one is of before a resume
    if not ended and time.time() - written < STALE_SECONDS:
        return f"going on: {played} of {asked} episodes so far"
    return f"stopped at {played} of {asked} episodes"


def _facts(run: Run) -> list[tuple[str, str]]:
    """Key numbers, name and value with its unit."""
    summary, last = run.summary(), run.rows[-1]
    score = score_curve(run)
    facts: list[tuple[str, str]] = []
    if score is not None:
        half = score.high[-1] - score.mean[-1]
        facts.append((f"score, last {SCORE_WINDOW} episodes", f"{score.mean[-1]:.1f} ± {half:.1f} points"))
    best = run.column(m.SCORE_MAX)
    if any(math.isfinite(each) for each in best):
        facts.append(("best score", f"{max(each for each in best if math.isfinite(each)):.0f} points"))
    for label, metric in (("alpha entropy", m.ALPHA_ENTROPY), ("mutual information", m.MUTUAL_INFORMATION)):
        if math.isfinite(value := last.get(metric.key, math.nan)):
            facts.append((label, f"{value:.3f} nats"))
    if math.isfinite(value := last.get(m.MIN_EXPERT_SHARE.key, math.nan)):
        facts.append(("least used expert", f"{100 * value:.1f} %"))
    wall = summary["wall_seconds"]
    if math.isfinite(wall) and wall > 0:
        facts.append(("wall time", f"{int(wall // 3600)}:{int(wall % 3600 // 60):02d} h"))
        facts.append(("speed", f"{_number(summary['env_steps_per_second'], 0)} steps/s"))
    if math.isfinite(skipped := summary["skipped_updates"]):
        facts.append(("skipped updates", f"{int(skipped)}"))
    return facts


def _figure(prefix: str, drawing: Drawing) -> dict[str, Any]:
    key = f"{prefix}-{drawing.key}"
    # Matplotlib escapes what it writes, so names of runs and phases cannot break out of the figure.
    return {"key": key, "title": drawing.title, "caption": drawing.caption, "svg": Markup(svg(drawing.figure, key))}


def _number(value: Any, digits: int = 2) -> str:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


def _interval(value: tuple[float, float | None] | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    mean, half = value
    return _number(mean, digits) if half is None else f"{_number(mean, digits)} ± {_number(half, digits)}"


def write(page: str, drawings: dict[str, bytes], directory: Path) -> Path:
    """Write the page and the pictures, each whole or not at all.

    Args:
        page: The page's text.
        drawings: PNGs by file name.
        directory: Where to; made when missing.

    Returns:
        The page's path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {**drawings, "index.html": page.encode()}.items():
        with atomic_write(directory / name) as partial:
            partial.write_bytes(content)
    return directory / "index.html"
