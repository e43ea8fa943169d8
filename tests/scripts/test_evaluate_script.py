import json

import pytest

from rllib_moe.validation import ConfigError
from scripts.evaluate import main


def test_prints_a_table_and_writes_the_numbers(tmp_path, capsys):
    file = tmp_path / "numbers.json"
    numbers = main(
        f"--policy random --env regimes --episodes 6 --seed-base 7 --max-steps 9 --env-arg num_cues=4 "
        f"--env-arg num_regimes=5 --num-workers 0 --envs-per-worker 2 --json {file}".split()
    )
    assert json.loads(file.read_text()) == numbers
    assert (numbers["seed_base"], numbers["env_steps"]) == (7, 54)
    assert numbers["env_args"] == {"num_cues": 4, "num_regimes": 5}
    shown = capsys.readouterr().out
    assert "random on regimes: 6 episodes, seeds 7 to 12" in shown
    assert f"{numbers['score_mean']:.3f}" in shown
    assert "episodes 6/6" in shown


def test_refuses_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        main(["--checkpoint", str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match="policy: expected one of checkpoint, random, random-legal, got 'scripted'"):
        main(["--policy", "scripted", "--env", "regimes"])


@pytest.mark.parametrize("words", ["--policy", "--episode 3", "--episodes many"])
def test_unknown_words_exit_with_2(words):
    with pytest.raises(SystemExit) as exited:
        main(words.split())
    assert exited.value.code == 2
