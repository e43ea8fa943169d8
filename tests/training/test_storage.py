"""The copy of a run on a storage: what is copied and when, going on from it, and a storage that fails."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from unittest.mock import Mock

import pyarrow.fs as pafs
import pytest

from rllib_moe import metrics as m
from rllib_moe.config import RunConfig
from rllib_moe.training.checkpoints import CheckpointError, load_checkpoint
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.storage import RunMirror, StorageError, fetch, fetch_run, is_same_place, locate, read_links
from rllib_moe.validation.errors import ConfigError
from scripts.train import main
from tests.conftest import Train

FILES = {"config.yaml", "schedule.yaml", "starts.jsonl", "progress.csv", "summary.json"}


def make_checkpoint(run: Path, episodes: int, text: str = "weights") -> Path:
    """A directory that looks like a checkpoint to a mirror, and the links to it."""
    path = run / "checkpoints" / f"episode_{episodes:06d}"
    path.mkdir(parents=True)
    (path / "weights.pt").write_text(text)
    (path / "manifest.json").write_text(json.dumps({"sha256": {"weights.pt": text}}))
    latest = run / "checkpoints" / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(path.name)
    return path


def run_at(path: Path) -> pafs.SubTreeFileSystem:
    return pafs.SubTreeFileSystem(str(path), pafs.LocalFileSystem())


@pytest.fixture(params=["local", "mock"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> pafs.SubTreeFileSystem:
    """The place of a run in a directory of this machine, and in pyarrow's file system in memory."""
    if request.param == "mock":
        return pafs.SubTreeFileSystem("runs/mine", pafs.FileSystem.from_uri("mock:///")[0])
    return run_at(tmp_path / "storage" / "mine")


def test_copies_whole_checkpoints_and_drops_the_oldest(files: pafs.SubTreeFileSystem, tmp_path: Path) -> None:
    run = tmp_path / "mine"
    mirror = RunMirror(files, run)
    for episodes in (100, 200, 300):
        checkpoint = make_checkpoint(run, episodes)
        (run / "progress.csv").write_text(f"{episodes}\n")
        assert mirror.copy_checkpoint(checkpoint, keep=2)

    listed = files.get_file_info(pafs.FileSelector("", recursive=True))
    names = {info.path for info in listed if info.type == pafs.FileType.File}
    assert names == {
        "progress.csv",
        "checkpoints/links.json",
        *(
            f"checkpoints/episode_000{number}/{file}"
            for number in (200, 300)
            for file in ("manifest.json", "weights.pt")
        ),
    }
    assert read_links(files) == {"latest": "episode_000300"}
    assert files.open_input_stream("progress.csv").read() == b"300\n"


def test_a_checkpoint_of_the_same_name_is_replaced_and_later_ones_stay(
    files: pafs.SubTreeFileSystem, tmp_path: Path
) -> None:
    run = tmp_path / "mine"
    mirror = RunMirror(files, run)
    for episodes in (100, 200, 300):
        mirror.copy_checkpoint(make_checkpoint(run, episodes), keep=5)
    shutil.rmtree(run / "checkpoints" / "episode_000200")
    assert mirror.copy_checkpoint(make_checkpoint(run, 200, "another"), keep=1)

    found = {info.base_name for info in files.get_file_info(pafs.FileSelector("checkpoints"))}
    assert found == {"episode_000200", "episode_000300", "links.json"}
    stored = files.open_input_stream("checkpoints/episode_000200/weights.pt").read()
    assert stored == b"another"
    assert read_links(files) == {"latest": "episode_000200"}


def test_going_on_from_a_storage_alone(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = tmp_path / "shared"
    (storage / "mine" / "checkpoints").mkdir(parents=True)
    (storage / "mine" / "checkpoints" / "episode_000016").write_text("in the way of the first copy")
    summary = train("mine", 32, "--checkpoint-every", "16", "--storage", storage.as_uri())
    assert (
        capsys.readouterr().out.count("Cannot copy") == 1
    )  # the first checkpoint; the run went on, and the next one was copied
    assert summary["paths"]["storage"] == f"{storage.as_uri()}/mine"
    assert {path.name for path in (storage / "mine").iterdir()} == {*FILES, "checkpoints"}
    assert load_checkpoint(storage / "mine" / "checkpoints" / "episode_000032").episodes == 32

    with pytest.raises(ConfigError, match="holds a run mine already"):
        main(["--exp-name", "mine", "--storage", storage.as_uri(), "--output-dir", str(tmp_path / "elsewhere")])

    shutil.rmtree(tmp_path / "mine")  # the machine is lost
    resumed = main(["--resume", f"{storage.as_uri()}/mine", "--episodes", "48"])
    assert resumed["episodes_total"] == 48
    rows = RunDirectory(tmp_path / "mine").rows()
    assert [row[m.EPISODES_TOTAL.key] for row in rows] == [8, 16, 24, 32, 40, 48]
    assert [row[m.ENV_STEPS_TOTAL.key] for row in rows] == [128, 256, 384, 512, 640, 768]
    assert read_links(run_at(storage / "mine"))["final"] == "episode_000048"

    damaged = storage / "mine" / "checkpoints" / "episode_000048" / "weights.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"weights\.pt is damaged"):
        main(["--resume", f"{storage.as_uri()}/mine", "--episodes", "64", "--exp-name", "branch"])


def test_a_fetched_run_whose_first_iteration_fails_can_go_on_where_it_was_put(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("mine", 16, "--storage", (tmp_path / "shared").as_uri())
    shutil.rmtree(tmp_path / "mine")
    with monkeypatch.context() as patched:
        patched.setattr("rllib_moe.algorithms.ppo.MoEPPO.training_step", Mock(side_effect=RuntimeError("at once")))
        with pytest.raises(RuntimeError, match="at once"):
            main(["--resume", f"{(tmp_path / 'shared').as_uri()}/mine", "--episodes", "32"])
    assert load_checkpoint(tmp_path / "mine").episodes == 16
    assert main(["--resume", str(tmp_path / "mine"), "--episodes", "32"])["episodes_total"] == 32
    assert len(RunDirectory(tmp_path / "mine").rows()) == 4


@pytest.fixture
def stored(tmp_path: Path) -> tuple[RunMirror, Path, str]:
    """A mirror with checkpoints 100 and 200, the storage's directory of checkpoints, and the URI of the run."""
    mirror = RunMirror(run_at(tmp_path / "storage" / "mine"), tmp_path / "mine")
    for episodes in (100, 200):
        mirror.copy_checkpoint(make_checkpoint(tmp_path / "mine", episodes), keep=5)
    return mirror, tmp_path / "storage" / "mine" / "checkpoints", (tmp_path / "storage" / "mine").as_uri()


def test_a_fetched_run_is_gone_with_its_owner(stored: tuple[RunMirror, Path, str], tmp_path: Path) -> None:
    uri = stored[2]
    for asked, name in (("", "200"), ("/checkpoints/latest", "200"), ("/checkpoints/episode_000100", "100")):
        fetched = fetch(uri + asked)
        assert (fetched.uri, fetched.run.name, fetched.checkpoint.name) == (uri, "mine", f"episode_000{name}")
        assert (fetched.checkpoint / "weights.pt").read_text() == "weights"
    kept = fetched.run
    del fetched
    assert not kept.exists()
    assert fetch_run(uri, tmp_path / "copy") == 5  # two checkpoints of two files, and the links
    assert (tmp_path / "copy" / "checkpoints" / "episode_000100" / "manifest.json").exists()


@pytest.mark.parametrize("text", ["", '{"latest": "epi', "[1]", "7", '{"latest": "../../x"}'])
def test_damaged_links_cost_a_warning(
    stored: tuple[RunMirror, Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    mirror, checkpoints, uri = stored
    (checkpoints / "links.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert fetch(uri).checkpoint.name == "episode_000200"
    assert "links.json" in caplog.text
    assert "going back to episode_000200" in caplog.text
    assert fetch_run(uri, tmp_path / "copy") == 5
    with pytest.raises(StorageError, match="no run or checkpoint that can be read"):
        fetch(f"{uri}/checkpoints/best")
    with pytest.raises(ConfigError, match="holds a run mine already"):
        RunMirror.claim(uri, tmp_path / "mine", is_own=False)
    RunMirror.claim(uri, tmp_path / "mine", is_own=True)
    mirror.copy_checkpoint(make_checkpoint(tmp_path / "mine", 300), keep=5)
    assert read_links(run_at(checkpoints.parent)) == {"latest": "episode_000300"}


def test_goes_back_to_an_older_checkpoint_with_a_warning(
    stored: tuple[RunMirror, Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, checkpoints, uri = stored
    shutil.copytree(checkpoints / "episode_000100", checkpoints / "episode_000300")  # a run taken up again before it
    (checkpoints / "episode_000200" / "manifest.json").unlink()  # a copy that was cut off
    with caplog.at_level(logging.WARNING):
        assert fetch(uri).checkpoint.name == "episode_000100"
    assert "episode_000200 is not whole or not there; going back to episode_000100" in caplog.text
    shutil.rmtree(checkpoints / "episode_000200")
    fetch_run(uri, tmp_path / "copy")
    assert not (tmp_path / "copy" / "checkpoints" / "latest").is_symlink()
    for name in ("100", "300"):
        shutil.rmtree(checkpoints / f"episode_000{name}")
    with pytest.raises(StorageError, match="holds no whole checkpoint"):
        fetch(uri)


def test_an_unchanged_checkpoint_is_not_copied_again(stored: tuple[RunMirror, Path, str], tmp_path: Path) -> None:
    mirror, checkpoints, _ = stored
    copied = checkpoints / "episode_000200" / "weights.pt"
    copied.write_text("left as it is")
    (tmp_path / "mine" / "checkpoints" / "final").symlink_to("episode_000200")
    assert mirror.copy_checkpoint(tmp_path / "mine" / "checkpoints" / "episode_000200", keep=5)
    assert copied.read_text() == "left as it is"
    links = {"latest": "episode_000200", "final": "episode_000200"}
    assert read_links(run_at(checkpoints.parent)) == links


def test_a_linked_checkpoint_whose_copy_failed_is_copied_with_the_next(
    stored: tuple[RunMirror, Path, str], tmp_path: Path
) -> None:
    mirror, checkpoints, _ = stored
    make_checkpoint(tmp_path / "mine", 300)  # its copy failed
    (tmp_path / "mine" / "checkpoints" / "best").symlink_to("episode_000300")
    assert mirror.copy_checkpoint(make_checkpoint(tmp_path / "mine", 400), keep=5)
    assert read_links(run_at(checkpoints.parent)) == {"latest": "episode_000400", "best": "episode_000300"}
    assert (checkpoints / "episode_000300" / "weights.pt").read_text() == "weights"


def test_a_directory_of_runs_may_be_called_checkpoints(tmp_path: Path) -> None:
    mirror = RunMirror(run_at(tmp_path / "checkpoints" / "mine"), tmp_path / "mine")
    assert mirror.copy_checkpoint(make_checkpoint(tmp_path / "mine", 100), keep=2)
    fetched = fetch(str(tmp_path / "checkpoints" / "mine"))
    assert (fetched.run.name, fetched.checkpoint.name) == ("mine", "episode_000100")


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("s3://bucket/runs/?region=eu-north-1", "s3://bucket/runs/mine?region=eu-north-1"),
        ("gs://bucket", "gs://bucket/mine"),
        ("/mnt/what?/", "/mnt/what?/mine"),
    ],
)
def test_options_of_a_uri_stay_at_its_end(storage: str, expected: str) -> None:
    assert RunConfig(exp_name="mine", storage=storage).copy_place == expected


@pytest.mark.parametrize("uri", ["file:///nowhere/at/all", "nosuch://bucket/run"])
def test_what_is_not_there_is_named(uri: str) -> None:
    with pytest.raises(StorageError, match=uri):
        fetch(uri)


@pytest.mark.parametrize("spelling", ["as_uri", "__str__"])
def test_a_run_that_is_written_to_its_storage_itself_is_not_copied_onto_itself(
    spelling: str, train: Train, tmp_path: Path
) -> None:
    """A copy of a file to itself would empty it."""
    summary = train("mine", 16, "--checkpoint-every", "8", "--storage", getattr(tmp_path, spelling)())
    assert "storage" not in summary["paths"]
    assert len(RunDirectory(tmp_path / "mine").rows()) == 2
    assert load_checkpoint(tmp_path / "mine").episodes == 16


def test_a_place_may_be_spelled_as_path_or_uri(train: Train, tmp_path: Path) -> None:
    """Made with a path, resumed from a URI, on another machine."""
    storage = tmp_path / "shared"
    train("mine", 8, "--storage", str(storage))
    shutil.rmtree(tmp_path / "mine")
    assert main(["--resume", f"{storage.as_uri()}/mine", "--episodes", "16"])["episodes_total"] == 16
    assert is_same_place(str(storage), storage.as_uri() + "/")
    assert not is_same_place(str(storage), f"mock://{storage}")


def test_a_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in ((tmp_path / "file" / "mine").as_uri(), "nosuch://bucket/mine"):
        with pytest.raises(ConfigError, match="storage: cannot write to"):
            RunMirror.claim(uri, tmp_path / "mine", is_own=False)
    with pytest.raises(ConfigError) as refused:
        RunConfig(storage="relative/path")
    (fault,) = refused.value.errors
    assert fault == "storage: expected a URI or an absolute path, got 'relative/path'"
    assert locate(str(tmp_path))[1] == str(tmp_path)
