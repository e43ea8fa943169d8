"""The documentation does what it says: its examples run, its commands are accepted, its made pages are up to date."""

import importlib
import itertools
import re
import runpy
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import pytest
import tyro

from benchmarks.config import parse as parse_benchmark
from rllib_moe.config import ExperimentConfig
from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.registry import make_env
from rllib_moe.evaluation.evaluate import EvaluationRequest
from rllib_moe.evaluation.replay.replay import ReplayRequest
from rllib_moe.jobs.request import parse as parse_submit
from rllib_moe.metrics import METRICS, episode_measure, expert_share
from rllib_moe.phases import PhaseSchedule
from rllib_moe.studies.comparison.compare import ComparisonRequest
from rllib_moe.studies.comparison.plan import load_plan
from rllib_moe.studies.report.make import ReportRequest
from rllib_moe.studies.tuning.request import parse as parse_search
from rllib_moe.training import command_line
from rllib_moe.training.checkpoints import Checkpoint
from rllib_moe.training.storage import Fetched

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMED_BLOCKS = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
"""The README's files by the name in their first line."""


def commands(program: str) -> list[list[str]]:
    """Return the arguments of every call of a program in the README and docs/: shell blocks, indented lines, `code`."""
    found = []
    for page in (README, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))):
        blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        lines += re.findall(r"^ {4}(python .*)$", prose, re.MULTILINE)
        lines += [code.replace("\n", " ") for code in re.findall(r"`(python [^`]*)`", prose)]
        found += [re.search(rf"python {re.escape(program)}(?: (.*))?$", line) for line in lines]
    calls = [tuple(shlex.split(match[1] or "", comments=True)) for match in found if match]
    return [list(words) for words in dict.fromkeys(calls)]


TRAIN_COMMANDS = commands("scripts/train.py")
SUBMIT_COMMANDS = commands("scripts/submit.py")
EVALUATE_COMMANDS = commands("scripts/evaluate.py")
EXPERIMENT_COMMANDS = commands("scripts/experiment.py")
TUNE_COMMANDS = commands("scripts/tune.py")
REPORT_COMMANDS = commands("scripts/report.py")
REPLAY_COMMANDS = commands("scripts/replay.py")
BENCHMARK_COMMANDS = commands("-m benchmarks")


@pytest.fixture
def readme_files(tmp_path, monkeypatch):
    """A working directory with the README's files."""
    for name, text in NAMED_BLOCKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_doors", None)
    importlib.invalidate_caches()


def test_the_documentation_has_the_commands_that_are_checked_here():
    assert len(TRAIN_COMMANDS) >= 10
    assert len(EVALUATE_COMMANDS) >= 6
    assert len(EXPERIMENT_COMMANDS) >= 2
    assert len(REPORT_COMMANDS) >= 2
    assert len(REPLAY_COMMANDS) >= 2
    assert len(SUBMIT_COMMANDS) >= 3
    assert len(TUNE_COMMANDS) >= 5
    assert len(BENCHMARK_COMMANDS) >= 7
    assert set(NAMED_BLOCKS) == {"my_schedule.yaml", "my_space.yaml", "my_doors.py", "network.py"}


@pytest.mark.parametrize("words", TRAIN_COMMANDS, ids=" ".join)
def test_training_commands_are_accepted(words, readme_files, monkeypatch):
    resumed = Checkpoint(
        path=readme_files,
        config=ExperimentConfig(),
        schedule=PhaseSchedule.load("default"),
        episodes=1000,
        iteration=1,
        score=None,
    )
    monkeypatch.setattr(command_line, "load_checkpoint", lambda _path: resumed)
    fetched = Fetched("s3://bucket/runs/shared", readme_files / "shared", readme_files, TemporaryDirectory())
    monkeypatch.setattr(command_line, "fetch", lambda _uri: fetched)

    request = command_line.parse(words, description="")

    for flag, value in itertools.pairwise(words):
        if flag == "--episodes":
            assert request.config.run.episodes == int(value)


@pytest.mark.parametrize("words", SUBMIT_COMMANDS, ids=" ".join)
def test_submitting_commands_are_accepted(words):
    call = parse_submit([word.replace("$PWD", "/home/me") for word in words], "")

    assert (call.request is None) == (call.config.fetch is not None)


@pytest.mark.parametrize("words", EVALUATE_COMMANDS, ids=" ".join)
def test_evaluation_commands_are_accepted(words):
    request = tyro.cli(EvaluationRequest, args=words)

    assert list(request.faults()) == []


@pytest.mark.parametrize("words", [words for words in TUNE_COMMANDS if "--resume" not in words], ids=" ".join)
@pytest.mark.usefixtures("readme_files")
def test_search_commands_are_accepted(words):
    request = parse_search(words, description="")

    expected = (
        0 if request.search.search == "optuna" else 8 if request.search.search == "grid" else request.search.trials
    )
    assert len(request.candidates) == expected


@pytest.mark.parametrize("words", REPORT_COMMANDS, ids=" ".join)
def test_report_commands_are_accepted(words):
    request = tyro.cli(ReportRequest, args=words)

    assert [str(path) for path in request.runs] == [word for word in words if word.startswith("results/")][
        : len(request.runs)
    ]


@pytest.mark.parametrize("words", REPLAY_COMMANDS, ids=" ".join)
def test_replay_commands_are_accepted(words):
    request = tyro.cli(ReplayRequest, args=words)

    assert list(request.faults()) == []


@pytest.mark.parametrize("words", EXPERIMENT_COMMANDS, ids=" ".join)
def test_comparing_commands_are_accepted(words):
    request = tyro.cli(ComparisonRequest, args=words)

    plan = load_plan(request.plan)
    names = [variant.name for variant in plan.variants]
    assert set((request.variants or names[0]).split(",")) <= set(names)


@pytest.mark.parametrize("words", BENCHMARK_COMMANDS, ids=" ".join)
def test_benchmark_commands_are_accepted(words):
    parse_benchmark(words, description="")


def test_the_example_schedule_ramps_as_the_readme_says(readme_files):
    schedule = PhaseSchedule.load(readme_files / "my_schedule.yaml")

    assert schedule.boundaries == (800, 2000)
    assert schedule.at(799).alpha_entropy_target is None
    # Halfway from 800 to 2000, halfway from 1.0 to 0.5.
    assert schedule.at(1400).temperature == pytest.approx(0.75)


def test_the_schedule_table_is_the_bundled_schedule():
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| ")
    ]
    table = {row[0].replace("`", ""): [cell.split(" ")[0] for cell in row[1:]] for row in rows if len(row) == 4}
    v3, default = PhaseSchedule.load("v3"), PhaseSchedule.load("default")

    for schedule, rates in (
        (v3, ("learning rate in v3", "entropy_coef in v3")),
        (default, ("learning rate", "entropy_coef (actions)")),
    ):
        for column, start in enumerate((0, 1000, 3000)):
            phase = schedule.at(start)
            assert phase.routing == table["routing"][column]
            assert (phase.learning_rate, phase.entropy_coef) == tuple(float(table[rate][column]) for rate in rates)
            assert phase.temperature == float(table["temperature"][column])
            assert phase.alpha_entropy_coef == float(table["alpha_entropy_coef (routing)"][column])
            for name in ("load_balance_coef", "diversity_coef"):
                assert getattr(phase, name) == float(table[name][column])
    assert [v3.at(start).alpha_entropy_target for start in (0, 1000, 3000)] == [None] * 3
    targets = [default.at(start).alpha_entropy_target for start in (0, 1000, 3000)]
    words = [cell.replace("ln", "1.3863") for cell in table["alpha_entropy_target (not in v3)"]]
    assert targets == [float(word) for word in words]


@pytest.mark.usefixtures("readme_files")
def test_the_example_environment_keeps_the_contract():
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


def test_the_network_example_runs(readme_files):
    names = runpy.run_path(str(readme_files / "network.py"))

    # Fine-tune's gate is sparsemax; its weights sum to 1.
    assert names["network"].phase.routing == "sparsemax"
    assert float(names["output"].gate.sum()) == pytest.approx(1, abs=1e-6)


def test_the_metrics_page_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "metrics_page.py"))["page"]()

    assert page == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), "run `make docs`"
    for metric in (*METRICS, expert_share(0)):
        assert f"| `{metric.key}` |" in page


@pytest.mark.usefixtures("readme_files")
def test_metrics_in_the_readme_exist():
    named = set(re.findall(r"`((?:run|score|phase|moe|loss)/\w+)`", README))
    described = [describe(make_env(env)) for env in ("nethack", "my_doors:Doors-v0")]
    own = {episode_measure(each.name).key for description in described for each in description.episode_measures}

    assert len(named) > 10
    assert own <= named
    assert named <= {metric.key for metric in (*METRICS, expert_share(0))} | own


def test_pictures_are_up_to_date_and_embedded():
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))["PICTURES"]

    for name, picture in pictures.items():
        text = (ROOT / "docs" / "images" / name).read_text(encoding="utf-8")
        assert picture() == text, "run `make docs`"
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert f"](docs/images/{name})" in README


@pytest.mark.parametrize(
    "page",
    ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), "results/published/README.md"],
)
def test_links_lead_to_files_and_headings(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, anchor
