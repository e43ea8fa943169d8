import json
import math

import numpy as np
import pytest
import ray
import torch
import yaml
from gymnasium import spaces

from benchmarks.__main__ import main
from benchmarks.algorithms import median_rows
from benchmarks.config import parse
from benchmarks.encoder_forms import FORMS, compare_encoders
from benchmarks.memory import SAVE_EVERY, growth, slope
from benchmarks.minutes_to_score import minutes_until, settings_of
from benchmarks.parts import breakdown, core_budget
from benchmarks.phase_push import StandIn, phase_push
from benchmarks.scaling import random_graphs, with_growth
from benchmarks.stock import make_stock_env
from benchmarks.timing import in_turn, medians
from rllib_moe import metrics as m
from rllib_moe.config import ModelConfig, TrainingConfig
from rllib_moe.envs.graph_space import GraphShape, graph_space
from rllib_moe.experiment import Experiment
from rllib_moe.validation.errors import ConfigError, FailedError
from tests.refused import errors_of

TINY = (
    "--env regimes --max-steps 16 --num-envs-per-worker 4 --batch-size 64 --minibatch-size 32 --num-epochs 1 "
    "--hidden-size 16 --trunk-size 16 --expert-hidden-size 16 --critic-hidden-size 16 "
)
STOCK = "--stock.num-workers 0 --stock.num-envs-per-worker 4 --stock.batch-size 64 --stock.minibatch-size 32"
SPACE = graph_space(max_nodes=12, node_features=3, features=2, num_edge_types=2, num_node_types=4, num_actions=5)


@pytest.mark.parametrize("factors", [[1, 3], [5, 7]])
def test_every_scaling_factor_makes_a_valid_experiment(factors):
    config = parse([], "")
    scaled = config.scaled(factors)
    assert {(each["num_workers"], each["num_envs_per_worker"]) for each in scaled} == {
        *((factor, 32) for factor in factors),
        *((2, 32 * factor) for factor in factors),
    }
    for each in scaled:
        config.with_overrides(**each)
        assert 2048 <= each["batch_size"] <= 8192


@pytest.mark.usefixtures("ray_session")
def test_writes_every_number(tmp_path, capsys):
    file = tmp_path / "numbers.json"
    numbers = main(f"--quick --repeats 1 --num-workers 1 --scaling 1 --json {file} {TINY} {STOCK}".split())
    assert json.loads(file.read_text()) == numbers
    above_zero = [
        "train_steps_per_second",
        "stock_steps_per_second",
        "ratio_to_stock",
        "wall_seconds",
        "sample_seconds",
        "learn_seconds",
        "alone_learn_seconds",
        "dense_learn_seconds",
        "learn_speedup_over_dense",
    ]
    assert all(numbers[name] > 0 for name in above_zero)
    assert numbers["ratio_to_stock"] == pytest.approx(
        numbers["train_steps_per_second"] / numbers["stock_steps_per_second"]
    )  # one repeat: the median of ratios is the ratio of medians
    assert sum(part["seconds"] for part in numbers["parts"]) == pytest.approx(numbers["wall_seconds"])
    assert sum(part["share"] for part in numbers["parts"]) == pytest.approx(1)
    assert sum(part["us"] for part in numbers["core_budget"]) == pytest.approx(numbers["ours"]["core_us"])
    # At most all cores are at work; the clock ticks at 0.01 s.
    cores = numbers["ours"]["core_us"] * numbers["train_steps_per_second"] / 1e6
    assert 0 < cores < numbers["environment"]["cores"] + 0.5
    assert [row["rows"] for row in numbers["batch_scaling"]] == [32, 128, 512, 2048]
    assert [row["mean_nodes"] for row in numbers["node_scaling"]] == [4, 8]  # regimes has room for 8
    assert len(numbers["encoder_forms"]) == 5
    assert [(row["num_workers"], row["num_envs_per_worker"]) for row in numbers["scaling"]] == [(1, 4)]
    assert set(numbers["memory"]) == {"driver", "worker 1", "total"}
    assert {"cpu", "cores", "versions", "date", "git_commit", "driver_threads"} <= set(numbers["environment"])
    assert numbers["settings"]["training"]["batch_size"] == 64
    shown = capsys.readouterr().out
    assert "Where an iteration goes" in shown
    assert "GATv2Conv" in shown


@pytest.mark.usefixtures("ray_session")
def test_algorithms_are_trained_in_turn(tmp_path, capsys):
    file = tmp_path / "numbers.json"
    main(f"--algorithms appo,ppo --minutes 0.005 --repeats 2 --num-workers 0 --json {file} {TINY}".split())
    rows = json.loads(file.read_text())["algorithms"]
    assert [(row["algorithm"], row["round"]) for row in rows] == [("appo", 1), ("ppo", 1), ("appo", 2), ("ppo", 2)]
    assert all(row["steps_per_second"] > 0 and row["env_steps"] >= 128 for row in rows)
    assert "Medians over the rounds" in capsys.readouterr().out


def test_minutes_until_a_score_is_passed():
    """Iterations of 0 to 150 episodes, a minute each; the mean is of the last 200 episodes or a few more."""
    rows, total = [], 0
    for minute, (episodes, score) in enumerate([(100, 9.0), (0, math.nan), (100, 3.0), (150, 7.0), (150, 9.0)], 1):
        total += episodes
        row = {m.EPISODES: episodes, m.EPISODES_TOTAL: total, m.SCORE_MEAN: score, m.WALL_SECONDS: 60.0 * minute}
        rows.append({metric.key: value for metric, value in row.items()})
    # Means 6 (of 200), 5.4 (of 250), 8 (of 300); the first, of 100, is of too few.
    assert [minutes_until(rows, score) for score in (5, 6, 7, 8)] == [3, 5, 5, None]


@pytest.mark.slow
def test_minutes_to_score_are_those_of_the_training(tmp_path, capsys):
    file, flags = tmp_path / "numbers.json", "--seeds 0,1 --episodes 240 --num-workers 0 --phase-boundaries 50,100"
    main(f"--minutes-to-score 1,16 --json {file} {flags} {TINY} --env-arg num_cues=4".split())
    rows = json.loads(file.read_text())["minutes_to_score"]
    assert [(row["checkout"], row["seed"]) for row in rows] == [(".", 0), (".", 1)]
    for row in rows:  # a random player has 4 of 16 points
        assert 0 < row["minutes_to_1"] <= row["minutes"]
        assert row["minutes_to_16"] is None
        assert 240 <= row["episodes"] < 250
        assert row["steps_per_second"] > 0
    assert " - " in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_that_passed_is_ended():
    (row,) = main(f"--minutes-to-score 1 --seeds 0 --episodes 100000 --num-workers 0 {TINY}".split())[
        "minutes_to_score"
    ]
    assert 0 < row["minutes_to_1"] <= row["minutes"]
    assert 200 <= row["episodes"] < 5000


def test_a_checkout_is_told_what_differs_from_the_defaults():
    flags = "--env regimes --env-arg num_cues=4 --num-workers 0 --phase-boundaries 50,100"
    experiment = parse(flags.split(), "").experiment
    settings = settings_of(experiment)
    assert settings.keys() == {"environment", "training", "schedule"}
    assert settings["training"] == {"num_workers": 0}
    assert Experiment.from_dict(yaml.safe_load(yaml.safe_dump(settings))) == experiment
    assert settings_of(Experiment()) == {}


def checkout(path, code):
    (path / "scripts").mkdir()
    (path / "scripts" / "train.py").write_text(f"import sys\n{code}")
    return path


def test_a_training_that_fails_is_told(tmp_path):
    failing = checkout(tmp_path, "if '--help' not in sys.argv:\n    raise SystemExit('no more ' + 'disk')")
    with pytest.raises(FailedError, match=r"training ended with status 1:\nno more disk"):
        main(f"--minutes-to-score 1 --checkouts {failing} {TINY}".split())


def test_a_checkout_that_does_not_start_is_told_before_any_training(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = checkout(tmp_path / "whole", "if '--help' not in sys.argv:\n    raise SystemExit('was trained')")
    broken = checkout(tmp_path / "broken", "import no_such_package")
    with pytest.raises(FailedError, match=rf"^{broken}: .* does not start; .*\n(.*\n)*ModuleNotFoundError"):
        main(f"--minutes-to-score 1 --checkouts {whole},{broken} {TINY}".split())


def test_medians_over_the_rounds():
    rows = [{"algorithm": name, "round": turn, "score": score} for name, turn, score in (("a", 1, 1.0), ("b", 1, 5.0))]
    rows.append({"algorithm": "a", "round": 2, "score": 4.0})
    assert median_rows(rows) == [{"algorithm": "a", "score": 2.5}, {"algorithm": "b", "score": 5.0}]


def test_growth_is_the_exponent_of_cost():
    rows = [{"n": 2, "t": 3.0}, {"n": 4, "t": 6.0}, {"n": 8, "t": 24.0}, {"n": 16, "t": 24.0}]
    growths = [row["growth"] for row in with_growth(rows, "n", lambda row: row["t"])]
    assert growths[0] is None
    assert growths[1:] == pytest.approx([1, 2, 0])


@pytest.mark.usefixtures("ray_session")
def test_a_soak_watches_memory_files_and_directories():
    numbers = main(f"--soak 0.03 --num-workers 0 {TINY}".split())
    watched = numbers["soak"]["processes"]
    assert set(watched) == {"driver", "total"}
    assert numbers["soak"]["checkpoints"] == -(-numbers["soak"]["iterations"] // SAVE_EVERY)
    driver, total = watched["driver"], watched["total"]
    assert total["open_files_end"] == driver["open_files_end"]  # there is no worker
    assert total["rss_mb_end"] == driver["rss_mb_end"]
    assert total["temporary_directories_end"] > 0  # the one that holds the checkpoints
    assert driver["rss_mb_begin"] > 50
    assert driver["open_files_end"] > 0
    assert driver["temporary_directories_end"] == 0  # regimes plays no NetHack
    assert {"rss_mb_per_minute", "open_files_per_minute", "temporary_directories_per_minute"} <= set(driver)
    assert "train_steps_per_second" not in numbers


def test_refuses_before_anything_starts():
    words = "--repeats 0 --scaling 1,x --phase-push 0 --soak -1 --batch-size 7 --algorithms ppo,sac --minutes 0"
    words += " --stock.num-epochs 0 --schedule nowhere --json /dev/null/numbers.json"
    named = {error.partition(":")[0] for error in errors_of(parse, words.split(), "")}
    assert named >= {
        *("repeats", "scaling", "phase_push", "soak", "algorithms", "minutes", "json"),
        *("batch_size", "stock.num_epochs", "schedule"),
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--algorithms ppo,appo --soak 30", "soak, algorithms: each measures nothing else; give one of them"),
        ("--phase-push 2 --algorithms ppo", "algorithms, phase_push: each measures nothing else; give one of them"),
        ("--phase-push 2 --soak 1", "soak, phase_push: each measures nothing else; give one of them"),
        ("--soak 1 --scaling 1,2", "scaling: is of whole training, which soak leaves out"),
        ("--soak 1 --quick", "quick: soak has no repeats"),
        ("--soak 1 --repeats 3", "repeats: soak has no repeats"),
        ("--minutes 5", "minutes: is of algorithms, which is not given"),
        ("--seeds 1", "seeds: is of minutes_to_score, which is not given"),
        ("--minutes-to-score 300 --quick", "quick: minutes_to_score has no repeats"),
        ("--minutes-to-score 300 --seed 1", "seed: seeds=0,1,2 says what is trained, got 1 besides"),
        ("--minutes-to-score 300 --seeds a", "seeds: expected seeds such as 0,1,2, got 'a'"),
        ("--minutes-to-score 300 --seeds=", "seeds: expected a list of whole numbers, at least one, got ()"),
        ("--minutes-to-score 300 --checkouts .,x", "checkouts: expected directories with scripts/train.py, got 'x'"),
        ("--algorithms ppo --algo appo", "algo: algorithms=ppo says what is trained, got 'appo' besides"),
        ("--algo appo --quick", "compare it by --algorithms ppo,appo"),
        ("--algorithms ppo,appo --num-gpus 2", "num_gpus: expected at most 1 with appo"),
    ],
)
def test_refuses_options_that_would_be_ignored_or_unfair(words, told):
    (error,) = errors_of(parse, words.split(), "")
    assert told in error


@pytest.mark.parametrize("words", ["--soak 1 --algo appo", "--phase-push 2 --quick", "--algorithms appo --minutes 2"])
def test_takes_options_that_go_together(words):
    parse(words.split(), "")


def test_quick_measures_less_unless_told():
    assert (parse([], "").factors, parse(["--quick"], "").factors) == ((1, 2, 4), ())
    assert parse(["--quick", "--scaling", "1,3"], "").factors == (1, 3)
    assert parse(["--scaling", ""], "").factors == ()
    assert parse(["--quick"], "").num_repeats < parse([], "").num_repeats


def graphs(mean_nodes=6):
    leaves = random_graphs(SPACE, 200, mean_nodes)
    return GraphShape.from_space(SPACE), {name: torch.from_numpy(leaf) for name, leaf in leaves.items()}


def test_encoders_are_compared_on_batches_and_threads():
    shape, leaves = graphs()
    config = ModelConfig(hidden_size=16, num_heads=4)
    rows = compare_encoders(shape, config, leaves, repeats=2, sizes=(8, 64), threads=(1, 2))
    assert [(row["graphs"], row["threads"], row["encoder"]) for row in rows] == [
        (size, count, form) for size in (8, 64) for count in (1, 2) for form in FORMS
    ]
    assert all(row["forward_ms"] > 0 and row["forward_backward_ms"] > 0 for row in rows)


@pytest.mark.parametrize("mean", [4, 6, 12])
def test_random_graphs_have_the_size_asked_for_and_follow_the_contract(mean):
    _, leaves = graphs(mean)
    sizes = leaves["node_mask"].sum(1)
    # Sizes evenly from 1 to 2m - 1: a standard deviation of at most 12/sqrt(12), over 200 graphs 0.25.
    assert float(sizes.float().mean()) == pytest.approx(mean, abs=1)
    few = random_graphs(SPACE, 5, mean)
    assert all(SPACE.contains({name: leaf[row] for name, leaf in few.items()}) for row in range(5))
    assert (leaves["edges"].bool() & (leaves["node_mask"] == 0).unsqueeze(1)).sum() == 0


def test_parts_add_up_by_hand():
    training = TrainingConfig(num_workers=2, num_envs_per_worker=5, batch_size=1000, minibatch_size=100, num_epochs=3)
    whole = {"wall_seconds": 1.0, "sample_seconds": 0.4, "learn_seconds": 0.5, "sync_seconds": 0.02}
    alone = {
        "environment_us": 100.0,  # 500 steps of a worker: 0.05 s, of which NetHack 0.01
        "game_us": 20.0,
        "inference_us": 200.0,  # 0.1 s
        "sample_us": 400.0,  # 0.2 s, so 0.05 s around them
        "transfer_seconds": 0.03,
        "minibatch_ms": {"forward": 4.0, "backward": 8.0, "optimizer": 1.0},  # 30 minibatches: 0.12, 0.24, 0.03 s
    }
    parts = [round(row["seconds"], 9) for row in breakdown(whole, alone, training)]
    assert parts == [0.01, 0.04, 0.1, 0.05, 0.03, 0.17, 0.12, 0.24, 0.03, 0.11, 0.02, 0.08]


def test_core_time_adds_up_by_hand():
    training = TrainingConfig(num_workers=2, num_envs_per_worker=5, batch_size=1000, minibatch_size=100, num_epochs=3)
    alone = {
        "environment_us": 100.0,
        "game_us": 20.0,
        "inference_us": 200.0,
        "sample_us": 400.0,  # so 100 around environment and network
        "transfer_seconds": 0.03,  # 30 us a step
        "minibatch_core_ms": {"forward": 4.0, "backward": 8.0, "optimizer": 1.0},  # 30 minibatches: 0.03 of them a step
    }
    budget = core_budget(1000.0, alone, training)
    assert [round(row["us"], 9) for row in budget] == [20, 80, 200, 100, 30, 120, 240, 30, 180]
    assert core_budget(1000.0, alone | {"game_us": None}, training)[0]["part"] == "environment"
    assert sum(row["share"] for row in budget) == pytest.approx(1)


def test_medians():
    assert medians([{"a": n, "b": 1 / n} for n in (1.0, 10.0, 2.0)]) == {"a": 2, "b": 0.5}


def test_calls_are_taken_in_turn_and_their_warm_up_is_left_out():
    order = []
    calls = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert in_turn(calls, repeats=2, warm_up=1) == {"a": [3, 5], "b": [4, 6]}
    assert "".join(order) == "ababab"


def test_what_grows_has_a_slope():
    assert slope([0, 1, 2], [5, 7, 9]) == pytest.approx(2)
    assert slope([0, 1, 2, 3], [4, 4, 4, 4]) == pytest.approx(0)
    # Means 1.5 and 2.75; products of the deviations 4.125 - 0.125 + 0.125 + 3.375 = 7.5 over 5.
    assert slope([0, 1, 2, 3], [0, 3, 3, 5]) == pytest.approx(1.5)
    assert slope([0, 1], [5, 7]) is None
    grown = growth("open_files", [(1.0, 20), (1.5, 21), (2.0, 24)])
    assert grown == {"open_files_begin": 20, "open_files_end": 24, "open_files_per_minute": pytest.approx(4)}


def test_stock_plays_the_same_environment_flat():
    env = make_stock_env({"env": "regimes", "max_steps": 3})
    observation, _ = env.reset(seed=1)
    assert isinstance(env.observation_space, spaces.Box)
    assert observation.shape == env.observation_space.shape
    assert observation.ndim == 1
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_stock_sees_27_numbers_of_nethack():
    pytest.importorskip("nle")
    env = make_stock_env({"env": "nethack", "max_steps": 3})
    observation, _ = env.reset()
    assert (observation.dtype, observation.shape) == (np.float32, (27,))
    assert env.observation_space.contains(observation)
    assert math.isfinite(env.step(0)[1])
    assert [env.step(0)[3] for _ in range(2)] == [False, True]
    env.close()


@pytest.mark.usefixtures("ray_session")
def test_the_phase_push_reaches_every_worker(tmp_path):
    file = tmp_path / "push.json"
    numbers = main(f"--phase-push 1,2 --repeats 2 --json {file} {TINY}".split())

    assert json.loads(file.read_text())["phase_push"] == numbers["phase_push"]
    assert [row["workers"] for row in numbers["phase_push"]] == [1, 2]
    for row in numbers["phase_push"]:
        assert 0 < row["put_ms"] + row["calls_ms"] <= row["arrived_ms"] * 2  # medians of parts and of the whole
        assert row["answer_ms"] > 0
        assert 0.01 < row["megabytes"] < 1
    assert "train_steps_per_second" not in numbers


@pytest.mark.usefixtures("ray_session")
def test_a_stand_in_takes_the_weights():
    weights = {"gate": np.arange(3.0), "phase": np.array(2)}
    worker = StandIn.remote(weights)
    ray.get(worker.set_weights.remote([ray.put({"gate": np.full(3, 7.0), "phase": np.array(5)})]))
    taken = ray.get(worker.__ray_call__.remote(lambda stand_in: stand_in._weights))
    ray.kill(worker)

    assert taken["gate"].tolist() == [7, 7, 7]
    assert taken["phase"] == 5


def test_a_push_to_more_workers_than_fit_is_refused():
    with pytest.raises(ConfigError, match="phase_push: 10000000 workers need"):
        phase_push({"gate": np.zeros(1)}, [10_000_000], repeats=1)
    with pytest.raises(ConfigError, match="phase_push: expected whole numbers"):
        main(["--phase-push", "2,x"])
