import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rllib_moe.envs.nethack.temp_dirs import process_directory, sweep_stale

PLAY = """
import os, sys
from rllib_moe.envs.nethack.environment import NetHackGraphEnv
env = NetHackGraphEnv(temp_root=sys.argv[1])
env.reset(seed=1)
assert os.listdir(sys.argv[1]), "the game's files should be here"
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
"""


def contents(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_closing_leaves_nothing(make_env, tmp_path):
    first, second = make_env(), make_env()
    first.reset(seed=1)
    second.reset(seed=2)
    assert len(contents(tmp_path)) == 1
    first.close()
    assert len(contents(tmp_path)) == 1
    second.close()
    second.close()
    assert contents(tmp_path) == []
    first.reset(seed=1)
    first.step(22)


def test_a_process_that_ends_without_closing_leaves_nothing(tmp_path):
    subprocess.run([sys.executable, "-c", PLAY, tmp_path, "end"], check=True)
    assert contents(tmp_path) == []


def test_what_a_killed_process_left_is_swept(tmp_path):
    result = subprocess.run([sys.executable, "-c", PLAY, tmp_path, "kill"], check=False)
    assert result.returncode == -9
    assert len(contents(tmp_path)) == 1
    assert sweep_stale(str(tmp_path)) == 1
    assert contents(tmp_path) == []


def test_sweeping_spares_the_living_and_the_foreign(make_env, tmp_path):
    make_env().reset(seed=1)
    (tmp_path / "nle_of_somebody_else").mkdir()
    before = contents(tmp_path)
    assert sweep_stale(str(tmp_path)) == 0
    assert contents(tmp_path) == before


def test_a_reused_process_id_is_told_apart(tmp_path):
    stale = tmp_path / f"rllib_moe_nethack_{os.getpid()}_1"
    stale.mkdir()
    with process_directory(str(tmp_path)) as mine:
        assert Path(tempfile.gettempdir()) == mine
    assert Path(tempfile.gettempdir()) != mine
    assert sweep_stale(str(tmp_path)) == 1
    assert not stale.exists()
    assert mine.exists()


def test_root_from_the_environment_variable(make_env, tmp_path, monkeypatch):
    monkeypatch.setenv("RLLIB_MOE_TEMP_ROOT", str(tmp_path / "elsewhere"))
    env = make_env(temp_root=None)
    env.reset(seed=1)
    assert len(contents(tmp_path / "elsewhere")) == 1
