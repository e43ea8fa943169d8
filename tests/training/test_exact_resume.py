"""Resuming exactly: 10 iterations are 5, a SIGKILL, and 5 more, bit for bit, where environments can be saved."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_moe import metrics as m
from rllib_moe.training.checkpoints import ARRAYS, OPTIMIZER, WEIGHTS, load_checkpoint
from rllib_moe.training.run_directory import RunDirectory
from tests.conftest import Train
from tests.program import PATIENCE, Program

TIMED = {m.STEPS_PER_SECOND.key, m.WALL_SECONDS.key, m.SAMPLE_SECONDS.key, m.LEARN_SECONDS.key}
"""Columns that the clock fills, which no run repeats."""
EPISODE = 24
"""Steps of an episode; an iteration has 32 of each environment, so every checkpoint falls into episodes under way."""
UNEVEN = ("--max-steps", str(EPISODE), "--phase-boundaries", "12,30")
GROWING = ("--set", "warmup.env.max_steps=9", "--set", "transition.env.max_steps=[9,20]")
"""Limits on steps that phases give, up to the run's own in the last one."""


def disturb() -> None:
    """Leave the generators of this process as another one would have them."""
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMED} for row in RunDirectory(run).rows()]


def state_of(run: Path) -> dict[str, Any]:
    """Return all that the latest checkpoint holds beside tensors, arrays as bytes."""
    plain = _comparable(load_checkpoint(run).state().plain)
    del plain["counters"]["moe_wall_seconds"]
    return plain


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    return value.tobytes() if isinstance(value, np.ndarray) else value


def assert_same_run(one: Path, other: Path) -> None:
    first, second = load_checkpoint(one), load_checkpoint(other)
    assert first.episodes == second.episodes
    for name in (WEIGHTS, OPTIMIZER, ARRAYS):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    state = state_of(one)
    assert state == state_of(other)
    assert len(state["episodes"]["environments"]["environments"]) == 4
    assert state["policy"]["num_grad_updates"] == state["training_iteration"] * 8
    assert str(rows_of(one)) == str(rows_of(other))  # as text: NaN is not equal to itself


@pytest.mark.parametrize(
    ("stop", "flags"),
    [
        pytest.param(6, UNEVEN, id="warmup", marks=pytest.mark.slow),
        pytest.param(18, UNEVEN, id="transition", marks=pytest.mark.slow),
        pytest.param(31, UNEVEN, id="fine-tune", marks=pytest.mark.slow),
        # Quick tests have this one: it stops in the transition too, and its limits are in the state besides.
        pytest.param(18, (*UNEVEN, *GROWING), id="growing"),
    ],
)
def test_a_resumed_run_is_the_run_that_was_never_stopped(
    stop: int, flags: tuple[str, ...], train: Train, tmp_path: Path
) -> None:
    """Iterations of 128 steps; episodes of 24 in 4 environments, so 5 or 6 end in each, or of 9 and more."""
    whole = train("whole", 36, *flags)["episodes_total"]
    train("stopped", stop, *flags)
    disturb()
    train("stopped", 36, resume=tmp_path / "stopped")
    assert whole >= 36
    phases = [row[m.PHASE.key] for row in rows_of(tmp_path / "whole")]
    assert {"warmup", "transition", "fine-tune"} == set(phases)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_ten_iterations_are_five_a_kill_and_five(train: Train, small_flags: tuple[str, ...], tmp_path: Path) -> None:
    train("whole", 80)
    flags = f"--output-dir {tmp_path} --exp-name killed --episodes 80 --checkpoint-every 8"
    process = Program("scripts/train.py", *small_flags, *flags.split())
    process.read_until("episode 56/")
    process.send(signal.SIGKILL)
    process.status()
    process.wait_until_alone(PATIENCE)
    disturb()
    resumed = tmp_path / "killed" / "checkpoints" / "episode_000040"
    train("killed", 80, resume=resumed)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert [row[m.PHASE.key] for row in rows_of(tmp_path / "killed")] == [
        *["warmup"] * 2,
        *["transition"] * 2,
        *["fine-tune"] * 6,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--seed", "5"), ("--num-envs-per-worker", "8"), ("--env-arg", "num_cues=8")])
def test_what_is_asked_for_otherwise_begins_new_episodes(flags: tuple[str, ...], train: Train, tmp_path: Path) -> None:
    """Another seed, number or argument of environments holds from the resume on: the saved ones would hide it."""
    train("mine", 8, *UNEVEN)
    disturb()
    train("mine", 16, resume=tmp_path / "mine", *flags)  # noqa: B026
    train("same", 8, *UNEVEN)
    disturb()
    train("same", 16, resume=tmp_path / "same")
    mine, same = (state_of(tmp_path / name)["episodes"]["environments"] for name in ("mine", "same"))
    assert mine != same
