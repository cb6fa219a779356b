"""What the services of the scripted jobs answer, and what a scripted job is."""

from typing import Any

import attrs

from opwatch.testing import Reply, reply

EPOCH = 1_800_000_000.0
JOB_ID = "job-1"
DEVICE = "d" * 20
CANCELLED = (
    "the wait was cancelled; the job continues; to resume the wait, pass this error's `.token` to "
    "`resume`"
)

# --- answers --------------------------------------------------------------------------------------
NO_NETWORK = "no network"
HTML = reply(502, b"<html><body>Bad gateway</body></html>")
PAGE = reply(200, b"<html><body>Sign in</body></html>")


def expire(answer: Reply) -> tuple[str, Reply]:
    """The token that was good so far is refused from here on."""
    return ("expire", answer)


def active(percentage: Any = 0, state: Any = "Active", step: str = "a step") -> Reply:
    return reply(200, {"jobProgress": {"percentage": percentage, "state": state, "step": step}})


OVER = active(100, "Over", "Done")


def job(state: str, **more: Any) -> Reply:
    return reply(200, {"job": {"id": JOB_ID, "state": state, **more}})


def itwin_error(status: int, code: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"error": {"code": code, "message": f"it is {code}"}}, named)


def limited(retry_after: str, **headers: str) -> Reply:
    return itwin_error(429, "RateLimitExceeded", retry_after=retry_after, **headers)


GONE = itwin_error(404, "JobNotFound")
DOWN = itwin_error(503, "ServiceUnavailable")
ERRORS = {
    "errors": [{"code": "E-1", "title": "No photos", "message": "add some", "params": []}],
    "startedDateTime": "2027-01-15T08:00:00Z",
    "endedDateTime": "2027-01-15T09:00:00Z",
}


def message(done: bool, bytes_processed: Any = 0, **more: Any) -> Reply:
    progress = {"bytesProcessed": bytes_processed, "done": done, **more}
    return reply(200, {"status": "success", "data": {"action": "log", "progress": progress}})


LOGGED = message(True, 900, success=True, finishDate="2027-01-15T08:00:00.000Z")


def catenis_error(status: int, text: str, **headers: str) -> Reply:
    return reply(status, {"status": "error", "message": text}, headers)


def gateway(progress: Any, status: Any = "creating", code: Any = None) -> Reply:
    fields = {"progress": progress, "status": status, "error_code": code, "error_msg": code}
    times = {"start_time": 1_597_389_901_161, "end_time": 1_597_390_224_911}
    return reply(200, fields | times)


def apig_error(status: int, code: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"error_code": code, "error_msg": f"it is {code}"}, named)


# --- the table ------------------------------------------------------------------------------------
@attrs.frozen
class Job:
    """What a job's service answers, how it is waited for, and what is to be seen."""

    name: str
    service: str
    answers: list[Any]
    """To each request for the progress in turn; the last forever."""
    asked: str
    """The times of the requests expected; `j` before one that is for the job itself."""
    end: str
    """The last phase or the error expected, and when."""
    timeout: float | None = 3600
    job: list[Any] = attrs.field(factory=list)
    """To each request for the job itself (iTwin)."""
    how: dict[str, Any] = attrs.field(factory=dict)
    options: dict[str, Any] = attrs.field(factory=dict)
    cancel_at: float | None = None
    stepped: tuple[str, str] | None = None
    """The requests and the end if each turn starts from a token, which doesn't say "over"."""


FINE = [job("success")]
