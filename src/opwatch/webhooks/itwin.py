"""iTwin's webhooks: whether a request is one that iTwin signed, and what it says.

iTwin Platform, Webhooks API v2, and its official samples. Nothing here knows a web framework.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs

from opwatch import clock as clocks
from opwatch.auth import require_text
from opwatch.core.polling import Duration, seconds
from opwatch.errors import ConfigurationError, InvalidWebhook
from opwatch.net.address import check_id
from opwatch.net.message import Secret, hidden
from opwatch.reading import any_json, object_in, parse_time, text
from opwatch.text import printable

__all__ = ["Event", "verify"]

MAX_AGE = 86_400.0
"""Seconds. Deliveries are repeated, so it can't be a matter of minutes."""
MAX_AHEAD = 300.0
"""Seconds by which an event may be in the future, at least: clocks differ."""
_invalid = partial(InvalidWebhook, service="itwin")
_SIGNATURE = re.compile(r"\s*sha256=([0-9a-f]{64})\s*", re.IGNORECASE | re.ASCII)
_US_TIME = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}) (0?\d|1[0-2]):(\d\d):(\d\d)(?:\.\d+)? ([AP])M", re.ASCII
)
"""`11/3/2023 8:07:01 PM`: how the published samples write a time."""


@attrs.frozen
class Event:
    """An event. The API documents these fields, but not those of a job's `content`."""

    type: str
    """`realityModeling.jobCompleted.v1` or `.v2`, or any other event of the platform."""
    job_id: str | None
    """`content.jobId` or `content.id`; None if that isn't an ID. Pass it to `client.nudge`."""
    itwin_id: str | None
    message_id: str | None
    """The event's ID; it stays the same if a delivery is repeated."""
    webhook_id: str | None
    enqueued: datetime | None
    """When iTwin queued it, in UTC; None if that can't be read."""
    content: Mapping[str, Any] = attrs.field(repr=False)
    """The event's content, exactly as received."""


def verify(
    body: bytes, headers: Mapping[str, str], secret: str, *, max_age: Duration | None = MAX_AGE
) -> Event:
    """Return the event in a webhook request if iTwin signed it with the webhook's secret.

    `body` is the request's body, byte for byte. `headers` contains its `Signature`; the case of
    names doesn't matter. `max_age` is how long ago the event may have been queued, in seconds or as
    a `timedelta`, and also how far ahead it may be dated (at least five minutes); None accepts any
    age. Signatures are compared in constant time. Raises `InvalidWebhook` for a request that isn't
    signed, isn't signed with this secret, is too old or dated too far ahead, doesn't say how old it
    is, or contains no event, and `ConfigurationError` for an invalid argument.
    """
    secret = key = Secret(secret)  # type: ignore[assignment]
    require_text(secret=key)
    if not isinstance(body, bytes):
        problem = f"must be the bytes of the request's body, not {type(body).__name__}"
        raise ConfigurationError(problem, argument="body")
    oldest = None if max_age is None or max_age == math.inf else seconds(max_age, "max_age")
    signatures = _signatures(headers)
    if not signatures:
        raise _invalid("the request has no `Signature` header")
    found = _SIGNATURE.fullmatch(signatures[0]) if len(signatures) == 1 else None
    if found is None:
        problem = "the request's `Signature` header isn't sha256= followed by 64 hexadecimal digits"
        raise _invalid(problem)
    signature = hidden(lambda: hmac.new(key.encode(), body, hashlib.sha256).hexdigest())
    if not hmac.compare_digest(signature, found[1].lower()):
        advice = "check that `secret` belongs to this webhook, and that `body` is unchanged"
        raise _invalid("the request's signature doesn't match its body", advice=advice)
    return _event(body, oldest)


def _signatures(headers: Mapping[str, str]) -> list[str]:
    try:
        return [str(value) for name, value in headers.items() if str.lower(name) == "signature"]
    except Exception:  # noqa: BLE001 (whatever the mapping of a framework may raise)
        problem = f"must be a mapping of strings to strings, not {type(headers).__name__}"
    raise ConfigurationError(problem, argument="headers")


def _event(body: bytes, max_age: float | None) -> Event:
    fields = object_in(any_json(body))
    kind = text(fields.get("eventType"))
    if kind is None:
        raise _invalid("the request's body isn't an iTwin event")
    enqueued = _time(fields.get("enqueuedDateTime"))
    if max_age is not None and enqueued is None:
        problem = "the time at which the event was queued is missing or can't be read"
        advice = "pass `max_age=None` to accept events of any age"
        raise _invalid(problem, advice=advice)
    if max_age is not None and enqueued is not None:
        age = clocks.current.get().epoch() - enqueued.timestamp()
        if age > max_age:
            problem = f"the event is stale: it was queued {age:.0f} s ago"
            advice = "it may be a replay; pass a longer `max_age` to accept it"
            raise _invalid(problem, advice=advice)
        if -age > max(max_age, MAX_AHEAD):
            problem = f"the event is dated {-age:.0f} s in the future"
            advice = "check this machine's clock"
            raise _invalid(problem, advice=advice)
    content = object_in(fields.get("content"))
    return Event(
        type=printable(kind, 200),
        job_id=_job_id(content),
        itwin_id=text(fields.get("iTwinId")),
        message_id=text(fields.get("messageId")),
        webhook_id=text(fields.get("webhookId")),
        enqueued=enqueued,
        content=content,
    )


def _job_id(content: Mapping[str, Any]) -> str | None:
    found = text(content.get("jobId")) or text(content.get("id"))
    with suppress(ConfigurationError):
        return check_id(found, "job ID")
    return None


def _time(value: Any) -> datetime | None:
    """Return a time in UTC, as iTwin's APIs or the samples of its webhooks write it.

    One without a zone is in UTC; a date alone is no time.
    """
    if not isinstance(value, str):
        return None
    try:
        if found := _US_TIME.fullmatch(value):
            month, day, year, hour, minute, second = map(int, found.groups()[:-1])
            hour = hour % 12 + 12 * (found[7] == "P")
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    has_no_zone = when.tzinfo is None and len(value) > len("2027-01-15")
    return parse_time(when.replace(tzinfo=UTC) if has_no_zone else when)
