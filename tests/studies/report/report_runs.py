"""Run directories for the tests of the report: rows with known numbers, written as a training writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_moe import metrics as m
from rllib_moe.config import RunConfig, TrainingConfig
from rllib_moe.experiment import Experiment
from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.run_directory import RunDirectory
from tests.training.rows import row_of

PUBLISHED = Path(__file__).parents[3] / "results" / "published" / "nethack-2000"
SCHEDULE = override_schedule(PhaseSchedule.load("v3"), {"phase_boundaries": [100, 200]})


def row(iteration: int, **changes: Any) -> dict[str, Any]:
    """Ten episodes an iteration, phases at 100 and 200, a score of the iteration's number, four experts."""
    episodes = 10 * iteration
    phase = SCHEDULE.at(episodes - 10)
    values: dict[m.Metric, Any] = dict.fromkeys(m.METRICS, 0.5)
    values |= {
        m.EPISODES_TOTAL: episodes,
        m.EPISODES: 10,
        m.ITERATION: iteration,
        m.SCORE_MEAN: float(iteration),
        m.SCORE_STD: 2.0,
        m.SCORE_MAX: iteration + 5.0,
        m.PHASE: phase.name,
        m.ROUTING: phase.routing,
        m.TEMPERATURE: phase.temperature,
        m.LEARNING_RATE: phase.learning_rate,
        m.ALPHA_ENTROPY: math.log(4),
        m.WALL_SECONDS: 5.0 * iteration,
        m.ENV_STEPS_TOTAL: 4096 * iteration,
        m.SKIPPED_UPDATES: 0,
    }
    values |= {m.expert_share(index): share for index, share in enumerate((0.1, 0.2, 0.3, 0.4))}
    return row_of(values, **changes)


def write_run(
    path: Path, scores: Sequence[float] | np.ndarray, *, seed: int = 0, episodes: int = 1000, **training: Any
) -> Path:
    """Write a run of one iteration a score."""
    directory = RunDirectory(path)
    run, command = RunConfig(exp_name=path.name, episodes=episodes), ["scripts/train.py", "--exp-name", path.name]
    directory.describe(
        Experiment(training=TrainingConfig(seed=seed, **training), run=run, schedule=SCHEDULE),
        command,
    )
    directory.add_start({"command": command, "git_commit": "0123456789abcdef", "cpu": "Z80", "cores": 2})
    for iteration, score in enumerate(scores, 1):
        directory.append(row(iteration, SCORE_MEAN=float(score)))
    directory.close()
    return path
