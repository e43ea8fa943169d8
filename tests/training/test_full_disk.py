"""A real disk that fills up, and one that becomes read-only: the last checkpoint stays, and a sentence says so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run_directory import CannotWriteError
from rllib_moe.validation.errors import ConfigError
from tests.conftest import Train


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)):
        pytest.skip("may not mount here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def on(disk: Path) -> tuple[str, str]:
    """Flags that put a run there."""
    return "--output-dir", str(disk)


def fill(disk: Path, leave: int) -> None:
    """Leave so many bytes free."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - leave))


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(train: Train, disk: Path) -> None:
    train("mine", 8, *on(disk))
    before = load_checkpoint(disk / "mine")
    fill(disk, leave=65_536)  # enough for some rows of progress, not for a checkpoint
    told = r"cannot write to .*mine: .*; the last checkpoint is whole: .*episode_000008"
    with pytest.raises(CannotWriteError, match=told):
        train("mine", 800, *on(disk), "--checkpoint-every", "8", resume=disk / "mine")
    assert load_checkpoint(disk / "mine") == before
    assert not list((disk / "mine" / "checkpoints").glob(".partial-*"))  # a full disk needs the room

    (disk / "ballast").unlink()
    assert train("mine", 24, *on(disk), resume=disk / "mine")["episodes_total"] == 24


def test_a_disk_that_becomes_read_only_leaves_the_last_checkpoint(
    train: Train, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("mine", 8, *on(disk))
    before = load_checkpoint(disk / "mine")
    told = r"cannot write to .*mine: .*Read-only file system.*; the last checkpoint is whole: .*episode_000008"

    def turn(algorithm: Any) -> None:
        del algorithm
        assert mount("-o", "remount,ro", str(disk))

    monkeypatch.setattr("rllib_moe.algorithms.ppo.MoEPPO._replace_stalled_workers", turn)  # once the run is under way
    with pytest.raises(CannotWriteError, match=told):
        train("mine", 800, *on(disk), resume=disk / "mine")
    assert load_checkpoint(disk / "mine") == before
    monkeypatch.undo()
    for name in ("mine", "new"):
        with pytest.raises(ConfigError, match="output_dir: cannot (write to|make) .*" + name):
            train(name, 16, *on(disk), resume=disk / "mine")
