"""What the schedule is for: on `regimes`, the default schedule compressed to half a minute lets experts specialize.

Only what a minute forces is not the default: boundaries, learning rates, sizes of batches. Every run is printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rllib_moe import metrics as m
from rllib_moe.training.run_directory import RunDirectory
from scripts.train import main

LAST = 10
"""Iterations at the end of a run over which its measures are averaged."""

SMALL_BATCHES = "--env regimes --max-steps 32 --num-workers 0 --num-envs-per-worker 32 --batch-size 1024"

UNGUIDED = (
    "--set *.routing=sparsemax --set *.temperature=1.0 --set *.alpha_entropy_target=null "
    "--set *.alpha_entropy_coef=0 --set *.load_balance_coef=0 --set *.diversity_coef=0"
)
"""Sparsemax from the first step, and no routing losses."""

Measured = dict[m.Metric, float]
Play = Callable[..., Measured]


@pytest.fixture
def play(ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Play]:
    """Play a run and return its measures at the end; all of them are printed side by side after the test."""
    del ray_session
    shown = ["run           MI  alpha entropy  least share  score"]

    def run(name: str, *flags: str) -> Measured:
        words = " ".join((SMALL_BATCHES, *flags)).split()
        main([*words, "--output-dir", str(tmp_path), "--exp-name", name])
        rows = RunDirectory(tmp_path / name).rows()[-LAST:]
        columns = (m.MUTUAL_INFORMATION, m.ALPHA_ENTROPY, m.MIN_EXPERT_SHARE, m.SCORE_MEAN)
        measured = {metric: statistics.fmean(row[metric.key] for row in rows) for metric in columns}
        shown.append("{:10} {:5.2f}  {:13.2f}  {:11.2f}  {:5.1f}".format(name, *measured.values()))
        return measured

    yield run
    with capsys.disabled():
        print("", *shown, sep="\n")


def test_the_default_schedule_ends_with_every_expert_used_and_decided(play: Play) -> None:
    """Mutual information is at most ln 4 less the entropy that the last phase aims at: 1.386 - 0.35 = 1.036."""
    guided = play(
        "scheduled",
        "--gamma 0 --gae-lambda 0 --num-epochs 4 --minibatch-size 256 --episodes 1600 --phase-boundaries 320,960",
        "--set *.learning_rate=1e-3 --set fine-tune.learning_rate=3e-4",
    )
    assert guided[m.MUTUAL_INFORMATION] >= 1.0
    assert guided[m.MIN_EXPERT_SHARE] >= 0.10
    assert guided[m.SCORE_MEAN] > 28  # of 32; at random 8


@pytest.mark.soak
@pytest.mark.slow
def test_without_the_schedule_the_experts_specialize_less(play: Play) -> None:
    """With the default discount: an action's own reward drowns in those that follow, as it does in NetHack.

    Then only the schedule makes the router tell states apart; neither run earns more than chance in so short a time.
    Where the reward says it all, at `--gamma 0`, the unguided router specializes too, beyond what the schedule aims at.
    """
    sizes = "--gae-lambda 0.95 --num-epochs 4 --minibatch-size 128 --episodes 960 --phase-boundaries 192,576"
    setting = f"{sizes} --set *.learning_rate=5e-4"
    guided = play("scheduled", setting)
    unguided = play("unguided", setting, UNGUIDED)
    assert guided[m.MUTUAL_INFORMATION] > unguided[m.MUTUAL_INFORMATION] + 0.3
