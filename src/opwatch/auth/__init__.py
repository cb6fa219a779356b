"""Ways to authenticate: two signatures as pure functions, and tokens."""

from __future__ import annotations

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
