"""One search: planned and checked, run on Ray, interrupted and gone on with, and told in a table."""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback
from ray.tune.schedulers import AsyncHyperBandScheduler

from rllib_moe.envs.registry import environment_errors, prepare
from rllib_moe.experiment import ENV_ARG, Experiment
from rllib_moe.runtime.files import atomic_write, directory_errors
from rllib_moe.runtime.invocation import called_as
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.schedule_overrides import ENV, split_override
from rllib_moe.studies.tuning.progress import SearchProgress
from rllib_moe.studies.tuning.results import (
    best_first,
    record_of,
    train_command,
    trial_number,
    trial_table,
    write_outcome,
)
from rllib_moe.studies.tuning.schedulers import CurriculumPBT, KeptRungs
from rllib_moe.studies.tuning.search_config import BUNDLED, SearchConfig
from rllib_moe.studies.tuning.search_space import SearchSpace, Values
from rllib_moe.studies.tuning.searchers import OptunaProposals
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MoETrial
from rllib_moe.training.progress import say, standard_console
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.validation import ConfigError, load_yaml

SEARCH = "search.yaml"
"""File, in a search's directory, of all that makes the search."""
MAX_FAILURES = 2
"""Times that a trial which fails, as its process may be killed, goes on from its last checkpoint."""
KEEP_CHECKPOINTS = 4
"""Checkpoints of a trial that stay: PBT may copy one a little later than it was written."""
TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its answer to Ctrl-C knows no `--resume`, and it has none to SIGTERM
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # curves for TensorBoard alone
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # not ten or more: a killed search would go on from deleted checkpoints
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths, of a module say, mean in a trial what they mean here
    "RAY_AIR_NEW_OUTPUT": "0",  # prints also when told not to
}
"""Environment variables that Tune reads."""


@dataclass(frozen=True)
class Search:
    """A checked search."""

    config: SearchConfig
    """Settings beside the experiment."""
    space: SearchSpace
    """The search space, with the experiment that all trials share."""
    candidates: tuple[Values, ...] = ()
    """The trials' values; empty when Optuna proposes them, and of a search that goes on."""
    is_resumed: bool = False
    """True when the search began earlier."""

    @classmethod
    def plan(cls, config: SearchConfig, base: Experiment, shared: Mapping[str, Any] | None = None) -> Search:
        """Check a new search, and draw its trials where they are known beforehand.

        Args:
            config: Settings of the search; `exp_name` and `num_workers` replace those of the experiment.

        Raises:
            ConfigError: naming every error.
        """
        shared = {**(shared or {}), "exp_name": config.exp_name, "num_workers": config.num_workers}
        space = SearchSpace.from_dict(load_yaml(str(config.space), BUNDLED, "space"), base, shared)
        candidates: list[Values] = []
        if config.search == "grid":
            candidates = space.combinations()
        elif config.search == "random":
            generator = np.random.default_rng(space.example.training.seed)
            candidates = [space.draw(generator) for _ in range(config.num_trials)]
        errors = list(_environment_errors(space))
        episodes = space.example.run.episodes
        if (config.grace_episodes or 0) > episodes:
            errors.append(f"grace_episodes: expected at most episodes={episodes}, got {config.grace_episodes}")
        if config.scheduler == "pbt" and len(candidates) == 1:
            errors.append("trials: pbt compares trials; expected 2 or more, got 1")
        if errors:
            raise ConfigError(errors)
        return cls(config, space, tuple(candidates))

    @classmethod
    def load(cls, directory: str | Path, address: str | None = None) -> Search:
        """Return the search that began earlier in a directory.

        Raises:
            ConfigError: There is none, or it was written by another version.
        """
        path = Path(directory).resolve()  # its own name and place, whatever leads there
        file = path / SEARCH
        if not file.is_file():
            raise ConfigError([f"resume: {path} holds no search ({SEARCH} is missing)"])
        try:
            plain = load_yaml(file)
            place = {"exp_name": path.name, "output_dir": os.path.relpath(path.parent)}
            config = SearchConfig.from_dict(plain["search"]).replace(**place)
            shared = {**plain["overrides"], "exp_name": path.name, "address": address}
            space = SearchSpace.from_dict(plain["space"], Experiment.from_dict(plain["experiment"]), shared)
        except (ValueError, KeyError, TypeError) as error:  # ConfigError is a ValueError
            raise ConfigError([f"resume: {file} is damaged or was written by another version: {error}"]) from error
        return cls(config, space, is_resumed=True)

    def save(self, command: Sequence[str]) -> None:
        """Write the search to its directory, for `load`."""
        plain = {
            "search": self.config.to_dict(),
            "experiment": self.space.base.to_dict(),
            "overrides": dict(self.space.shared),
            "space": {"parameters": {each.name: {each.kind: list(each.values)} for each in self.space.parameters}},
        }
        with atomic_write(self.config.directory / SEARCH) as partial:
            partial.write_text(f"# {shlex.join(command)}\n{yaml.safe_dump(plain, sort_keys=False)}")


def run_search(search: Search, command: Sequence[str] = ()) -> dict[str, Any]:
    """Run all trials, or those that an earlier process left, and write the outcome.

    Args:
        command: Command line, to be written down with the search.

    Returns:
        `trials` (records, best first, in plain form), `best` (number of the best trial or None), `paths` (of what was
        written) and `stopped_by` (name of the signal that ended the search early, or None).

    Raises:
        ConfigError: The directory is refused, or holds nothing to resume; nothing was written.
    """
    console = standard_console()
    config, space, directory = search.config, search.space, search.config.directory
    _claim(search)
    os.environ |= TUNE_SETTINGS
    prepare(space.example.environment.env)
    training, run = space.example.training, space.example.run
    num_cpus = math.ceil(config.cpus_per_trial) + training.num_workers
    with StopSignals() as stop, ray_session(run.address, num_cpus, training.num_gpus, log_to_driver=False):
        stop.listen()
        if not search.is_resumed:
            search.save(command)
            count, names = len(search.candidates) or config.num_trials, [each.name for each in space.parameters]
            how = f"{config.search}, scheduler {config.scheduler}"
            say(console, f"{count} trials of {run.episodes} episodes ({how}): {', '.join(names)}")
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        progress = SearchProgress(console, run.episodes, stop)
        trials = _tuner(search, progress).fit()._experiment_analysis.trials
    told = [record_of(trial, space, is_interrupted=trial in progress.interrupted) for trial in trials]
    records = best_first(told, config.metric)
    paths = write_outcome(records, space, directory)
    console.print(trial_table(records, config.metric))
    for name, path in paths.items():
        say(console, f"{name}: {path}")
    if "config" in paths:
        say(console, f"Train the best configuration:\n  {train_command(paths['config'])}")
    if stop:
        say(console, f"Interrupted. To go on: {shlex.join(called_as('tune', '--resume', str(directory)))}")
    return {
        "trials": records,
        "best": records[0]["number"] if "config" in paths else None,
        "paths": paths,
        "stopped_by": stop.received,
    }


def _environment_errors(space: SearchSpace) -> Iterator[str]:
    """Make the environment once with each of its arguments that is searched, so that a wrong one is refused at once."""
    values = space.draw(np.random.default_rng(0))
    variants = [values]
    for parameter in space.parameters:
        if any(name.startswith(ENV_ARG) or split_override(name)[1].startswith(ENV) for name in parameter.names):
            variants += [{**values, parameter.name: value} for value in parameter.values]
    experiments = [space.apply_values(variant) for variant in variants if not space.errors(variant)]
    yield from dict.fromkeys(
        error for each in experiments for error in environment_errors(each.environment, each.schedule)
    )


def _claim(search: Search) -> None:
    """Refuse a directory that holds another search, or that cannot be written to.

    Raises:
        ConfigError: The directory is refused.
    """
    directory = search.config.directory
    if errors := list(directory_errors("output_dir", directory)):
        raise ConfigError(errors)
    if search.is_resumed and not tune.Tuner.can_restore(str(directory.absolute())):
        raise ConfigError([f"resume: {directory} was interrupted before any trial began; start it anew"])
    # A search that ended before its first trial leaves its file alone.
    if not search.is_resumed and directory.exists() and {each.name for each in directory.iterdir()} - {SEARCH}:
        told = f"exp_name: {directory} is not empty; choose another name, or go on with its search"
        raise ConfigError([f"{told} by --resume {directory}"])


def _tuner(search: Search, progress: SearchProgress) -> tune.Tuner:
    """Return Tune's driver of the search: a new one, or the one that was interrupted, as it had been saved."""
    config, space, directory = search.config, search.space, search.config.directory.absolute()
    training = space.example.training
    bundles = [{"CPU": config.cpus_per_trial, "GPU": training.num_gpus}] + [{"CPU": 1.0}] * training.num_workers
    trainable = tune.with_resources(MoETrial, tune.PlacementGroupFactory(bundles))
    if search.is_resumed:
        tuner = tune.Tuner.restore(str(directory), trainable)
        local: Any = tuner._local_tuner
        local.get_run_config().callbacks = _callbacks(progress, local._tune_config.scheduler)
        return tuner
    is_optuna, scheduler = config.search == "optuna", _scheduler(config, space)
    overrides = tune.grid_search([space.overrides(values) for values in search.candidates])
    return tune.Tuner(
        trainable,
        param_space={"experiment": space.base.to_dict(), "overrides": {} if is_optuna else overrides},
        tune_config=tune.TuneConfig(
            search_alg=OptunaProposals(space, metric=config.metric, trials=config.num_trials) if is_optuna else None,
            scheduler=scheduler,
            num_samples=config.num_trials if is_optuna else 1,
            max_concurrent_trials=config.max_concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=directory.name,
            storage_path=str(directory.parent),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEEP_CHECKPOINTS),
            callbacks=_callbacks(progress, scheduler),
            verbose=0,
        ),
    )


def _scheduler(config: SearchConfig, space: SearchSpace) -> Any:
    """Return the scheduler; ASHA lets a trial be for a quarter of its episodes, PBT compares after every fifth."""
    episodes = space.example.run.episodes
    if config.scheduler == "asha":
        return AsyncHyperBandScheduler(
            time_attr=EPISODES_TOTAL,
            metric=config.metric,
            mode="max",
            max_t=episodes,
            grace_period=config.grace_episodes or max(1, episodes // 4),
            reduction_factor=3,
        )
    if config.scheduler == "pbt":
        return CurriculumPBT(space, metric=config.metric, every=config.perturb_every or max(1, episodes // 5))
    return None


def _callbacks(progress: SearchProgress, scheduler: Any) -> list[tune.Callback]:
    kept = [KeptRungs(scheduler)] if isinstance(scheduler, AsyncHyperBandScheduler) else []
    return [progress, TBXLoggerCallback(), *kept]


def _trial_name(trial: Trial) -> str:
    return f"trial_{trial_number(trial):05d}"
