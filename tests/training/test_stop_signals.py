"""Stopping a real training process by signal: what it leaves on disk, its exit status, and no process behind."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from rllib_moe import metrics as m
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.stop_signals import StopSignals
from tests.conftest import Train
from tests.program import Program

Start = Callable[..., Program]


@pytest.fixture
def start(small_flags: tuple[str, ...], tmp_path: Path) -> Iterator[Start]:
    """Start an endless run with one rollout worker; what is left of it when the test ends is killed."""
    started: list[Program] = []

    def begin(exp_name: str, *flags: str) -> Program:
        place = ("--output-dir", str(tmp_path), "--exp-name", exp_name, "--episodes", "1000000")
        started.append(Program("scripts/train.py", *small_flags, "--num-workers", "1", *place, *flags))
        return started[-1]

    yield begin
    for each in started:
        each.end()


BOTH = pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda number: number.name
)


@BOTH
def test_the_first_signal_saves_and_stops(number: signal.Signals, start: Start, train: Train, tmp_path: Path) -> None:
    run = tmp_path / "mine"
    process = start("mine")
    process.read_until("episode 8/")
    assert any("raylet" in command for command in process.relatives())
    if number is signal.SIGINT:  # Ctrl-C: Ray's processes and the rollout worker get it too
        process.send_to_group(number)
    else:
        process.send(number)
    assert process.status() == 128 + number, process.output
    process.wait_until_alone()
    assert "out of service" not in process.output  # RLlib's words for a worker that died

    stopped, rows = load_checkpoint(run), RunDirectory(run).rows()
    assert stopped.episodes == rows[-1][m.EPISODES_TOTAL.key] >= 8
    assert json.loads((run / "summary.json").read_text())["episodes_total"] == stopped.episodes
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best",
        f"episode_{stopped.episodes:06d}",
        "latest",
    ]
    assert process.output.startswith("This run: warmup 0 to 16, transition 16 to 32, fine-tune 32 to 1,000,000\n")
    assert "restart will fail" not in process.output  # Ray's words where an actor's arguments are not by value
    assert f"summary: {run / 'summary.json'}\n" in process.output
    assert f"go on:    python scripts/train.py --resume {run}\n" in process.output

    resumed = train("mine", stopped.episodes + 8, "--num-workers", "0", resume=run)
    assert resumed["episodes_total"] == stopped.episodes + 8
    assert [row[m.ITERATION.key] for row in RunDirectory(run).rows()] == list(range(1, len(rows) + 2))


def test_a_second_signal_exits_at_once(start: Start, tmp_path: Path) -> None:
    process = start("mine", "--batch-size", "20480", "--num-epochs", "50")  # an iteration of minutes
    process.wait_for((tmp_path / "mine" / "config.yaml").exists)  # written when the algorithm stands
    process.send(signal.SIGTERM)
    process.read_until("Once more to exit at once")
    process.send(signal.SIGINT)
    assert process.status() == 128 + signal.SIGINT
    process.wait_until_alone()
    # Without the second signal the iteration would have ended first, which writes its row and a checkpoint.
    assert RunDirectory(tmp_path / "mine").rows() == []
    assert not list((tmp_path / "mine" / "checkpoints").iterdir())
    assert "summary:" not in process.output


def test_a_signal_is_noted_where_the_reader_of_a_pipe_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `train.py 2>&1 | tee log`: Ctrl-C ends tee too, and an error would strike in the middle of an update."""
    monkeypatch.setattr("os.write", Mock(side_effect=BrokenPipeError))
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == "SIGINT"


@pytest.mark.parametrize("child", ["gcs_server", "ray::VectorRolloutWorker"])
@BOTH
def test_a_signal_while_ray_or_a_worker_starts_leaves_nothing(
    number: signal.Signals, child: str, start: Start, tmp_path: Path
) -> None:
    process = start("mine")
    process.wait_for(lambda: any(child in command for command in process.relatives()))
    process.send(number)
    assert process.status() == 128 + number, process.output
    process.wait_until_alone()
    if child != "gcs_server":  # a worker may wait for nodes of the cluster: not even its start is waited for
        assert "after this iteration" not in process.output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "nothing to save" in process.output
    assert "Traceback" not in process.output
