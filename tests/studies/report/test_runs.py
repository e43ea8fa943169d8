"""Reading runs: finished, going on, damaged, and what is no run."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np

from rllib_moe import metrics as m
from rllib_moe.studies.report.runs import read_run, read_runs
from tests.refused import errors_of
from tests.studies.report.report_runs import PUBLISHED, SCHEDULE, write_run


def test_the_published_run_is_read_whole() -> None:
    run = read_run(PUBLISHED)
    assert run.rows[-1][m.EPISODES_TOTAL.key] == 2002
    assert run.setting("run", "episodes") == 2000
    assert run.num_experts == 4
    assert [(span.name, int(span.last)) for span in run.phases()] == [
        ("warmup", 411),
        ("transition", 1205),
        ("fine-tune", 2002),
    ]
    # As its own summary has it.
    own = json.loads((PUBLISHED / "summary.json").read_text())["phases"]
    assert [phase["score_mean"] for phase in run.summary()["phases"]] == [phase["score_mean"] for phase in own]
    assert run.evaluations.keys() == {path.name for path in PUBLISHED.glob("evaluation*.json")}


def test_a_run_that_is_going_on(tmp_path: Path) -> None:
    path = write_run(tmp_path / "mine", range(25))
    progress = path / "progress.csv"
    whole = progress.read_text()
    progress.write_text(whole[:-3])  # the last row is being written: even its number may be cut in two
    run = read_run(path)
    assert len(run.rows) == 24
    assert run.omissions == ()
    assert run.schedule == SCHEDULE
    assert run.command == ["scripts/train.py", "--exp-name", "mine"]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    names = ["a/mine", "b/mine", "c/a/mine", "a/other"]
    for name in names:
        shutil.copytree(PUBLISHED, tmp_path / name)
    assert [run.name for run in read_runs([tmp_path / name for name in names])] == [*names[:3], "other"]


def test_all_that_is_no_run_is_named_at_once(tmp_path: Path) -> None:
    expected = {
        "missing": "no such directory",
        "empty": "expected a run directory",
        "blank": "no iteration yet",
        "other": "run/episodes_total",
        "binary": "cannot be read",
        "checkpoint": "not its checkpoints",
    }
    contents = {"blank": b"", "other": b"a,b\n1,2\n", "binary": b"\xff\xfe\n" * 9}
    for name in expected.keys() - {"missing"}:
        (tmp_path / name).mkdir()
    for name, content in contents.items():
        (tmp_path / name / "progress.csv").write_bytes(content)
    (tmp_path / "checkpoint" / "manifest.json").write_text("{}")
    errors = errors_of(read_runs, [tmp_path / name for name in expected])
    for error, (name, part) in zip(errors, expected.items(), strict=True):
        assert part in error, name


def test_what_is_damaged_is_named_and_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path / "mine", range(4))
    (path / "config.yaml").write_text("{")
    (path / "schedule.yaml").unlink()
    (path / "starts.jsonl").write_text("[1]\n")
    (path / "evaluation.json").write_text('{"policy": "checkp')
    (path / "evaluation-list.json").write_text("[1]")
    progress = path / "progress.csv"
    lines = progress.read_text().splitlines()
    columns = lines[0].split(",")
    cells = lines[2].split(",")
    cells[columns.index(m.STEPS_PER_SECOND.key)] = "fast"
    broken = lines[3].split(",")
    broken[columns.index(m.EPISODES_TOTAL.key)] = "?"
    lines[2:4] = [",".join(cells), ",".join(broken), lines[4][:9]]
    progress.write_text("\n".join(lines) + "\n" + lines[-1][:9])  # the last: still being written, no damage

    run = read_run(path)

    assert len(run.rows) == 3
    assert (run.config, run.command, run.schedule, run.evaluations) == (None, None, None, {})
    assert np.isnan(run.column(m.STEPS_PER_SECOND)).tolist() == [False, True, False]
    named = "\n".join(run.omissions)
    for part in (
        "2 damaged rows",
        "config.yaml: damaged",
        "schedule.yaml: missing",
        "starts.jsonl: damaged",
        "evaluation.json: damaged",
        "evaluation-list.json: damaged",
    ):
        assert part in named
    assert math.isfinite(run.summary()["wall_seconds"])
