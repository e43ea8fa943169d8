"""Flags that `rllib-moe submit` reads, and refusals before anything is sent."""

from pathlib import Path

import pytest

from rllib_moe.cli.submit import main, read
from rllib_moe.experiment import Experiment
from rllib_moe.jobs.submit_config import places, sent_checkpoint
from tests.refusals import errors_of

ROOT = Path(__file__).parents[2]
PLACE = ("--output-dir", "/mnt/results")


def refused(*words: str) -> list[str]:
    return errors_of(main, words)


def test_takes_flags_of_both_commands(tmp_path: Path) -> None:
    start = Experiment().with_overrides({"gamma": 0.9, "output_dir": "/mnt/results"})
    (tmp_path / "mine.yaml").write_text(start.to_yaml())
    words = ["--address", "http://head:8265", "--no-follow", "--", "--config", str(tmp_path / "mine.yaml")]
    config, experiment = read([*words, "--exp-name", "mine"])
    assert (config.address, config.follow) == ("http://head:8265", False)
    assert experiment == start.with_overrides({"exp_name": "mine"})
    assert read(["--attach", "raysubmit_1"])[1] is None


def test_names_every_error_at_once() -> None:
    words = ("--address", "head", "--grace", "0", "--max-mb", "0", "--exp", "x", "--", "--episodes", "0", "--gama", "2")
    names = {error.partition(":")[0].partition(" (")[0] for error in refused(*words)}
    unknown = {f"unknown argument '{word}'" for word in ("--exp", "x", "--gama", "2")}
    assert names == {*unknown, "address", "grace", "max_mb", "episodes"}
    tree, pip = refused("--tree", "/nowhere", "--pip", "/none.txt", "--", *PLACE)
    assert tree == "tree: expected a directory, got '/nowhere'"
    assert pip.startswith("pip: expected a file of requirements")


def test_does_one_thing_at_a_time() -> None:
    hint = "expected flags of training after --, such as -- --exp-name mine --output-dir /mnt/results"
    assert refused() == [hint]
    assert refused("--exp-name", "mine")[-1] == hint
    assert refused("--attach", "a", "--stop", "b") == [
        "expected one of --attach, --stop and --fetch, got --attach and --stop"
    ]
    (error,) = refused("--attach", "a", "--", "--exp-name", "mine")
    assert error.startswith("flags of training after --: a job is there already")


def test_refuses_what_would_be_lost_or_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (into,) = refused("--fetch", "job", "--into", str(tmp_path / "file"))
    assert into == f"into: cannot write to {str(tmp_path / 'file')!r} ({tmp_path / 'file'} is no directory)"
    (lost,) = refused("--", "--exp-name", "mine")
    assert lost.startswith("output_dir: expected an absolute path on the cluster")
    (elsewhere,) = refused("--", "--address", "auto", *PLACE)
    assert elsewhere.startswith("address: a job runs on the cluster it was sent to")
    monkeypatch.chdir(ROOT)
    (played,) = refused("--", "--resume", "pretrained/nethack", "--episodes", "1", *PLACE)
    assert played.startswith("episodes: the checkpoint stands at episode")
    (tmp_path / "results").symlink_to(ROOT / "pretrained")
    monkeypatch.chdir(tmp_path)
    (unsent,) = refused("--", "--resume", "results/nethack", "--episodes", "99999", *PLACE)
    assert unsent.startswith("resume: expected a URI or an absolute path that the cluster sees too")
    with pytest.raises(ValueError, match="results/mine: no such directory"):
        main(["--", "--resume", "results/mine", *PLACE])


@pytest.mark.parametrize(
    ("resume", "is_sent"),
    [("pretrained/nethack", True), ("./pretrained/a/..", False), ("/a/pretrained", False), ("s3://a/b", False)],
)
def test_a_checkpoint_below_pretrained_is_sent(resume: str, is_sent: bool) -> None:
    run = Experiment().with_overrides({"resume": resume}).run
    assert (sent_checkpoint(run) is not None) == is_sent


@pytest.mark.parametrize(
    ("storage", "copied"), [("s3://bucket/runs/", "s3://bucket/runs/mine"), ("/mnt/runs", "file:///mnt/runs/mine")]
)
def test_says_where_results_will_be(storage: str, copied: str) -> None:
    run = Experiment().with_overrides({"exp_name": "mine", "output_dir": "/mnt/results/", "storage": storage}).run
    assert places(run) == {"exp_name": "mine", "results": "/mnt/results/mine", "storage": copied}
