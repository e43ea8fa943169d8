"""Requests for evaluations and replays: the policy, its environment, the episodes, and the files to write.

What can be told without reading anything is checked here; `resolve.py` checks a request against the checkpoint and the
environment that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from rllib_moe.config import FIRST_TRAINING_SEED
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings


def _file(suffix: str) -> AfterValidator:
    """Return a check that a file's name has a suffix."""

    def check(file: str) -> str:
        if Path(file).suffix.lower() != suffix:
            raise ValueError(f"expected a file that ends in {suffix}, got {file!r}")
        return file

    return AfterValidator(check)


def seed_errors(seed_base: int, episodes: int) -> list[str]:
    """Return the error of episodes whose seeds are those of training, in words; empty where there is none."""
    end = seed_base + episodes
    if end <= FIRST_TRAINING_SEED:
        return []
    return [
        f"seed_base: expected seeds below {FIRST_TRAINING_SEED:,}, where those of training begin, "
        f"got {seed_base:,} to {end - 1:,}"
    ]


class PlayRequest(Settings):
    """Policy and environment of episodes to be played."""

    checkpoint: str | None = None
    """Checkpoint directory, or a run directory (its latest checkpoint). A baseline takes only its environment."""
    deterministic: bool = False
    """Take the network's most probable action instead of drawing one."""
    remove_expert: int | None = Field(None, ge=0)
    """Take this expert away; the gate is renormalized over the others."""
    env: str | None = Field(None, min_length=1)
    """Environment; by default the checkpoint's, or `nethack` without one."""
    max_steps: int | None = Field(None, ge=1)
    """Steps after which an episode is truncated; by default the checkpoint's, or 500 without one."""
    env_args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the environment, such as action_mask=false, over those of the checkpoint."""

    def files(self) -> dict[str, str | None]:
        """Return the files to write by the names of their fields."""
        raise NotImplementedError


class EvaluationRequest(PlayRequest):
    """An evaluation: a policy on a fixed list of episodes."""

    policy: str = "checkpoint"
    """The checkpoint's network (`checkpoint`), uniform choice of all actions (`random`) or the legal ones
    (`random-legal`), or a baseline that the environment brings along."""
    episodes: int = Field(100, ge=1)
    """Episodes."""
    seed_base: int = Field(1000, ge=0)
    """Seed of the first episode; episode i has seed_base + i. All are below 1,048,576, where those of training
    begin."""
    num_workers: int = Field(2, ge=0)
    """Ray workers; 0 plays in this process."""
    envs_per_worker: int = Field(64, ge=1)
    """Environments stepped together in one worker."""
    explain: bool = False
    """Tell why as well: which expert leads in which scene and what for, what it looks at, and what is lost without it
    (the episodes are played once more for each expert)."""
    plot: Annotated[str, _file(".png")] | None = Field(None, json_schema_extra={"metavar": "FILE.png"})
    """File for a picture of what --explain tells."""
    json_file: str | None = Field(None, json_schema_extra={"flag": "json", "metavar": "FILE"})
    """File for the numbers; its directory is made."""

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        errors = []
        if self.policy == "checkpoint":
            if self.checkpoint is None:
                errors.append("checkpoint: expected a checkpoint or run directory, such as pretrained/nethack")
        else:
            asked = {"deterministic": self.deterministic, "explain": self.explain}
            asked["remove_expert"] = self.remove_expert is not None
            errors += [f"{name}: is for policy 'checkpoint', got {self.policy!r}" for name in asked if asked[name]]
        if self.explain and self.remove_expert is not None:
            errors.append("remove_expert: --explain removes each expert in turn, so leave this out")
        if self.plot is not None and not self.explain:
            errors.append("plot: is for --explain")
        errors += seed_errors(self.seed_base, self.episodes)
        if errors:
            raise ConfigError(errors)
        return self

    def files(self) -> dict[str, str | None]:
        """Return the files to write by the names of their fields."""
        return {"json": self.json_file, "plot": self.plot}


class ReplayRequest(PlayRequest):
    """A replay: one episode of a checkpoint, to look at."""

    checkpoint: str
    """Checkpoint directory, or a run directory, which stands for its latest checkpoint."""
    seed: int = Field(1000, ge=0)
    """Seed of the episode; the same episode as in an evaluation that has this seed."""
    out: Annotated[str, _file(".html")] | None = Field(None, json_schema_extra={"metavar": "FILE.html"})
    """The page to write."""
    gif: Annotated[str, _file(".gif")] | None = Field(None, json_schema_extra={"metavar": "FILE.gif"})
    """The moving picture to write."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if self.out is None and self.gif is None:
            raise ConfigError(["out: name a page to write (--out FILE.html), or a moving picture (--gif FILE.gif)"])
        return self

    def files(self) -> dict[str, str | None]:
        """Return the files to write by the names of their fields."""
        return {"out": self.out, "gif": self.gif}
