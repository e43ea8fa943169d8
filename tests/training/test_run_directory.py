"""Files of a run: rows there and back, rows dropped on resume, and a directory that is nobody else's."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rllib_moe import metrics as m
from rllib_moe.config import RunConfig
from rllib_moe.experiment import Experiment
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.run_directory import RunDirectory
from rllib_moe.validation.errors import ConfigError
from tests.training.rows import row_of


def config(output_dir: Path) -> RunConfig:
    return RunConfig(output_dir=str(output_dir), exp_name="mine")


def row(iteration: int, **changes: Any) -> dict[str, Any]:
    values = {
        m.ITERATION: iteration,
        m.EPISODES_TOTAL: 10 * iteration,
        m.PHASE: "warmup",
        m.ROUTING: "softmax",
        m.SCORE_MEAN: 0.1 + iteration / 3,
        m.LEARNING_RATE: 1e-5,
        m.PHASE_VALUES["alpha_entropy_target"]: -math.inf,
    }
    return row_of(values, **changes)


class TestRows:
    def test_come_back_as_they_went(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        assert directory.rows() == []
        rows = [row(1), row(2), row(3, SCORE_MEAN=math.nan)]
        for each in rows:
            directory.append(each)
        directory.close()
        found = RunDirectory(tmp_path).rows()
        assert str(found) == str(rows), "types too; as text, since NaN is not equal to itself"

    @pytest.mark.parametrize("name", ["1", "nan", "1e3", "a,b", 'say "so"', "two\nlines", "Übergang"])
    def test_a_phases_name_stays_a_word(self, name: str, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        directory.append(row(1, PHASE=name))
        assert directory.rows()[0][m.PHASE.key] == name

    def test_one_header(self, tmp_path: Path) -> None:
        for iteration in (1, 2):  # two processes, as in a resumed run
            directory = RunDirectory(tmp_path)
            directory.append(row(iteration))
            directory.close()
        lines = (tmp_path / "progress.csv").read_text().splitlines()
        assert len(lines) == 3
        assert lines[0].split(",") == list(row(1))

    def test_other_columns_do_not_shift_the_values(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        directory.append(row(1))
        directory.append({m.expert_share(0).key: 0.5, **row(2)})
        first, second = directory.rows()
        assert {key: first[key] for key in row(1)} == row(1)
        assert math.isnan(first[m.expert_share(0).key])
        assert second == {**row(2), m.expert_share(0).key: 0.5}

    def test_a_row_cut_off_is_left_out(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        directory.append(row(1))
        directory.append(row(2))
        path = tmp_path / "progress.csv"
        path.write_text(path.read_text()[:-30])
        assert directory.rows() == [row(1)]
        assert directory.keep_rows_until(5) == [row(1)]
        directory.append(row(2))
        assert directory.rows() == [row(1), row(2)]


class TestKeepRowsUntil:
    def test_later_rows_go(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        for iteration in range(1, 6):
            directory.append(row(iteration))
        kept = directory.keep_rows_until(3)
        assert kept == [row(1), row(2), row(3)] == directory.rows()
        directory.append(row(4, SCORE_MEAN=9.0))
        assert directory.rows() == [*kept, row(4, SCORE_MEAN=9.0)]
        assert directory.keep_rows_until(0) == [] == directory.rows()
        directory.append(row(1))
        assert directory.rows() == [row(1)]

    def test_what_is_played_again_replaces_the_points_of_tensorboard(self, tmp_path: Path) -> None:
        """Also where the first new iteration ends at a later episode than the old one did."""
        first = RunDirectory(tmp_path)
        for iteration in range(1, 6):
            first.append(row(iteration))
        first.close()
        # Files are read in the order of their names, which begin with the second: as if a run before had written it.
        (file,) = tmp_path.glob("events.*")
        second_written = file.name.split(".")[3]
        file.rename(file.with_name(file.name.replace(second_written, f"{int(second_written) - 1}", 1)))
        second = RunDirectory(tmp_path)
        second.keep_rows_until(3)
        last = row(5)[m.EPISODES_TOTAL.key] + 1
        second.append(row(4, EPISODES_TOTAL=last))
        second.close()
        shown = EventAccumulator(str(tmp_path)).Reload().Scalars(m.SCORE_MEAN.key)
        assert [point.step for point in shown] == [*(row(each)[m.EPISODES_TOTAL.key] for each in (1, 2, 3)), last]

    def test_no_rows_make_no_file(self, tmp_path: Path) -> None:
        assert RunDirectory(tmp_path).keep_rows_until(3) == []
        assert not (tmp_path / "progress.csv").exists()


class TestClaim:
    @pytest.mark.parametrize("name", ["new", "deep/er", "empty", "mit Leerzeichen ü"])
    def test_a_place_without_a_run(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "empty" / "mine").mkdir(parents=True)
        directory = RunDirectory.claim(config(tmp_path / name), resumed_from=None)
        assert directory.path == tmp_path / name / "mine"
        assert directory.checkpoints.is_dir()
        directory.append(row(1))
        assert directory.rows() == [row(1)]

    def test_another_run_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        other = RunDirectory.claim(config(tmp_path), resumed_from=None)
        (other.path / "summary.json").write_text("precious")
        (other.checkpoints / "episode_000010").mkdir()
        resumed_elsewhere = tmp_path / "theirs" / "checkpoints" / "episode_000010"
        for resumed_from in (None, resumed_elsewhere, tmp_path / "mine-too" / "checkpoints" / "episode_000010"):
            with pytest.raises(ConfigError, match=r"exp_name: .*/mine holds a run already; .* --resume .*/mine"):
                RunDirectory.claim(config(tmp_path), resumed_from=resumed_from)
        assert (other.path / "summary.json").read_text() == "precious"

    def test_a_directory_of_runs_is_not_the_run_that_is_resumed(self, tmp_path: Path) -> None:
        """As in `--resume results/theirs --output-dir . --exp-name results`."""
        theirs = tmp_path / "mine" / "theirs" / "checkpoints" / "episode_000010"
        theirs.mkdir(parents=True)
        with pytest.raises(ConfigError, match=r"exp_name: .*/mine holds a run already"):
            RunDirectory.claim(config(tmp_path), resumed_from=theirs)
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["theirs"]

    def test_a_checkpoint_below_the_root_is_of_no_run(self, tmp_path: Path) -> None:
        """As where a container mounts it at `/checkpoint`."""
        directory = RunDirectory.claim(config(tmp_path), resumed_from=Path("/checkpoint"))
        assert directory.path == tmp_path / "mine"

    def test_a_run_killed_before_its_first_checkpoint_is_to_be_moved_away(self, tmp_path: Path) -> None:
        RunDirectory.claim(config(tmp_path), resumed_from=None).append(row(1))
        with pytest.raises(ConfigError, match="or move it away: it ended before its first checkpoint"):
            RunDirectory.claim(config(tmp_path), resumed_from=None)

    def test_what_a_failed_start_left_is_taken_over(self, tmp_path: Path) -> None:
        before = RunDirectory.claim(config(tmp_path), resumed_from=None)
        before.describe(Experiment(run=config(tmp_path)), ())
        assert RunDirectory.claim(config(tmp_path), resumed_from=None).path == before.path

    @pytest.mark.parametrize("name", ["", "progress.csv", "checkpoints/episode_000008", "notes.txt"])
    def test_a_start_that_came_further_is_not_and_a_file_neither(self, name: str, tmp_path: Path) -> None:
        place = tmp_path / "mine" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("precious")
        with pytest.raises(ConfigError, match=r"exp_name: .* holds a run already"):
            RunDirectory.claim(config(tmp_path), resumed_from=None)

    @pytest.mark.parametrize("through_link", [False, True])
    def test_the_run_that_is_resumed(self, tmp_path: Path, through_link: bool) -> None:
        first = RunDirectory.claim(config(tmp_path), resumed_from=None)
        first.append(row(1))
        output_dir = tmp_path
        if through_link:
            output_dir = tmp_path / "link"
            output_dir.symlink_to(tmp_path)
        checkpoint = (first.checkpoints / "episode_000010").resolve()
        assert RunDirectory.claim(config(output_dir), resumed_from=checkpoint).rows() == [row(1)]

    def test_a_file_on_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match=r"output_dir: cannot make .*/file/mine \(Not a directory\)"):
            RunDirectory.claim(config(tmp_path / "file"), resumed_from=None)

    def test_nowhere_to_write(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Not chmod: as root everything may be written.
        def refuse(self: Path, **_: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(ConfigError, match=r"output_dir: cannot make .*/mine \(Read-only file system\)"):
            RunDirectory.claim(config(tmp_path), resumed_from=None)

    def test_own_run_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = RunDirectory.claim(config(tmp_path), resumed_from=None)
        monkeypatch.setattr(os, "access", lambda path, _: Path(path) != own.path)
        with pytest.raises(ConfigError, match=r"output_dir: cannot write to .*/mine"):
            RunDirectory.claim(config(tmp_path), resumed_from=own.checkpoints / "episode_000010")


class TestDescription:
    def test_configuration_and_schedule_come_back(self, tmp_path: Path) -> None:
        changes = {"schedule": "v3", "phase_boundaries": [5, 9], "env_args.a": "@"}
        mine = Experiment(run=config(tmp_path)).with_overrides(changes)
        directory = RunDirectory.claim(mine.run, resumed_from=None)
        directory.describe(mine, ("scripts/train.py", "--exp-name", "mine too"))
        assert (directory.path / "config.yaml").read_text().startswith("# scripts/train.py --exp-name 'mine too'\n")
        assert Experiment.load(directory.path / "config.yaml") == mine
        assert PhaseSchedule.load(directory.path / "schedule.yaml") == mine.schedule

    def test_a_start_is_added_to_those_before(self, tmp_path: Path) -> None:
        RunDirectory(tmp_path).add_start({"episode": 0, "git_commit": "a"})
        RunDirectory(tmp_path).add_start({"episode": 48, "git_commit": "b"})
        lines = (tmp_path / "starts.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            {"episode": 0, "git_commit": "a"},
            {"episode": 48, "git_commit": "b"},
        ]

    def test_summary_replaces_the_one_before(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path)
        directory.write_summary({"episodes_total": 1})
        path = directory.write_summary({"episodes_total": 2})
        assert json.loads(path.read_text()) == {"episodes_total": 2}
        assert path == tmp_path / "summary.json"
        assert {each.name for each in tmp_path.iterdir()} == {"checkpoints", "summary.json"}
