"""The checkpoint that a run goes on from: found, verified, and held against the experiment that asks for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_moe.config import RunConfig
from rllib_moe.experiment import Experiment
from rllib_moe.training.checkpoints import CHECKPOINTS, Checkpoint, CheckpointError, load_checkpoint

if TYPE_CHECKING:
    from rllib_moe.training.storage import Fetched


def begun_from(checkpoint: Checkpoint, directory: Path) -> str | None:
    """Return the checkpoint that the run in a directory was begun from, by one of its own; None where it began anew."""
    place = checkpoint.experiment.run.resume
    # Until 2026-11-29 a run that went on named itself.
    return None if place is None or _leads_to(place, directory.resolve()) else place


def _leads_to(place: str, directory: Path) -> bool:
    """Return whether a path or URI is that of the run in a directory, or of a checkpoint in it.

    By its name alone where it is not on this machine: a storage, or the place of a run that was moved since.
    """
    path = Path(place.partition("?")[0] if "://" in place else place)
    run = path.parent.parent if path.parent.name == CHECKPOINTS else path
    return run.resolve() == directory if run.exists() else run.name == directory.name


@dataclass(frozen=True)
class Resumed:
    """A verified checkpoint to go on from."""

    checkpoint: Checkpoint
    """The checkpoint."""
    fetched: Fetched | None = None
    """The run that it was fetched with from a storage."""

    @classmethod
    def find(cls, place: str) -> Resumed:
        """Find and verify a checkpoint.

        Args:
            place: A checkpoint, or a run (its latest checkpoint); a directory or a URI.

        Raises:
            CheckpointError: It is missing, damaged, or cannot be reached.
        """
        if "://" not in place:
            return cls(load_checkpoint(place))
        from rllib_moe.training.storage import StorageError, fetch  # late: pyarrow is slow to import

        try:
            fetched = fetch(place)
        except StorageError as error:
            raise CheckpointError(f"checkpoint {error}") from error
        return cls(load_checkpoint(fetched.checkpoint), fetched)

    @property
    def experiment(self) -> Experiment:
        """The experiment that wrote the checkpoint; its run is where the checkpoint lies now, or a new one."""
        experiment, directory = self.checkpoint.experiment, self.checkpoint.run
        if self.fetched:
            return experiment
        if self.checkpoint.path.parent.name != CHECKPOINTS:  # in no run, as in pretrained/
            new = RunConfig()
            return experiment.with_overrides({"exp_name": new.exp_name, "output_dir": new.output_dir})
        place = {"exp_name": directory.name, "output_dir": os.path.relpath(directory.parent)}
        return experiment.with_overrides(place)

    def is_of(self, directory: Path) -> bool:
        """Return whether the checkpoint is one of the run in a directory, or of its copy on a storage."""
        if self.fetched:
            return self.fetched.run.name == directory.name
        return self.checkpoint.run == directory.resolve()

    def errors(self, experiment: Experiment) -> list[str]:
        """Return the reasons why the checkpoint cannot go on under an experiment."""
        before, now = self.checkpoint.experiment, experiment
        errors = [
            f"{name}: the checkpoint was made with {was!r}, this run asks for {getattr(now.model, name)!r}"
            for name, was in before.model
            if getattr(now.model, name) != was
        ]
        if now.environment.env != before.environment.env:
            errors.append(f"env: the checkpoint was made on {before.environment.env!r}, got {now.environment.env!r}")
        if now.run.episodes <= self.checkpoint.episodes:
            errors.append(
                f"episodes: the checkpoint stands at episode {self.checkpoint.episodes}; the total must be above it, "
                f"got {now.run.episodes}"
            )
        return errors
