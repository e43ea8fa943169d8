"""The parts of following a job that need no server."""

from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
from ray.job_submission import JobDetails, JobStatus

from rllib_moe.jobs.server import JobError, JobServer, status_of


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Ray's client, with answers that a test chooses, and no time between two questions."""
    client = Mock()
    monkeypatch.setattr("rllib_moe.jobs.server.JobSubmissionClient", lambda _: client)
    monkeypatch.setattr("rllib_moe.jobs.server.RECONNECT_SECONDS", 0)
    return client


def test_a_log_that_breaks_off_is_written_once(client: Mock) -> None:
    logs = iter((["one\n", "tw"], ["one\ntwo\nth", "ree\n"], ["one\ntwo\n", "three\nfour\n"]))
    states = iter((JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.SUCCEEDED))

    async def tail(_: str) -> AsyncIterator[str]:
        for piece in next(logs):
            yield piece
        raise RuntimeError("broken off")

    client.tail_job_logs = tail
    client.get_job_info = lambda _: JobDetails(type="SUBMISSION", status=next(states), entrypoint="python")
    written: list[str] = []
    assert JobServer("http://head:8265").follow("raysubmit_1", written.append) == 0
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
    client: Mock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = RuntimeError("Request failed: No available agent to submit job, please try again later.")
    client.submit_job.side_effect = [busy, busy, "raysubmit_1", busy, RuntimeError("no such option")]
    server = JobServer("http://head:8265")
    assert server.send("true", metadata={}) == "raysubmit_1"
    assert capsys.readouterr().out.count("waiting up to 60 s") == 1
    with pytest.raises(JobError, match="no such option"):
        server.send("true")
    monkeypatch.setattr("rllib_moe.jobs.server.AGENT_SECONDS", -1)
    client.submit_job.side_effect = [busy]
    with pytest.raises(JobError, match="No available agent"):
        server.send("true")


def test_a_job_that_is_not_there_is_named_with_the_way_to_find_one(client: Mock) -> None:
    client.get_job_info.side_effect = RuntimeError("Request failed with status code 404: Job mine does not exist.")
    with pytest.raises(JobError, match=r"no job 'mine'; expected the id that submit printed .*ray job list --address"):
        JobServer("http://head:8265").details("mine")


def test_another_refusal_is_told_as_the_server_says_it(client: Mock) -> None:
    client.get_job_info.side_effect = RuntimeError("Request failed with status code 500: out of memory")
    with pytest.raises(JobError, match=r"http://head:8265: .*500: out of memory"):
        JobServer("http://head:8265").details("mine")
