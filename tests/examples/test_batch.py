"""Batches, watched with nothing but examples/specs/batch.yaml."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from opwatch import Phase
from opwatch.errors import JobFailed, JobGone, PermissionDenied, WaitTimeout
from opwatch.progress import Fault
from opwatch.testing import FakeClock, Reply, Script, reply

BATCH = "batch_abc123"
TARGET = f"/v1/batches/{BATCH}"


@pytest.fixture
def client(package_of: Callable[[str], ModuleType]) -> Any:
    return package_of("batch").Batch


def batch(status: str, completed: Any = 0, total: Any = 100, **more: Any) -> Reply:
    counts = {"total": total, "completed": completed, "failed": 0}
    fields = {"id": BATCH, "object": "batch", "status": status, "request_counts": counts}
    return reply(200, fields | more)


def problem(status: int, message: str, code: str | None, headers: Any = None) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return reply(status, {"error": error}, headers)


def test_a_batch_is_watched_to_its_end(client: Any) -> None:
    """The percentage is a count of a total, and its change starts the schedule again."""
    times = {"in_progress_at": 1_800_000_010, "completed_at": 1_800_000_070}
    replies = [
        batch("validating", total=0),
        batch("in_progress", 25),
        batch("in_progress", 25),
        batch("finalizing", 100),
        batch("completed", 100, **times),
    ]
    with FakeClock(), Script({TARGET: replies}) as script:
        seen = [*client("a-token").watch(BATCH, timeout=None)]
    assert [sent.time for sent in script.sent] == [0, 10, 20, 50, 60]
    assert [(one.phase.value, one.percent) for one in seen] == [
        ("pending", None),
        ("running", 25),
        ("running", 25),
        ("running", 100),
        ("succeeded", 100),
    ]
    assert str(seen[-1].started_at) == "2027-01-15 08:00:10+00:00"
    assert str(seen[-1].finished_at) == "2027-01-15 08:01:10+00:00"


@pytest.mark.parametrize(
    "limited",
    [
        problem(429, "Rate limit reached.", "rate_limit_exceeded", {"retry-after-ms": "90500"}),
        problem(503, "Overloaded.", None, {"retry-after-ms": "90500", "retry-after": "90"}),
        reply(200, {"id": BATCH, "status": "in_progress"}, {"retry-after-ms": "90500"}),
    ],
    ids=["429", "503", "200"],
)
def test_a_pause_in_milliseconds_is_honored(client: Any, limited: Reply) -> None:
    """Of any answer, and of two headers the longer pause."""
    with FakeClock(), Script({TARGET: [limited, batch("completed", 100)]}) as script:
        assert client("a-token").wait(BATCH, timeout=3600).phase is Phase.SUCCEEDED
    assert [sent.time for sent in script.sent] == [0, 90.5]


def test_a_pause_that_is_no_number_is_none(client: Any) -> None:
    """The schedule counts."""
    odd = reply(200, {"id": BATCH, "status": "in_progress"}, {"retry-after-ms": "soon"})
    with FakeClock(), Script({TARGET: [odd, batch("completed", 100)]}) as script:
        client("a-token").wait(BATCH, timeout=3600)
    assert [sent.time for sent in script.sent] == [0, 10]


def test_the_errors_of_a_batch_are_one_fault(client: Any) -> None:
    """It has the code of the first, and the words of all."""
    errors = [
        {"code": "invalid_json_line", "message": "Line 1 isn't JSON.", "line": 1},
        None,
        {"code": "missing_parameter", "message": "Line 2 has no model.", "line": 2},
    ]
    failed = batch("failed", errors={"object": "list", "data": errors})
    with FakeClock(), Script({TARGET: [failed]}), pytest.raises(JobFailed) as caught:
        client("a-token").wait(BATCH, timeout=None)
    words = "Line 1 isn't JSON.; Line 2 has no model."
    assert caught.value.fault == Fault("invalid_json_line", words)


@pytest.mark.parametrize(("status", "phase"), [("expired", "failed"), ("cancelled", "cancelled")])
def test_a_batch_that_is_not_completed(client: Any, status: str, phase: str) -> None:
    """One that expired has failed; one that is being cancelled still runs."""
    replies = [batch("in_progress", 40), batch("cancelling", 40), batch(status, 40, errors=None)]
    with FakeClock(), Script({TARGET: replies}):
        *others, last = client("a-token").watch(BATCH, timeout=None)
    assert [one.phase for one in others] == ["running", "running"]
    assert (last.phase, last.step, last.percent, last.fault) == (phase, status, 40, None)


def test_a_status_that_is_newer_than_the_spec_is_no_end(client: Any) -> None:
    """The wait continues until its deadline."""
    with FakeClock(), Script({TARGET: [batch("archived", 100)]}), pytest.raises(WaitTimeout):
        client("a-token").wait(BATCH, timeout=600)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(404, f"No batch found with id '{BATCH}'.", None), JobGone),
        (problem(429, "You exceeded your quota.", "insufficient_quota"), PermissionDenied),
    ],
)
def test_what_no_retry_cures(client: Any, answer: Reply, error: type[Exception]) -> None:
    """A batch that isn't there, and a 429 that isn't a rate limit."""
    with FakeClock(), Script({TARGET: [answer]}) as script, pytest.raises(error):
        client("a-token").wait(BATCH, timeout=3600)
    assert len(script.sent) == 1


def test_many_batches(client: Any) -> None:
    """Each comes to its own end, and the limit of one holds back all."""
    ends = ["completed", "expired", "cancelled", "failed"]
    ids = [f"batch_{n}" for n in range(100)]
    limited = problem(429, "Rate limit reached.", None, {"retry-after-ms": "60000"})
    replies = {
        f"/batches/{job_id}": [
            limited if n == 0 else batch("in_progress", 1, id=job_id),
            batch(ends[n % 4], 2, id=job_id),
        ]
        for n, job_id in reversed([*enumerate(ids)])
    }
    with FakeClock(), Script(replies) as script:
        last = {
            progress.job_id: progress.phase.value
            for progress in client("a-token").watch_many(ids, timeout=3600)
        }
    phases = ["succeeded", "failed", "cancelled", "failed"]
    assert last == {job_id: phases[n % 4] for n, job_id in enumerate(ids)}
    assert {sent.time for sent in script.sent if sent.time < 60} == {0}
