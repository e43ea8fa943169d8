"""A plan carried out: each training and each evaluation is a process of its own, and what is done is not done again.

The state is on disk alone. A run whose final checkpoint has the plan's episodes is trained, one with a lesser
checkpoint is resumed, an evaluation whose file says what the plan asks for is done. So an interrupted comparison goes
on where it was stopped, and so does one whose plan was extended. A process is told its work by a file of settings
beside its log.
"""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rllib_moe.studies.comparison.done import BASELINES, baselines, evaluations, measured, trained
from rllib_moe.studies.comparison.plan import Plan, PlannedRun
from rllib_moe.training.checkpoints import LATEST
from rllib_moe.training.progress import say
from rllib_moe.validation import Settings


@dataclass(frozen=True)
class Step:
    """One process of a run."""

    command: str
    """Command of the package (see `cli/__main__.py`)."""
    settings: Settings
    """Its settings."""
    log: Path
    """File of its output."""


class Runner:
    """Carries out a plan.

    Args:
        plan: The plan.
        directory: Directory of the runs.
        jobs: Runs at a time; the machine's cores are shared out among them.
        console: Gets a line as each step begins and ends.
    """

    def __init__(self, plan: Plan, directory: Path, jobs: int, console: Console) -> None:
        self._plan = plan
        self._directory = directory
        self._jobs = jobs
        self._console = console
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopping = False

    def run(self, runs: Sequence[PlannedRun]) -> list[str]:
        """Do what is left of the baselines and of some runs.

        Returns:
            A line for each run that failed; the others are done nevertheless.

        Raises:
            KeyboardInterrupt: After a signal; the runs were told to save, and have ended.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self._jobs) as pool:
            running: list[Future[str | None]] = [pool.submit(self._follow, BASELINES, self._baselines())]
            running += [pool.submit(self._follow, run.name, self._steps(run)) for run in runs]
            try:
                return [failure for done in as_completed(running) if (failure := done.result())]
            except KeyboardInterrupt:
                self._stop(running)
                raise

    def _stop(self, running: Sequence[Future[str | None]]) -> None:
        """Tell every process to save and end; the pool's exit then waits for them."""
        self._stopping = True
        self._console.print("Stopping: the runs save and end. The same command goes on from there.")
        for each in running:
            each.cancel()
        for process in tuple(self._processes):
            process.send_signal(signal.SIGTERM)

    def _follow(self, name: str, steps: Iterator[Step]) -> str | None:
        """Do the steps of a run in order. Returns the failure, None when all is done."""
        for step in steps:
            if self._stopping:
                return None
            began = time.perf_counter()
            status = self._execute(name, step)
            if self._stopping:
                return None
            if status:
                return f"{name}: exit status {status}, see {step.log}"
            self._say(f"{name}: {step.log.stem} done in {time.perf_counter() - began:.0f} s")
        return None

    def _steps(self, run: PlannedRun) -> Iterator[Step]:
        """Yield what is left of a run, each step when the one before is done."""
        directory, episodes = self._directory / run.name, self._plan.episodes
        checkpoint = trained(directory, episodes)
        if checkpoint is None:
            place = {"output_dir": str(self._directory)}
            if (directory / "checkpoints" / LATEST).exists():
                place["resume"] = str(directory)
            else:
                self._set_aside(directory)
            yield self._step(run.name, "train", run.experiment.with_overrides(place))
            checkpoint = trained(directory, episodes)
        if checkpoint is None:
            raise RuntimeError(f"{run.name} was trained, and has no whole checkpoint of {episodes} episodes")
        for name, request in evaluations(self._plan, run, checkpoint, self._directory).items():
            if measured(request, checkpoint.episodes) is None:
                yield self._step(run.name, "evaluate", request, name)

    def _baselines(self) -> Iterator[Step]:
        """Yield the evaluations of the baselines that are left."""
        for name, request in baselines(self._plan, self._directory).items():
            if measured(request, None) is None:
                yield self._step(BASELINES, "evaluate", request, name)

    def _step(self, run: str, command: str, settings: Settings, name: str = "") -> Step:
        return Step(command, settings, self._directory / f"{run}.{name or command}.log")

    def _set_aside(self, directory: Path) -> None:
        """Move away what a run left that was killed before its first checkpoint: it cannot be resumed."""
        if (directory / "progress.csv").exists():
            names = (Path(f"{directory}.killed-{number}") for number in itertools.count(1))
            aside = directory.rename(next(path for path in names if not path.exists()))
            self._say(f"{directory.name}: had no checkpoint yet, set aside as {aside.name}; begins anew")

    def _execute(self, name: str, step: Step) -> int:
        config = step.log.with_suffix(".yaml")
        config.write_text(step.settings.to_yaml())
        command = [sys.executable, "-m", "rllib_moe.cli", step.command, "--config", str(config)]
        self._say(f"{name}: {shlex.join(command)}")
        cores = max(1, (os.cpu_count() or 1) // self._jobs)
        environment = {"OMP_NUM_THREADS": str(cores), **os.environ}
        with step.log.open("ab") as log:
            # Its own session: a Ctrl-C at the terminal reaches this process alone, which then stops them in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self._processes.add(process)
            if self._stopping:  # since the last look, so `_stop` has not seen this one
                process.send_signal(signal.SIGTERM)
            try:
                return process.wait()
            finally:
                self._processes.discard(process)

    def _say(self, text: str) -> None:
        say(self._console, f"{time.strftime('%H:%M:%S')}  {text}")
