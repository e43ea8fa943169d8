"""Where results cannot be written is told beforehand, and nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rllib_moe.runtime.files import directory_errors, file_errors


def test_what_can_be_made_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").touch()
    for file in ("new.json", "old.json", "a/b/new.json", str(tmp_path / "c" / "new.json")):
        assert list(file_errors("json", file)) == []
    assert list(directory_errors("output_dir", tmp_path / "a" / "b")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_a_directory_where_a_file_is_due(tmp_path: Path) -> None:
    assert list(file_errors("json", str(tmp_path))) == [f"json: expected a file, {str(tmp_path)!r} is a directory"]


def test_a_device_is_not_replaced_by_a_file() -> None:
    assert list(file_errors("json", "/dev/null")) == ["json: expected a file, '/dev/null' is none"]


def test_a_file_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "a")
    assert list(file_errors("json", f"{place}/x.json")) == [
        f"json: cannot write to {place!r} ({tmp_path / 'file'} is no directory)"
    ]


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
