"""Ways to authenticate: two signatures as pure functions, and tokens."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

from opwatch.errors import ConfigurationError


def utc(timestamp: datetime) -> datetime:
    """`timestamp` in UTC; refuses one that does not say its time zone."""
    if timestamp.tzinfo is None:
        raise ConfigurationError(
            f"timestamp {timestamp.isoformat()} has no time zone; give an aware datetime, "
            "datetime.now(UTC) say"
        )
    return timestamp.astimezone(UTC)


def compact(when: datetime) -> str:
    """`20260122T093000Z`, for a time in UTC. `strftime` takes twice as long."""
    date = f"{when.year:04}{when.month:02}{when.day:02}"
    return f"{date}T{when.hour:02}{when.minute:02}{when.second:02}Z"


def signature(keyed: hmac.HMAC, message: str) -> str:
    """HMAC-SHA256 in hexadecimal digits. `keyed` holds the key and is not changed: OpenSSL takes
    three times as long to begin with a key anew as to copy what has begun."""
    begun = keyed.copy()
    begun.update(message.encode())
    return begun.hexdigest()
