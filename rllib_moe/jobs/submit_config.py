"""Request to `rllib-moe submit`, and the conditions on an experiment that runs as a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rllib_moe.config import RunConfig
from rllib_moe.runtime.files import directory_errors
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings

PRETRAINED = "pretrained"
"""Directory whose checkpoints are sent where `--resume` names one by its path from here."""
TASKS = ("attach", "stop", "fetch")
"""Fields that name a job which is there already."""


class SubmitConfig(Settings):
    """One call. Without --attach, --stop or --fetch it sends a job."""

    address: str = "http://127.0.0.1:8265"
    """Job server: the dashboard's address of the Ray cluster."""
    attach: str | None = Field(None, min_length=1, json_schema_extra={"metavar": "JOB"})
    """Follow the log of this job."""
    stop: str | None = Field(None, min_length=1, json_schema_extra={"metavar": "JOB"})
    """Stop this job: it saves a checkpoint first."""
    fetch: str | None = Field(None, min_length=1, json_schema_extra={"metavar": "JOB"})
    """Copy the results of this job to --into."""
    into: str = Field("results", json_schema_extra={"metavar": "DIR"})
    """Directory that --fetch copies to."""
    follow: bool = True
    """Follow the log until the job ends; otherwise return once it is sent."""
    tree: str | None = Field(None, json_schema_extra={"metavar": "DIR"})
    """Directory to send along, such as one with your environment's module; without it the package alone is sent."""
    pip: str | None = Field(None, json_schema_extra={"metavar": "FILE"})
    """Requirements to install on the cluster first (minutes); otherwise its Python must have the packages."""
    grace: int = Field(600, ge=1)
    """Seconds that a stopped job has to finish its iteration and save; Ray's own limit is 3."""
    max_mb: float = Field(50.0, gt=0)
    """Largest sum of the files to send, MB."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected the dashboard's address such as http://127.0.0.1:8265, got {address!r}")
        return address

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        errors = []
        if len(tasks := [name for name in TASKS if getattr(self, name)]) > 1:
            errors.append(f"expected one of --attach, --stop and --fetch, got {' and '.join(f'--{t}' for t in tasks)}")
        if self.tree and not Path(self.tree).is_dir():
            errors.append(f"tree: expected a directory, got {self.tree!r}")
        if self.pip and not Path(self.pip).is_file():
            errors.append(f"pip: expected a file of requirements such as requirements.txt, got {self.pip!r}")
        if self.fetch:
            errors += directory_errors("into", Path(self.into))
        if errors:
            raise ConfigError(errors)
        return self


def job_errors(run: RunConfig) -> Iterator[str]:
    """Yield the reasons why a run would be lost, or would not find its checkpoint, where the job runs."""
    if not Path(run.output_dir).is_absolute():
        yield (
            "output_dir: expected an absolute path on the cluster, such as a shared directory: Ray deletes a job's "
            f"working directory with everything in it; got {run.output_dir!r}"
        )
    if run.address is not None:
        yield f"address: a job runs on the cluster it was sent to; got {run.address!r} after --"
    if run.resume and "://" not in run.resume and not Path(run.resume).is_absolute() and sent_checkpoint(run) is None:
        yield (
            "resume: expected a URI or an absolute path that the cluster sees too (results are not sent), or one "
            f"below {PRETRAINED}/ of this directory, got {run.resume!r}"
        )


def sent_checkpoint(run: RunConfig) -> Path | None:
    """Return the checkpoint to send with the job, relative to the current directory; None where there is none."""
    path = Path(run.resume or "")
    return path if path.parts[:1] == (PRETRAINED,) and ".." not in path.parts else None


def places(run: RunConfig) -> dict[str, str]:
    """Return where a run's results will lie, as metadata of its job."""
    found = {"exp_name": run.exp_name, "results": str(run.directory)}
    if (copy := run.copy_place) is not None:
        found["storage"] = copy if "://" in copy else Path(copy).as_uri()
    return found
