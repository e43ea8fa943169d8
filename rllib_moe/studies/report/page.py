"""The report's page: what is said of every run, and the template filled with it. One file, no network."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.colors import DARK, LIGHT, expert_color
from rllib_moe.runtime.figures import svg
from rllib_moe.runtime.page_heads import commit_words, environment_words, machine_words
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.overlay import SEVERAL, Drawing
from rllib_moe.studies.report.runs import Run
from rllib_moe.training.run_directory import PROGRESS, SUMMARY
from rllib_moe.training.summary import SCORE_WINDOW

STALE_SECONDS = 600
"""A run that is short of its episodes and wrote nothing for so long is called stopped."""


def render(
    runs: Sequence[Run],
    rows: Sequence[Mapping[str, Any]],
    drawings: Sequence[Drawing],
    omissions: Mapping[str, Sequence[str]],
    command: Sequence[str],
) -> str:
    """Fill the template.

    Args:
        rows: Lines of the table that compares them; empty for one run.
        drawings: The figures, in order.
        omissions: What was left out, by the name of the run.
    """
    environment = Environment(
        loader=PackageLoader("rllib_moe.studies.report", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "shell": _shell, "heading": m.measure_heading}
    environment.filters["unbroken"] = _unbroken
    environment.filters["yaml"] = partial(yaml.safe_dump, sort_keys=False)
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
    written, summary = (run.path / PROGRESS).stat().st_mtime, run.path / SUMMARY
    ended = summary.exists() and summary.stat().st_mtime >= written  # an older one is of before a resume
    if not ended and time.time() - written < STALE_SECONDS:
        return f"going on: {played} of {asked} episodes so far"
    return f"stopped at {played} of {asked} episodes"


def _unbroken(text: str) -> Markup:
    """Return text in which no flag is broken at its hyphens where a line ends."""
    return Markup("").join(
        Markup('<span class="word">{}</span>').format(part) if part.startswith("--") else part
        for part in re.split(r"(--[\w-]+)", text)
    )


def _shell(command: Sequence[str]) -> str:
    return shlex.join(["python", *command] if command[0].endswith(".py") else command)


def _settings(run: Run) -> dict[str, str]:
    """Return what was trained, how and where; empty where it is unknown."""
    get, env_args = run.setting, run.setting("environment", "env_args")
    max_steps, arguments = get("environment", "max_steps"), env_args if isinstance(env_args, dict) else {}
    return {
        "environment": environment_words(get("environment", "env"), max_steps, arguments) if run.config else "",
        "algorithm": str(get("training", "algo") or "").upper(),
        "seed": str(get("training", "seed")) if run.config else "",
        "commit": ", ".join(dict.fromkeys(filter(None, map(commit_words, run.starts)))),
        "machine": machine_words(run.starts[-1]) if run.starts else "",
    }


def _common(settings: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return every setting with its values over the runs, each once."""
    return [
        (name, ", ".join(filter(None, dict.fromkeys(each[name] for each in settings))) or "unknown")
        for name in settings[0]
    ]


def _numbers(run: Run) -> dict[str, str]:
    """Return key numbers, by name, with their units."""
    summary, last, curve = run.summary(), run.rows[-1], score_curve(run)
    wall = summary["wall_seconds"]  # 0 or NaN where it was not logged
    score = "-" if curve is None or curve.half is None else f"{curve.mean[-1]:.1f} ± {curve.half[-1]:.1f} points"
    return {
        f"score, last {SCORE_WINDOW} episodes": score,
        "best score": _number(max(filter(math.isfinite, run.column(m.SCORE_MAX)), default=None), 0, " points"),
        "alpha entropy": _number(last.get(m.ALPHA_ENTROPY.key), 3, " nats"),
        "mutual information": _number(last.get(m.MUTUAL_INFORMATION.key), 3, " nats"),
        "least used expert": _number(last.get(m.MIN_EXPERT_SHARE.key), 1, " %", times=100),
        "wall time": str(timedelta(seconds=round(wall))) if wall > 0 else "-",
        "speed": _number(summary["env_steps_per_second"], 0, " steps/s"),
        "skipped updates": _number(summary["skipped_updates"], 0),
    }


def _number(value: Any, digits: int = 2, unit: str = "", times: float = 1) -> str:
    is_known = isinstance(value, (int, float)) and math.isfinite(value)
    return f"{times * value:.{digits}f}{unit}" if is_known else "-"


def _interval(value: tuple[float, float | None] | None, digits: int = 2, times: float = 1) -> str:
    mean, half = value or (None, None)
    return _number(mean, digits, times=times) + ("" if half is None else f" ± {_number(half, digits, times=times)}")
