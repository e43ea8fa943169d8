"""Commands are told as the user calls them, and end after an error with its status, and why on the error output."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_moe.runtime.invocation import called_as, exit_statuses
from rllib_moe.validation.errors import ConfigError, FailedError


@pytest.mark.parametrize(
    ("started", "told"),
    [
        ("scripts/train.py", ["python", "scripts/report.py", "results/a b"]),
        ("/opt/moe/scripts/train.py", ["python", "/opt/moe/scripts/report.py", "results/a b"]),
        ("rllib-moe train", ["rllib-moe", "report", "results/a b"]),
        ("my_own.py", ["rllib-moe", "report", "results/a b"]),
        ("", ["rllib-moe", "report", "results/a b"]),
    ],
)
def test_by_script_or_console_command(started: str, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert called_as("report", "results/a b") == told


def test_python_is_told_by_its_path_where_its_environment_is_not_active(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert called_as("report")[0] == sys.executable.removeprefix(f"{Path.cwd()}/")
    monkeypatch.chdir(tmp_path)
    assert called_as("report")[0] == sys.executable


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError(["gamma: no"]), 2, "configuration refused:\n  - gamma: no\n"),
        (FailedError("too late"), 1, "too late\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/run"), 1, "/a/run: Permission denied\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (SystemExit(143), 143, ""),
    ],
)
def test_an_error_becomes_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, exit_statuses("Interrupted."):
        raise error
    assert ended.value.code == status
    assert capsys.readouterr().err == said


def test_nothing_is_said_twice_and_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_statuses(None):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), exit_statuses(None):
        _ = 1 / 0
    with pytest.raises(ConnectionError), exit_statuses(None):
        raise ConnectionError
    assert capsys.readouterr().err == ""


def test_a_command_ends_quietly_when_the_reader_of_its_pipe_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = f"from {exit_statuses.__module__} import exit_statuses\nwith exit_statuses(None): print('a line')"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
