"""The job server of a Ray cluster: sending a job, following its log, stopping it, its end as an exit status."""

from __future__ import annotations

import asyncio
import logging
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from ray._private.authentication import authentication_token_setup
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from rllib_moe.jobs.package import write_package
from rllib_moe.runtime.ray_session import TOKEN_ADVICE
from rllib_moe.validation import FailedError

POLL_SECONDS = 0.5
"""Time between two looks at a job's state."""
RECONNECT_SECONDS = 2.0
"""Time to wait before a log that broke off is taken up again."""
STOPPED_STATUS = 143
"""Exit status of a job that was stopped: that of a process ended by SIGTERM."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class JobError(FailedError):
    """The job server cannot be reached, or refuses. The message says what to do."""


class JobServer:
    """Client of one job server.

    Args:
        address: The dashboard's address.

    Raises:
        JobError: nothing answers there, or it asks for a token.
    """

    def __init__(self, address: str) -> None:
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        _take_token(address)
        self.address = address
        try:
            self._client = JobSubmissionClient(address)
            self._client.list_jobs()
        except (ConnectionError, RuntimeError, AuthenticationError) as error:
            raise JobError(_explained(address, error)) from error

    def send(
        self, tree: Path, training: Sequence[str], *, metadata: dict[str, str], num_gpus: int, **options: Any
    ) -> tuple[str, float]:
        """Send a working tree and start training there.

        Args:
            tree: The repository's root.
            training: Flags of `scripts/train.py`.
            metadata: Kept with the job.
            num_gpus: GPUs of the node on which the job's process, the learner, runs.
            **options: `named` of `Call`, and `max_mb`, `grace` and `pip` of `SubmitConfig`.

        Returns:
            The job's id, and the MB sent.

        Raises:
            PackageError: the tree cannot be sent.
            JobError: the server refuses.
        """
        with tempfile.TemporaryDirectory(prefix="rllib_moe-job-") as directory:
            package = Path(directory) / "rllib_moe.zip"
            size = write_package(tree, package, options["max_mb"], options["named"])
            runtime_env: dict[str, Any] = {
                "working_dir": str(package),
                # Read by the job's supervisor: how long a stopped job may take before it is killed.
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(options["grace"])},
            }
            if options["pip"]:
                runtime_env["pip"] = str(tree / "requirements.txt")
            try:
                job = self._client.submit_job(
                    # `exec`: the signal that stops the job reaches Python, with no shell between.
                    entrypoint="exec python scripts/train.py " + shlex.join(training),
                    runtime_env=runtime_env,
                    metadata=metadata,
                    entrypoint_num_gpus=num_gpus or None,
                )
            except (RuntimeError, ConnectionError) as error:
                raise JobError(_explained(self.address, error)) from error
        return job, size

    def details(self, job: str) -> JobDetails:
        """What the server knows of a job.

        Raises:
            JobError: it knows no such job, or cannot be reached.
        """
        try:
            return self._client.get_job_info(job)
        except (RuntimeError, ConnectionError) as error:
            raise JobError(_explained(self.address, error)) from error

    def follow(self, job: str, write: Callable[[str], object]) -> int:
        """Write a job's log from its beginning until it ends; a log that breaks off is taken up again.

        Args:
            job: Its id.
            write: Gets the text as it comes.

        Returns:
            Its exit status, as in `status_of`.

        Raises:
            JobError: there is no such job.
        """
        log = LogOnce(write)
        while True:
            details = self.details(job)  # before the log, so that the log of a job that ended is read to its end
            pause = POLL_SECONDS
            try:
                asyncio.run(self._tail(job, log))
            except (RuntimeError, OSError, aiohttp.ClientError):
                pause = RECONNECT_SECONDS
            if details.status.is_terminal():
                return status_of(details, write)
            time.sleep(pause)

    async def _tail(self, job: str, log: LogOnce) -> None:
        log.rewind()
        async for text in self._client.tail_job_logs(job):
            log.add(text)

    def stop(self, job: str) -> str:
        """Ask a job to stop, and wait until it has.

        Returns:
            Its state then.

        Raises:
            JobError: there is no such job.
        """
        if not self.details(job).status.is_terminal():
            try:
                self._client.stop_job(job)
            except RuntimeError as error:
                raise JobError(_explained(self.address, error)) from error
        while not (details := self.details(job)).status.is_terminal():
            time.sleep(POLL_SECONDS)
        return str(details.status.value)


class LogOnce:
    """Writes a log once, however often the server sends it from its beginning.

    Args:
        write: Gets what is new.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._written = self._seen = 0

    def rewind(self) -> None:
        """The log begins again."""
        self._seen = 0

    def add(self, text: str) -> None:
        """The next piece, of any length."""
        self._seen += len(text)
        if self._seen > self._written:
            self._write(text[-(self._seen - self._written) :])
            self._written = self._seen


def status_of(details: JobDetails, write: Callable[[str], object]) -> int:
    """Exit status of a job that ended: its own; 143 where it was stopped, 1 where it never ran (and why is written)."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return STOPPED_STATUS
    if details.driver_exit_code is None:
        write(f"{details.message}\n")
        return 1
    code = int(details.driver_exit_code)
    return 128 - code if code < 0 else code  # killed by a signal


def _take_token(address: str) -> None:
    """Use this user's token on this machine's cluster, as Ray's drivers do and its job client does not.

    Elsewhere the user decides (`RAY_AUTH_MODE=token`): a token sent to another host is in that host's hands.
    """
    if urlsplit(address).hostname in LOOPBACK:
        logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)
        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _explained(address: str, error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, AuthenticationError):
        return f"{address}: {TOKEN_ADVICE}"
    if isinstance(error, ConnectionError):
        return (
            f"{address}: no job server answers. Start one on this machine by `ray start --head`, or reach a cluster's "
            "by `ray dashboard cluster.yaml` or `kubectl port-forward`"
        )
    return f"{address}: {text.splitlines()[-1]}"
