"""The parts of following a job that need no server."""

from typing import Any
from unittest.mock import Mock

import pytest
from ray.job_submission import JobDetails, JobStatus

from rllib_moe.jobs.server import JobError, JobServer, LogOnce, status_of


def test_a_log_that_begins_again_is_written_once() -> None:
    written: list[str] = []
    log = LogOnce(written.append)
    for pieces in (["one\n", "tw"], ["one\ntwo\nth", "ree\n"], ["one\ntwo\n", "three\nfour\n"]):
        log.rewind()
        for piece in pieces:
            log.add(piece)

    assert "".join(written) == "one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, -9, 137),  # killed: as a shell says it
        (JobStatus.FAILED, None, 1),  # never ran
        (JobStatus.STOPPED, None, 143),
    ],
)
def test_the_exit_status_of_a_job(status: JobStatus, code: int | None, expected: int) -> None:
    said: list[str] = []
    details = JobDetails(
        type="SUBMISSION", status=status, entrypoint="python", message="no room", driver_exit_code=code
    )

    assert status_of(details, said.append) == expected
    assert said == (["no room\n"] if expected == 1 else [])


def test_no_server_is_one_clear_error() -> None:
    with pytest.raises(JobError, match="no job server answers"):
        JobServer("http://127.0.0.1:9")


def test_waits_for_a_job_agent_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = RuntimeError(
        "Request failed with status code 500: No available agent to submit job, please try again later."
    )
    client = Mock()
    client.return_value.submit_job.side_effect = [busy, busy, "raysubmit_1", busy, RuntimeError("no such option")]
    monkeypatch.setattr("rllib_moe.jobs.server.JobSubmissionClient", client)
    monkeypatch.setattr("rllib_moe.jobs.server.RECONNECT_SECONDS", 0)
    server = JobServer("http://head:8265")
    options: dict[str, Any] = {"metadata": {}}

    assert server.send("true", **options) == "raysubmit_1"
    assert capsys.readouterr().out.count("waiting up to 60 s") == 1
    with pytest.raises(JobError, match="no such option"):
        server.send("true")
    monkeypatch.setattr("rllib_moe.jobs.server.AGENT_SECONDS", -1)
    client.return_value.submit_job.side_effect = [busy]
    with pytest.raises(JobError, match="No available agent"):
        server.send("true")
