"""Parts of a plan that count as done: only what was trained and judged as the plan says now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from rllib_moe.runtime.files import locked
from rllib_moe.studies.comparison.compare import ComparisonRequest, compare
from rllib_moe.studies.comparison.done import (
    BASELINES,
    DRAWN,
    MOST_PROBABLE,
    baselines,
    evaluations,
    measured,
    reuse_errors,
    trained,
    without_expert,
)
from rllib_moe.studies.comparison.plan import Plan, PlannedRun
from rllib_moe.studies.comparison.result import write_result
from rllib_moe.training.checkpoints import (
    FINAL,
    LATEST,
    AlgorithmState,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from rllib_moe.training.run_checkpoints import point
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.validation.errors import ConfigError
from tests.refused import errors_of
from tests.studies.report.report_runs import write_run

WHOLE: dict[str, Any] = {"name": "whole"}
SOFT: dict[str, Any] = {"name": "soft", "overrides": {"gamma": 0.9}}
PLAIN: dict[str, Any] = {
    "episodes": 40,
    "overrides": {"env": "regimes", "max_steps": 8},
    "evaluation": {"episodes": 4, "seed_base": 7},
    "variants": [WHOLE, SOFT],
    "seeds": [0],
}
PLAN = Plan.from_dict(PLAIN)


def changed(**changes: Any) -> Plan:
    return Plan.from_dict(PLAIN | changes)


def evaluated(**changes: Any) -> Plan:
    return changed(evaluation=PLAIN["evaluation"] | changes)


def last(run: PlannedRun, directory: Path) -> Checkpoint:
    checkpoint = trained(directory / run.name, 40)
    assert checkpoint is not None
    return checkpoint


def make_trained(directory: Path, run: PlannedRun, episodes: int = 41) -> None:
    """Write a run as its training leaves it, as far as a comparison reads it."""
    checkpoint = directory / run.name / "checkpoints" / f"episode_{episodes:06d}"
    state = AlgorithmState(weights={}, optimizer={}, plain={})
    save_checkpoint(state, checkpoint, run.experiment, episodes=episodes, iteration=1, score=None)
    for name in (LATEST, FINAL):
        point(checkpoint.parent, name, checkpoint)
    write_run(directory / run.name, [1.0])


def make_evaluated(plan: Plan, directory: Path, run: PlannedRun, *, score: float = 1.0, **changes: Any) -> None:
    """Write the evaluations that a plan asks of a run."""
    for name, asked in evaluations(plan, run, last(run, directory), directory).items():
        numbers = {
            "checkpoint_episodes": 41, "episodes": asked.episodes, "seed_base": asked.seed_base, "score_mean": score,
            "score_se": 0.1, "score_median": score, "alpha_entropy": 1.0,
            "mutual_information": 0.1, "min_expert_share": 0.25, "expert_share": [0.25] * 4,
            "information": {"regime": {"value": score / 4, "random_router": 0.2, "permuted": 0.1}},
            "episode_scores": [score + i % 3 for i in range(asked.episodes)],
        }  # fmt: skip
        assert asked.json_file == str(directory / run.name / f"{name}.json")
        Path(asked.json_file).write_text(json.dumps(numbers | changes))


@pytest.fixture
def real_curves() -> None:
    """Asks for the picture."""


@pytest.fixture(autouse=True)
def curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Draw no picture but where it is asked for: it takes most of a test's time, and test_curves.py looks at it."""
    drawn = Mock()
    if "real_curves" not in request.fixturenames:
        monkeypatch.setattr("rllib_moe.studies.comparison.result.draw_curves", drawn)
    return drawn


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A directory in which `PLAN` is done."""
    for run in PLAN.runs():
        make_trained(tmp_path, run)
        make_evaluated(PLAN, tmp_path, run)
    return tmp_path


def refused(plan: Plan, directory: Path) -> list[str]:
    *errors, advice = reuse_errors(plan, directory)
    assert advice.startswith(f"{directory}: to keep these runs, undo the change in the plan or choose")
    return errors


def test_the_same_plan_takes_its_runs_up_again(finished: Path) -> None:
    for plan in (
        PLAN,
        changed(episodes=60),  # goes on
        changed(variants=[WHOLE, SOFT, {"name": "new"}]),
        evaluated(episodes=5),  # evaluated anew
    ):
        assert reuse_errors(plan, finished) == []


def test_runs_of_an_edited_plan_are_refused_by_field(finished: Path) -> None:
    overrides = {"env": "regimes", "max_steps": 9, "fine-tune.temperature": 0.3, "hidden_size": 32}
    expected = [
        "environment.max_steps: trained with 8, the plan says 9",
        "model.hidden_size: trained with 64, the plan says 32",
        "schedule.fine-tune.temperature: trained with 0.5, the plan says 0.3",
    ]
    told = refused(changed(overrides=overrides), finished)
    assert told == [f"{run}: {error}" for run in ("whole-seed0", "soft-seed0") for error in expected]

    told = refused(changed(variants=[WHOLE, SOFT | {"overrides": {"gamma": 0.8}}]), finished)
    assert told == ["soft-seed0: training.gamma: trained with 0.9, the plan says 0.8"]

    told = refused(changed(episodes=30), finished)
    assert told[0] == "whole-seed0: episodes: trained for 40 (it stands at 41), the plan says 30"


def test_the_question_is_fixed_before_the_first_run(finished: Path, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("plan") / "plan.yaml"
    request = ComparisonRequest(plan=str(file), output_dir=str(finished))
    file.write_text(changed(primary="information.regime").to_yaml())
    assert compare(request)["variants"]["whole"]["primary"]["iqm"] == 0.25
    file.write_text(changed(primary="information.regime", reference="whole").to_yaml())  # as it was by default
    assert compare(request)["reference"] == "whole"
    normalize = {"deep_mean": [0.0, 1.0]}
    file.write_text(changed(primary="score_median", reference="soft", test="t", normalize=normalize).to_yaml())
    assert errors_of(compare, request)[1:5] == [
        "primary: fixed as 'information.regime' before the first run, the plan says 'score_median'",
        "reference: fixed as 'whole' before the first run, the plan says 'soft'",
        "test: fixed as 'sign-flips' before the first run, the plan says 't'",
        "normalize: fixed as {} before the first run, the plan says {'deep_mean': [0.0, 1.0]}",
    ]


def test_runs_that_were_begun_from_another_checkpoint_are_refused(finished: Path) -> None:
    (whole, *_) = PLAN.runs()
    path = finished / whole.name
    begun = replace(whole, experiment=whole.experiment.with_overrides({"resume": "results/other"}))
    make_trained(finished, begun)
    told = f"{whole.name}: resume: begun from 'results/other', the plan says None"
    assert reuse_errors(PLAN, finished)[0] == told
    make_trained(finished, replace(whole, experiment=whole.experiment.with_overrides({"resume": str(path)})), 42)
    assert reuse_errors(PLAN, finished) == [], "a run that went on by its own checkpoint was begun anew"


def test_a_network_that_does_not_fit_its_environment_is_refused(tmp_path: Path) -> None:
    wrong = [
        {"name": "a", "overrides": {"router_inputs": "smell"}},
        {"name": "b", "overrides": {"router": "roles", "num_experts": 9}},
    ]
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAIN | {"variants": wrong}))
    smell, roles = errors_of(compare, ComparisonRequest(plan=str(plan), output_dir=str(tmp_path / "out")))
    assert smell.startswith("a: router_inputs: expected state, graph, features")
    assert roles.startswith("b: router: needs a role for each of num_experts=9")


def test_nothing_starts_in_a_directory_of_another_plan(finished: Path, tmp_path_factory: Any) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    wrong = {
        "primary": "score_men",
        "variants": [WHOLE | {"overrides": {"gamma": 0.5, "resume": "nowhere"}}],
        "evaluation": PLAIN["evaluation"] | {"baselines": ["rando"]},
    }
    plan.write_text(yaml.safe_dump(PLAIN | wrong))
    before = sorted(finished.rglob("*"))
    request = ComparisonRequest(plan=str(plan), output_dir=str(finished))
    primary, baseline, resume, gamma, origin, _ = errors_of(compare, request)
    assert primary == "primary: no evaluation has 'score_men' (did you mean 'score_mean'?) or information.<label>"
    assert baseline.startswith("evaluation: baselines: policy: expected one of checkpoint, random")
    assert resume == "whole: checkpoint nowhere: no such directory"
    assert gamma == "whole-seed0: training.gamma: trained with 0.995, the plan says 0.5"
    assert origin == "whole-seed0: resume: begun from None, the plan says 'nowhere'"
    assert sorted(finished.rglob("*")) == before


def test_only_what_the_plan_asks_for_enters_the_table(finished: Path) -> None:
    whole, soft = PLAN.runs()
    assert write_result(PLAN, finished)["missing"] == []
    assert write_result(changed(episodes=60), finished)["missing"] == ["soft-seed0", "whole-seed0"]
    assert write_result(evaluated(episodes=5), finished)["missing"] == ["soft-seed0", "whole-seed0"]
    make_evaluated(PLAN, finished, soft, checkpoint_episodes=20)  # of an earlier, shorter training
    result = write_result(PLAN, finished)
    assert result["missing"] == ["soft-seed0"]
    assert list(result["variants"]) == ["whole"]
    (finished / whole.name / "checkpoints" / FINAL).unlink()  # killed as it ended
    assert write_result(PLAN, finished)["missing"] == ["soft-seed0"]
    (finished / whole.name / "checkpoints" / LATEST).unlink()
    assert write_result(PLAN, finished)["missing"] == ["soft-seed0", "whole-seed0"]


@pytest.mark.usefixtures("real_curves")
def test_the_table_is_over_all_that_is_done_whatever_is_trained_now(
    finished: Path, tmp_path_factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    plan.write_text(PLAN.to_yaml())
    result = compare(ComparisonRequest(plan=str(plan), output_dir=str(finished), variants="soft"))
    assert list(result["variants"]) == ["whole", "soft"]
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert result["variants"]["soft"]["difference"]["mean"] == 0.0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "Fewer than 5 seeds show nothing, for or against: this plan has 1."
    assert told[-1] == f"table: {finished}/table.md"
    assert not any("began" in line for line in told), "nothing was started"
    with pytest.raises(ConfigError, match=r"variants: no variant 'sotf' \(did you mean 'soft'\?\)"):
        compare(ComparisonRequest(plan=str(plan), variants="sotf"))


def test_the_picture_marks_the_phases_that_a_run_reaches(finished: Path, curves: Mock) -> None:
    boundaries = [10, 1000]
    plan = changed(variants=[WHOLE, SOFT | {"overrides": {"phase_boundaries": boundaries}}])
    write_result(plan, finished)
    assert curves.call_args.args[2] == {"whole": [], "soft": [10]}


def test_two_processes_do_not_carry_out_one_comparison(finished: Path, tmp_path_factory: Any) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    plan.write_text(PLAN.to_yaml())
    request = ComparisonRequest(plan=str(plan), output_dir=str(finished))
    refused = pytest.raises(ConfigError, match=f"output_dir: another process is writing to {finished}")
    with locked("output_dir", finished), refused:
        compare(request)
    assert compare(request)["failures"] == []


def test_normalized_takes_measures_that_the_environment_has(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAIN | {"primary": "normalized_mean"}))
    request = ComparisonRequest(plan=str(tmp_path / "plan.yaml"), output_dir=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"normalize: normalized_mean takes the values .* got none"):
        compare(request)
    normalize = {"normalize": {"gold_mean": [0.0, 1.0]}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAIN | {"primary": "normalized_mean"} | normalize))
    with pytest.raises(ConfigError, match="normalize: no evaluation has 'gold_mean'"):
        compare(request)
    assert not (tmp_path / "out").exists()


def test_baselines_play_the_same_episodes_in_the_first_variants_environment(finished: Path) -> None:
    plan = evaluated(baselines=["random"])
    asked = baselines(plan, finished)["random"]
    assert (asked.policy, asked.episodes, asked.seed_base, asked.env) == ("random", 4, 7, "regimes")
    assert write_result(plan, finished)["missing"] == ["baselines/random"]
    numbers = {
        "checkpoint_episodes": None, "episodes": 4, "seed_base": 7, "score_mean": 2.0, "score_se": 0.5,
        "score_median": 1.5, "env": "regimes", "max_steps": 8, "env_args": {},
    }  # fmt: skip
    (finished / BASELINES).mkdir()
    (finished / BASELINES / "random.json").write_text(json.dumps(numbers | {"max_steps": 20}))
    assert measured(asked, None) is None
    (finished / BASELINES / "random.json").write_text(json.dumps(numbers))
    result = write_result(plan, finished)
    assert result["missing"] == []
    assert result["baselines"]["random"]["score_mean"] == {"mean": 2.0, "se": 0.5}
    assert "| random | 2.000 ± 0.500 |" in (finished / "table.md").read_text()


def test_experts_are_removed_from_reference_and_frozen_and_old_ones_do_not_count(finished: Path) -> None:
    plan = evaluated(without_expert_episodes=3)
    whole, soft = PLAN.runs()
    make_evaluated(plan, finished, whole)
    removed = write_result(plan, finished)["removed_experts"]
    assert [(row["expert"], row["episodes"]) for row in removed] == [(expert, 3) for expert in range(4)]
    names = [{"name": name} for name in ("frozen", "other", "whole")]
    frozen, other, reference = plan.replace(variants=names, reference="whole").runs()
    removals = [
        len(evaluations(plan.replace(variants=names, reference="whole"), run, last(soft, finished), finished))
        for run in (frozen, other, reference)
    ]
    assert removals == [6, 2, 6]
    (finished / whole.name / f"{without_expert(2)}.json").unlink()
    assert [row["expert"] for row in write_result(plan, finished)["removed_experts"]] == [0, 1, 3]
    assert write_result(evaluated(without_expert_episodes=2), finished)["removed_experts"] == []


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
    plan = evaluated(most_probable_episodes=most_probable)
    for run in plan.runs():
        asked = evaluations(plan, run, last(run, finished), finished)
        wanted = {DRAWN: (4, False), **({MOST_PROBABLE: (episodes, True)} if episodes else {})}
        assert {name: (each.episodes, each.deterministic) for name, each in asked.items()} == wanted
        make_evaluated(plan, finished, run)
    result = write_result(plan, finished)
    assert result["missing"] == []
    column = result["variants"]["whole"]["deterministic_score_mean"]
    assert column == {"mean": 1.0 if episodes else None, "se": None}
    assert told in (finished / "table.md").read_text()


def test_a_damaged_final_checkpoint_is_not_done(finished: Path) -> None:
    whole, _ = PLAN.runs()
    (finished / whole.name / "checkpoints" / FINAL / "weights.pt").write_bytes(b"x")
    assert write_result(PLAN, finished)["missing"] == ["whole-seed0"]
    (error,) = refused(PLAN, finished)
    assert error.startswith("whole-seed0: checkpoint ")
    assert "weights.pt is damaged" in error
    assert load_checkpoint(finished / "soft-seed0").episodes == 41
    assert len(RunDirectory(finished / "soft-seed0").rows()) == 1
