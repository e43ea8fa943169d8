"""What is sent with a job: the working tree without results, environments and caches."""

import zipfile
from pathlib import Path

import pytest

from rllib_moe.jobs.package import PackageError, files_of, write_package
from rllib_moe.training import command_line

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with everything that is left out, and a module of the user's own."""
    kept = ("rllib_moe/a.py", "rllib_moe/results/kept.py", "scripts/train.py", "my_doors.py", "my_schedule.yaml")
    left_out = (
        ".git/objects/ab", ".venv/bin/python", "results/mine/progress.csv", ".env", "rllib_moe/__pycache__/a.pyc",
        "rllib_moe.egg-info/PKG-INFO", "run.log", "build/lib/a.py", ".pytest_cache/v",
        "tests/test_a.py", "pretrained/nethack/weights.pt", "docs/learning.md",
    )  # fmt: skip
    for name in (*kept, *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_sends_what_a_job_needs_and_no_more(tree: Path) -> None:
    target = tree / "results" / "package.zip"
    size = write_package(tree, target, max_mb=1)

    assert size == pytest.approx(target.stat().st_size / 1e6)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [
            "my_doors.py", "my_schedule.yaml", "rllib_moe/a.py", "rllib_moe/results/kept.py", "scripts/train.py",
        ]  # fmt: skip


def test_refuses_a_tree_that_is_too_large_and_says_what_is(tree: Path) -> None:
    (tree / "videos").mkdir()
    (tree / "videos" / "a.mp4").write_bytes(bytes(1_100_000))

    with pytest.raises(PackageError, match=r"has 1\.1 MB to send, more than --max-mb 1; .* videos \(1\.1 MB\)"):
        write_package(tree, tree / "package.zip", max_mb=1)
    assert not (tree / "package.zip").exists()


def test_refuses_another_directory(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"has no rllib_moe and no scripts/train\.py"):
        write_package(tmp_path, tmp_path / "package.zip", max_mb=1)


def test_this_repository_is_small(tmp_path: Path) -> None:
    names = {str(path.relative_to(ROOT)) for path in files_of(ROOT)}

    assert {"scripts/train.py", "rllib_moe/schedules/default.yaml", "requirements.txt"} <= names
    assert write_package(ROOT, tmp_path / "package.zip", max_mb=5) < 0.5  # the README says 0.4 MB


def test_a_network_that_is_named_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(ROOT, tmp_path / "package.zip", max_mb=20, named={"pretrained"})
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        archive.extractall(tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    request = command_line.parse(["--resume", "pretrained/nethack", "--exp-name", "mine", "--episodes", "8000"], "")

    assert request.resumed is not None
    assert request.resumed.path.is_relative_to(tmp_path)
