"""Training as a job of a real Ray head: sent, followed, left, taken up again, stopped with its checkpoint, fetched."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run_directory import RunDirectory
from tests.jobs.conftest import Head
from tests.program import Program

pytestmark = pytest.mark.slow


def start(head: Head, *words: str) -> Program:
    """Start `scripts/submit.py`."""
    return Program("scripts/submit.py", "--address", head.address, *words)


def run(head: Head, *words: str) -> tuple[int, str]:
    """Return its exit status and output."""
    process = start(head, *words)
    return process.status(), process.output


def job_of(output: str) -> str:
    found = re.search(r"job (raysubmit_\w+)", output)
    assert found, output
    return found[1]


@pytest.fixture
def flags(small_flags: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    """A small experiment with one remote worker, its results below `tmp_path`."""
    return (*small_flags, "--num-workers", "1", "--output-dir", str(tmp_path / "results"))


def test_a_job_runs_to_its_end_and_is_fetched(head: Head, flags: tuple[str, ...], tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    training = (*flags, "--exp-name", "mine", "--episodes", "24", "--storage", storage.as_uri())
    status, output = run(head, "--", *training)
    assert status == 0
    assert re.search(r"Sent [0-3]\.\d MB", output)
    assert "episode 24/24" in output  # the progress of the job
    assert f"Results on the cluster: {tmp_path / 'results' / 'mine'}" in output
    assert "succeeded, exit status 0" in output
    summary = json.loads((tmp_path / "results" / "mine" / "summary.json").read_text())
    assert (summary["episodes_total"], summary["env_steps_total"]) == (24, 24 * 16)

    status, again = run(head, "--attach", job_of(output))
    assert status == 0
    assert "episode 24/24" in again
    status, fetched = run(head, "--fetch", job_of(output), "--into", str(tmp_path / "here"))
    assert status == 0, fetched
    copy = tmp_path / "here" / "mine"
    assert load_checkpoint(copy).episodes == 24
    assert (copy / "checkpoints" / "final").is_symlink()
    assert len(RunDirectory(copy).rows()) == 3
    assert run(head, "--fetch", job_of(output), "--into", str(tmp_path / "here"))[0] == 2  # nothing is overwritten


def test_ctrl_c_leaves_the_job_and_stop_saves_it(head: Head, flags: tuple[str, ...], tmp_path: Path) -> None:
    process = start(head, "--", *flags, "--exp-name", "endless", "--episodes", "1000000")
    process.read_until("episode 16/")
    process.send(signal.SIGINT)
    assert process.status() == 130
    job = job_of(process.output)
    for way in ("--attach", "--stop", "--fetch"):
        assert f"{way} {job}" in process.output

    before = len(RunDirectory(tmp_path / "results" / "endless").rows())
    attached = start(head, "--attach", job)
    attached.read_until(f"episode {8 * before + 40}/")  # it goes on
    status, stopped = run(head, "--stop", job)
    assert status == 0
    assert f"{job} is STOPPED" in stopped
    assert attached.status() == 143
    assert "everything will be saved" in attached.output

    rows = RunDirectory(tmp_path / "results" / "endless").rows()
    checkpoint = load_checkpoint(tmp_path / "results" / "endless")
    assert checkpoint.episodes == 8 * len(rows)  # saved at the very last iteration
    assert json.loads((tmp_path / "results" / "endless" / "summary.json").read_text())["episodes_total"] == 8 * len(
        rows
    )


def test_the_exit_status_of_a_job_is_passed_on(head: Head, flags: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "results" / "taken").mkdir(parents=True)
    (tmp_path / "results" / "taken" / "progress.csv").write_text("")
    status, output = run(head, "--", *flags, "--exp-name", "taken")
    assert status == 2
    assert "holds a run already" in output


def test_without_following_it_says_how_to_return(head: Head, flags: tuple[str, ...]) -> None:
    status, output = run(head, "--no-follow", "--", *flags, "--exp-name", "later", "--episodes", "8")
    assert status == 0
    job = job_of(output)
    assert f"--attach {job}" in output
    assert run(head, "--attach", job)[0] == 0


def test_a_job_that_is_not_there_is_named(head: Head) -> None:
    for task in ("--attach", "--stop", "--fetch"):
        status, output = run(head, task, "raysubmit_nobody")
        assert status == 1
        assert "no job 'raysubmit_nobody'" in output
        assert "Stopping" not in output
