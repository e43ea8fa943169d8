"""The plan of a comparison: order of runs, commands, and every fault in one message."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from rllib_moe.training.command_line import parse

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_env
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.studies.comparison.plan import BUNDLED, Plan, load_plan
from rllib_moe.validation import ConfigError

SMALL: dict[str, Any] = {
    "episodes": 40,
    "flags": "--env regimes --max-steps 8",
    "evaluation": {"episodes": 4, "seed_base": 7},
    "variants": [
        {"name": "whole", "seeds": [0, 1, 2]},
        {"name": "soft", "about": "softmax", "flags": "--set '*.routing=softmax'", "seeds": [0]},
    ],
}


def load(tmp_path: Path, **changes: Any) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return load_plan(str(path))


def faults(tmp_path: Path, **changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, **changes)
    return [fault.removeprefix(f"{tmp_path}/plan.yaml: ") for fault in refused.value.faults]


def test_first_seeds_of_all_variants_come_first(tmp_path: Path) -> None:
    names = [run.name for run in load(tmp_path).runs()]
    assert names == ["whole-seed0", "soft-seed0", "whole-seed1", "whole-seed2"]


def test_flags_of_a_run_reach_the_training(tmp_path: Path) -> None:
    plan = load(tmp_path)
    run = list(plan.runs())[1]
    request = parse(run.flags, description="")
    assert (request.config.environment.env, request.config.training.seed, request.config.run.episodes) == (
        "regimes",
        0,
        40,
    )
    assert {phase.routing for phase in request.schedule.phases} == {"softmax"}
    assert [plan.of_reference(run) for run in plan.runs()] == [True, False, True, True]


def test_some_variants(tmp_path: Path) -> None:
    plan = load(tmp_path)
    some = plan.only(["soft"])
    assert [run.name for run in some.chosen_runs()] == ["soft-seed0"]
    assert list(some.runs()) == list(plan.runs()) == list(plan.chosen_runs())  # the table is over all
    with pytest.raises(ConfigError, match=r"variants: no variant 'sotf' \(did you mean 'soft'\?\)"):
        plan.only(["sotf"])
    with pytest.raises(ConfigError, match="variants: expected at least one of whole, soft"):
        plan.only([])


def test_every_fault_of_the_file_is_named_at_once(tmp_path: Path) -> None:
    assert faults(
        tmp_path,
        episodes=0,
        flag="x",
        evaluation={"episodes": 1.5, "seeds": 3},
        variants=[{"name": "a/b", "seeds": []}, {"name": "c", "seeds": [1, 1], "flags": "'"}, 7],
    ) == [
        "plan: unknown key 'flag' (did you mean 'flags'?)",
        "episodes: expected a whole number, 1 or more, got 0",
        "evaluation: unknown key 'seeds' (did you mean 'seed_base'?)",
        "evaluation: seed_base is missing",
        "evaluation.episodes: expected a whole number, 1 or more, got 1.5",
        "variants[0].name: expected a plain directory name that no other variant has, got 'a/b'",
        "variants[0].seeds: expected a list of different whole numbers, got []",
        'variants[1].flags: No closing quotation, got "\'"',
        "variants[1].seeds: expected a list of different whole numbers, got [1, 1]",
        "variants[2]: expected a mapping, got 7",
    ]


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_what_is_no_plan_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"expected a mapping|is missing"):
        load_plan(str(path))


def test_commands_are_tried_before_anything_starts(tmp_path: Path) -> None:
    wrong = [
        {"name": "a", "flags": "--set '*.temperature=0' --num-experts 0", "seeds": [0]},
        {"name": "b", "flags": "--num-expert 3", "seeds": [0]},
    ]
    found = faults(tmp_path, variants=wrong)
    assert any(fault.startswith("a-seed0: num_experts: expected a whole number") for fault in found)
    assert any(fault.startswith("a-seed0: ") and "temperature" in fault for fault in found)
    assert any(fault.startswith("b-seed0: flags refused") and "--num-expert" in fault for fault in found)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["checkpoint"], "expected one of random, random-legal, got 'checkpoint'"),
        (["scripted"], "expected one of random, random-legal, got 'scripted'"),
        (["rnadom"], "expected one of random, random-legal, got 'rnadom' (did you mean 'random'?)"),
        ("random", "expected a list of different names, got 'random'"),
        (["random", "random"], "expected a list of different names, got ['random', 'random']"),
    ],
)
def test_baselines_are_players_that_learn_nothing(tmp_path: Path, names: Any, told: str) -> None:
    (fault,) = faults(tmp_path, evaluation={"episodes": 4, "seed_base": 7, "baselines": names})
    assert fault == f"evaluation.baselines: {told}"


def test_a_checkpoint_that_is_not_there_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    (fault, *_) = faults(tmp_path, variants=[{"name": "a", "flags": "--resume nowhere", "seeds": [0]}])
    assert fault.startswith("a-seed0: ")
    assert "nowhere" in fault


def test_a_date_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("about: 2026-02-30\n")
    with pytest.raises(ConfigError, match=r"plan: cannot read .*day is out of range"):
        load_plan(str(tmp_path / "plan.yaml"))


def test_a_missing_file_names_the_bundled_plans() -> None:
    with pytest.raises(ConfigError, match=r"cannot read 'nowhere.yaml'.*one of nethack"):
        load_plan("nowhere.yaml")


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_plans_are_whole(name: str) -> None:
    plan = load_plan(name)
    assert len(plan.variants[0].seeds) >= 3
    assert all(variant.about for variant in plan.variants)


def test_one_expert_has_the_parameters_of_four() -> None:
    (run,) = [run for run in load_plan("nethack").runs() if run.name == "one-expert-seed0"]
    env = make_env("nethack")
    shape = GraphShape.from_space(env.observation_space)
    env.close()

    def parameters(config: ModelConfig) -> int:
        return sum(parameter.numel() for parameter in GATMoEPolicy(shape, 23, config).parameters())

    one, four = parameters(parse(run.flags, description="").config.model), parameters(ModelConfig())
    assert abs(one - four) / four < 0.001
