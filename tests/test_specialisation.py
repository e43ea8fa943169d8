"""What the schedule is for: on `regimes`, with the default schedule compressed to half a minute, the experts specialise.

Beside it the same run with sparsemax from the first step and no routing losses. Discount and estimator are the
defaults, so an action's own reward drowns in those that follow, as it does in NetHack: then nothing but the schedule
makes the router tell states apart. With `--gamma 0` the reward alone does so, and both runs specialise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rllib_moe import metrics as m
from rllib_moe.run_directory import RunDirectory

EPISODES = 1600
LAST = 10
"""Iterations at the end of a run, of 1024 steps each, over which measures are averaged."""

COMPRESSED = (
    *("--max-steps", "32", "--num-envs-per-worker", "32", "--batch-size", "1024", "--minibatch-size", "128"),
    *("--phase-boundaries", "320,960", "--set", "*.learning_rate=5e-4", "--checkpoint-every", "1000000"),
)
"""3200 gradient steps instead of the hundred thousand of a long run, hence the learning rate."""

UNGUIDED = (
    *("--set", "*.routing=sparsemax", "--set", "*.temperature=1.0", "--set", "*.alpha_entropy_target=null"),
    *("--set", "*.alpha_entropy_coef=0", "--set", "*.load_balance_coef=0", "--set", "*.diversity_coef=0"),
)


def test_the_schedule_makes_the_experts_specialise(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del ray_session
