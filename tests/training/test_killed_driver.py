"""SIGKILL at random moments, also inside checkpointing: a whole checkpoint loads each time, and no progress is lost."""

from __future__ import annotations

import multiprocessing
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_moe import metrics as m
from rllib_moe.training.checkpoints import LATEST, PARTIAL, load_checkpoint
from rllib_moe.training.run_checkpoints import point, point_best, prune
from rllib_moe.training.run_directory import RunDirectory
from tests.program import Program
from tests.training.test_checkpoints import save

KILLS = 50
"""Kills of each process."""


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
def test_a_writer_killed_again_and_again_always_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    # A server that has imported everything once, and forks: fifty processes in seconds.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.training.test_checkpoints"])
    rng, lines, run = random.Random(0), tmp_path / "written", tmp_path / "run"
    lines.touch()
    kills, reached, inside = 0, 0, 0
    while kills < KILLS or (inside < 10 and kills < 4 * KILLS):  # chance decides how many hit a checkpoint
        kills += 1
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
    print(f"killed {kills} times, {inside} times inside a checkpoint; {reached} written; a whole one loaded every time")
    assert inside >= 10
    assert reached >= 5


@pytest.mark.slow
def test_a_training_killed_again_and_again_goes_on_from_its_last_checkpoint(
    small_flags: tuple[str, ...], repeats: Callable[[int], int], tmp_path: Path
) -> None:
    """The real `scripts/train.py`, a checkpoint each iteration, resumed after every kill.

    Killed while it starts or restores (every fifth time, whenever that comes to), else up to a second after its first
    iteration. Iterations have 8 episodes, and a checkpoint is written right after an iteration was told.
    """
    kills, rng = repeats(KILLS), random.Random(1)
    run, reached, starting, inside, lost, seconds = tmp_path / "mine", 0, 0, 0, [], 0.0
    began = time.monotonic()

    def check_resumed(process: Program) -> None:
        (episodes,) = re.findall(r"Resumed .* at episode (\d+)", process.output)
        assert int(episodes) == reached, process.output  # never from scratch

    for number in range(kills):
        place = ["--output-dir", str(tmp_path), "--exp-name", "mine"] if number == 0 else ["--resume", str(run)]
        start, before = time.monotonic(), partials(run)
        flags = (*(small_flags if number == 0 else ()), *place, "--episodes", "1000000", "--checkpoint-every", "8")
        process = Program("scripts/train.py", *flags)
        if is_starting := number % 5 == 4:
            time.sleep(rng.uniform(0, seconds))
        else:
            if number:
                process.read_until("Resumed")
                check_resumed(process)
                seconds = time.monotonic() - start
            # The first process is not killed before it has a checkpoint to come back to.
            process.read_until("episode " if number else "episode 16/")
            time.sleep(rng.uniform(0, 1))
        process.send(signal.SIGKILL)
        process.status()  # Ray's own processes notice on their own: its agents after a minute, the next run beside them
        starting += is_starting
        inside += bool(partials(run) - before)
        told = [int(episodes) for episodes in re.findall(r"episode (\d+)/", process.output)]

        loaded = load_checkpoint(run)
        loaded.weights()
        assert loaded.episodes >= max(reached, *told, 0) - (8 if told else 0)
        assert loaded.episodes >= reached
        lost.append(max(told, default=reached) - loaded.episodes)
        reached = loaded.episodes
        rows = RunDirectory(run).rows()
        assert [row[m.ITERATION.key] for row in rows] == list(range(1, len(rows) + 1))  # every iteration once
        assert [row[m.EPISODES_TOTAL.key] for row in rows] == [8 * n for n in range(1, len(rows) + 1)]
        assert [row[m.ENV_STEPS_TOTAL.key] for row in rows] == [128 * n for n in range(1, len(rows) + 1)]
        assert rows[loaded.iteration - 1][m.EPISODES_TOTAL.key] == reached
        print(f"kill {number + 1}: {'while starting, ' if is_starting else ''}{reached} episodes safe", flush=True)

    process = Program("scripts/train.py", "--resume", str(run), "--episodes", str(reached + 16))
    assert process.status() == 0, process.output
    check_resumed(process)
    assert load_checkpoint(run).episodes == reached + 16
    print(
        f"train.py killed {kills} times in {time.monotonic() - began:.0f} s, {starting} of them while it started, "
        f"{inside} inside a checkpoint; it went on from a whole one each time: {reached} episodes, each iteration "
        f"once, at most {max(lost)} episodes played again"
    )


def partials(run: Path) -> set[tuple[str, int]]:
    """Checkpoints under way, or left by a kill, told apart by their time."""
    return {(path.name, path.lstat().st_ctime_ns) for path in (run / "checkpoints").glob(f"{PARTIAL}*")}
