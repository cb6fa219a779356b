"""What the two signatures share: the time, and the keyed hash. A token's client never loads it."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

from opwatch.errors import ConfigurationError

EMPTY_HASH = hashlib.sha256(b"").hexdigest()
"""Of the body of a poll. Hashing it each time is a measurable part of a signed call."""


def stamp(timestamp: datetime) -> str:
    """Return `timestamp` as both services write it, in UTC: `20260122T093000Z`.

    Raises `ConfigurationError` if it has no time zone.
    """
    if timestamp.tzinfo is None:
        problem = f"must have a time zone, but {timestamp.isoformat()} has none"
        advice = "pass datetime.now(UTC), for example"
        raise ConfigurationError(f"{problem}; {advice}", argument="timestamp")
    text = timestamp.astimezone(UTC).isoformat()[:19]
    return text.replace("-", "").replace(":", "") + "Z"


def signature(keyed: hmac.HMAC, message: str) -> str:
    """Return the HMAC-SHA256 in hexadecimal digits. `keyed` holds the key and isn't changed:
    OpenSSL takes three times as long to start with a key as to copy what was started."""
    begun = keyed.copy()
    begun.update(message.encode())
    return begun.hexdigest()
