"""One place for one change: a value of a phase is one field and its use in the loss, and arrives everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rllib_moe
from rllib_moe.validation.yaml_files import read_yaml

FIELD = '''    sharpness_coef: float = phase_value(off=0.0, ge=0)
    """Weight of the sharpness that this test adds."""

    @field_validator("name")
'''
LOSS = """            "sharpness": output.gate.square().sum(-1).mean(),
            "alpha_entropy": """
RUN = """
import json, sys
from rllib_moe import metrics as m
from rllib_moe.algorithms.build import build_algorithm
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import phase_of
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.training.checkpoints import load_checkpoint
from rllib_moe.training.run import train
from rllib_moe.validation.errors import ConfigError

small = {"env": "regimes", "max_steps": 16, "num_envs_per_worker": 4, "batch_size": 64, "minibatch_size": 32}
small |= {"exp_name": sys.argv[1], "output_dir": sys.argv[2], "episodes": 8, "num_workers": 0}
small |= json.loads(sys.argv[3])
told = {}
if "num_workers" in json.loads(sys.argv[3]):
    with ray_session(None, 2):
        algorithm = build_algorithm(Experiment().with_overrides(small))
        read = lambda worker: worker.get_policy().model.network.phase.value("sharpness_coef")
        told["held"] = algorithm.env_runner_group.foreach_env_runner(read)
        row = algorithm.train()["moe"]
        algorithm.stop()
    told["row"] = {key: value for key, value in row.items() if "sharp" in key or key.startswith("loss/")}
    told["declared"] = [metric.meaning for metric in m.METRICS if metric.key == "phase/sharpness_coef"]
    told["older"] = phase_of(load_checkpoint(sys.argv[4]).weights()).value("sharpness_coef")
    try:
        Experiment().with_overrides({"warmup.sharpness_coef": -1})
    except ConfigError as error:
        told["refused"] = error.errors
else:
    train(Experiment().with_overrides(small))
print("TOLD " + json.dumps(told))
"""


def run(package: Path, *arguments: str) -> dict:
    """Run the program with a package of one's own."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env=environment,
        cwd=package,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("TOLD ")).removeprefix("TOLD "))


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the package with one field more, and its use in the loss."""
    package = tmp_path / "changed" / "rllib_moe"
    shutil.copytree(Path(rllib_moe.__path__[0]), package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in (
        (package / "schedule" / "phases.py", '    @field_validator("name")\n', FIELD),
        (package / "models" / "policy_network.py", '            "alpha_entropy": ', LOSS),
    ):
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
    return package.parent


@pytest.mark.slow
def test_a_new_value_of_a_phase_arrives_everywhere(changed: Path, tmp_path: Path) -> None:
    run(Path(rllib_moe.__path__[0]).parent, "older", str(tmp_path), "{}")
    older = tmp_path / "older" / "checkpoints" / "latest"

    told = run(changed, "held", str(tmp_path), json.dumps({"num_workers": 1, "*.sharpness_coef": 0.25}), str(older))
    assert told["held"] == [0.25, 0.25], "the learner's policy and the rollout worker's"
    assert told["row"]["phase/sharpness_coef"] == 0.25
    assert told["row"]["loss/sharpness"] > 0
    assert told["declared"] == ["Weight of the sharpness that this test adds"]
    assert told["older"] == 0.0, "off, in a checkpoint older than the value"
    assert told["refused"] == ["warmup.sharpness_coef: expected a finite number, 0 or more, got -1"]

    run(changed, "new", str(tmp_path), json.dumps({"transition.sharpness_coef": [0.0, 0.5]}))
    written = read_yaml((tmp_path / "new" / "config.yaml").read_text())
    assert [phase["sharpness_coef"] for phase in written["schedule"]["phases"]] == [0.0, [0.0, 0.5], 0.0]
    assert "phase/sharpness_coef" in (tmp_path / "new" / "progress.csv").read_text().splitlines()[0]
    resumed = {"resume": str(older), "episodes": 16}
    run(changed, "resumed", str(tmp_path), json.dumps(resumed))
