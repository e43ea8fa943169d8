"""The settings of a search beside the experiment that its trials share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.yaml_files import bundled_files

BUNDLED = bundled_files(Path(__file__).parent / "spaces")
"""Files of the search spaces that come with the package, by name."""
_SCHEDULERS = {"grace_episodes": "asha", "perturb_every": "pbt"}


class SearchConfig(Settings):
    """The search: its trials, and the place where it is written."""

    space: str | None = Field(
        None,
        validate_default=True,
        description=f"Search space: a YAML file, or one of {', '.join(BUNDLED)}.",
        json_schema_extra={"metavar": "FILE"},
    )
    search: Literal["grid", "random", "optuna"] = "random"
    """Source of trials: every combination of listed values, draws, or Optuna's proposals."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """Trials that go on: all, those that ASHA lets pass, or all with the weak becoming changed copies of the strong."""
    trials: int | None = Field(None, ge=1)
    """Number of trials; 10 by default, and with grid every combination."""
    metric: Literal["score", "mutual_information"] = "score"
    """Metric that is maximized, as the mean of the last 100 episodes."""
    exp_name: str = Field("search", min_length=1)
    """Name of the search; its directory is <output-dir>/<exp-name>."""
    output_dir: str = Field("results/tune", min_length=1)
    """Directory of the search directories."""
    num_workers: int = Field(0, ge=0)
    """Rollout workers of a trial; 0 samples in the trial's process, since several trials share a machine."""
    cpus_per_trial: float = Field(1.0, gt=0)
    """CPUs of a trial besides its workers; a fraction lets more trials than CPUs run at once."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at once; by default as many as there are CPUs and GPUs for."""
    grace_episodes: int | None = Field(None, ge=1)
    """Episodes before which ASHA stops no trial; a quarter of --episodes by default."""
    perturb_every: int | None = Field(None, ge=1)
    """Episodes between two comparisons of PBT; a fifth of --episodes by default."""

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: str | None) -> str | None:
        if space is None:
            raise ValueError(f"missing; expected a YAML file or one of {', '.join(BUNDLED)}")
        return space

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        errors = [
            f"{name}: is for --scheduler {scheduler}, got --scheduler {self.scheduler}"
            for name, scheduler in _SCHEDULERS.items()
            if getattr(self, name) is not None and self.scheduler != scheduler
        ]
        if self.search == "grid" and self.trials is not None:
            errors.append("trials: grid tries every combination once; give no number, or --search random")
        if self.scheduler == "pbt" and self.search == "optuna":
            errors.append("scheduler: pbt changes values itself; use --search random or grid")
        if errors:
            raise ConfigError(errors)
        return self

    @property
    def num_trials(self) -> int:
        """Trials to draw or to propose."""
        return self.trials or 10

    @property
    def directory(self) -> Path:
        """Directory of the search."""
        return Path(self.output_dir) / self.exp_name
