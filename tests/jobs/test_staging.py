"""Files that are sent with a job: the package, the experiment, its checkpoint and a tree of the user's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_moe.experiment import Experiment
from rllib_moe.jobs.staging import stage
from rllib_moe.jobs.submit_config import SubmitConfig
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.validation.errors import ConfigError

ROOT = Path(__file__).parents[2]


def sent(target: Path) -> set[str]:
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with everything that is left out, and modules of the user's own."""
    kept = ("my_doors.py", "mine/results/kept.py")
    left_out = (
        ".git/objects/ab", ".venv/bin/python", "results/mine/progress.csv", ".env", "mine/__pycache__/a.pyc",
        "mine.egg-info/PKG-INFO", "run.log", "build/lib/a.py", "tests/test_a.py", "pretrained/a/weights.pt",
        "docs/learning.md", "rllib_moe/__init__.py", "python3/pyvenv.cfg", "python3/bin/python",
    )  # fmt: skip
    for name in (*kept, *left_out):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    (tmp_path / "job").mkdir()
    return tmp_path / "tree"


def test_the_package_alone_runs_the_experiment(tmp_path: Path) -> None:
    experiment = Experiment().with_overrides({"exp_name": "mine", "phase_boundaries": [7, 9]})
    assert 0.1 < stage(tmp_path, experiment, SubmitConfig()) < 1.2  # the guide says 0.9 MB
    assert Experiment.load(tmp_path / "experiment.yaml") == experiment
    assert {path.split("/")[0] for path in sent(tmp_path)} == {"experiment.yaml", "rllib_moe"}
    program = "import rllib_moe, rllib_moe.cli.train as t; print(rllib_moe.__file__); t.read_experiment([], '', '')"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, cwd=tmp_path, env=variables, check=True, capture_output=True, text=True).stdout
    assert told.strip() == str(tmp_path / "rllib_moe" / "__init__.py")


def test_a_tree_goes_along_but_for_what_is_made_and_hidden(tree: Path, tmp_path: Path) -> None:
    stage(tmp_path / "job", Experiment(), SubmitConfig(tree=str(tree)))
    assert {name for name in sent(tmp_path / "job") if not name.startswith("rllib_moe/")} == {
        "experiment.yaml", "my_doors.py", "mine/results/kept.py",
    }  # fmt: skip
    assert (tmp_path / "job" / "rllib_moe" / "__init__.py").read_text() != "rllib_moe/__init__.py"  # this one's

    (tree / "videos").mkdir()
    (tree / "videos" / "a.mp4").write_bytes(bytes(5_100_000))
    with pytest.raises(ConfigError, match=r"max_mb: \d\.\d MB to send, more than 5; .* videos \(5\.1 MB\), rllib_moe"):
        stage(tmp_path / "job", Experiment(), SubmitConfig(tree=str(tree), max_mb=5))
    assert not (tmp_path / "job" / "videos").exists()


def test_a_checkpoint_that_is_named_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stage(tmp_path, Experiment().with_overrides({"resume": "pretrained/nethack"}), SubmitConfig())
    assert load_checkpoint(tmp_path / "pretrained" / "nethack").path.is_relative_to(tmp_path)
