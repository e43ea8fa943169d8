import json

import pytest

from rllib_moe.validation.errors import ConfigError
from scripts.evaluate import main
from tests.refused import errors_of


def test_prints_a_table_and_writes_the_numbers(tmp_path, capsys):
    file, config = tmp_path / "numbers.json", tmp_path / "request.yaml"
    config.write_text(
        "{policy: random, env: nethack, episodes: 6, seed_base: 7, env_args: {num_cues: 3, num_regimes: 5}}"
    )
    numbers = main(
        f"--config {config} --env regimes --max-steps 9 --env-arg num_cues=4 --num-workers 0 "
        f"--envs-per-worker 2 --json {file}".split()
    )
    assert json.loads(file.read_text()) == numbers
    assert (numbers["seed_base"], numbers["env_steps"]) == (7, 54)
    assert numbers["env_args"] == {"num_cues": 4, "num_regimes": 5}
    shown = capsys.readouterr().out
    assert "random on regimes: 6 episodes of at most 9 steps, seeds 7 to 12" in " ".join(shown.split())
    assert f"{numbers['score_mean']:.3f}" in shown
    assert "episodes 6/6" in shown


def test_refuses_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        main(["--checkpoint", str(tmp_path / "nowhere")])
    refused = errors_of(main, ["--episodes", "many", "--plot", "x.svg", "--episode=3", "--env-arg", "oops"])
    for error in (
        "unknown argument '--episode=3' (did you mean '--episodes'?)",
        "--env-arg: expected name=value with a value in YAML, got 'oops'",
        "episodes: expected a whole number, 1 or more, got 'many'",
        "plot: expected a file that ends in .png, got 'x.svg'",
    ):
        assert error in refused
