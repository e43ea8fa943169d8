"""A whole comparison on `regimes`: real trainings and evaluations, interrupted and taken up again."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.program import PATIENCE, ROOT, Program

PLAN = {
    "episodes": 120,
    "overrides": {
        **{"env": "regimes", "max_steps": 8, "num_workers": 0, "num_envs_per_worker": 8, "batch_size": 64},
        **{"minibatch_size": 64, "phase_boundaries": [40, 80], "checkpoint_every": 20, "num_experts": 2},
    },
    "evaluation": {
        **{"episodes": 16, "seed_base": 5, "most_probable_episodes": 0},
        **{"without_expert_episodes": 8, "baselines": ["random"]},
    },
    "variants": [
        {"name": "whole", "about": "all of it"},
        {"name": "soft", "about": "softmax", "overrides": {"*.routing": "softmax"}},
    ],
    "seeds": [0],
}


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a comparison by the plan; one that is left at the end is told to stop."""
    started: list[Program] = []
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))

    def run(*flags: str) -> Program:
        script = ROOT / "scripts" / "experiment.py"
        started.append(Program(script, "plan.yaml", "--output-dir", "out", *flags, cwd=tmp_path))
        return started[-1]

    yield run
    for each in started:
        each.send(signal.SIGTERM)
        each.process.wait(PATIENCE)


@pytest.mark.slow
def test_interrupted_and_taken_up_again(start: Start, tmp_path: Path) -> None:
    first = start()
    first.wait_for(lambda: list(tmp_path.glob("out/whole-seed0/checkpoints/episode_*")))
    first.send(signal.SIGINT)
    assert first.status() == 130
    assert "the runs save and end" in first.output

    second = start("--jobs", str(min(2, os.cpu_count() or 1)))
    assert second.status() == 0
    resumed = yaml.safe_load((tmp_path / "out/whole-seed0.train.yaml").read_text())["run"]["resume"]
    starts = (tmp_path / "out/whole-seed0/starts.jsonl").read_text().splitlines()
    # Begun once where the signal came after its last save.
    assert (resumed, len(starts)) in [("out/whole-seed0", 2), (None, 1)]
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert {name: row["seeds"] for name, row in table["variants"].items()} == {"whole": [0], "soft": [0]}
    assert table["missing"] == []
    assert table["variants"]["soft"]["difference"]["seeds"] == [0]
    assert table["baselines"]["random"]["evaluation_episodes"] == 16
    assert [(row["variant"], row["seed"], row["expert"]) for row in table["removed_experts"]] == [
        ("whole", 0, expert) for expert in range(2)
    ]
    for run in ("whole-seed0", "soft-seed0"):
        rows = (tmp_path / "out" / run / "progress.csv").read_text().splitlines()
        episodes = [int(line.split(",")[rows[0].split(",").index("run/episodes_total")]) for line in rows[1:]]
        assert episodes == sorted(set(episodes))
        assert episodes[-1] >= 120
    assert (tmp_path / "out/curves.png").stat().st_size > 10_000

    third = start()  # nothing is left to do
    assert third.status() == 0
    assert "rllib_moe.cli" not in third.output
