"""One search from request to table: Ray, the trials, progress, an interruption and how to go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback
from rich.console import Console

from rllib_moe.envs.registry import prepare
from rllib_moe.runtime.files import directory_errors
from rllib_moe.runtime.ray_session import ray_session
from rllib_moe.studies.tuning.journal import trial_number
from rllib_moe.studies.tuning.outcome import write_outcome
from rllib_moe.studies.tuning.progress import SearchProgress
from rllib_moe.studies.tuning.records import TrialRecord, record_of
from rllib_moe.studies.tuning.request import DEFAULT_TRIALS, REQUEST, SearchConfig, SearchRequest
from rllib_moe.studies.tuning.schedulers import GRACE_PARTS, PERTURBATION_PARTS, make_scheduler
from rllib_moe.studies.tuning.searchers import Proposals
from rllib_moe.studies.tuning.table import TrialTable
from rllib_moe.studies.tuning.trial import MoETrial, trial_config
from rllib_moe.training.progress import standard_console
from rllib_moe.training.stop_signals import StopSignals
from rllib_moe.validation import ConfigError

MAX_FAILURES = 2
"""How often a trial that fails, as its process may be killed, goes on from its last checkpoint."""
KEEP_CHECKPOINTS = 4
"""Checkpoints of a trial that stay: PBT may copy one a little later than it was written."""
TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its answer to Ctrl-C knows no `--resume`, and it has none to SIGTERM
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal is ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # not ten or more: a killed search would go on from deleted checkpoints
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths, of a module say, mean in a trial what they mean here
    "RAY_AIR_NEW_OUTPUT": "0",  # prints also when told not to
}
"""Environment variables that Tune reads."""


def run_search(request: SearchRequest, command: Sequence[str] = ()) -> dict[str, Any]:
    """Run all trials, or those that an earlier process left, and write what came out.

    Args:
        request: A checked request.
        command: The command line, to be written down with the search.

    Returns:
        `trials` (records, best first, in plain form), `best` (number of the best trial or None), `paths` (of what was
        written) and `stopped_by` (name of the signal that ended the search early, or None).

    Raises:
        ConfigError: the directory is refused, or holds nothing to resume; nothing was written.
    """
    console = standard_console()
    search, directory = request.search, request.search.directory
    _claim(request)
    os.environ |= TUNE_SETTINGS
    prepare(request.space.config.environment.env)
    training = request.space.config.training
    num_cpus = int(-(-search.cpus_per_trial // 1)) + training.num_workers
    with StopSignals() as stop, ray_session(search.address, num_cpus, training.num_gpus, log_to_driver=False):
        stop.listen()
        if not request.is_resumed:
            directory.mkdir(parents=True, exist_ok=True)
            plain = request.to_plain(command)
            (directory / REQUEST).write_text(yaml.safe_dump(plain, sort_keys=False))
            _announce(request, console)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        trials = _tuner(request, SearchProgress(console, search.episodes, stop)).fit()._experiment_analysis.trials
    records = sorted((record_of(trial, request.space, search.metric) for trial in trials), key=TrialRecord.rank)
    paths = write_outcome(records, request, directory)
    console.print(TrialTable(records, search.metric))
    for name, path in paths.items():
        _say(console, f"{name}: {path}")
    if "command" in paths:
        _say(console, f"Train the best configuration:\n  {Path(paths['command']).read_text().strip()}")
    if stop:
        _say(console, f"Interrupted. To go on: python scripts/tune.py --resume {directory}")
    return {
        "trials": [record.to_dict() for record in records],
        "best": records[0].number if "command" in paths else None,
        "paths": paths,
        "stopped_by": stop.received,
    }


def _claim(request: SearchRequest) -> None:
    """Refuse a directory that holds another search, or where nothing can be written.

    Raises:
        ConfigError: so it is.
    """
    directory = request.search.directory
    if faults := list(directory_errors("output_dir", directory)):
        raise ConfigError(faults)
    # A search that ended before its first trial leaves the request alone.
    if not request.is_resumed and directory.exists() and {each.name for each in directory.iterdir()} - {REQUEST}:
        told = f"exp_name: {directory} is not empty; choose another name, or go on with its search"
        raise ConfigError([f"{told} by --resume {directory}"])


def _tuner(request: SearchRequest, progress: SearchProgress) -> tune.Tuner:
    """Tune's driver of the search: a new one, or the one that was interrupted, as it had been saved."""
    search, space = request.search, request.space
    training = space.config.training
    if request.is_resumed and not tune.Tuner.can_restore(str(search.directory.absolute())):
        raise ConfigError([f"resume: {search.directory} was interrupted before any trial began; start it anew"])
    bundles = [{"CPU": search.cpus_per_trial, "GPU": training.num_gpus}] + [{"CPU": 1.0}] * training.num_workers
    trainable = tune.with_resources(MoETrial, tune.PlacementGroupFactory(bundles))
    callbacks = [progress, TBXLoggerCallback()]
    if request.is_resumed:
        tuner = tune.Tuner.restore(str(search.directory.absolute()), trainable)
        assert tuner._local_tuner is not None
        tuner._local_tuner.get_run_config().callbacks = callbacks
        return tuner
    parameters = trial_config(space.config, space.schedule, {})
    proposals = None
    count = 1
    if search.search == "optuna":
        count = search.trials or DEFAULT_TRIALS
        proposals = Proposals(space, metric=search.metric, trials=count)
    else:
        parameters["values"] = tune.grid_search(list(request.candidates))
    return tune.Tuner(
        trainable,
        param_space=parameters,
        tune_config=tune.TuneConfig(
            search_alg=proposals,
            scheduler=_scheduler(search, request),
            num_samples=count,
            max_concurrent_trials=search.max_concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=search.directory.resolve().name,
            storage_path=str(search.directory.resolve().parent),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEEP_CHECKPOINTS),
            callbacks=callbacks,
            verbose=0,
        ),
    )


def _scheduler(search: SearchConfig, request: SearchRequest) -> Any:
    return make_scheduler(
        search.scheduler,
        request.space,
        metric=search.metric,
        grace=search.grace_episodes or max(1, search.episodes // GRACE_PARTS),
        reduction=search.reduction_factor,
        every=search.perturb_every or max(1, search.episodes // PERTURBATION_PARTS),
    )


def _trial_name(trial: Trial) -> str:
    return f"trial_{trial_number(trial):05d}"


def _announce(request: SearchRequest, console: Console) -> None:
    search = request.search
    count = len(request.candidates) or search.trials or DEFAULT_TRIALS
    _say(
        console,
        f"{count} trials of {search.episodes} episodes ({search.search}, scheduler {search.scheduler}): "
        f"{', '.join(each.name for each in request.space.parameters if each.kind != 'fixed')}",
    )
    if request.refused:
        _say(console, f"{request.refused} draws made no valid experiment and were drawn again")


def _say(console: Console, text: str) -> None:
    """Print a line as it is: a path may hold brackets, and should not be broken in two."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
