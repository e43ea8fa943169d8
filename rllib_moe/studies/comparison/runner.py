"""A plan carried out: each training and each evaluation is a process of its own, and what is done is not done again.

The state is on disk alone. A run whose final checkpoint has the plan's episodes is trained, one with a lesser
checkpoint is resumed, an evaluation whose file says what the plan asks for is done. So an interrupted comparison goes
on where it was stopped, and so does one whose plan was extended. A process reads its settings from a file beside its
log.
"""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.runtime.console import say
from rllib_moe.runtime.files import write_whole
from rllib_moe.studies.comparison.done import BASELINES, baselines, evaluations, measured, trained
from rllib_moe.studies.comparison.plan import Plan, PlannedRun
from rllib_moe.training.checkpoints import CHECKPOINTS, LATEST
from rllib_moe.training.run_directory import PROGRESS
from rllib_moe.validation.errors import FailedError
from rllib_moe.validation.settings import Settings


@dataclass
class Runner:
    """Carries out a plan."""

    plan: Plan
    directory: Path
    jobs: int
    """Runs at a time; the machine's cores are shared out among them."""
    console: Console
    """Gets a line as each process begins and ends."""
    _processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopping: bool = False

    def run(self, runs: Sequence[PlannedRun]) -> list[str]:
        """Do what is left of the baselines and of some runs.

        Returns:
            A line for each run that failed; the others are done nevertheless.

        Raises:
            KeyboardInterrupt: After a signal; the runs were told to save, and have ended.
        """
        failures = []
        with ThreadPoolExecutor(self.jobs) as pool:
            running = [pool.submit(self._evaluate, BASELINES, baselines(self.plan, self.directory), None)]
            running += [pool.submit(self._train_and_evaluate, run) for run in runs]
            try:
                for done, each in enumerate(as_completed(running), start=1):
                    try:
                        each.result()
                    except (FailedError, OSError) as error:
                        failures.append(str(error))
                    self._say(f"{done} of {len(running)} done, {len(failures)} failed")
            except KeyboardInterrupt:
                self._stopping = True
                self.console.print("Stopping: the runs save and end. The same command goes on from there.")
                for each in running:
                    each.cancel()
                for process in tuple(self._processes):
                    process.send_signal(signal.SIGTERM)
                raise  # the pool's exit waits for them
        return failures

    def _train_and_evaluate(self, run: PlannedRun) -> None:
        directory, episodes = self.directory / run.name, self.plan.episodes
        checkpoint = trained(directory, episodes)
        if checkpoint is None:
            place = {"output_dir": str(self.directory)}
            if (directory / CHECKPOINTS / LATEST).exists():
                place["resume"] = str(directory)
            else:
                self._set_aside(directory)
            self._execute(run.name, "train", "train", run.experiment.with_overrides(place))
            checkpoint = trained(directory, episodes)
        if checkpoint is None:
            raise FailedError(f"{run.name}: was trained, and has no whole checkpoint of {episodes} episodes")
        self._evaluate(run.name, evaluations(self.plan, run, checkpoint, self.directory), checkpoint.episodes)

    def _evaluate(self, run: str, requests: Mapping[str, EvaluationRequest], checkpoint_episodes: int | None) -> None:
        for name, request in requests.items():
            if measured(request, checkpoint_episodes) is None:
                self._execute(run, "evaluate", name, request)

    def _set_aside(self, directory: Path) -> None:
        """Move away what a run left that was killed before its first checkpoint: it cannot be resumed."""
        if (directory / PROGRESS).exists():
            names = (Path(f"{directory}.killed-{number}") for number in itertools.count(1))
            aside = directory.rename(next(path for path in names if not path.exists()))
            self._say(f"{directory.name}: had no checkpoint yet, set aside as {aside.name}; begins anew")

    def _execute(self, run: str, command: str, name: str, settings: Settings) -> None:
        """Run a command of the package (see `cli/__main__.py`) to its end.

        Raises:
            FailedError: It failed, or all are told to stop.
        """
        log, config = (self.directory / f"{run}.{name}.{suffix}" for suffix in ("log", "yaml"))
        write_whole(config, settings.to_yaml())
        words = [sys.executable, "-m", "rllib_moe.cli", command, "--config", str(config)]
        cores = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = {"OMP_NUM_THREADS": str(cores), **os.environ}
        began = time.perf_counter()
        if self._stopping:
            raise FailedError(f"{run}: stopped")
        self._say(f"{run}: {shlex.join(words)}")
        with log.open("ab") as output:
            # Its own session: a Ctrl-C at the terminal reaches this process alone, which then stops them in order.
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        self._processes.add(process)
        if self._stopping:  # since the last look, so `run` has not seen this one
            process.send_signal(signal.SIGTERM)
        status = process.wait()
        self._processes.discard(process)
        if status or self._stopping:
            raise FailedError(f"{run}: exit status {status}, see {log}")
        self._say(f"{run}: {log.stem} done in {time.perf_counter() - began:.0f} s")

    def _say(self, text: str) -> None:
        say(self.console, f"{time.strftime('%H:%M:%S')}  {text}")
