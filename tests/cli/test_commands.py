"""The console command: it hands over to its commands, answers at once, and works where only a wheel is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from rllib_moe.cli.__main__ import COMMANDS
from tests.cli.test_experiment import PLAN

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "ray", "matplotlib", "scipy.stats", "pandas"}
"""Modules that take most of a second to import, or seconds together."""


def run(*words: str, cwd: Path, path: Path = ROOT) -> tuple[int, str, set[str]]:
    """Return the status of a command, all it said, and the modules that it imported."""
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-m", "rllib_moe.cli", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    imports = [line for line in lines if line.startswith("import time:")]
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    return done.returncode, said, {line.rpartition("|")[2].strip() for line in imports}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("", 0, "experiment  compare ways of training"),
        ("evalute", 2, "unknown command 'evalute' (did you mean 'evaluate'?)"),
        ("evaluate --episodes 0", 2, "episodes: expected a whole number, 1 or more, got 0"),
        ("experiment nethack --variants sotfmax", 2, "variants: no variant 'sotfmax' (did you mean 'softmax'?)"),
        ("train --env nope --exp-name x", 2, "env: unknown environment 'nope'"),
        ("train --env regimes --env-arg num_cue=1", 2, "no argument 'num_cue' (did you mean 'num_cues'?)"),
        ("train --resume nope", 2, "checkpoint nope: no such directory"),
        ("evaluate --checkpoint nope", 2, "checkpoint nope: no such directory"),
        (
            "evaluate --policy nope --env regimes",
            2,
            "policy: expected one of checkpoint, random, random-legal, got 'nope'",
        ),
        ("evaluate --policy random --env regimes --json .", 2, "json: expected a file, '.' is a directory"),
        ("replay --checkpoint nope --out x.html", 2, "checkpoint nope: no such directory"),
        ("report --out x", 2, "unknown argument '--out' (did you mean '--output'?)"),
        ("report", 2, "runs: missing; expected a list of texts, at least one (run directories, such as results/"),
        ("report .", 2, "expected a run directory with progress.csv, there is none"),
        ("experiment plan.yaml", 2, "primary: no evaluation has 'nope'"),
        ("tune --exp-name x --space nope", 2, "space: cannot read 'nope'"),
        ("tune --exp-name x --space coefficients --env nope", 2, "env: unknown environment 'nope'"),
        ("tune --resume nope", 2, "nope holds no search (search.yaml is missing)"),
        *((f"{command} --help", 0, "How to run") for command in COMMANDS),
    ],
)
def test_help_and_refusals_import_nothing_that_takes_long(words: str, status: int, told: str, tmp_path: Path) -> None:
    """By the imports and not by the clock, which a busy machine stretches."""
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN | {"primary": "nope"}))
    ended, said, imported = run(*words.split(), cwd=tmp_path)
    assert (ended, told in said) == (status, True), said
    assert "rllib_moe.validation" in imported  # the list is there
    assert not imported & HEAVY


def test_without_nethack_its_install_is_told(tmp_path: Path) -> None:
    without = "import sys; sys.modules['nle'] = None; from rllib_moe.cli.__main__ import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", without, "train", "--exp-name", "x"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    told = "env: NetHack is not installed: pip install --no-deps nle=="
    assert (done.returncode, told in done.stderr) == (2, True), done.stdout + done.stderr
    version = done.stderr.partition(told)[2].split()[0]
    assert f"nle=={version}\n" in (ROOT / "requirements-nethack.txt").read_text()


def test_a_job_is_sent_without_torch(tmp_path: Path) -> None:
    training = ("--", "--exp-name", "x", "--output-dir", "/x")
    status, said, imported = run("submit", "--max-mb", "0.001", *training, cwd=tmp_path)
    assert (status, "MB to send, more than 0.001" in said) == (2, True), said
    assert "rllib_moe.jobs.server" in imported
    assert "torch" not in imported


@pytest.mark.slow
def test_a_wheel_trains_and_compares_away_from_the_repository(tmp_path: Path) -> None:
    source, site, work = tmp_path / "source", tmp_path / "site", tmp_path / "work"
    shutil.copytree(ROOT / "rllib_moe", source / "rllib_moe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    (installed,) = distributions(path=[str(site)])
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {Requirement(line) for line in lines if not line.startswith("#")}
    assert {Requirement(line) for line in installed.requires or []} == required
    files = [path.relative_to(source) for path in (source / "rllib_moe").rglob("*") if path.is_file()]
    assert [path for path in files if not (site / path).exists()] == []
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def call(*words: str) -> None:
        command = [sys.executable, str(site / "bin" / "rllib-moe"), *words]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    small = [word for name, value in PLAN["overrides"].items() for word in (f"--{name.replace('_', '-')}", str(value))]
    call("train", "--exp-name", "one", "--episodes", "40", *(word.strip("[]").replace(" ", "") for word in small))
    call("train", "--config", "results/one/config.yaml", "--exp-name", "again")
    rows = [json.loads((work / "results" / name / "summary.json").read_text()) for name in ("one", "again")]
    assert rows[0]["phases"][0]["score_mean"] == rows[1]["phases"][0]["score_mean"]

    evaluation = {"episodes": 4, "seed_base": 5, "most_probable_episodes": 0, "baselines": ["random"]}
    plan = PLAN | {"episodes": 40, "evaluation": evaluation, "variants": [{"name": "only"}], "seeds": [0]}
    (work / "plan.yaml").write_text(yaml.safe_dump(plan))
    call("experiment", "plan.yaml")
    table = json.loads((work / "results/comparison-plan/table.json").read_text())
    assert table["missing"] == []
    start = json.loads((work / "results/comparison-plan/only-seed0/starts.jsonl").read_text())
    assert start["command"] == ["rllib-moe", "train", "--config", "results/comparison-plan/only-seed0.train.yaml"]
    assert set(table["variants"]) == {"only"}
