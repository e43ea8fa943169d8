"""The request for a report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rllib_moe.validation import Settings


class ReportRequest(Settings):
    """Runs to report on, and the place of the report."""

    runs: list[str] = Field(min_length=1, json_schema_extra={"positional": True, "nargs": "*", "metavar": "RUN"})
    """Run directories, such as results/full_training; the first one gets the report."""
    output: str | None = Field(None, min_length=1)
    """Directory for the page and the pictures; by default `report` in the first run's directory."""
    group: Literal["seed", "none", "all"] = "seed"
    """Runs compared as one, by their mean: those that differ in seed only, none, or all."""
