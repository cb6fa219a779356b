"""Every error response raises its own class, with everything that the service said about it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from fault_errors import FOREIGN, FOREIGN_STATUSES, OWN_WORDS, REFUSALS, Refusal
from fault_services import APIG, MODES, SAMPLES, Sample, ask, wait

from opwatch import Phase, Progress
from opwatch.errors import (
    JobGone,
    NotFound,
    OpwatchError,
    RateLimited,
    ServiceError,
)
from opwatch.testing import FakeClock, Script, reply

URL = "http://127.0.0.1:9"
every_mode = pytest.mark.parametrize("mode", MODES)


def asked(sample: Sample, mode: str, answer: Any) -> OpwatchError:
    with FakeClock(), Script(lambda request: answer):
        [outcome] = ask(sample, mode, URL)
    assert isinstance(outcome, OpwatchError), outcome
    return outcome


@every_mode
@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_known_error(refusal: Refusal, mode: str) -> None:
    """Each error response is of its class, and says what the service said, or what a 401 or 403
    means."""
    answer = reply(refusal.status, refusal.body, refusal.headers)
    error = asked(refusal.sample, mode, answer)
    assert type(error) is refusal.kind
    assert refusal.says in str(error)
    assert (refusal.code or "") in str(error)
    assert (error.service, error.job_id) == (refusal.sample.name, refusal.sample.job_id)
    if isinstance(error, ServiceError):
        said = (error.status, error.code, error.request_id, error.retry_after)
        wanted = (refusal.status, refusal.code, refusal.request_id, refusal.retry_after)
        assert said == wanted
        assert error.message.startswith(refusal.says)


@every_mode
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_undocumented_words_about_credentials_are_not_quoted(sample: Sample, mode: str) -> None:
    """A 401 or 403 may repeat the credentials in any form. Only documented codes and texts of it
    are shown, and a request ID only if it's a UUID."""
    said = {"code": "the-credentials", "message": "the-credentials"}
    body = {"error": said, "message": "the-credentials", "error_code": "the-credentials"}
    body |= {"error_msg": "the-credentials", "request_id": "the-credentials"}
    headers = dict.fromkeys(("x-correlation-id", "X-Request-Id"), "the-credentials")
    for status, words in OWN_WORDS.items():
        error = asked(sample, mode, reply(status, body, headers))
        assert isinstance(error, ServiceError)
        assert (error.message, error.code, error.request_id) == (words, None, None)
        assert "the-credentials" not in repr(vars(error))
    error = asked(sample, mode, reply(400, body, headers))
    assert "the-credentials" in error.message


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_wait_ends_at_once_with_an_error_that_waiting_cannot_fix(refusal: Refusal) -> None:
    """A retryable error is retried, and any other ends the wait."""
    answer = reply(refusal.status, refusal.body, refusal.headers)
    with FakeClock(), Script(lambda request: answer) as script:
        outcome = wait(refusal.sample, "sync", URL, timeout=3600, max_failures=3)
    assert type(outcome) is refusal.kind
    assert len(script.sent) == (3 if refusal.kind.transient else 1)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.parametrize("body", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_error_still_has_its_status(sample: Sample, body: bytes) -> None:
    """Whatever the body is, the status decides the class, and what is shown is safe to show."""
    for status, kind in FOREIGN_STATUSES.items():
        error = asked(sample, "sync", reply(status, body))
        assert type(error) is kind
        assert isinstance(error, ServiceError)
        assert error.status == status
        assert error.message.startswith(OWN_WORDS.get(status, ""))
        for text in (str(error), error.message, error.code or "-"):
            assert text.isprintable()
            assert len(text) < 1000
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_excerpt_shows_what_came() -> None:
    """A response that says nothing of its own is quoted, as one line."""
    error = asked(APIG, "sync", reply(502, FOREIGN["html"]))
    assert 'the response was "<!doctype html> <html> <title>502 Bad Gateway</title>' in str(error)


@every_mode
@pytest.mark.parametrize("job", [JobGone, NotFound])
def test_only_a_404_that_speaks_of_the_job_is_about_the_job(mode: str, job: type) -> None:
    """A 404 that does not name the job may be a wrong address, and says where to look."""
    code = "APIC.7302" if job is JobGone else "APIG.0101"
    error = asked(APIG, mode, reply(404, {"error_code": code, "error_msg": "none"}))
    assert type(error) is job
    assert ("check `endpoint`" in str(error)) is (job is NotFound)


EPOCH = 1_800_000_000.0
"""Friday, 15 January 2027, 08:00:00 UTC: the fake clock's."""
LATER = "Fri, 15 Jan 2027 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "90"}, 90),
        ({"retry-after": " 90 "}, 90),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e400"}, None),
        ({"Retry-After": "99999999999999999999"}, 1e20),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "0x10"}, None),
        ({"Retry-After": "90, 91"}, 91),
        ({"Retry-After": "91, soon, 90"}, 91),
        ({"Retry-After": "90", "retry-after": "91", "RETRY-AFTER": "5"}, 91),
        ({"Retry-After": "Fri, 15 Jan 2027 08:01:30 GMT"}, 90),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0),
        (
            {
                "Retry-After": "Fri, 15 Jan 2027 09:01:30 GMT",
                "Date": "Fri, 15 Jan 2027 09:00:00 GMT",
            },
            90,
        ),
        ({"Retry-After": "Fri, 15 Jan 2027 08:01:30 GMT", "Date": "whenever"}, 90),
        ({"Retry-After": "Fri, 99 Jan 2027 08:01:30 GMT"}, None),
        ({"Retry-After": "Fri, 15 Jan 99999 08:01:30 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """`Retry-After` is seconds, or a date read against the response's own; the longest one counts,
    and anything else is ignored."""
    error = asked(APIG, "sync", reply(429, None, headers))
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


@every_mode
@pytest.mark.parametrize(
    ("sample", "phase"),
    [
        pytest.param(sample, phase, id=f"{sample.name}-{phase}")
        for sample in SAMPLES
        for phase in sample.ended
    ],
)
def test_a_failed_job_is_an_answer(sample: Sample, phase: Phase, mode: str) -> None:
    """The services report a job's failure with status 200: the poll itself succeeds."""
    answers = iter(sample.ended[phase])
    with FakeClock(), Script(lambda request: reply(200, next(answers))):
        [outcome] = ask(sample, mode, URL)
    assert isinstance(outcome, Progress)
    assert outcome.phase is phase
    assert (outcome.fault is not None) is (phase is Phase.FAILED and sample.name != "itwin")
