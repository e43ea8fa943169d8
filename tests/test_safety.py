"""What is read executes nothing: only `--resume` unpickles, and only what the user named."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_moe.training.checkpoints import MANIFEST, WEIGHTS, load_checkpoint
from scripts.evaluate import main as evaluate
from scripts.report import main as report
from tests.studies.report.report_runs import write_run
from tests.untrained_checkpoint import save_untrained

ROOT = Path(__file__).parents[1]
UNPICKLES = {"rllib_moe/sampling/guarded_environments.py"}
"""Files that unpickle themselves: the environments in RLlib's part of a checkpoint, which `--resume` alone loads."""


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sign,)


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """A file that is there once something was executed."""
    return tmp_path / "executed"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two rows and a checkpoint."""
    run = write_run(tmp_path / "run", [1.0, 2.0])
    save_untrained(run, "regimes", max_steps=20, num_cues=4)
    return run


def put(run: Path, name: str, trap: Trap) -> None:
    """Replace a file of the checkpoint by a trap, and its hash, as an attacker can."""
    (checkpoint,) = (run / "checkpoints").glob("episode_*")
    (checkpoint / name).write_bytes(pickle.dumps(trap))
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    assert name in manifest["sha256"]
    manifest["sha256"][name] = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


def test_evaluation_and_reports_leave_a_trap_alone(run: Path, sign: Path, tmp_path: Path) -> None:
    put(run, "algorithm/algorithm_state.pkl", Trap(sign))
    assert load_checkpoint(run).weights()
    evaluate(
        ["--checkpoint", str(run), "--episodes", "2", "--num-workers", "0", "--json", str(run / "evaluation.json")]
    )
    report([str(run), "--output", str(tmp_path / "report")])
    assert not sign.exists()
    pickle.loads(next(run.rglob("algorithm_state.pkl")).read_bytes())
    assert sign.exists(), "the trap works"


def test_weights_that_would_execute_something_are_refused(run: Path, sign: Path) -> None:
    (checkpoint,) = (run / "checkpoints").glob("episode_*")
    shutil.copytree(checkpoint, run / "copy")
    put(run, WEIGHTS, Trap(sign))
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(run).weights()
    torch.save({"network": Trap(sign)}, checkpoint / WEIGHTS)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint / WEIGHTS, weights_only=True)
    assert not sign.exists()


@functools.cache
def all_calls() -> list[tuple[str, str, ast.Call]]:
    """What is called in the package and the scripts: file, function as it is written, call."""
    files = sorted([*(ROOT / "rllib_moe").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
    return [
        (str(file.relative_to(ROOT)), ast.unparse(node.func), node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
    ]


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of a function, with their files."""
    return ((file, call) for file, function, call in all_calls() if function == name)


def test_weights_are_loaded_alone_everywhere() -> None:
    found = list(calls("torch.load"))
    assert found
    for file, call in found:
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("weights_only") == "True", file


def test_nothing_else_unpickles() -> None:
    for name in ("pickle.load", "pickle.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "yaml.load"):
        assert {file for file, _ in calls(name)} <= UNPICKLES, name
    for _, call in calls("np.load"):
        assert "allow_pickle" not in {keyword.arg for keyword in call.keywords}
