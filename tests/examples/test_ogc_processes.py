"""Jobs of OGC API - Processes, watched with nothing but examples/specs/ogc-processes.yaml.

tests/contract/test_pygeoapi.py watches a real server's; here are the responses that it doesn't
give.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from opwatch import Phase
from opwatch.errors import BadResponse, ConfigurationError, JobCancelled, JobGone, NotFound
from opwatch.testing import FakeClock, Reply, Script, reply

NO_SUCH_JOB = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/no-such-job"


@pytest.fixture
def processes(package_of: Callable[[str], ModuleType]) -> Callable[[], Any]:
    made = package_of("ogc-processes").OgcProcesses
    return lambda: made(base_url="https://ogc.example/api")


def job(status: str, progress: int | None = None, **more: Any) -> Reply:
    fields = {"type": "process", "jobID": "j1", "status": status, "progress": progress}
    return reply(200, fields | more)


def test_a_job_is_watched_to_its_end(processes: Callable[[], Any]) -> None:
    """Progress starts the schedule again; the message is the step."""
    replies = [
        job("accepted"),
        job("running", 30, message="Reading"),
        job("running", 30, message="Reading"),
        job(
            "successful", 100, started="2026-01-01T10:00:00Z", finished="2026-01-01T10:05:00+01:00"
        ),
    ]
    with FakeClock(), Script({"/api/jobs/j1": replies}) as script:
        seen = [*processes().watch("j1", timeout=None)]
    assert [sent.time for sent in script.sent] == [0, 1, 2, 4]
    assert [(one.phase.value, one.percent, one.step) for one in seen] == [
        ("pending", None, None),
        ("running", 30, "Reading"),
        ("running", 30, "Reading"),
        ("succeeded", 100, None),
    ]
    assert str(seen[-1].finished_at) == "2026-01-01 09:05:00+00:00"


def test_a_job_that_was_dismissed(processes: Callable[[], Any]) -> None:
    """It was cancelled."""
    replies = [job("running", 30), job("dismissed", 30)]
    with FakeClock(), Script({"/j1": replies}), pytest.raises(JobCancelled):
        processes().wait("j1", timeout=None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(404, {"type": NO_SUCH_JOB, "title": "job not found"}), JobGone),
        (reply(404, {"type": "InvalidParameterValue", "description": "j1"}), JobGone),
        (reply(404, {"type": "about:blank", "title": "Not Found"}), NotFound),
        (reply(404, b"<h1>Not Found</h1>"), NotFound),
        (reply(200, {"type": "process", "jobID": "j2", "status": "successful"}), BadResponse),
        (reply(200, {"type": "process", "jobID": "j1"}), BadResponse),
    ],
)
def test_what_is_no_answer(
    processes: Callable[[], Any], answer: Reply, error: type[Exception]
) -> None:
    """A 404 says that the job is gone only in the words of the standard, or of a known server."""
    with Script({"/j1": [answer]}), pytest.raises(error) as caught:
        processes().progress("j1")
    assert type(caught.value) is error


def test_a_status_that_is_newer_than_the_standard(processes: Callable[[], Any]) -> None:
    """It is unknown, and not the end."""
    with FakeClock(), Script({"/j1": [job("deferred"), job("successful")]}):
        seen = [*processes().watch("j1", timeout=None)]
    assert [one.phase for one in seen] == [Phase.UNKNOWN, Phase.SUCCEEDED]


def test_the_address_is_needed(package_of: Callable[[str], ModuleType]) -> None:
    """A standard has no server of its own."""
    with pytest.raises(ConfigurationError, match="`base_url` must be passed"):
        package_of("ogc-processes").OgcProcesses()
