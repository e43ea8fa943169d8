"""Tune's callback of a search: shows what trials report, and hands a stop signal on.

Tune's own output knows no phases, and its answer to Ctrl-C no `--resume`.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from rich.console import Console

from rllib_moe import metrics as m
from rllib_moe.runtime.console import say
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MOE, SCORE
from rllib_moe.training.stop_signals import StopSignals

SHOWN_PARTS = 5
"""Progress lines of a trial, spread over its episodes."""


class SearchProgress(tune.Callback):
    """Prints a line now and then, and ends the search when a signal came."""

    def __init__(self, console: Console, episodes: int, stop: StopSignals) -> None:
        self._console, self._episodes, self._stop = console, episodes, stop
        self._shown: dict[str, int] = {}
        self.interrupted: set[Trial] = set()
        """Trials that a signal ended: Tune calls them terminated, as those that its scheduler stopped."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune saves its callbacks with the search, and a console is of one process."""
        return {}

    def on_step_end(self, *args: Any, **info: Any) -> None:
        """End the search at the first signal: on this one Tune saves its state and stops the trials."""
        del args
        if self._stop:
            self.interrupted = {trial for trial in info["trials"] if not trial.is_finished()}
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Show a trial's measures a few times over its episodes."""
        del args
        trial, result = info["trial"], info["result"]
        part = SHOWN_PARTS * result[EPISODES_TOTAL] // self._episodes
        if self._shown.get(trial.trial_id) == part:
            return
        self._shown[trial.trial_id] = part
        row = result[MOE]
        say(
            self._console,
            f"{trial}  episode {result[EPISODES_TOTAL]}/{self._episodes}  {row[m.PHASE.key]}  "
            f"score {result[SCORE]:.1f}  alpha entropy {row[m.ALPHA_ENTROPY.key]:.2f}  "
            f"MI {row[m.MUTUAL_INFORMATION.key]:.2f}",
        )

    def on_trial_error(self, *args: Any, **info: Any) -> None:
        """Say that a trial failed for good."""
        del args
        say(self._console, f"{info['trial']}  failed; see {info['trial'].path}/error.txt")
