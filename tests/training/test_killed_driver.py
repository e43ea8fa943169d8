"""SIGKILL at random moments, also inside checkpointing: a whole checkpoint loads each time, and no progress is lost."""

from __future__ import annotations

import multiprocessing
import random
import re
import signal
import time
from pathlib import Path

import pytest

from rllib_moe import metrics as m
from rllib_moe.training.checkpoints import LATEST, PARTIAL, load_checkpoint, point, point_best, prune
from rllib_moe.training.run_directory import RunDirectory
from tests.training.test_checkpoints import save
from tests.training_process import Process


def write_forever(run: Path, lines: str) -> None:
    """Do all that a run does to its checkpoints, with a small network, again and again; say so when one is done."""
    checkpoints = run / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    count = load_checkpoint(run).iteration if list(checkpoints.iterdir()) else 0
    with Path(lines).open("a", buffering=1) as stream:
        stream.write("0\n")  # under way
        while True:
            count += 1
            # Every second one takes the name of the one before, as when no episode ended between.
            path = save(checkpoints, 8 * count - 8 * (count % 2), score=float(count), iteration=count)
            point(checkpoints, LATEST, path)
            stream.write(f"{count}\n")
            point_best(checkpoints)
            prune(checkpoints, 3)


@pytest.mark.slow
def test_a_writer_killed_fifty_times_always_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    # A server that has imported everything once, and forks: fifty processes in seconds.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.training.test_checkpoints"])
    rng, lines, run = random.Random(0), tmp_path / "written", tmp_path / "run"
    lines.touch()
    reached, inside = 0, 0
    for _ in range(50):
        process = processes.Process(target=write_forever, args=(run, str(lines)))
        before = lines.read_text().count("\n")
        process.start()
        # Before the first checkpoint there is nothing to come back to.
        while lines.read_text().count("\n") <= before + (not before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.join()
        told = max(map(int, lines.read_text().split()))
        inside += bool(list((run / "checkpoints").glob(f"{PARTIAL}*")))
        loaded = load_checkpoint(run)
        assert loaded.iteration >= told  # what was said to be written is there
        assert loaded.iteration >= reached
        reached = loaded.iteration
        loaded.weights()
    print(f"killed 50 times, {inside} times inside a checkpoint; {reached} written; a whole one loaded every time")
    assert inside >= 10
    assert reached >= 5


@pytest.mark.slow
def test_a_training_killed_again_and_again_goes_on_from_its_last_checkpoint(
    small_flags: tuple[str, ...], tmp_path: Path
) -> None:
    """The real `scripts/train.py`, a checkpoint each iteration, resumed after every kill."""
    rng = random.Random(1)
    run, reached, kills = tmp_path / "mine", 0, 8
    place = f"--output-dir {tmp_path} --exp-name mine --episodes 1000000 --checkpoint-every 8".split()
    for number in range(kills):
        process = Process([*small_flags, *place] if number == 0 else ["--resume", str(run), "--episodes", "1000000"])
        process.read_until("episode 8/" if number == 0 else "Resumed")
        if number:
            (resumed,) = re.findall(r"Resumed .* at episode (\d+)", process.output)
            assert int(resumed) == reached, process.output  # never from scratch
        process.read_until("episode ")
        time.sleep(rng.uniform(0, 1))
        process.send(signal.SIGKILL)
        process.status()  # Ray's own processes notice on their own, and take their time
        loaded = load_checkpoint(run)
        assert loaded.episodes >= reached
        reached = loaded.episodes
        rows = RunDirectory(run).rows()
        counts = [row[m.ITERATION.key] for row in rows]
        assert counts == list(range(1, len(rows) + 1))  # every iteration once
        assert rows[loaded.iteration - 1][m.EPISODES_TOTAL.key] == reached
    print(f"train.py killed {kills} times: {reached} episodes, {len(rows)} rows, each iteration once")
