"""Sending a training job, staying with it until it ends, and what else a person does with a job that runs elsewhere."""

from __future__ import annotations

import math
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rllib_moe.experiment import Experiment
from rllib_moe.jobs.server import JobError, JobServer
from rllib_moe.jobs.staging import EXPERIMENT, stage
from rllib_moe.jobs.submit_config import SubmitConfig, places
from rllib_moe.runtime.invocation import INTERRUPTED, called_as
from rllib_moe.training.storage import StorageError, fetch_run
from rllib_moe.validation.errors import ConfigError

ENTRYPOINT = f"exec python -m rllib_moe.cli train --config {EXPERIMENT}"
"""Command of a job. `exec`: the signal that stops the job reaches Python, with no shell between."""


def run(config: SubmitConfig, experiment: Experiment | None) -> int:
    """Do what a checked command line asks, and return the exit status for this process.

    Args:
        experiment: Experiment of a new job; None where there is a job already.

    Raises:
        ConfigError: What would be sent, or the place to fetch to, is refused.
        JobError: The server cannot be reached or refuses.
    """
    if experiment:
        return _send(config, experiment)
    server = JobServer(config.address)
    if config.attach:
        server.details(config.attach)
        return _follow(server, config.attach)
    try:
        if config.fetch:
            _fetch(server, config.fetch, Path(config.into))
        else:
            server.details(str(config.stop))
            print(f"Stopping {config.stop}: it finishes its iteration and saves ...", flush=True)
            print(f"{config.stop} is {server.stop(str(config.stop))}", flush=True)
    except KeyboardInterrupt:
        told = f"Not waited for: {config.stop} saves and stops." if config.stop else "Interrupted: nothing was fetched."
        print(f"\n{told}", flush=True)
        return INTERRUPTED
    return 0


def _send(config: SubmitConfig, experiment: Experiment) -> int:
    metadata = places(experiment.run)
    with tempfile.TemporaryDirectory(prefix="rllib_moe-job-") as directory:
        size = stage(Path(directory), experiment, config)
        environment: dict[str, Any] = {
            "working_dir": directory,
            # Read by the job's supervisor: how long a stopped job may take before it is killed.
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(config.grace)},
        }
        if config.pip:
            environment["pip"] = config.pip
        server = JobServer(config.address)
        # Whole GPUs, of the node where the learner, which is the job's own process, will run.
        num_gpus = math.ceil(experiment.training.num_gpus)
        job = server.send(ENTRYPOINT, runtime_env=environment, metadata=metadata, entrypoint_num_gpus=num_gpus or None)
    print(f"Sent {size:.1f} MB to {config.address}: job {job}", flush=True)
    print(f"Results on the cluster: {metadata['results']}", flush=True)
    if "storage" in metadata:
        print(f"Copied to: {metadata['storage']}", flush=True)
    if config.follow:
        return _follow(server, job)
    _say_how_to_return(config.address, job)
    return 0


def _follow(server: JobServer, job: str) -> int:
    """Show the log until the job ends, or until Ctrl-C, which the job does not notice."""
    try:
        status = server.follow(job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"\nNot followed any more; job {job} goes on.", flush=True)
        _say_how_to_return(server.address, job)
        return INTERRUPTED
    except JobError:
        print(f"\nLost the server; job {job} may go on.", flush=True)
        _say_how_to_return(server.address, job)
        raise
    print(f"Job {job} {server.details(job).status.value.lower()}, exit status {status}", flush=True)
    return status


def _fetch(server: JobServer, job: str, into: Path) -> None:
    """Copy a job's results here: from the storage where it has one, else from a directory that this machine sees."""
    metadata = server.details(job).metadata or {}
    source, name = metadata.get("storage") or metadata.get("results"), metadata.get("exp_name")
    if source is None or name is None:
        raise ConfigError([f"fetch: job {job} was not sent by this command, so its results are nowhere to be found"])
    target = into / name
    if target.exists():
        raise ConfigError([f"into: {target} is there already; choose another --into"])
    partial = into / f".partial-{name}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        files = fetch_run(source, partial)
    except StorageError as error:
        hint = "they can be fetched from here when the job has a --storage that this machine reaches too"
        raise ConfigError([f"fetch: {error}. The results are on the cluster, at {source}; {hint}"]) from error
    partial.rename(target)
    print(f"Fetched {files} files from {source} to {target}", flush=True)


def _say_how_to_return(address: str, job: str) -> None:
    program = shlex.join(called_as("submit"))
    for what, flag in (("follow it again", "attach"), ("stop it, saved", "stop"), ("fetch results", "fetch")):
        print(f"  {what + ':':<17} {program} --address {address} --{flag} {job}", flush=True)
