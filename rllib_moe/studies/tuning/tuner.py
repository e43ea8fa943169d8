"""The trials of a search on Ray Tune, from its start, or from where it was interrupted, to their table."""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Sequence
from typing import Any

import torch
from ray import tune
from ray.tune.logger import TBXLoggerCallback
from ray.tune.schedulers import AsyncHyperBandScheduler

from rllib_moe.envs.registry import prepare
from rllib_moe.runtime.console import say, standard_console
from rllib_moe.runtime.invocation import called_as
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.studies.tuning.progress import SearchProgress
from rllib_moe.studies.tuning.results import best_first, record_of, train_command, trial_table, write_outcome
from rllib_moe.studies.tuning.schedulers import CurriculumPBT, KeptRungs
from rllib_moe.studies.tuning.search import Search, trial_name
from rllib_moe.studies.tuning.search_config import SearchConfig
from rllib_moe.studies.tuning.search_space import SearchSpace
from rllib_moe.studies.tuning.searchers import OptunaProposals
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MoETrial
from rllib_moe.training.stop_signals import StopSignals

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


def run_trials(search: Search, command: Sequence[str]) -> dict[str, Any]:
    """Run the trials of a search whose directory was checked, and return its outcome (see `run.run_search`)."""
    console = standard_console()
    config, space, directory = search.config, search.space, search.config.directory
    os.environ |= TUNE_SETTINGS
    prepare(space.example.environment.env)
    training, run = space.example.training, space.example.run
    num_cpus = math.ceil(config.cpus_per_trial) + training.num_workers
    # Every GPU, for as many trials at once as there are GPUs for.
    num_gpus = max(training.num_gpus, torch.cuda.device_count()) if training.num_gpus else 0
    with StopSignals() as stop, ray_session(run.address, num_cpus, num_gpus, log_to_driver=False):
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
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
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
