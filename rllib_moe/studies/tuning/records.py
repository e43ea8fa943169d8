"""The record of one trial, in plain form: its measures, state and values, from Tune's own last result.

Tune's data frame has no column for a trial that was stopped early, cloned or interrupted, and sorts none.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from rllib_moe import metrics as m
from rllib_moe.studies.tuning.journal import trial_directory
from rllib_moe.studies.tuning.schedulers import CLONES
from rllib_moe.studies.tuning.search_space import SearchSpace, Values
from rllib_moe.studies.tuning.trial import CHECKPOINT, EPISODES_TOTAL, MOE, MUTUAL_INFORMATION, SCORE

FINISHED, STOPPED, UNFINISHED, FAILED = "finished", "stopped early", "unfinished", "failed"
STATES = (FINISHED, STOPPED, UNFINISHED, FAILED)
"""States of a trial: reached its total, was stopped by the scheduler, was interrupted, ended with an error."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One row of the table."""

    number: int
    """Number in the search, from 0."""
    state: str
    """One of `STATES`."""
    score: float = math.nan
    """Mean raw score of the last episodes, NaN where none ended."""
    alpha_entropy: float = math.nan
    """Gate entropy in the last iteration, nats."""
    mutual_information: float = math.nan
    """Mean over the last episodes, nats."""
    min_expert_share: float = math.nan
    """Share of the least used expert in the last iteration."""
    episodes: int = 0
    """Episodes at the end, those of cloned trials included."""
    phase: str = "-"
    """Phase of the last iteration."""
    values: Values
    """Values of the parameters as they stood at the end."""
    clones: list[dict[str, Any]]
    """Donor, its episode count and the values since, for each time that it became a copy of another trial (PBT)."""
    error: str = ""
    """Reason why it failed, in one line."""
    path: str
    """Its directory."""
    checkpoint: str = ""
    """Its last checkpoint; empty where it has none."""

    def rank(self, metric: str) -> tuple[Any, ...]:
        """Return the key that sorts the best first: whole trials before others, by `score` or `mutual_information`."""
        value = getattr(self, metric)
        return STATES.index(self.state), -value if math.isfinite(value) else math.inf, self.number

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form; what is not known is None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in dataclasses.asdict(self).items()
        }


def trial_number(trial: Trial) -> int:
    """Return a trial's number in its search, from 0."""
    _, is_numbered, number = trial.trial_id.rpartition("_")
    if is_numbered:
        return int(number)
    # A searcher's trial (Optuna): its id is a random one, and Tune counts these from 1, in the tag.
    return int(trial.experiment_tag.partition("_")[0]) - 1


def record_of(trial: Trial, space: SearchSpace) -> TrialRecord:
    """Return the record of a trial of Tune's."""
    last: dict[str, Any] = trial.last_result or {}
    row: m.Row = last.get(MOE, {})
    episodes, has_failed = last.get(EPISODES_TOTAL, 0), trial.status == Trial.ERROR
    interrupted = STOPPED if trial.status == Trial.TERMINATED else UNFINISHED
    return TrialRecord(
        number=trial_number(trial),
        state=FAILED if has_failed else FINISHED if episodes >= space.example.run.episodes else interrupted,
        score=last.get(SCORE, math.nan),
        alpha_entropy=row.get(m.ALPHA_ENTROPY.key, math.nan),
        mutual_information=last.get(MUTUAL_INFORMATION, math.nan),
        min_expert_share=row.get(m.MIN_EXPERT_SHARE.key, math.nan),
        episodes=episodes,
        phase=row.get(m.PHASE.key, "-"),
        values=space.values(trial.config["overrides"]),
        clones=trial.config.get(CLONES, []),
        error=_error(trial) if has_failed else "",
        path=str(trial_directory(trial)),
        checkpoint=str(Path(trial.checkpoint.path) / CHECKPOINT) if trial.checkpoint else "",
    )


def _error(trial: Trial) -> str:
    """Return the last line of a trial's traceback that names an error."""
    lines = [line.strip() for line in str(trial.get_error() or "").splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*Error\w*(\([^)]*\))?: ", line)]
    return named[-1] if named else "unknown; Ray's logs may say more"
