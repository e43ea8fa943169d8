import json
import math
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from rllib_moe.envs.description import EpisodeMeasure
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.actor import action_generator
from rllib_moe.evaluation.episodes import EpisodeRecord, GateSum
from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.network_actor import _choose
from rllib_moe.evaluation.report import evaluation_numbers, evaluation_tables
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.training.checkpoints import WEIGHTS, load_checkpoint
from rllib_moe.validation.errors import ConfigError
from tests.refused import errors_of


def run(checkpoint=None, **fields):
    values = {"episodes": 12, "num_workers": 0, "envs_per_worker": 4} | fields
    return evaluate(EvaluationRequest(checkpoint=checkpoint and str(checkpoint), **values))


def without_times(numbers):
    return {key: value for key, value in numbers.items() if key not in ("env_steps_per_second", "wall_seconds")}


def assert_same(numbers, others):
    assert numbers["episode_scores"] == others["episode_scores"]
    for key, value in without_times(numbers).items():
        if key == "by_scene":
            for name, scene in value.items():
                assert scene["steps"] == others[key][name]["steps"]
                assert scene["expert_share"] == pytest.approx(others[key][name]["expert_share"], abs=1e-5)
        elif key == "information":
            # The random routers are brought to the gate's entropy within a tolerance, which rounding may end elsewhere.
            for name, told in value.items():
                for number, each in told.items():
                    assert np.allclose(others[key][name][number], each, atol=5e-3), (name, number)
        else:
            assert others[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float | list) else value), key


def play_alone(checkpoint, seed, choose):
    """One episode with one environment, written without anything of the evaluation but the stream of its draws."""
    loaded = load_checkpoint(checkpoint)
    env = make_env("regimes", max_steps=20, num_cues=4)
    network = GATMoEPolicy(GraphShape.from_space(env.observation_space), 4, loaded.experiment.model).eval()
    network.load_state_dict(loaded.weights())
    rng = action_generator(seed)
    observation, info = env.reset(seed=seed)
    gates, truncated = [], False
    while not truncated:
        with torch.no_grad():
            output = network({name: torch.from_numpy(leaf[None]) for name, leaf in observation.items()})
        gates.append(output.gate[0].double())
        observation, _, _, truncated, info = env.step(choose(output.logits[0], rng))
    return info["score"], torch.stack(gates)


def test_plays_each_seed_as_one_environment_alone_would(checkpoint):
    def draw(logits, rng):
        return int(np.searchsorted(logits.double().softmax(0).cumsum(0).numpy(), rng.random(), side="right"))

    numbers = run(checkpoint, seed_base=50)
    played = [play_alone(checkpoint, seed, draw) for seed in range(50, 62)]
    assert numbers["episode_scores"] == [score for score, _ in played]
    assert len(set(numbers["episode_scores"])) > 3
    gates = torch.cat([gate for _, gate in played])
    entropy = torch.special.entr(gates).sum(1).mean()
    share = gates.mean(0)
    assert numbers["alpha_entropy"] == pytest.approx(float(entropy), abs=1e-5)
    assert numbers["expert_share"] == pytest.approx(share.tolist(), abs=1e-5)
    assert numbers["usage_entropy"] == pytest.approx(float(torch.special.entr(share).sum()), abs=1e-5)
    assert numbers["mutual_information"] == pytest.approx(numbers["usage_entropy"] - numbers["alpha_entropy"], abs=2e-6)
    assert numbers["min_expert_share"] == min(numbers["expert_share"])
    # The active gate is the checkpoint's sparsemax: softmax, the network's default, has no exact zeros.
    assert (gates == 0).any()
    assert (numbers["routing"], numbers["temperature"]) == ("sparsemax", 0.5)


def test_deterministic_takes_the_most_probable_action(checkpoint):
    numbers = run(checkpoint, deterministic=True)
    played = [play_alone(checkpoint, seed, lambda logits, _: int(logits.argmax()))[0] for seed in range(1000, 1012)]
    assert numbers["episode_scores"] == played
    assert numbers["episode_scores"] != run(checkpoint)["episode_scores"]


@pytest.mark.usefixtures("ray_session")
def test_numbers_do_not_depend_on_workers_and_environments(checkpoint):
    alone = run(checkpoint, envs_per_worker=1)
    assert_same(alone, run(checkpoint, envs_per_worker=5))
    assert_same(alone, run(checkpoint, num_workers=2, envs_per_worker=3))
    assert without_times(run(policy="random", env="regimes", num_workers=2)) == without_times(
        run(policy="random", env="regimes")
    )
    assert ray.is_initialized(), "the caller's Ray must be left running"


def test_scenes_add_up_and_all_keys_are_in_the_file(checkpoint, tmp_path):
    file = tmp_path / "made" / "numbers.json"
    numbers = run(checkpoint, json_file=str(file))
    assert json.loads(file.read_text()) == numbers
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert numbers.keys() == {
        *("episodes", "score_mean", "score_se", "score_median", "score_std", "score_max", "length_mean"),
        *(
            "endings",
            "information",
            "role_names",
            "return_mean",
            "alpha_entropy",
            "usage_entropy",
            "mutual_information",
        ),
        *("expert_share", "min_expert_share", "env_steps", "env_steps_per_second", "wall_seconds", "by_scene"),
        *("policy", "checkpoint", "checkpoint_episodes", "routing", "temperature", "deterministic", "removed_expert"),
        *("seed_base", "env", "max_steps", "env_args", "episode_scores", "measures"),
    }
    assert (numbers["env"], numbers["max_steps"], numbers["env_args"]) == ("regimes", 20, {"num_cues": 4})
    assert numbers["env_steps"] == 12 * 20
    assert numbers["length_mean"] == 20
    assert numbers["return_mean"] == numbers["score_mean"]
    scenes = numbers["by_scene"]
    assert list(scenes) == [f"regime_{regime}" for regime in range(4)]
    # Every step is in exactly one regime, so the scenes are a partition of the steps.
    assert sum(scene["steps"] for scene in scenes.values()) == numbers["env_steps"]
    mean = sum(np.array(scene["expert_share"]) * scene["steps"] for scene in scenes.values()) / numbers["env_steps"]
    assert mean == pytest.approx(numbers["expert_share"], abs=1e-5)


def test_reads_nothing_but_the_weights_and_takes_a_run_directory(checkpoint, monkeypatch):
    loads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: loads.append((args, kwargs)) or load(*args, **kwargs))
    numbers = run(checkpoint.parent.parent)
    assert [(Path(args[0]).name, kwargs["weights_only"]) for args, kwargs in loads] == [(WEIGHTS, True)]
    assert numbers["episode_scores"] == run(checkpoint)["episode_scores"]


def test_environment_of_the_checkpoint_can_be_changed(checkpoint):
    numbers = run(checkpoint, max_steps=7, env_args={"switch_probability": 0})
    assert numbers["length_mean"] == 7
    assert numbers["env_args"] == {"num_cues": 4, "switch_probability": 0}


def test_a_removed_expert_gets_no_weight(checkpoint):
    whole = run(checkpoint)
    most = int(np.argmax(whole["expert_share"]))
    part = run(checkpoint, remove_expert=most)
    assert part["expert_share"][most] == 0
    assert sum(part["expert_share"]) == pytest.approx(1, abs=1e-5)
    assert part["min_expert_share"] == min(part["expert_share"][:most] + part["expert_share"][most + 1 :])
    assert part["episode_scores"] != whole["episode_scores"]


def test_random_earns_a_quarter_on_regimes():
    numbers = run(policy="random", env="regimes", max_steps=100, episodes=40)
    # 4000 steps, each right with p = 1/4: mean score 25 and SE sqrt(100 * 3/16 / 40) = 0.68; five of them are 3.4.
    assert numbers["score_mean"] == pytest.approx(25, abs=3.4)
    assert numbers["score_se"] == pytest.approx(0.68, rel=0.4)
    assert numbers["expert_share"] is None
    assert numbers["alpha_entropy"] is None
    assert numbers["mutual_information"] is None
    assert all(scene["expert_share"] is None for scene in numbers["by_scene"].values())


def test_refuses_with_every_error_in_one_message(tmp_path):
    missing = tmp_path / "nowhere"
    json_file, checkpoint, policy = errors_of(run, missing, policy="scripted", env="regimes", json_file=str(tmp_path))
    assert json_file.startswith("json: expected a file")
    assert checkpoint.endswith("nowhere: no such directory")
    assert policy == "policy: expected one of checkpoint, random, random-legal, got 'scripted'"
    errors = errors_of(run, policy="random", remove_expert=1, explain=True, plot="x.png")
    assert [error.partition(":")[0] for error in errors] == ["explain", "remove_expert", "remove_expert"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"checkpoint": None}, "checkpoint: expected a checkpoint or run directory"),
        ({"policy": "rando"}, r"policy: expected one of checkpoint.*, got 'rando' \(did you mean 'random'\?\)"),
        ({"episodes": 0, "env": ""}, "env: expected a non-empty text, got ''\n.*episodes: expected a whole"),
        ({"policy": "random-legal"}, "needs an environment with an action mask"),
        ({"policy": "random", "deterministic": True}, "deterministic: is for policy 'checkpoint'"),
        ({"plot": "x.png"}, "plot: is for --explain"),
        ({"explain": True, "plot": "x.txt"}, r"plot: expected a file that ends in \.png"),
        ({"remove_expert": 4}, "remove_expert: expected 0 to 3, got 4"),
        ({"env_args": {"num_cue": 3}}, "num_cues"),
        (
            {"env_args": {"num_cues": 8}},
            r"env_args: the checkpoint was made on \{'num_cues': 4\}, and its network does not fit \{'num_cues': 8\}",
        ),
        ({"env": "regime"}, "did you mean 'regimes'"),
        ({"max_steps": 0}, "max_steps: expected a whole number, 1 or more, got 0"),
        ({"seed_base": 2**20 - 3}, "seed_base: expected seeds below 1,048,576, .* got 1,048,573 to 1,048,584"),
    ],
)
def test_refuses(checkpoint, fields, error, tmp_path):
    with pytest.raises(ConfigError, match=error):
        run(**{"checkpoint": checkpoint, "json_file": str(tmp_path / "numbers.json")} | fields)
    assert not list(tmp_path.iterdir())


def test_choices_near_a_boundary_are_marked():
    illegal = -1e9
    logits = np.array([[illegal, 0.0, illegal, 0.0, illegal]] * 4, np.float32)
    # Two legal actions of probability 1/2: places 1 and 3, with boundaries at 0, 1/2 and 1.
    actions, is_doubtful = _choose(logits, np.array([0.0, 0.3, 0.49999, 0.6]))
    assert actions.tolist() == [1, 1, 1, 3]
    assert is_doubtful.tolist() == [True, False, True, False]
    actions, is_doubtful = _choose(np.array([[1.0, 2.0, 0.0], [2.0, 2.0 - 1e-6, 0.0]], np.float32), None)
    assert actions.tolist() == [1, 0]
    assert is_doubtful.tolist() == [False, True]


def test_numbers_by_hand():
    def record(seed, score, depth, gates, entropy, scene):
        sums = GateSum()
        for gate in gates:
            sums.add(1, np.array(gate))
        in_scene = GateSum()
        if scene:
            in_scene.add(1, np.array(gates[0]))
        return EpisodeRecord(
            seed=seed,
            score=score,
            total_reward=score / 2,
            measures={"max_depth_mean": depth, "depth2_rate": depth >= 2},
            gates=sums,
            gate_entropy=entropy,
            scenes={"seen": in_scene, "never": GateSum()},
        )

    records = [
        record(7, 1.0, 1, [[1.0, 0.0], [1.0, 0.0]], 0.0, True),
        record(8, 10.0, 2, [[0.5, 0.5]], math.log(2), False),
        record(9, 4.0, 1, [[0.0, 1.0]], 0.0, True),
    ]
    depth = {"unit": "levels", "meaning": "deepest", "info": "max_depth"}
    measures = [EpisodeMeasure(key="max_depth", **depth), EpisodeMeasure(key="depth2", at_least=2, **depth)]
    numbers = evaluation_numbers(records, measures)
    assert numbers["episode_scores"] == [1, 10, 4]
    # Mean 5; squares of the deviations 16 + 25 + 1 = 42, over 2 degrees of freedom 21.
    assert (numbers["score_mean"], numbers["score_median"], numbers["score_max"]) == (5, 4, 10)
    assert numbers["score_std"] == pytest.approx(math.sqrt(21), abs=1e-6)
    assert numbers["score_se"] == pytest.approx(math.sqrt(7), abs=1e-6)
    assert numbers["depth2_rate"] == pytest.approx(1 / 3, abs=1e-6)
    # One episode in three: deviations 2/3, -1/3, -1/3, of squares 6/9, over 2 degrees of freedom 1/3.
    assert numbers["measures"]["max_depth_mean"] == {"episodes": 3, "se": pytest.approx(1 / 3, abs=1e-6)}
    assert numbers["max_depth_mean"] == pytest.approx(4 / 3, abs=1e-6)
    assert (numbers["env_steps"], numbers["length_mean"]) == (4, pytest.approx(4 / 3, abs=1e-6))
    # Shares over the four steps: (0.5 + 1 + 1 + 0) / 4 = 0.625 and 0.375.
    assert numbers["expert_share"] == [0.625, 0.375]
    usage = -0.625 * math.log(0.625) - 0.375 * math.log(0.375)
    assert numbers["alpha_entropy"] == pytest.approx(math.log(2) / 4, abs=1e-6)
    assert numbers["mutual_information"] == pytest.approx(usage - math.log(2) / 4, abs=1e-6)
    assert numbers["by_scene"] == {
        "seen": {"steps": 2, "expert_share": [0.5, 0.5]},
        "never": {"steps": 0, "expert_share": None},
    }
    assert evaluation_numbers(records, removed_expert=1)["min_expert_share"] == 0.625
    single = evaluation_numbers(records[:1])
    assert (single["score_std"], single["score_se"]) == (None, None)
    shown = numbers | {
        "policy": "checkpoint",
        "checkpoint": "c",
        "env": "e",
        "max_steps": 500,
        "seed_base": 7,
        "role_names": [],
        "env_steps_per_second": 1.0,
        "information": None,
    }
    assert [table.row_count for table in evaluation_tables(shown, measures)] == [16, 1]


def test_baselines_play_nethack():
    pytest.importorskip("nle")
    fields = {"env": "nethack", "episodes": 4, "max_steps": 60}
    by_policy = {policy: run(policy=policy, **fields) for policy in ("random", "random-legal", "scripted")}
    for numbers in by_policy.values():
        assert numbers["max_depth_mean"] >= 1
        assert 0 <= numbers["depth2_rate"] <= 1
        assert 0 < numbers["length_mean"] <= 60
        assert numbers["by_scene"]["frontier_near"]["steps"] > 0
        assert numbers["env_args"] == {}
    assert by_policy["random"]["episode_scores"] != by_policy["scripted"]["episode_scores"]
    assert without_times(run(policy="scripted", **fields | {"envs_per_worker": 1})) == without_times(
        by_policy["scripted"]
    )
