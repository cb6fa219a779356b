"""Ways to authenticate: signatures as pure functions, and tokens with a single flight."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

from opwatch.errors import ConfigurationError
from opwatch.net.message import LINE_BREAK, Secret

EMPTY_HASH = hashlib.sha256(b"").hexdigest()
"""Of the body of a poll. Hashing it each time is a measurable part of a signed call."""


def require(**values: Any) -> None:
    """Raise a `ConfigurationError` for the first value that can't be sent as a header."""
    for name, value in values.items():
        if fault := Secret(value).fault():
            raise ConfigurationError(fault, argument=name)


def require_text(**values: Any) -> None:
    """Raise a `ConfigurationError` for the first value that isn't a string, or is empty.

    A `Secret`, which may be a password, may consist of spaces.
    """
    for name, value in values.items():
        if fault := _text_fault(value):  # not here: a password would be a local of this frame
            raise ConfigurationError(fault, argument=name)


def _text_fault(value: Any) -> str | None:
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str) or not (text if isinstance(value, Secret) else text.strip()):
        return "must be a string, and not empty"
    return LINE_BREAK if text.strip("\r\n") != text else None


def stamp(timestamp: datetime) -> str:
    """Return `timestamp` as both services write it, in UTC: `20260122T093000Z`.

    Raises `ConfigurationError` if it has no time zone.
    """
    if timestamp.tzinfo is None:
        problem = f"must have a time zone, and {timestamp.isoformat()} has none"
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
