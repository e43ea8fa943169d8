"""Output for a person: a line of an iteration and the table of phases, read back from a console."""

import io
import math
import re
from typing import Any

import pytest
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training import progress
from rllib_moe.training.progress import FollowedRun, ProgressLines, phase_table
from tests.training.rows import row_of

SCHEDULE = PhaseSchedule.load("v3")


def console() -> Console:
    return Console(file=io.StringIO(), width=200, markup=False)


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def row(**changes: Any) -> dict[str, Any]:
    values = {
        m.EPISODES_TOTAL: 1200,
        m.EPISODES: 8,
        m.PHASE: "transition",
        m.ROUTING: "sparsemax",
        m.TEMPERATURE: 0.949,
        m.SCORE_MEAN: 12.34,
        m.SCORE_MAX: 56.7,
        m.ALPHA_ENTROPY: 0.6234,
        m.MUTUAL_INFORMATION: 0.067,
        m.STEPS_PER_SECOND: 1234.5,
        m.expert_share(0): 0.104,
        m.expert_share(1): 0.896,
    }
    return row_of(values, **changes)


def show(target: Console, *rows: m.Row, episodes: int = 5000, role_names: tuple[str, ...] = ()) -> None:
    """Show the rows of a run as the training loop does."""
    shown: list[m.Row] = []
    lines = ProgressLines(FollowedRun(target, episodes, SCHEDULE, shown, role_names))
    for each in rows:
        shown.append(each)
        lines.show(each)


class TestLine:
    def test_holds_what_matters(self) -> None:
        target = console()
        show(target, row())
        assert printed(target).strip() == (
            "episode 1200/5000  transition sparsemax T 0.95  score 12.3 (best 57)  "
            "alpha entropy 0.62  MI 0.07  experts 10 90 %  1234 steps/s"
        )

    def test_experts_are_told_by_their_names_where_each_has_one(self) -> None:
        target = console()
        show(target, row(), role_names=("survival", "deep_search"))
        assert "MI 0.07  survival 10 deep search 90 %  1234" in printed(target)
        show(target, row(), role_names=("survival", "deep_search", "combat"))
        assert "experts 10 90 %" in printed(target)

    def test_no_episode_finished(self) -> None:
        target = console()
        show(target, row(EPISODES=0, SCORE_MEAN=math.nan, SCORE_MAX=math.nan))
        assert "score -  " in printed(target)
        assert "nan" not in printed(target)

    def test_best_is_that_of_the_run(self) -> None:
        target = console()
        show(target, row(SCORE_MAX=12.0), row(SCORE_MAX=9.0), row(SCORE_MAX=math.nan), row(SCORE_MAX=13.0))
        assert [line.partition("(best ")[2][:2] for line in printed(target).splitlines()] == ["12", "12", "12", "13"]

    def test_time_left_counts_from_the_first_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter([100.0, 110.0])
        monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
        target = console()
        # A resumed run: the 1000 before took none of this run's time.
        show(target, row(EPISODES_TOTAL=1000), row(EPISODES_TOTAL=1100), episodes=2000)
        # 100 episodes in 10 s, 900 to go: 90 s.
        assert printed(target).splitlines()[1].endswith("0:01:30 left")

    def test_one_line_on_a_narrow_screen_and_brackets_as_they_are(self) -> None:
        target = Console(file=io.StringIO(), width=20, markup=False)
        show(target, row(PHASE="[bold]x[/y]"))
        assert len(printed(target).splitlines()) == 1
        assert "[bold]x[/y] sparsemax" in printed(target)


class TestWarnings:
    def test_are_printed_when_they_begin(self) -> None:
        target = console()
        show(target, *(row(ALPHA_ENTROPY=entropy) for entropy in (0.62, 0.05, 0.06, 0.62, 0.05)))
        warned = [line for line in printed(target).splitlines() if line.startswith("warning: ")]
        # Two experts: from ln 2 = 0.693 to half of 0.7 over 2000 episodes, 0.659 after 200; 0.15 on either side.
        assert warned == ["warning: alpha entropy 0.05 is below its window, 0.51 to 0.69 nats"] * 2

    def test_are_told_again_while_they_last(self) -> None:
        target = console()
        share = {m.expert_share(0).key: 0.01}
        show(target, *(row(EPISODES_TOTAL=episode) | share for episode in range(1200, 1600, 50)), episodes=1500)
        warned = [line for line in printed(target).splitlines() if line.startswith("warning: ")]
        begun = "warning: collapse: expert 0 has 1.0 % of the gate, below 5 %"
        assert warned == [begun, f"{begun} (since episode 1200)", f"{begun} (since episode 1200)"], "each 150 episodes"


def phase(**changes: Any) -> dict[str, Any]:
    return {
        "phase": "warmup",
        "routing": "softmax",
        "episodes": 1000,
        "score_mean": 8.5,
        "score_se": 0.25,
        "score_std": 7.9,
        "score_max": 207.0,
        "alpha_entropy": 1.3849,
        "alpha_entropy_end": 1.38,
        "mutual_information": 0.01,
        "mutual_information_end": 0.02,
        "expert_share": [0.25, 0.75],
        "temperature": 1.0,
        "learning_rate": 1e-4,
    } | changes


class TestTable:
    def test_a_column_a_phase_fits_into_80_columns(self) -> None:
        narrow = Console(file=io.StringIO(), width=80, markup=False)
        names = ("warmup", "transition", "[/fine]")
        narrow.print(phase_table({"phases": [phase(phase=name, expert_share=[0.25] * 4) for name in names]}))
        title, _, head, _, *lines, _ = printed(narrow).splitlines()
        assert title.strip() == "Phases played"
        assert max(map(len, (head, *lines))) <= 80
        rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in (head, *lines)]
        assert rows == [
            ["phase", *names],
            *(
                [heading, *[value] * 3]
                for heading, value in {
                    "routing": "softmax",
                    "episodes": "1000",
                    "score mean ± SE": "8.50 ± 0.25",
                    "std": "7.90",
                    "best": "207",
                    "alpha entropy (end)": "1.385 (1.380)",
                    "MI (end)": "0.01 (0.02)",
                    "expert shares %": "25 25 25 25",
                    "T": "1.00",
                    "learning rate": "1.0e-04",
                }.items()
            ),
        ]

    def test_what_was_not_measured_is_a_dash(self) -> None:
        names = ("score_mean", "score_se", "score_std", "score_max", "alpha_entropy", "mutual_information_end")
        target = console()
        target.print(phase_table({"phases": [phase(expert_share=[], **dict.fromkeys(names))]}))
        assert "- ± -" in printed(target)
        assert "None" not in printed(target)
