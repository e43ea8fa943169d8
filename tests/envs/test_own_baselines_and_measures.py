"""An environment with a baseline and measures of its own: seen in training, evaluation and comparison."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from rich.console import Console

from rllib_moe.config import ConfigError
from rllib_moe.envs.description import EpisodeMeasure, GraphDescription, describe
from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.evaluate import EvaluationRequest, evaluate
from rllib_moe.metrics import GENERAL_MEANS, METRICS
from rllib_moe.studies.comparison.compare import ComparisonRequest, compare
from rllib_moe.studies.comparison.plan import Plan
from rllib_moe.studies.comparison.table import baseline_row, markdown, run_numbers, variant_rows
from rllib_moe.training.run_directory import read_rows
from tests.conftest import EPISODE, Train

ENV = "tests.envs.test_own_baselines_and_measures:Streaks-v0"


class Oracle:
    """Takes the right action, read from the observation, until the step that its seed names."""

    def __init__(self, seed: int) -> None:
        self._rules, self._right = RegimesEnv(), seed

    def act(self, observation: Any) -> int:
        self._right -= 1
        right = self._rules.right_action(self._rules.regime_of(observation), self._rules.cue_of(observation))
        return right if self._right >= 0 else (right + 1) % 4


class Streaks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """`regimes`, telling the longest run of right actions; nothing in an episode without one."""

    description = GraphDescription(
        baselines={"oracle": Oracle},
        episode_measures=(
            EpisodeMeasure(key="streak", unit="steps", meaning="longest run of right actions"),
            EpisodeMeasure(key="good", unit="share", meaning="episodes with a run of 3", info="streak", at_least=3),
        ),
        ending="how",
    )

    def reset(self, **options: Any) -> Any:
        self._now = self._longest = 0
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        *answer, info = super().step(action)
        self._now = self._now + 1 if answer[1] else 0
        self._longest = max(self._longest, self._now)
        how = "well" if self._longest >= 3 else "badly"
        return *answer, info | ({"streak": np.int64(self._longest), "how": how} if self._longest else {})


gymnasium.register("Streaks-v0", entry_point=lambda **kwargs: Streaks(RegimesEnv(**kwargs)))


def play(policy: str, console: Console | None = None, json_file: str | None = None) -> dict[str, Any]:
    request = EvaluationRequest(
        policy=policy, env=ENV, max_steps=8, episodes=4, seed_base=0, num_workers=0, json_file=json_file
    )
    return evaluate(request, console)


def test_missing_names_are_numbers_and_wrappers_count() -> None:
    description = describe(gymnasium.wrappers.RecordEpisodeStatistics(make_env(ENV)))
    assert description.policies == ("checkpoint", "random", "random-legal", "oracle")
    assert [measure.name for measure in description.episode_measures] == ["streak_mean", "good_rate"]
    assert description.action_names == ("0", "1", "2", "3")
    assert description.node_type_names == tuple(f"type {kind}" for kind in range(6))


def test_a_baseline_plays_each_episode_anew_and_measures_are_over_those_that_tell(tmp_path: Path) -> None:
    told = io.StringIO()
    file = tmp_path / "oracle.json"
    numbers = play("oracle", Console(file=told, width=200, markup=False), str(file))
    # Right actions by seed: 0 (nothing told), 1, 2, 3.
    assert numbers["episode_scores"] == [0, 1, 2, 3]
    assert (numbers["streak_mean"], numbers["good_rate"]) == (2, pytest.approx(1 / 3, abs=1e-6))
    assert json.loads(file.read_text()) == numbers
    assert list(numbers["endings"].items()) == [("badly", 2), ("truncated", 1), ("well", 1)]
    assert re.search(r"badly\W+50\.0\W+truncated\W+25\.0\W+well\W+25\.0", told.getvalue())
    # Over the three episodes that tell: 1, 2, 3 and 0, 0, 1.
    se = {"streak_mean": math.sqrt(1 / 3), "good_rate": 1 / 3}
    assert numbers["measures"] == {name: {"episodes": 3, "se": pytest.approx(se[name], abs=1e-6)} for name in se}
    (shown,) = (line for line in told.getvalue().splitlines() if "streak_mean" in line)
    assert "2.000 ± 0.577" in shown
    assert "longest run of right actions (3 episodes)" in shown
    with pytest.raises(ConfigError, match=r"one of checkpoint.*, oracle, got 'orcale' \(did you mean 'oracle'\?\)"):
        play("orcale")


@pytest.mark.usefixtures("ray_session")
def test_training_rows_of_remote_workers_and_the_comparison_have_them(train: Train, tmp_path: Path) -> None:
    train("run", 16, "--env", ENV, "--num-workers", "1")
    for row in (rows := read_rows(tmp_path / "run" / "progress.csv")):
        assert 1 <= row["score/streak_mean"] <= EPISODE
        assert 0 <= row["score/good_rate"] <= 1
    assert len(rows) >= 2
    drawn = evaluate(EvaluationRequest(checkpoint=str(tmp_path / "run"), episodes=8, num_workers=0))
    evaluation = {"episodes": 8, "seed_base": 0}
    plan = Plan.from_dict({"episodes": 16, "evaluation": evaluation, "variants": [{"name": "run"}], "seeds": [0]})
    rows = variant_rows(plan, {"run": [run_numbers(0, "streak_mean", drawn, None)]})
    assert rows["run"]["streak_mean"]["mean"] == rows["run"]["primary"]["iqm"] == pytest.approx(drawn["streak_mean"])
    lines = markdown(plan, {"oracle": baseline_row(play("oracle"))}, rows, []).splitlines()
    (head,) = (line for line in lines if "| median |" in line)
    (oracle,) = (line for line in lines if line.startswith("| oracle |"))
    assert "| median | streak | good rate | alpha entropy |" in head
    assert "| 1.500 | 2.000 | 0.333 |" in oracle


def test_a_plan_takes_the_baselines_of_its_environment(tmp_path: Path) -> None:
    plan = {
        "episodes": 8,
        "overrides": {"env": ENV, "max_steps": 8},
        "evaluation": {"episodes": 4, "seed_base": 0, "baselines": ["random", "oracle"]},
        "variants": [{"name": "whole"}],
        "seeds": [0],
    }
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    assert Plan.load(str(tmp_path / "plan.yaml")).evaluation.baselines == ["random", "oracle"]
    (tmp_path / "plan.yaml").write_text(json.dumps(plan).replace('"oracle"', '"scripted"'))
    with pytest.raises(
        ConfigError, match="policy: expected one of checkpoint, random, random-legal, oracle, got 'scri"
    ):
        compare(ComparisonRequest(plan=str(tmp_path / "plan.yaml"), output_dir=str(tmp_path / "out")))
    plan["variants"] += [{"name": "longer", "overrides": {"warmup.env.num_doors": 9}}]
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match=r"longer: warmup.env.num_doors: may not change"):
        compare(ComparisonRequest(plan=str(tmp_path / "plan.yaml"), output_dir=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_values_that_are_no_numbers_and_names_that_are_taken_are_refused() -> None:
    measure = EpisodeMeasure(key="far", unit="steps", meaning="way", at_least=1)
    assert [measure.value({"far": far}) for far in (True, 0.5, np.float32(2))] == [1, 0, 1]
    assert all(math.isnan(measure.value(info)) for info in ({}, {"far": None}, {"far": math.nan}))
    with pytest.raises(ValueError, match=r"info\['far'\]: expected a number for far_rate, got 'x'"):
        measure.value({"far": "x"})
    with pytest.raises(ValueError, match="different keys, far_rate would be reported twice"):
        GraphDescription(episode_measures=(measure, measure))
    with pytest.raises(ValueError, match="baselines: random is the name of a policy that every environment has"):
        GraphDescription(baselines={"random": Oracle})
    # No measure can hide a column of training, nor a number of an evaluation.
    general = {metric.key.removeprefix("score/") for metric in METRICS if metric.key.startswith("score/")}
    named = {name for name in general | play("random").keys() if name.endswith(("_mean", "_rate"))}
    assert named - {"streak_mean", "good_rate"} == set(GENERAL_MEANS)
    for name in GENERAL_MEANS:
        with pytest.raises(ValueError, match="key: expected a word of letters, digits and _ other than score"):
            EpisodeMeasure(key=name.removesuffix("_mean"), unit="1", meaning="taken")
