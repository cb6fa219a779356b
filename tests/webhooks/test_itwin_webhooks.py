"""`opwatch.webhooks.itwin.verify`: which requests are iTwin events, and which are refused."""

import json
import math
import pickle
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_faults import BODY, EVENT, JOB, NOW, REFUSED, SECRET, signed

from opwatch import ITwin
from opwatch.errors import ConfigurationError, InvalidWebhook, OpwatchError
from opwatch.testing import FakeClock
from opwatch.webhooks import itwin


def verified(event: Any, **how: Any) -> itwin.Event:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    with FakeClock(epoch=NOW):
        return itwin.verify(body, signed(body), SECRET, **how)


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["jobId", "id"])
def test_an_event(version: str, name: str) -> None:
    """Both versions of a job's event are read, whichever of the two names its ID has."""
    kind = f"realityModeling.jobCompleted.{version}"
    event = verified({**EVENT, "eventType": kind, "content": {name: JOB, "state": "Success"}})
    assert (event.type, event.job_id) == (kind, JOB)
    assert event.itwin_id == EVENT["iTwinId"]
    assert event.message_id == EVENT["messageId"]
    assert event.webhook_id == EVENT["webhookId"]
    assert event.enqueued == datetime(2027, 1, 15, 7, 59, 30, tzinfo=UTC)
    assert event.content == {name: JOB, "state": "Success"}


def test_another_event_of_the_platform() -> None:
    """It has no job, and is no error: one webhook may receive many kinds."""
    event = verified({**EVENT, "eventType": "iModels.iModelDeleted.v1", "content": {"imodelId": 1}})
    assert event.job_id is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("1/15/2027 7:59:30 AM", 7),
        ("1/15/2027 12:00:00 AM", 0),
        ("1/14/2027 8:07:01 PM", 20),
        ("2027-01-15T08:59:30+01:00", 7),
        ("2027-01-15T07:59:30", 7),
        ("2027-01-15T07:59:30.1234567Z", 7),
        ("2027-01-15T07:59:30.1234567", 7),
        ("1/15/2027 7:59:30.12 AM", 7),
    ],
)
def test_the_time_as_it_may_be_written(text: str, hour: int) -> None:
    """The published samples write it as in the US; iTwin's APIs write ISO 8601."""
    event = verified({**EVENT, "enqueuedDateTime": text})
    assert event.enqueued is not None
    assert event.enqueued.hour == hour
    with pytest.raises(InvalidWebhook, match="stale"):
        verified({**EVENT, "enqueuedDateTime": text}, max_age=1)


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, [], {}, "", "soon", "2027-01-15", "20270115"),
        *("13/45/2027 7:59:30 AM", "1/15/2027 13:59:30 PM", "1/15/2027 88:59:30 PM"),
        *("9" * 20 + "/15/2027 7:59:30 AM", "9" * 5000 + "/15/2027 7:59:30 AM"),
        *("1/1/0000 1:00:00 AM", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_time_that_can_not_be_read(text: Any) -> None:
    """The event may be of any age, so it is refused unless `max_age` is None."""
    event = {**EVENT, "enqueuedDateTime": text}
    with pytest.raises(
        InvalidWebhook, match=r"was queued is missing.*pass `max_age=None` to accept"
    ):
        verified(event)
    assert verified(event, max_age=None).enqueued is None


def test_an_event_without_a_time() -> None:
    """It is refused in the same way."""
    event = {name: value for name, value in EVENT.items() if name != "enqueuedDateTime"}
    with pytest.raises(InvalidWebhook, match="was queued is missing"):
        verified(event)
    assert verified(event, max_age=None).job_id == JOB


@pytest.mark.parametrize("content", [None, [], "text", {"jobId": None}, {"jobId": {}}])
def test_content_of_another_form(content: Any) -> None:
    """The fields of `content` aren't documented: without an ID there is no job."""
    assert verified({**EVENT, "content": content}).job_id is None


@pytest.mark.parametrize("job_id", ["../x", "a/b", "..", "a?b", "a\n", "", " "])
def test_an_id_that_is_none(job_id: str) -> None:
    """What `client.nudge` would refuse is no job's ID, in an event that is valid otherwise."""
    for name in ("jobId", "id"):
        event = verified({**EVENT, "content": {name: job_id}})
        if event.job_id is not None:
            ITwin("a made-up token").nudge(event.job_id)
    assert verified({**EVENT, "content": {"jobId": "../x"}}).job_id is None


def test_names_of_headers_in_any_case() -> None:
    """Web frameworks write them as they like, and digits of a signature come in either case."""
    body = json.dumps(EVENT).encode()
    signature = signed(body)["Signature"]
    for name, value in {
        "signature": signature,
        "SIGNATURE": f" sha256={signature[7:].upper()}",
    }.items():
        with FakeClock(epoch=NOW):
            assert itwin.verify(body, {name: value}, SECRET).job_id == JOB


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_is_refused(what: str) -> None:
    """Each has an error that says what is wrong, pickles, and shows no secret."""
    body, headers, words = REFUSED[what]
    with FakeClock(epoch=NOW), pytest.raises(InvalidWebhook, match=words) as raised:
        itwin.verify(body, headers, SECRET)
    assert isinstance(raised.value, OpwatchError)
    assert raised.value.service == "itwin"
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    report = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    ours = [frame for frame in report.stack if "/opwatch/" in frame.filename]
    assert ours
    assert SECRET not in repr([frame.locals for frame in ours])


def test_a_stale_event() -> None:
    """One that was queued more than a day ago may be a replay."""
    old = {**EVENT, "enqueuedDateTime": "2027-01-13T08:00:00Z"}
    with pytest.raises(InvalidWebhook, match=r"stale: it was queued 172800 s ago.*max_age"):
        verified(old)
    assert verified(old, max_age=None).job_id == JOB
    assert verified(old, max_age=math.inf).job_id == JOB
    for short in (0, 10, 29.5, timedelta(seconds=29)):
        with pytest.raises(InvalidWebhook, match="stale"):
            verified(EVENT, max_age=short)
    assert verified(EVENT, max_age=timedelta(seconds=31)).job_id == JOB


def test_an_event_from_the_future() -> None:
    """Clocks differ, and a time without a zone may be hours off; a day or more is a mistake."""
    ahead = {**EVENT, "enqueuedDateTime": "2027-01-16T09:00:00Z"}
    with pytest.raises(
        InvalidWebhook, match=r"dated 90000 s in the future; check this machine's clock"
    ):
        verified(ahead)
    assert verified(ahead, max_age=None).job_id == JOB
    assert verified(ahead, max_age=90_000).job_id == JOB
    soon = {**EVENT, "enqueuedDateTime": "2027-01-15T08:05:00Z"}
    assert verified(soon, max_age=0).job_id == JOB
    later = {**EVENT, "enqueuedDateTime": "2027-01-15T08:05:01Z"}
    with pytest.raises(InvalidWebhook, match="future"):
        verified(later, max_age=timedelta(seconds=1))


@pytest.mark.parametrize(
    "max_age", ["1", True, [], math.nan, -1, -math.inf, 10**400, timedelta(seconds=-1)]
)
def test_an_age_that_is_none(max_age: Any) -> None:
    """It is refused, whatever was received: it must not switch the check off."""
    with pytest.raises(ConfigurationError, match="`max_age` must be"):
        itwin.verify(BODY, {}, SECRET, max_age=max_age)


@pytest.mark.parametrize(
    "headers", [None, [], [("Signature", "x")], "Signature", {1: "x"}, {b"Signature": b"x"}]
)
def test_headers_that_are_no_mapping_of_text(headers: Any) -> None:
    """They are a mistake in the caller's code, not one of the request's."""
    with pytest.raises(ConfigurationError, match="`headers` must be a mapping of"):
        itwin.verify(BODY, headers, SECRET)


@pytest.mark.parametrize("secret", ["", None, 7, "with a line break\n"])
def test_a_secret_that_is_none(secret: Any) -> None:
    """An empty secret would accept everybody's signature."""
    with pytest.raises(ConfigurationError, match="`secret`"):
        itwin.verify(BODY, signed(BODY), secret)


@pytest.mark.parametrize("body", [BODY.decode(), EVENT, None])
def test_a_body_that_is_not_what_was_received(body: Any) -> None:
    """Text or parsed JSON may differ from what was signed."""
    with pytest.raises(ConfigurationError, match="`body` must be the bytes"):
        itwin.verify(body, signed(BODY), SECRET)


@given(st.binary(max_size=200), st.text(max_size=100))
def test_whatever_is_posted(body: bytes, signature: str) -> None:
    """Nothing that isn't signed gets through, and nothing else is raised."""
    with pytest.raises(InvalidWebhook):
        itwin.verify(body, {"Signature": signature}, SECRET)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*EVENT, "jobId"]), inner),
        max_leaves=10,
    )
)
def test_whatever_is_signed(event: Any) -> None:
    """Any JSON is an event or an `InvalidWebhook`."""
    with suppress(InvalidWebhook):
        assert isinstance(verified(event), itwin.Event)
