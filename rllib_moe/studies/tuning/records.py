"""What became of one trial, in plain form: its measures, state and values."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from rllib_moe import metrics as m
from rllib_moe.studies.tuning.journal import CLONES, read_lines, read_results, trial_directory, trial_number
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.settings import Values
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MOE, MUTUAL_INFORMATION, SCORE

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
    metric: float
    """What the search maximises."""
    score: float
    """Mean raw score of the last episodes, NaN where none ended."""
    alpha_entropy: float
    """Gate entropy in the last iteration, nats."""
    mutual_information: float
    """Mean over the last episodes, nats."""
    min_expert_share: float
    """Share of the least used expert in the last iteration."""
    episodes: int
    """Episodes at the end, those of cloned trials included."""
    phase: str
    """Phase of the last iteration."""
    values: Values
    """What was searched, as it stood at the end."""
    clones: int
    """How often it became a copy of another trial (PBT)."""
    error: str
    """Why it failed, in one line."""
    path: str
    """Its directory."""
    settings: Values
    """All values, the fixed ones included."""

    def rank(self) -> tuple[Any, ...]:
        """Key that sorts the best first: whole trials before others, by what is maximised."""
        return STATES.index(self.state), -self.metric if math.isfinite(self.metric) else math.inf, self.number

    def to_dict(self) -> dict[str, Any]:
        """Plain form; what is not known is None."""
        plain = dataclasses.asdict(self)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in plain.items()
            if key != "settings"
        }


def record_of(trial: Trial, space: SearchSpace, metric: str = SCORE) -> TrialRecord:
    """The record of a trial.

    Args:
        trial: Tune's trial.
        space: The search space.
        metric: The key that is maximised.
    """
    directory = trial_directory(trial)
    results = read_results(directory)
    last: dict[str, Any] = results[-1] if results else {}
    row: m.Row = last.get(MOE, {})
    values = trial.config["values"]
    episodes = last.get(EPISODES_TOTAL, 0)
    return TrialRecord(
        number=trial_number(trial),
        state=_state(trial, episodes >= space.config.run.episodes),
        metric=_number(last.get(metric)),
        score=_number(last.get(SCORE)),
        alpha_entropy=_number(row.get(m.ALPHA_ENTROPY.key)),
        mutual_information=_number(last.get(MUTUAL_INFORMATION)),
        min_expert_share=_number(row.get(m.MIN_EXPERT_SHARE.key)),
        episodes=episodes,
        phase=row.get(m.PHASE.key, "-"),
        values=space.searched(values),
        clones=len(read_lines(directory / CLONES)),
        error=_error(trial) if trial.status == Trial.ERROR else "",
        path=str(directory),
        settings=values,
    )


def _state(trial: Trial, is_whole: bool) -> str:
    if trial.status == Trial.ERROR:
        return FAILED
    if is_whole:
        return FINISHED
    return STOPPED if trial.status == Trial.TERMINATED else UNFINISHED


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _error(trial: Trial) -> str:
    """The last line of a trial's traceback that names an error."""
    # Tune copies the file from its own place to the trial's directory a little later.
    places = (Path(str(trial.local_path)), trial_directory(trial))
    files = [file for place in places if (file := place / "error.txt").is_file()]
    lines = files[0].read_text().splitlines() if files else []
    named = [line.strip() for line in lines if re.match(r"[\w.]*Error\w*(\([^)]*\))?: ", line)]
    return named[-1] if named else "unknown; Ray's logs may say more"
