"""A plan carried out: each training and each evaluation is a process of its own, and what is done is not done again.

The state is on disk alone. A run whose final checkpoint has the plan's episodes is trained, one with a lesser
checkpoint is resumed, an evaluation whose file says what the plan asks for is done. So an interrupted comparison goes
on where it was stopped, and so does one whose plan was extended.
"""

from __future__ import annotations

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

from rllib_moe.runtime.files import directory_errors
from rllib_moe.studies.comparison.done import BASELINES, Judgement, baselines, judgements, trained
from rllib_moe.studies.comparison.plan import Plan, Run
from rllib_moe.training.checkpoints import LATEST
from rllib_moe.validation import ConfigError

SCRIPTS = Path(__file__).parents[3] / "scripts"
"""Where train.py and evaluate.py are."""


@dataclass(frozen=True)
class Step:
    """One process of a run."""

    command: tuple[str, ...]
    """The command."""
    log: Path
    """Where its output goes."""


class Runner:
    """Carries out a plan.

    Args:
        plan: The plan.
        directory: Where the runs' directories go.
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

    def carry_out(self) -> list[str]:
        """Do what is left to do.

        Returns:
            What failed, a line each; the other runs are done nevertheless.

        Raises:
            KeyboardInterrupt: after a signal; the runs were told to save, and have ended.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self._jobs) as pool:
            running: list[Future[str | None]] = [pool.submit(self._carry_out, BASELINES, self._baselines())]
            running += [pool.submit(self._carry_out, run.name, self._steps(run)) for run in self._plan.chosen_runs()]
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

    def _carry_out(self, name: str, steps: Iterator[Step]) -> str | None:
        """Do what is left of a run, in order. Returns what failed, None when all is done."""
        for step in steps:
            if self._stopping:
                return None
            began = time.perf_counter()
            self._say(f"{name}: {shlex.join(step.command)}")
            status = self._execute(step)
            if self._stopping:
                return None
            if status:
                return f"{name}: exit status {status}, see {step.log}"
            self._say(f"{name}: {step.log.stem} done in {time.perf_counter() - began:.0f} s")
        return None

    def _steps(self, run: Run) -> Iterator[Step]:
        """What is left of a run. Each step is asked for when the one before is done."""
        directory = self._directory / run.name
        place = ("--output-dir", str(self._directory), "--exp-name", run.name)
        checkpoint = trained(directory, self._plan.episodes)
        if checkpoint is None:
            if (directory / "checkpoints" / LATEST).exists():
                yield self._step(run.name, "train", "--resume", str(directory), "--episodes", str(self._plan.episodes))
            else:
                self._set_aside(directory)
                yield self._step(run.name, "train", *run.flags, *place)
            checkpoint = trained(directory, self._plan.episodes)
        if checkpoint is None:
            raise RuntimeError(f"{run.name} was trained, and has no whole checkpoint of {self._plan.episodes} episodes")
        for asked in judgements(self._plan, run, checkpoint.config.model.num_experts):
            if asked.numbers(directory, checkpoint.episodes) is None:
                yield self._evaluation(run.name, asked, "--checkpoint", str(checkpoint.path))

    def _baselines(self) -> Iterator[Step]:
        """The evaluations of the baselines that are left."""
        for asked in baselines(self._plan):
            if asked.numbers(self._directory / BASELINES, None) is None:
                yield self._evaluation(BASELINES, asked)

    def _evaluation(self, name: str, asked: Judgement, *flags: str) -> Step:
        seeds = ("--episodes", str(asked.episodes), "--seed-base", str(asked.seed_base), "--num-workers", "1")
        file = str(self._directory / name / f"{asked.name}.json")
        return self._step(name, "evaluate", *flags, "--json", file, *asked.flags, *seeds, log=asked.name)

    def _step(self, name: str, script: str, *flags: str, log: str = "") -> Step:
        path = SCRIPTS / f"{script}.py"
        return Step((sys.executable, str(path), *flags), self._directory / f"{name}.{log or script}.log")

    def _set_aside(self, directory: Path) -> None:
        """Move away what a run left that was killed before its first checkpoint: it cannot be resumed."""
        if directory.exists() and any(directory.glob("progress.csv")):
            aside = next(
                path for number in range(1, sys.maxsize) if not (path := Path(f"{directory}.killed-{number}")).exists()
            )
            directory.rename(aside)
            self._say(f"{directory.name}: had no checkpoint yet, set aside as {aside.name}; begins anew")

    def _execute(self, step: Step) -> int:
        cores = max(1, (os.cpu_count() or 1) // self._jobs)
        environment = {"OMP_NUM_THREADS": str(cores), **os.environ}
        with step.log.open("ab") as log:
            # Its own session: a Ctrl-C at the terminal reaches this process alone, which then stops them in order.
            process = subprocess.Popen(
                step.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self._processes.add(process)
            if self._stopping:  # since the last look, so `_stop` has not seen this one
                process.send_signal(signal.SIGTERM)
            try:
                return process.wait()
            finally:
                self._processes.discard(process)

    def _say(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')}  {text}", highlight=False, markup=False, soft_wrap=True)


def check_directory(directory: Path, jobs: int) -> None:
    """Refuse what would fail an hour later.

    Raises:
        ConfigError: jobs is out of range, or the directory cannot be written to.
    """
    faults = [] if jobs >= 1 else [f"jobs: expected a whole number, 1 or more, got {jobs}"]
    faults += directory_errors("output_dir", directory)
    if faults:
        raise ConfigError(faults)
