"""The report's page: what is said of every run, and the template filled with it. One file, no network."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.colors import DARK, LIGHT, expert_color
from rllib_moe.runtime.figures import svg
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.figures import SEVERAL, Drawing
from rllib_moe.studies.report.runs import PROGRESS, Run
from rllib_moe.training.summary import SCORE_WINDOW

STALE_SECONDS = 600
"""A run that is short of its episodes and wrote nothing for so long is called stopped."""
COMMAND_WIDTH = 72
"""Letters of a line of a command: what fits beside each other on a page of 600 px."""


def render(
    runs: Sequence[Run],
    rows: Sequence[Mapping[str, Any]],
    drawings: Sequence[Drawing],
    omissions: Mapping[str, Sequence[str]],
    command: Sequence[str],
) -> str:
    """Fill the template.

    Args:
        runs: The runs.
        rows: Lines of the table that compares them; empty for one run.
        drawings: The figures, in order.
        omissions: What was left out, by the name of the run.
        command: The command that made the report.
    """
    environment = Environment(
        loader=PackageLoader("rllib_moe.studies.report", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "shell": shell_lines, "yaml": _yaml}
    environment.filters["heading"] = m.measure_heading
    return environment.get_template("report.html").render(
        title=", ".join(run.name for run in runs),
        made=time.strftime("%Y-%m-%d %H:%M %Z"),
        command=command,
        light=LIGHT,
        dark=DARK,
        window=SCORE_WINDOW,
        several=SEVERAL,
        settings=_common([_settings(run) for run in runs]),
        rows=rows,
        # Matplotlib escapes what it writes, so names of runs and phases cannot break out of the figure.
        figures=[(each, Markup(svg(each.figure, each.key))) for each in drawings],
        colors=[expert_color(index) for index in range(max(run.num_experts for run in runs))],
        measures=dict.fromkeys(
            name for run in runs for numbers in run.evaluations.values() for name in m.evaluated_measures(numbers)
        ),
        runs=[
            {
                "name": run.name,
                "state": state_of(run),
                "numbers": _numbers(run),
                "phases": run.summary()["phases"],
                "experts": expert_names(run.num_experts, run.role_names),
                "omissions": omissions[run.name],
                "run": run,
            }
            for run in runs
        ],
    )


def state_of(run: Run) -> str:
    """Return whether the run is done, going on, or stopped short, in words."""
    played, asked = run.episodes_total, run.setting("run", "episodes")
    if not isinstance(asked, int):
        return f"{played} episodes played"
    if played >= asked:
        return f"done: {played} episodes"  # more than were asked for where the last iteration went on
    written, summary = (run.path / PROGRESS).stat().st_mtime, run.path / "summary.json"
    ended = summary.exists() and summary.stat().st_mtime >= written  # an older one is of before a resume
    if not ended and time.time() - written < STALE_SECONDS:
        return f"going on: {played} of {asked} episodes so far"
    return f"stopped at {played} of {asked} episodes"


def shell_lines(command: Sequence[str]) -> str:
    """Return a command for a shell, in lines that break between flags only."""
    parts = ["python"] if command[0].endswith(".py") else []
    for word in command:
        is_value = len(parts) > 1 and not word.startswith("-")
        parts = [*parts[:-1], f"{parts[-1]} {shlex.quote(word)}"] if is_value else [*parts, shlex.quote(word)]
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < COMMAND_WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(f"    {part}")
    return " \\\n".join(lines)


def _settings(run: Run) -> dict[str, str]:
    """Return what was trained, how and where; empty where it is unknown."""
    get, last = run.setting, run.starts[-1] if run.starts else {}
    env_args = get("environment", "env_args")
    env_args = [f"{name}={value}" for name, value in env_args.items()] if isinstance(env_args, dict) else []
    environment = ", ".join([f"{get('environment', 'max_steps')} steps", *env_args])
    commits = [
        f"{str(start['git_commit'])[:10]}{' with changes' if start.get('git_changes') else ''}"
        for start in run.starts
        if start.get("git_commit")
    ]
    return {
        "environment": f"{get('environment', 'env')} ({environment})" if run.config else "",
        "algorithm": str(get("training", "algo") or "").upper(),
        "seed": str(get("training", "seed")) if run.config else "",
        "commit": ", ".join(dict.fromkeys(commits)),
        "machine": f"{last.get('gpu') or last.get('cpu')} ({last['cores']} cores)" if "cores" in last else "",
    }


def _common(settings: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return every setting with its values over the runs, each once."""
    return [
        (name, ", ".join(filter(None, dict.fromkeys(each[name] for each in settings))) or "unknown")
        for name in settings[0]
    ]


def _numbers(run: Run) -> dict[str, str]:
    """Return key numbers, by name, with their units."""
    summary, last = run.summary(), run.rows[-1]
    curve = score_curve(run)
    best = _finite(run.column(m.SCORE_MAX))
    wall = summary["wall_seconds"]
    numbers = {
        f"score, last {SCORE_WINDOW} episodes": ""
        if curve is None
        else f"{curve.mean[-1]:.1f} ± {curve.high[-1] - curve.mean[-1]:.1f} points",
        "best score": f"{max(best):.0f} points" if best else "",
        **{
            metric.title.lower(): f"{_number(last.get(metric.key), 3)} nats"
            for metric in (m.ALPHA_ENTROPY, m.MUTUAL_INFORMATION)
        },
        "least used expert": f"{_percent(last.get(m.MIN_EXPERT_SHARE.key))}",
        "wall time": _duration(wall),
        "speed": f"{_number(summary['env_steps_per_second'], 0)} steps/s" if wall else "",
        "skipped updates": _number(summary["skipped_updates"], 0),
    }
    return {name: "-" if value in ("", "- nats", "- steps/s") else value for name, value in numbers.items()}


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _number(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) and math.isfinite(value) else "-"


def _percent(share: Any) -> str:
    return f"{_number(100 * share, 1)} %" if isinstance(share, (int, float)) and math.isfinite(share) else ""


def _interval(value: tuple[float, float | None] | None, digits: int = 2, times: float = 1) -> str:
    parts = ["-"] if value is None else [_number(times * part, digits) for part in value if part is not None]
    return " ± ".join(parts)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)
