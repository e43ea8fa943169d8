"""What `scripts/submit.py` refuses before anything is sent."""

import contextlib
from pathlib import Path

import pytest

from rllib_moe.jobs.request import DEFAULT_TREE, learner_gpus, left_behind, parse, results_of
from rllib_moe.phases import PhaseSchedule
from rllib_moe.training import command_line
from rllib_moe.validation import ConfigError
from scripts.submit import main

PLACE = ("--output-dir", "/mnt/results")


def refused(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        main(words)
    return error.value.faults


def test_takes_flags_of_both_programs() -> None:
    call = parse(["--address", "http://head:8265", "--pip", "--", "--exp-name", "mine", *PLACE], "")

    assert (call.config.address, call.config.pip) == ("http://head:8265", True)
    assert call.training == ["--exp-name", "mine", *PLACE]
    assert call.request is not None
    assert call.request.config.run.exp_name == "mine"


def test_names_every_fault_at_once() -> None:
    faults = refused(
        "--address", "head", "--grace", "0", "--max-mb", "0", "--", "--episodes", "0", "--gamma", "2", *PLACE
    )

    assert [fault.split(":")[0] for fault in faults] == ["address", "grace", "max_mb", "gamma", "episodes"]


def test_refuses_a_schedule_that_is_not_sent(tmp_path: Path) -> None:
    schedule = tmp_path / "results" / "best" / "schedule.yaml"
    schedule.parent.mkdir(parents=True)
    PhaseSchedule.load("default").save(schedule)
    faults = left_behind(["--schedule", "results/best/schedule.yaml"], Path.cwd())
    assert faults == []  # nor there: the flags are refused for that already
    with contextlib.chdir(tmp_path):
        (fault,) = left_behind(["--schedule", "results/best/schedule.yaml"], Path())
    assert fault.startswith("schedule: 'results/best/schedule.yaml' is not sent")


def test_resuming_from_where_one_is_is_refused_in_words(tmp_path: Path) -> None:
    (fault,) = left_behind(["--resume", "."], tmp_path)
    assert fault.startswith("resume: expected a URI or an absolute path")


@pytest.mark.parametrize("resume", ["results/mine", "results/mine/checkpoints/best"])
def test_refuses_what_would_be_lost_or_not_be_there(
    resume: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundled = command_line.PhaseSchedule.load("default")
    bundled.save(tmp_path / "mine.yaml")

    (lost,) = refused("--", "--exp-name", "mine")
    assert lost.startswith("output_dir: expected an absolute path on the cluster")
    (missing,) = refused("--", "--schedule", "mine.yaml", *PLACE)
    assert missing.startswith("schedule: expected a file of")
    parse(["--tree", str(tmp_path), "--", "--schedule", "mine.yaml", *PLACE], "")
    (elsewhere,) = refused("--", "--address", "auto", *PLACE)
    assert elsewhere.startswith("address: a job runs on the cluster it was sent to")
    with pytest.raises(ValueError, match=f"{resume}: no such directory"):
        main(["--", "--resume", resume, *PLACE])


def test_a_network_of_the_tree_is_sent_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(DEFAULT_TREE)
    flags = ["--resume", "pretrained/nethack", "--exp-name", "mine", "--episodes", "8000", *PLACE]

    assert parse(["--", *flags], "").named == {"pretrained"}
    assert parse(["--", "--exp-name", "mine", *PLACE], "").named == set()
    assert parse(["--", *flags, "--resume", str(DEFAULT_TREE / "pretrained" / "nethack")], "").named == set()
    with pytest.raises(ConfigError, match=r"resume: expected a URI or an absolute path .* below pretrained, got"):
        parse(["--tree", str(tmp_path), "--", *flags], "")


def test_does_one_thing_at_a_time() -> None:
    assert refused() == [
        "expected flags of scripts/train.py after --, such as -- --exp-name mine --output-dir /mnt/results"
    ]
    assert refused("--attach", "a", "--stop", "b") == [
        "expected one of --attach, --stop and --fetch, got --attach and --stop"
    ]
    (fault,) = refused("--attach", "a", "--", "--exp-name", "mine")
    assert fault.startswith("flags of training after --: a job is there already")


@pytest.mark.parametrize(("gpus", "reserved"), [("0", 0), ("0.5", 1), ("2", 2)])
def test_the_learner_takes_its_gpus_with_it(gpus: str, reserved: int) -> None:
    assert learner_gpus(command_line.parse(["--num-gpus", gpus], "")) == reserved


def test_says_where_results_will_be() -> None:
    request = command_line.parse(["--exp-name", "mine", *PLACE, "--storage", "s3://bucket/runs/"], "")

    assert results_of(request) == {
        "exp_name": "mine",
        "results": "/mnt/results/mine",
        "storage": "s3://bucket/runs/mine",
    }
    local = command_line.parse(["--exp-name", "mine", *PLACE, "--storage", "/mnt/runs"], "")
    assert results_of(local)["storage"] == "file:///mnt/runs/mine"
