"""Places that cannot be written to are told beforehand, and nothing is made; a directory has one writer."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from rllib_moe.runtime.files import directory_errors, file_errors, locked
from rllib_moe.validation.errors import ConfigError


def test_what_can_be_made_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").touch()
    for file in ("new.json", "old.json", "a/b/new.json", str(tmp_path / "c" / "new.json")):
        assert list(file_errors("json", file)) == []
    assert list(directory_errors("output_dir", tmp_path / "a" / "b")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "a")
    for file, error in (
        (str(tmp_path), f"expected a file, {str(tmp_path)!r} is a directory"),
        ("/dev/null", "expected a file, '/dev/null' is none"),  # a device is not replaced
        (f"{place}/x.json", f"cannot write to {place!r} ({tmp_path / 'file'} is no directory)"),
    ):
        assert list(file_errors("json", file)) == [f"json: {error}"]


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may write everywhere, so the answer of the system is set."""
    (tmp_path / "old.json").touch()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    assert list(directory_errors("output_dir", tmp_path / "a")) == [
        f"output_dir: cannot write to {str(tmp_path / 'a')!r} (no permission in {tmp_path})"
    ]
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "old.json")
    old = str(tmp_path / "old.json")
    assert list(file_errors("json", old)) == [f"json: cannot write {old!r} (it is read-only)"]


def test_two_processes_do_not_write_to_one_directory(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=f"exp_name: another process is writing to {tmp_path}")
    with locked("output_dir", tmp_path), refused, locked("exp_name", tmp_path):
        pass
    with locked("exp_name", tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    logging.getLogger("rllib_moe").propagate = True
    with locked("exp_name", tmp_path):
        assert "No locks available" in caplog.text
