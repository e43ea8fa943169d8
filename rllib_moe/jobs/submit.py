"""Sending a training job, staying with it until it ends, and what else a person does with a job that runs elsewhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from rllib_moe.jobs.package import PackageError
from rllib_moe.jobs.request import Call, as_metadata, learner_gpus, results_of
from rllib_moe.jobs.server import JobError, JobServer
from rllib_moe.training.storage import StorageError, fetch_run
from rllib_moe.validation import ConfigError

INTERRUPTED_STATUS = 130
"""Exit status of Ctrl-C here; the job goes on."""


def run(call: Call) -> dict[str, Any]:
    """Do what a checked command line asks.

    Args:
        call: It.

    Returns:
        `job` (its id) and `status` (the exit status for this process), and what else there is to say.

    Raises:
        ConfigError: the working tree, or the place to fetch to, is refused.
        JobError: the server cannot be reached or refuses.
    """
    config = call.config
    server = JobServer(config.address)
    if config.stop:
        print(f"Stopping {config.stop}: it finishes its iteration and saves ...", flush=True)
        state = server.stop(config.stop)
        print(f"{config.stop} is {state}", flush=True)
        return {"job": config.stop, "status": 0, "state": state}
    if config.fetch:
        return _fetch(server, config.fetch, Path(config.into))
    if config.attach or call.request is None:
        server.details(str(config.attach))
        return _follow(server, str(config.attach))
    metadata = results_of(call.request)
    try:
        job, size = server.send(
            Path(config.tree),
            call.training,
            metadata=metadata,
            num_gpus=learner_gpus(call.request),
            named=call.named,
            max_mb=config.max_mb,
            grace=config.grace,
            pip=config.pip,
        )
    except PackageError as error:
        raise ConfigError([str(error)]) from error
    print(f"Sent {size:.1f} MB to {config.address}: job {job}", flush=True)
    print(f"Results on the cluster: {metadata['results']}", flush=True)
    if "storage" in metadata:
        print(f"Copied to: {metadata['storage']}", flush=True)
    sent = {"job": job, "megabytes": size, **metadata}
    if not config.follow:
        _say_how_to_return(server.address, job)
        return {**sent, "status": 0}
    return {**sent, **_follow(server, job)}


def _follow(server: JobServer, job: str) -> dict[str, Any]:
    """Show the log until the job ends, or until Ctrl-C, which the job does not notice."""
    try:
        status = server.follow(job, _write)
    except KeyboardInterrupt:
        print(f"\nNot followed any more; job {job} goes on.", flush=True)
        _say_how_to_return(server.address, job)
        return {"job": job, "status": INTERRUPTED_STATUS}
    except JobError:
        print(f"\nLost the server; job {job} may go on.", flush=True)
        _say_how_to_return(server.address, job)
        raise
    details = server.details(job)
    print(f"Job {job} {details.status.value.lower()}, exit status {status}", flush=True)
    return {"job": job, "status": status}


def _fetch(server: JobServer, job: str, into: Path) -> dict[str, Any]:
    """Copy a job's results here: from the storage where it has one, else from a directory that this machine sees."""
    metadata = as_metadata(server.details(job).metadata)
    source = metadata.get("storage") or metadata.get("results")
    if source is None:
        raise ConfigError([f"fetch: job {job} was not sent by submit.py, so nobody knows where its results are"])
    target = into / metadata["exp_name"]
    if target.exists():
        raise ConfigError([f"into: {target} is there already; choose another --into"])
    partial = into / f".partial-{metadata['exp_name']}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        files = fetch_run(source, partial)
    except StorageError as error:
        raise ConfigError(
            [
                f"fetch: {error}. The results are on the cluster, at {source}; they can be fetched from here when the "
                "job has a --storage that this machine reaches too"
            ]
        ) from error
    partial.rename(target)
    print(f"Fetched {files} files from {source} to {target}", flush=True)
    return {"job": job, "status": 0, "files": files, "target": str(target)}


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say_how_to_return(address: str, job: str) -> None:
    call = f"python scripts/submit.py --address {address}"
    print(f"  follow it again:  {call} --attach {job}")
    print(f"  stop it, saved:   {call} --stop {job}")
    print(f"  fetch results:    {call} --fetch {job}", flush=True)
