"""What of a plan counts as done: only what was trained and judged as the plan says now."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rllib_moe.training.command_line import parse

from rllib_moe import metrics as m
from rllib_moe.studies.comparison.compare import ComparisonRequest, compare
from rllib_moe.studies.comparison.done import (
    BASELINES,
    DRAWN,
    MOST_PROBABLE,
    baselines,
    check_reuse,
    judgements,
    without_expert,
)
from rllib_moe.studies.comparison.plan import Evaluation, Plan, Run, Variant
from rllib_moe.studies.comparison.result import write_result
from rllib_moe.training.checkpoints import FINAL, LATEST, load_checkpoint, point
from rllib_moe.training.progress import standard_console
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.validation import ConfigError

PLAN = Plan(
    episodes=40,
    flags=("--env", "regimes", "--max-steps", "8"),
    evaluation=Evaluation(episodes=4, seed_base=7),
    variants=(Variant(name="whole", seeds=(0,)), Variant(name="soft", flags=("--gamma", "0.9"), seeds=(0,))),
)


def changed(**changes: Any) -> Plan:
    return dataclasses.replace(PLAN, **changes)


def judged(**changes: Any) -> Plan:
    return changed(evaluation=dataclasses.replace(PLAN.evaluation, **changes))


def make_trained(directory: Path, run: Run, episodes: int = 41) -> None:
    """A run as its training leaves it, as far as a comparison reads it."""
    request = parse(run.flags, description="")
    checkpoint = directory / run.name / "checkpoints" / f"episode_{episodes:06d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.pt").write_bytes(b"")
    experiment = {"episodes": episodes, "iteration": 1, "score": None}
    plain = {"config": request.config.to_dict(), "schedule": request.schedule.to_dict()}
    (checkpoint / "experiment.yaml").write_text(yaml.safe_dump(experiment | plain))
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in checkpoint.iterdir()}
    (checkpoint / "manifest.json").write_text(json.dumps({"sha256": hashes}))
    for name in (LATEST, FINAL):
        point(checkpoint.parent, name, checkpoint)
    request.schedule.save(directory / run.name / "schedule.yaml")
    row: dict[str, Any] = {metric.key: 0.5 for metric in m.METRICS}
    row |= {m.EPISODES_TOTAL.key: episodes, m.EPISODES.key: episodes, m.ENV_STEPS_TOTAL.key: 8 * episodes}
    row |= {m.PHASE.key: "warmup", m.ROUTING.key: "softmax"}
    (directory / run.name / "progress.csv").write_text(
        f"{','.join(row)}\n{','.join(str(value) for value in row.values())}\n"
    )


def make_judged(plan: Plan, directory: Path, run: Run, *, score: float = 1.0, **changes: Any) -> None:
    """The evaluations that a plan asks of a run of four experts."""
    for asked in judgements(plan, run, num_experts=4):
        numbers = {
            "checkpoint_episodes": 41, "episodes": asked.episodes, "seed_base": asked.seed_base, "score_mean": score,
            "score_se": 0.1, "score_median": score, "alpha_entropy": 1.0,
            "mutual_information": 0.1, "min_expert_share": 0.25, "expert_share": [0.25] * 4,
            "episode_scores": [score + i % 3 for i in range(asked.episodes)],
        }  # fmt: skip
        (directory / run.name / f"{asked.name}.json").write_text(json.dumps(numbers | changes))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A directory in which `PLAN` is done."""
    for run in PLAN.runs():
        make_trained(tmp_path, run)
        make_judged(PLAN, tmp_path, run)
    return tmp_path


def reuse_faults(plan: Plan, directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        check_reuse(plan, directory)
    *faults, advice = refused.value.faults
    assert advice.startswith(f"{directory}: to keep these runs, undo the change in the plan or choose")
    return faults


def test_the_same_plan_takes_its_runs_up_again(finished: Path) -> None:
    check_reuse(PLAN, finished)
    check_reuse(changed(episodes=60), finished)  # goes on
    check_reuse(changed(variants=(*PLAN.variants, Variant(name="new", seeds=(0,)))), finished)
    check_reuse(judged(episodes=5), finished)  # evaluated anew


def test_runs_of_an_edited_plan_are_refused_by_field(finished: Path) -> None:
    flags = ("--env", "regimes", "--max-steps", "9", "--set", "fine-tune.temperature=0.3", "--hidden-size", "32")
    expected = [
        "model.hidden_size: trained with 64, the plan says 32",
        "environment.max_steps: trained with 8, the plan says 9",
        "schedule.fine-tune.temperature: trained with 0.5, the plan says 0.3",
    ]
    told = reuse_faults(changed(flags=flags), finished)
    assert told == [f"{run}: {fault}" for run in ("whole-seed0", "soft-seed0") for fault in expected]

    other = dataclasses.replace(PLAN.variants[1], flags=("--gamma", "0.8"))
    told = reuse_faults(changed(variants=(PLAN.variants[0], other)), finished)
    assert told == ["soft-seed0: training.gamma: trained with 0.9, the plan says 0.8"]


def test_a_shorter_plan_is_refused(finished: Path) -> None:
    told = reuse_faults(changed(episodes=30), finished)
    assert told[0] == "whole-seed0: episodes: trained for 40 (it stands at 41), the plan says 30"


def test_nothing_starts_in_a_directory_of_another_plan(
    finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    variants = [{"name": "whole", "seeds": [0], "flags": "--gamma 0.5"}]
    evaluation = {"episodes": 4, "seed_base": 7}
    flags = "--env regimes --max-steps 8"
    plan.write_text(yaml.safe_dump({"episodes": 40, "flags": flags, "evaluation": evaluation, "variants": variants}))
    before = sorted(finished.rglob("*"))
    request = ComparisonRequest(plan=str(plan), output_dir=str(finished))
    with pytest.raises(ConfigError, match=r"training\.gamma: trained with 0\.995, the plan says 0\.5"):
        compare(request, standard_console())
    assert sorted(finished.rglob("*")) == before


def test_only_what_the_plan_asks_for_enters_the_table(finished: Path) -> None:
    whole, soft = PLAN.runs()
    assert write_result(PLAN, finished)["missing"] == []
    assert write_result(changed(episodes=60), finished)["missing"] == ["soft-seed0", "whole-seed0"]
    assert write_result(judged(episodes=5), finished)["missing"] == ["soft-seed0", "whole-seed0"]
    make_judged(PLAN, finished, soft, checkpoint_episodes=20)  # of an earlier, shorter training
    result = write_result(PLAN, finished)
    assert result["missing"] == ["soft-seed0"]
    assert list(result["variants"]) == ["whole"]
    (finished / whole.name / "checkpoints" / FINAL).unlink()  # killed as it ended
    assert write_result(PLAN, finished)["missing"] == ["soft-seed0"]
    (finished / whole.name / "checkpoints" / LATEST).unlink()
    assert write_result(PLAN, finished)["missing"] == ["soft-seed0", "whole-seed0"]


def test_the_table_is_over_all_that_is_done_whatever_is_carried_out_now(finished: Path) -> None:
    result = write_result(PLAN.only(["soft"]), finished)
    assert list(result["variants"]) == ["whole", "soft"]
    assert result["variants"]["soft"]["difference"]["mean"] == 0.0


def test_baselines_are_judged_on_the_same_episodes_in_the_plans_environment(finished: Path) -> None:
    plan = judged(baselines=("random",))
    (asked,) = baselines(plan)
    assert (asked.name, asked.episodes, asked.seed_base) == ("random", 4, 7)
    assert asked.flags == ("--policy", "random", "--env", "regimes", "--max-steps", "8")
    assert write_result(plan, finished)["missing"] == ["baselines/random"]
    numbers = {
        "checkpoint_episodes": None, "episodes": 4, "seed_base": 7, "score_mean": 2.0, "score_se": 0.5,
        "score_median": 1.5, "env": "regimes", "max_steps": 8, "env_args": {},
    }  # fmt: skip
    (finished / BASELINES).mkdir()
    (finished / BASELINES / "random.json").write_text(json.dumps(numbers))
    result = write_result(plan, finished)
    assert result["missing"] == []
    assert result["baselines"]["random"]["score_mean"] == {"mean": 2.0, "se": 0.5}
    assert "| random | | 2.0 ± 0.5 |" in (finished / "table.md").read_text()


def test_baselines_of_another_environment_do_not_count(finished: Path) -> None:
    plan = judged(baselines=("random",))
    (asked,) = baselines(plan)
    numbers = {"checkpoint_episodes": None, "episodes": 4, "seed_base": 7, "env": "regimes", "env_args": {}}
    for max_steps, counts in ((8, True), (20, False)):
        (finished / "random.json").write_text(json.dumps({**numbers, "max_steps": max_steps}))
        assert (asked.numbers(finished, None) is not None) == counts


def test_flags_that_are_valid_with_a_variants_alone_make_a_plan() -> None:
    """A minibatch of 256 would not divide the batch."""
    flags = ("--env", "regimes", "--num-workers", "0", "--num-envs-per-worker", "8", "--batch-size", "64")
    variant = Variant(name="whole", flags=("--minibatch-size", "64", "--env-arg", "num_cues=4"), seeds=(0,))
    plan = changed(flags=flags, variants=(variant,))
    assert list(baselines(plan)) == []
    (asked,) = baselines(
        dataclasses.replace(plan, evaluation=Evaluation(episodes=1, seed_base=0, baselines=("random",)))
    )
    assert asked.flags[-2:] == ("--env-arg", "num_cues=4")


def test_experts_are_removed_from_the_first_variant_and_old_ones_do_not_count(finished: Path) -> None:
    plan = judged(without_expert_episodes=3)
    whole, _ = PLAN.runs()
    make_judged(plan, finished, whole)
    removed = write_result(plan, finished)["removed_experts"]
    assert [(row["expert"], row["episodes"]) for row in removed] == [(expert, 3) for expert in range(4)]
    (finished / whole.name / f"{without_expert(2)}.json").unlink()
    assert [row["expert"] for row in write_result(plan, finished)["removed_experts"]] == [0, 1, 3]
    assert write_result(judged(without_expert_episodes=2), finished)["removed_experts"] == []


@pytest.mark.parametrize(
    ("most_probable", "episodes", "told"),
    [
        (None, 4, "4 episodes with drawn actions, 4 with the most probable action"),
        (2, 2, "4 episodes with drawn actions, 2 with the most probable action"),
        (0, 0, "4 episodes with drawn actions, none with the most probable action"),
    ],
)
def test_the_plan_says_how_often_the_most_probable_action_is_taken(
    finished: Path, most_probable: int | None, episodes: int, told: str
) -> None:
    plan = judged(most_probable_episodes=most_probable)
    for run in plan.runs():
        asked = {each.name: each.episodes for each in judgements(plan, run, num_experts=4)}
        assert asked == {DRAWN: 4, **({MOST_PROBABLE: episodes} if episodes else {})}
        make_judged(plan, finished, run)
    result = write_result(plan, finished)
    assert result["missing"] == []
    column = result["variants"]["whole"]["deterministic_score_mean"]
    assert column == {"mean": 1.0 if episodes else None, "se": None}
    assert told in (finished / "table.md").read_text()


def test_a_damaged_final_checkpoint_is_not_done(finished: Path) -> None:
    whole, _ = PLAN.runs()
    (finished / whole.name / "checkpoints" / FINAL / "weights.pt").write_bytes(b"x")
    assert write_result(PLAN, finished)["missing"] == ["whole-seed0"]
    (fault,) = reuse_faults(PLAN, finished)
    assert fault.startswith("whole-seed0: checkpoint ")
    assert "weights.pt is damaged" in fault
    assert load_checkpoint(finished / "soft-seed0").episodes == 41
    assert len(RunDirectory(finished / "soft-seed0").rows()) == 1
