"""Reading executes nothing: nothing is unpickled, whatever a checkpoint holds."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rllib_moe.config import ConfigError
from rllib_moe.studies.report.runs import read_run
from rllib_moe.training.checkpoints import ARRAYS, EXPERIMENT, FILES, MANIFEST, OPTIMIZER, WEIGHTS, CheckpointError
from scripts.evaluate import main as evaluate
from scripts.train import main as train
from tests.studies.report.report_runs import write_run
from tests.untrained_checkpoint import save_untrained

ROOT = Path(__file__).parents[1]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sign,)


def write_yaml(file: Path, trap: Trap) -> None:
    file.write_text(f"!!python/object/apply:os.mkdir ['{trap.sign}']")


def write_arrays(file: Path, trap: Trap) -> None:
    with file.open("wb") as stream:
        np.savez(stream, array_0=np.array([trap]))


def open_arrays(file: Path) -> None:
    with np.load(file, allow_pickle=True) as arrays:
        dict(arrays)


Form = tuple[Callable[[Path, Trap], object], Callable[[Path], object]]
PICKLED: Form = (lambda file, trap: file.write_bytes(pickle.dumps(trap)), lambda file: pickle.loads(file.read_bytes()))
TENSORS: Form = (lambda file, trap: torch.save([trap], file), lambda file: torch.load(file, weights_only=False))
TRAPS: list[tuple[str, Form]] = [
    *((name, PICKLED) for name in sorted({*FILES, MANIFEST})),
    *((name, TENSORS) for name in (WEIGHTS, OPTIMIZER)),
    (ARRAYS, (write_arrays, open_arrays)),
    (EXPERIMENT, (write_yaml, lambda file: yaml.unsafe_load(file.read_text()))),
]
"""Of a trap: the file of a checkpoint, how it is put there, and how a careless program would spring it."""


@pytest.mark.parametrize(("name", "form"), TRAPS, ids=[name for name, _ in TRAPS])
def test_a_trap_in_a_checkpoint_is_not_sprung(name: str, form: Form, tmp_path: Path) -> None:
    """The manifest agrees with it, as an attacker can see to."""
    run, sign = write_run(tmp_path / "run", [1.0, 2.0]), tmp_path / "executed"
    file = save_untrained(run, "regimes", max_steps=20, num_cues=4) / name
    form[0](file, Trap(sign))
    if name != MANIFEST:
        manifest = json.loads((file.parent / MANIFEST).read_text())
        manifest["sha256"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        (file.parent / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises((CheckpointError, ConfigError), match=name):
        train(["--resume", str(run), "--output-dir", str(tmp_path), "--exp-name", "resumed", "--episodes", "99"])
    with suppress(ConfigError, CheckpointError):
        evaluate(f"--checkpoint {run} --episodes 2 --num-workers 0".split())
    assert not sign.exists()
    form[1](file)
    assert sign.exists(), "the trap works"


@pytest.mark.parametrize("name", ["config.yaml", "schedule.yaml"])
def test_a_trap_in_a_run_is_not_sprung_by_its_report(name: str, tmp_path: Path) -> None:
    """A report reads these files of a run, and no checkpoint."""
    run, sign = write_run(tmp_path / "run", [1.0, 2.0]), tmp_path / "executed"
    write_yaml(run / name, Trap(sign))
    (omission,) = read_run(run).omissions
    assert omission.startswith(name), "it was read"
    assert not sign.exists()
    yaml.unsafe_load((run / name).read_text())
    assert sign.exists(), "the trap works"


def calls() -> Iterator[tuple[str, str, dict[str | None, str]]]:
    """Yield what package and scripts call: file, function as it is written, keyword arguments."""
    for file in sorted([*(ROOT / "rllib_moe").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                keywords = {each.arg: ast.unparse(each.value) for each in node.keywords}
                yield str(file.relative_to(ROOT)), ast.unparse(node.func), keywords


def test_nothing_unpickles() -> None:
    """Pickles themselves, `eval` and unsafe YAML are refused by ruff (`pyproject.toml`)."""
    found = set()
    for file, called, keywords in calls():
        found.add(called)
        assert called != "torch.load" or keywords.get("weights_only") == "True", file
        assert called != "np.load" or "allow_pickle" not in keywords, file
        # RLlib's own checkpoints are pickles; the driver of a search is Tune's, which has no other form.
        method = called.rpartition(".")[2]
        assert method not in ("from_checkpoint", "restore_from_path"), file
        assert "." not in called or method != "restore" or called == "tune.Tuner.restore", file
    assert {"torch.load", "np.load"} <= found
