"""Run a planned search in its directory, unless that is refused.

Ray and torch, which take seconds to import, are imported once the search is sure to begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_moe.runtime.files import directory_errors, locked
from rllib_moe.studies.tuning.search import SEARCH, Search
from rllib_moe.validation.errors import ConfigError


def run_search(search: Search, command: Sequence[str] = ()) -> dict[str, Any]:
    """Run all trials, or those that an earlier process left, and write the outcome.

    Args:
        command: Command line, to be written down with the search.

    Returns:
        `trials` (records, best first, in plain form), `best` (number of the best trial or None), `paths` (of what was
        written) and `stopped_by` (name of the signal that ended the search early, or None).

    Raises:
        ConfigError: The directory is refused, holds nothing to resume, or another process is at work there; nothing was
            written.
    """
    directory = search.config.directory
    _check(directory, search.is_resumed)
    directory.mkdir(parents=True, exist_ok=True)
    with locked("exp_name", directory):
        from rllib_moe.studies.tuning.tuner import run_trials  # late: see above

        return run_trials(search, command)


def _check(directory: Path, is_resumed: bool) -> None:
    """Refuse a directory that holds another search, nothing to go on with, or that cannot be written to.

    Raises:
        ConfigError: The directory is refused.
    """
    if errors := list(directory_errors("output_dir", directory)):
        raise ConfigError(errors)
    # A search that ended before its first trial leaves its file alone.
    holds_trials = directory.exists() and bool({each.name for each in directory.iterdir()} - {SEARCH})
    if is_resumed and not holds_trials:
        raise ConfigError([f"resume: {directory} was interrupted before any trial began; start it anew"])
    if holds_trials and not is_resumed:
        told = f"exp_name: {directory} is not empty; choose another name, or go on with its search"
        raise ConfigError([f"{told} by --resume {directory}"])
