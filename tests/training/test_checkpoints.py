"""Checkpoints: whole or refused, with the file named; links, pruning, and an older one that survives a failed write."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml

from rllib_moe.experiment import Experiment
from rllib_moe.training.checkpoints import (
    BEST,
    EXPERIMENT,
    FILES,
    FINAL,
    LATEST,
    MANIFEST,
    PARTIAL,
    WEIGHTS,
    AlgorithmState,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from rllib_moe.training.run_checkpoints import point, point_best, prune, set_aside_later

EXPERIMENT_RUN = Experiment().with_overrides({"seed": 7, "schedule": "v3"})
ORDERED = sorted(FILES)
"""For the ids of the tests, in every process alike."""
PLAIN = {
    "counters": {"moe_episodes": 8, "seconds": 0.1},
    "generator": {"state": 2**127 + 1, "words": np.arange(3, dtype=np.uint32)},
    "nested": [1, [True, None, "text", np.array([[0.5, np.nan]], np.float32)], {}],
}


def state(weight: float = 0.5) -> AlgorithmState:
    weights = {"weight": torch.full((2, 2), weight), "bias": torch.zeros(2)}
    return AlgorithmState(weights=weights, optimizer={"bias": {"step": torch.tensor(3.0)}}, plain=PLAIN)


def save(
    directory: Path, episodes: int, score: float | None = None, weight: float = 0.5, iteration: int | None = None
) -> Path:
    path = directory / f"episode_{episodes:06d}"
    if iteration is None:
        iteration = episodes // 8
    save_checkpoint(state(weight), path, EXPERIMENT_RUN, episodes=episodes, iteration=iteration, score=score)
    return path


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a directory with its time and bytes."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path, 16, score=2.5))
    assert loaded.experiment == EXPERIMENT_RUN
    assert (loaded.episodes, loaded.iteration, loaded.score) == (16, 2, 2.5)
    weights, whole = loaded.weights(), loaded.state()
    assert weights.keys() == whole.weights.keys() == {"weight", "bias"}
    assert torch.equal(weights["weight"], torch.full((2, 2), 0.5))
    assert whole.optimizer == {"bias": {"step": torch.tensor(3.0)}}
    np.testing.assert_equal(whole.plain, PLAIN)
    assert whole.plain["generator"]["words"].dtype == np.uint32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episode_000016"]


def test_a_run_directory_means_its_latest(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for episodes in (8, 16):
        point(checkpoints, LATEST, save(checkpoints, episodes))
    assert load_checkpoint(tmp_path).path == checkpoints / "episode_000016"
    assert load_checkpoint(checkpoints / LATEST).path == checkpoints / "episode_000016"


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize(
    ("harm", "told"), [(truncate, "damaged"), (flip, "damaged"), (Path.unlink, "missing")], ids=lambda x: str(x)[:12]
)
def test_a_file_that_is_not_what_was_written_is_named(
    name: str, harm: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    path = save(tmp_path, 8)
    harm(path / name)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=f"episode_000008: {name} is {told}"):
        load_checkpoint(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [*ORDERED, MANIFEST])
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink], ids=["truncated", "flipped", "deleted"])
def test_a_run_goes_back_to_its_newest_whole_checkpoint(
    name: str, harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = tmp_path / "checkpoints"
    for episodes in (8, 16, 24):
        point(checkpoints, LATEST, save(checkpoints, episodes, score=1.0))
    harm(checkpoints / "episode_000024" / name)
    logger = logging.getLogger("rllib_moe")
    logger.addHandler(caplog.handler)  # whoever ran a training in this process took the package's log away from pytest
    try:
        loaded = load_checkpoint(tmp_path)
    finally:
        logger.removeHandler(caplog.handler)
    assert loaded.episodes == 16
    (warning,) = {record.getMessage() for record in caplog.records}
    assert "episode_000024" in warning
    assert warning.endswith(f"going back to {checkpoints / 'episode_000016'}")
    for named in (checkpoints / "episode_000024", checkpoints / LATEST):
        with pytest.raises(CheckpointError):
            load_checkpoint(named)
    # The run that goes on from there sets the damaged one aside, and saves as ever.
    assert len(set_aside_later(loaded)) == 1
    point(checkpoints, LATEST, save(checkpoints, 24, score=3.0))
    point_best(checkpoints)
    assert load_checkpoint(tmp_path).episodes == load_checkpoint(checkpoints / BEST).episodes == 24


def test_a_run_without_a_whole_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    with pytest.raises(CheckpointError, match="the run has none"):
        load_checkpoint(tmp_path)
    for episodes in (8, 16):
        truncate(save(checkpoints, episodes) / "weights.pt")
    with pytest.raises(CheckpointError, match=r"episode_000016: weights\.pt is damaged .*no other checkpoint .* whole"):
        load_checkpoint(tmp_path)


def test_one_whose_name_was_just_being_taken_is_found(tmp_path: Path) -> None:
    """Killed between the two renames: the old one has lost its name, the new one has none yet."""
    checkpoints = tmp_path / "checkpoints"
    save(checkpoints, 8).rename(checkpoints / f"{PARTIAL}replaced-episode_000008")
    assert load_checkpoint(tmp_path).episodes == 8
    # Killed after them, before the old one was cleared away.
    save(checkpoints, 8, iteration=5)
    shutil.copytree(checkpoints / "episode_000008", checkpoints / f"{PARTIAL}replaced-episode_000008")
    save(checkpoints, 8, iteration=6)
    assert load_checkpoint(tmp_path).iteration == 6
    assert [path.name for path in checkpoints.iterdir()] == ["episode_000008"]


def test_a_damaged_older_checkpoint_does_not_stop_a_run(tmp_path: Path) -> None:
    (save(tmp_path, 8, score=9.0) / EXPERIMENT).write_text("{")
    save(tmp_path, 16, score=1.0)
    point_best(tmp_path)
    assert load_checkpoint(tmp_path / BEST).episodes == 16


def rewrite_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"sha256"', '{"sha256": null}'])
def test_a_damaged_manifest_is_named(text: str, tmp_path: Path) -> None:
    path = save(tmp_path, 8)
    (path / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=f"episode_000008: {MANIFEST} is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["state.pkl", "algorithm/algorithm_state.pkl", ".hidden"])
def test_a_file_that_the_manifest_does_not_list_is_refused(name: str, tmp_path: Path) -> None:
    path = save(tmp_path, 8)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"episode_000008: {name.split('/')[0]} is not in {MANIFEST}"):
        load_checkpoint(path)


OLD = "is of the first format, which held pickles by RLlib; .* starts.jsonl"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda manifest: manifest["sha256"].pop(WEIGHTS), "is damaged"),
        (lambda manifest: manifest["sha256"].update({"../x": "0"}), "is damaged"),
        (lambda manifest: manifest.update(format=3), "format 3;"),
        (lambda manifest: (manifest.pop("format"), manifest["sha256"].update({"algorithm/state.pkl": ""})), OLD),
    ],
    ids=["one file less", "one more", "another format", "the first format"],
)
def test_a_manifest_of_other_files_or_another_format_is_refused(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    path = save(tmp_path, 8)
    rewrite_manifest(path, change)
    with pytest.raises(CheckpointError, match=f"episode_000008: .*{told}"):
        load_checkpoint(path)


def test_what_is_neither_plain_nor_an_array_is_refused(tmp_path: Path) -> None:
    for value in (object(), {1, 2}, b"bytes"):
        odd = AlgorithmState(weights={}, optimizer={}, plain={"value": value})
        with pytest.raises(TypeError, match="plain data and arrays only"):
            save_checkpoint(odd, tmp_path / "odd", EXPERIMENT_RUN, episodes=0, iteration=0, score=None)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 8)
    (path / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=f"{MANIFEST} is missing, so it is no"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="nowhere: no such directory"):
        load_checkpoint(tmp_path / "nowhere")
    dangling = tmp_path / "run" / "checkpoints"
    dangling.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=f"expected one run, this holds several: {tmp_path / 'run'}$"):
        load_checkpoint(tmp_path)
    (dangling / LATEST).symlink_to("episode_000099")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "run")


@pytest.mark.parametrize(
    "change",
    [
        *("", "- 1", "{"),
        lambda written: written.pop("experiment"),
        lambda written: written.update(episodes="many"),
        lambda written: written["experiment"]["model"].update(num_wings=2),
        lambda written: written["experiment"]["schedule"]["phases"][0].update(temperature=-1),
    ],
    ids=["empty", "list", "no YAML", "no experiment", "episodes no number", "unknown field", "schedule faulty"],
)
def test_a_description_of_another_version_is_named(change: str | Callable[[Any], Any], tmp_path: Path) -> None:
    """The manifest agrees with it: not damage but an older or newer program."""
    path = save(tmp_path, 8)
    if not isinstance(change, str):
        written = yaml.safe_load((path / EXPERIMENT).read_text())
        change(written)
        change = yaml.safe_dump(written)
    (path / EXPERIMENT).write_text(change)
    digest = hashlib.sha256(change.encode()).hexdigest()
    rewrite_manifest(path, lambda manifest: manifest["sha256"].update({EXPERIMENT: digest}))
    with pytest.raises(CheckpointError, match=f"{EXPERIMENT} was written by another version"):
        load_checkpoint(path)


@pytest.mark.parametrize("step", ["torch.save", "numpy.savez", "pathlib.Path.rename"])
def test_a_write_that_fails_leaves_the_one_before(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point(tmp_path, LATEST, save(tmp_path, 8))
    with monkeypatch.context() as patched:
        patched.setattr(step, Mock(side_effect=OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            save(tmp_path, 16)
    assert load_checkpoint(tmp_path / LATEST).episodes == 8
    assert not (tmp_path / "episode_000016").exists()
    # The next one clears the remains away.
    point(tmp_path, LATEST, save(tmp_path, 16))
    prune(tmp_path, 5)
    assert load_checkpoint(tmp_path / LATEST).episodes == 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episode_000008", "episode_000016", LATEST]


def test_one_of_the_same_name_is_replaced_whole(tmp_path: Path) -> None:
    save(tmp_path, 8, weight=1.0)
    path = save(tmp_path, 8, weight=2.0)
    assert load_checkpoint(path).weights()["weight"][0, 0] == 2.0
    assert [each.name for each in tmp_path.iterdir()] == ["episode_000008"]


def test_best_is_the_highest_score(tmp_path: Path) -> None:
    save(tmp_path, 8)
    point_best(tmp_path)
    assert not (tmp_path / BEST).exists()
    for episodes, score in ((16, 1.0), (24, 3.0), (32, 2.0)):
        save(tmp_path, episodes, score)
        point_best(tmp_path)
    assert load_checkpoint(tmp_path / BEST).episodes == 24


def test_prune_counts_as_numbers_and_keeps_what_is_linked(tmp_path: Path) -> None:
    numbers = (8, 999_984, 999_992, 1_000_000, 1_000_008)
    for episodes in numbers:
        save(tmp_path, episodes)
    mine = tmp_path / "episode_000008_mine"
    shutil.copytree(tmp_path / "episode_000008", mine)
    (tmp_path / f"{PARTIAL}episode_1000016").mkdir()
    for name, episodes in ((LATEST, 1_000_008), (BEST, 8), (FINAL, 1_000_008)):
        point(tmp_path, name, tmp_path / f"episode_{episodes:06d}")
    point_best(tmp_path)
    prune(tmp_path, 2)
    kept = ["episode_000008", "episode_1000000", "episode_1000008"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, mine.name, LATEST, BEST, FINAL])


def test_later_checkpoints_are_set_aside_when_a_run_goes_on_from_an_earlier_one(tmp_path: Path) -> None:
    """Else they would count as the newest, and pruning would take the new ones."""
    for episodes, score in ((10, 1.0), (20, 2.0), (30, 3.0)):
        save(tmp_path, episodes, score)
    for name in (LATEST, FINAL):
        point(tmp_path, name, tmp_path / "episode_000030")
    aside = set_aside_later(load_checkpoint(tmp_path / "episode_000020"))
    assert [path.name.split("_2")[0] for path in aside] == ["superseded_episode_000030"]
    assert load_checkpoint(aside[0]).episodes == 30
    assert [(tmp_path / name).resolve().name for name in (LATEST, BEST)] == ["episode_000020"] * 2
    assert not (tmp_path / FINAL).is_symlink()
    assert set_aside_later(load_checkpoint(tmp_path / "episode_000020")) == []
