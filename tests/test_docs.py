"""The documentation does what it says: its examples run, its commands are accepted, its made pages are up to date."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.config import parse as parse_benchmark
from rllib_moe import metrics as m
from rllib_moe.cli import train as train_command
from rllib_moe.cli.__main__ import COMMANDS
from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.registry import make_env
from rllib_moe.experiment import Experiment
from rllib_moe.metrics import ALPHA_ENTROPIES, METRICS, episode_measure, expert_share, gate_weight
from rllib_moe.schedule.phases import VALUES, PhaseSchedule
from rllib_moe.studies.comparison.plan import Plan
from rllib_moe.training.checkpoints import Checkpoint, load_checkpoint
from rllib_moe.training.fit import check_fit
from rllib_moe.training.resume import Resumed
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.training.storage import Fetched

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
"""All pages by their path."""
README = PAGES["README.md"]
NAMED_BLOCKS = {
    name: text
    for page in PAGES.values()
    for name, text in re.findall(
        r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
}
"""The pages' example files by the name in their first line."""
HEAVY = {
    "train": "rllib_moe.training.run.train",
    "evaluate": "rllib_moe.cli.evaluate.evaluate",
    "replay": "rllib_moe.cli.replay.replay",
    "report": "rllib_moe.cli.report.make_report",
    "experiment": "rllib_moe.cli.experiment.compare",
    "tune": "rllib_moe.cli.tune.run_search",
    "submit": "rllib_moe.jobs.submit.run",
}
"""The function that each command calls once its words are read."""


def commands(program: str, pages: dict[str, str] = PAGES) -> list[list[str]]:
    """Return the arguments of every call of a program: shell blocks, indented lines, `code`."""
    found = []
    for page in pages.values():
        blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        lines += re.findall(r"^ {4}(python .*)$", prose, re.MULTILINE)
        lines += [code.replace("\n", " ") for code in re.findall(r"`(python [^`]*)`", prose)]
        found += [re.search(rf"python {re.escape(program)}(?: (.*))?$", line) for line in lines]
    calls = [tuple(shlex.split(match[1] or "", comments=True)) for match in found if match]
    return [list(words) for words in dict.fromkeys(calls) if "..." not in words]


CALLS = [(name, words) for name in HEAVY for words in commands(f"scripts/{name}.py")]


@pytest.fixture
def example_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the pages' example files, and a run that they name."""
    for name, text in NAMED_BLOCKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("results/try", "results/tune/first/best", "results/full_training"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(Experiment().to_yaml())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_doors", None)
    importlib.invalidate_caches()


def test_the_documentation_has_the_commands_that_are_checked_here() -> None:
    least = {"train": 20, "evaluate": 6, "replay": 3, "report": 3, "experiment": 2, "tune": 5, "submit": 3}
    assert least.keys() == HEAVY.keys() == COMMANDS.keys()
    for name, number in least.items():
        assert len(commands(f"scripts/{name}.py")) >= number, name
    assert len(commands("-m benchmarks")) >= 7
    examples = {
        "my_schedule.yaml",
        "my_space.yaml",
        "my_doors.py",
        "network.py",
        "one_call.py",
        "own_rllib.py",
        "my_encoder.py",
        "my_gates.py",
    }
    assert examples <= set(NAMED_BLOCKS)


@pytest.mark.parametrize(("name", "words"), CALLS, ids=[" ".join([name, *words]) for name, words in CALLS])
@pytest.mark.usefixtures("example_files")
def test_a_documented_command_is_accepted(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(path=Path.cwd(), experiment=Experiment(), episodes=1000, iteration=1, score=None)
    fetched = Fetched("s3://bucket/runs/shared", Path.cwd() / "shared", Path.cwd(), TemporaryDirectory())
    monkeypatch.setattr(Resumed, "find", lambda place: Resumed(checkpoint, fetched if "://" in place else None))
    if name == "tune" and "--resume" in words:
        pytest.importorskip("ray.tune")
        monkeypatch.setattr("rllib_moe.studies.tuning.search.Search.load", Mock())
    made = {"runs": {}, "omissions": {}, "page": "", "trials": [], "failures": []}
    called = Mock(return_value=made)
    monkeypatch.setattr(HEAVY[name], called)
    importlib.import_module(f"rllib_moe.cli.{name}").main([word.replace("$PWD", "/home/me") for word in words])
    called.assert_called_once()
    if name == "train" and "--resume" not in words:  # what is refused only once the environment is made
        check_fit(called.call_args.args[0])


def test_variants_that_the_pages_name_are_in_their_plans() -> None:
    """The call above does not reach the plan. Pages of results are left out: theirs is the plan of the commit named."""
    pages = {path: text for path, text in PAGES.items() if not path.startswith("docs/results/")}
    asked = [words for words in commands("scripts/experiment.py", pages) if "--variants" in words]
    assert asked
    for plan, *words in asked:
        known = {variant.name for variant in Plan.load(plan).variants}
        assert set(words[words.index("--variants") + 1].split(",")) <= known, (plan, words)


@pytest.mark.parametrize("words", commands("-m benchmarks"), ids=" ".join)
def test_benchmark_commands_are_accepted(words: list[str]) -> None:
    parse_benchmark(words, description="")


def test_the_chinese_readme_has_the_readmes_commands() -> None:
    chinese = {"README.zh.md": PAGES["README.zh.md"]}
    english = {"README.md": README}
    for name in HEAVY:
        program = f"scripts/{name}.py"
        assert commands(program, chinese) == commands(program, english), name


def test_pages_are_as_short_as_they_should_be() -> None:
    assert README.count("\n") <= 250


def test_the_example_schedule_ramps_as_its_page_says(example_files: Path) -> None:
    schedule = PhaseSchedule.load(example_files / "my_schedule.yaml")
    assert schedule.boundaries == (800, 2000)
    assert schedule.at(799).alpha_entropy_target is None
    # Halfway from 800 to 2000, halfway from 1.0 to 0.5.
    assert schedule.at(1400).temperature == pytest.approx(0.75)


NOT_IN_V3 = {"alpha_entropy_target", "persistence_coef", "role_coef"}
"""Values that are off in the user's schedule."""


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_tables_of_phases_are_the_bundled_schedules(page: str) -> None:
    tables = re.findall(r"^\| `--schedule (\w+)` \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)
    assert [name for name, _ in tables] == ["v3", "default", "progressive"]
    v3, seen = PhaseSchedule.load("v3"), set()
    for name, lines in tables:
        schedule = PhaseSchedule.load(name)
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines.splitlines()]
        for heading, *cells in rows:
            words = {
                "learning rate": "learning_rate",
                "学习率": "learning_rate",
                "temperature": "temperature",
                "温度": "temperature",
            }
            named = re.search(r"`([\w.]+)`", heading)
            value = words.get(heading) or (named[1] if named else "routing")
            if heading in ("episodes", "回合"):
                continue
            seen.add((name, value))
            for cell, start in zip(cells, (0, 1000, 3000), strict=False):
                phase = schedule.at(start)
                found = phase.env[value.removeprefix("env.")] if value.startswith("env.") else getattr(phase, value)
                assert (cell if value == "routing" else float(re.match(r"[\d.e-]+", cell)[0])) == found, (name, heading)
    assert {value for name, value in seen if name == "v3"} == {"routing", *VALUES} - NOT_IN_V3
    changed = {
        value for value in VALUES for start in (0, 1000, 3000)
        if getattr(v3.at(start), value) != getattr(PhaseSchedule.load("default").at(start), value)
    }  # fmt: skip
    assert {value for name, value in seen if name == "default"} == changed


def test_the_leaves_of_nethack_are_those_in_the_guide() -> None:
    page = (ROOT / "docs/guide/environments.md").read_text()
    told: dict[str, list[int]] = {}
    for names, shapes in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\[[\d, \]\[]*\]) \|", page, re.MULTILINE):
        read = [[int(size) for size in shape.split(",")] for shape in re.findall(r"\[([\d, ]+)\]", shapes)]
        told |= dict(zip(re.findall(r"\w+", names), read, strict=True))
    space: Any = make_env("nethack").observation_space
    assert told == {name: list(leaf.shape) for name, leaf in space.items()}


@pytest.mark.usefixtures("example_files")
def test_the_example_environment_keeps_the_contract() -> None:
    env = make_env("my_doors:Doors-v0", max_steps=20, num_doors=5)
    observation, _ = env.reset(seed=0)
    score, truncated = 0.0, False
    while not truncated:
        check_observation(observation, env.observation_space)
        right = int(np.argmax(observation["nodes"][1:, 0]))
        observation, reward, terminated, truncated, info = env.step(right)
        assert not terminated
        score += float(reward)
    assert score == info["score"] == 20
    assert len(describe(env).role_names) == len(observation["roles"])


def train_doors(directory: Path, flags: str) -> list[m.Row]:
    """Train on the example environment and return the rows."""
    words = "--exp-name doors --env my_doors:Doors-v0 --max-steps 20 --num-workers 0 --batch-size 512 "
    train_command.main(f"{words} --minibatch-size 256 {flags}".split())
    return RunDirectory(directory / "results" / "doors").rows()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("learning_rate", ["3e-4", "1e-3"])
@pytest.mark.parametrize("num_envs", ["8", "64"])
@pytest.mark.usefixtures("ray_session")
def test_no_expert_of_the_example_dies_in_warmup(
    num_envs: str, learning_rate: str, seed: int, example_files: Path
) -> None:
    """States of its environment resemble each other, which is where a running mean that lags chooses one for all."""
    flags = f"--num-envs-per-worker {num_envs} --set *.learning_rate={learning_rate} --seed {seed}"
    rows = train_doors(example_files, f"--episodes 1600 --phase-boundaries 1600,3000 {flags}")
    assert min(row[m.MIN_EXPERT_SHARE.key] for row in rows) > 0.10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("num_envs", ["8", "16", "64"])
@pytest.mark.usefixtures("ray_session")
def test_no_expert_of_the_example_dies_once_the_gate_is_sparse(num_envs: str, seed: int, example_files: Path) -> None:
    flags = f"--num-envs-per-worker {num_envs} --seed {seed}"
    *_, last = train_doors(example_files, f"--episodes 2000 --phase-boundaries 800,1400 {flags}")
    assert last[m.ROUTING.key] == "sparsemax"
    assert last[m.MIN_EXPERT_SHARE.key] > 0.10


def test_the_network_example_runs(example_files: Path) -> None:
    names = runpy.run_path(str(example_files / "network.py"))
    # Fine-tune's gate is sparsemax; its weights sum to 1.
    assert names["network"].phase.routing == "sparsemax"
    assert float(names["output"].gate.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.usefixtures("ray_session")
def test_the_examples_in_python_run(example_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = runpy.run_path(str(example_files / "one_call.py"))["summary"]
    assert [phase["phase"] for phase in summary["phases"]] == ["warmup", "transition", "fine-tune"]
    assert (example_files / "results" / "one-call" / "checkpoints" / "final").exists()
    runpy.run_path(str(example_files / "own_rllib.py"))
    assert "16 warmup" in capsys.readouterr().out
    learned = runpy.run_path(str(example_files / "model_only.py"))["learned"]
    assert np.isfinite([learned["learner_stats"]["total_loss"], learned["model"]["routing_loss"]]).all()


@pytest.mark.usefixtures("example_files", "ray_session")
def test_the_example_gate_and_encoder_train_and_their_names_are_in_the_checkpoint(train: Any, tmp_path: Path) -> None:
    train("top2", 48, "--set", "fine-tune.routing=my_gates:top2", "--graph-encoder", "my_encoder:EgoOnly")
    rows = (tmp_path / "top2" / "progress.csv").read_text()
    assert "my_gates:top2" in rows
    resumed = train("again", 64, resume=tmp_path / "top2")
    assert resumed["phases"][-1]["routing"] == "my_gates:top2"
    assert (
        load_checkpoint(tmp_path / "again" / "checkpoints" / "final").experiment.model.graph_encoder
        == "my_encoder:EgoOnly"
    )


def test_the_metrics_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "metrics_page.py"))["page"]()
    assert page == PAGES["docs/metrics.md"], "run `make docs`"
    for metric in (*METRICS, expert_share(0)):
        assert f"| `{metric.key}` |" in page


@pytest.mark.usefixtures("example_files")
def test_metrics_in_the_pages_exist() -> None:
    named = {key for page in PAGES.values() for key in re.findall(r"`((?:run|score|phase|moe|loss)/\w+)`", page)}
    made = (make_env("nethack", tasks="gold"), make_env("my_doors:Doors-v0"))
    described = [describe(env) for env in made]
    own = {episode_measure(each.name).key for description in described for each in description.episode_measures}
    assert len(named) > 10
    assert own <= named
    shown = (*METRICS, expert_share(0), expert_share(1), ALPHA_ENTROPIES, gate_weight(0))
    examples = {"phase/sharpness_coef", "loss/sharpness"}
    assert named - examples <= {metric.key for metric in shown} | own


def test_pictures_are_up_to_date_and_embedded() -> None:
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))["PICTURES"]
    for name, picture in pictures.items():
        text = (ROOT / "docs" / "images" / name).read_text(encoding="utf-8")
        assert picture() == text, "run `make docs`"
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert any(f"images/{name})" in page for page in PAGES.values()), name


def test_the_published_curves_can_be_drawn(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["learning"](tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", [*PAGES, "results/published/README.md"])
def test_links_lead_to_files_and_headings(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, anchor
