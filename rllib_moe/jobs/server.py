"""The job server of a Ray cluster: sending a job, following its log, stopping it, its end as an exit status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from ray._private.authentication import authentication_token_setup
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from rllib_moe.runtime.ray_session import TOKEN_ADVICE
from rllib_moe.validation.errors import FailedError

POLL_SECONDS = 0.5
"""Time between two looks at a job's state."""
RECONNECT_SECONDS = 2.0
"""Time to wait before a log that broke off is taken up again."""
NO_AGENT, AGENT_SECONDS = "No available agent", 60
"""Ray's answer while its job agent starts, and the time that an agent gets."""
STOPPED_STATUS = 143
"""Exit status of a job that was stopped: that of a process ended by SIGTERM."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class JobError(FailedError):
    """The job server cannot be reached, or refuses. The message says what to do."""


class JobServer:
    """Client of one job server.

    Raises:
        JobError: nothing answers there, or it asks for a token.
    """

    def __init__(self, address: str) -> None:
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        _take_token(address)
        self.address = address
        with _refusals(address):
            self._client = JobSubmissionClient(address)
            self._client.list_jobs()

    def send(self, entrypoint: str, **options: Any) -> str:
        """Send a job; a cluster that starts gets `AGENT_SECONDS` to be ready for it.

        Args:
            **options: Of `JobSubmissionClient.submit_job`.

        Returns:
            The job's id.

        Raises:
            JobError: The server refuses.
        """
        deadline, has_said = time.monotonic() + AGENT_SECONDS, False
        while True:
            try:
                with _refusals(self.address):
                    return self._client.submit_job(entrypoint=entrypoint, **options)
            except JobError as error:
                if NO_AGENT not in str(error) or time.monotonic() > deadline:
                    raise
            if not has_said:
                print(f"The cluster is not ready for jobs yet; waiting up to {AGENT_SECONDS} s ...", flush=True)
                has_said = True
            time.sleep(RECONNECT_SECONDS)

    def details(self, job: str) -> JobDetails:
        """Return what the server knows of a job.

        Raises:
            JobError: it knows no such job, or cannot be reached.
        """
        with _refusals(self.address):
            try:
                return self._client.get_job_info(job)
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
        raise JobError(
            f"{self.address}: no job {job!r}; expected the id that submit printed (raysubmit_...), or one that "
            f"`ray job list --address {self.address}` shows"
        )

    def follow(self, job: str, write: Callable[[str], object]) -> int:
        """Write a job's log from its beginning until it ends; a log that breaks off is taken up again.

        Args:
            write: Function that gets the text as it comes, each piece once.

        Returns:
            Its exit status, as in `status_of`.

        Raises:
            JobError: there is no such job.
        """
        written = 0

        async def tail() -> None:
            nonlocal written
            seen = 0  # the server sends the log from its beginning
            async for text in self._client.tail_job_logs(job):
                seen += len(text)
                if seen > written:
                    write(text[written - seen :])
                    written = seen

        while True:
            details = self.details(job)  # before the log, so that the log of a job that ended is read to its end
            pause = POLL_SECONDS
            try:
                asyncio.run(tail())
            except (RuntimeError, OSError, aiohttp.ClientError):
                pause = RECONNECT_SECONDS
            if details.status.is_terminal():
                return status_of(details, write)
            time.sleep(pause)

    def stop(self, job: str) -> str:
        """Ask a job to stop, and wait until it has.

        Returns:
            Its state then.

        Raises:
            JobError: there is no such job.
        """
        if not self.details(job).status.is_terminal():
            with _refusals(self.address):
                self._client.stop_job(job)
        while not (details := self.details(job)).status.is_terminal():
            time.sleep(POLL_SECONDS)
        return str(details.status.value)


def status_of(details: JobDetails, write: Callable[[str], object]) -> int:
    """Return the exit status of a job that ended: its own, 143 where it was stopped, 1 where it never ran.

    Why it never ran is written.
    """
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


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    """Turn what Ray's client raises inside the block into an error that says what to do.

    Raises:
        JobError: The server cannot be reached, or refuses.
    """
    try:
        yield
    except AuthenticationError as error:
        raise JobError(f"{address}: {TOKEN_ADVICE}") from error
    except ConnectionError as error:
        raise JobError(
            f"{address}: no job server answers. Start one on this machine by `ray start --head`, or reach a cluster's "
            "by `ray dashboard cluster.yaml` or `kubectl port-forward`"
        ) from error
    except RuntimeError as error:
        told = str(error).strip() or type(error).__name__
        raise JobError(f"{address}: {told.splitlines()[-1]}") from error
