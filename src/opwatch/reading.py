"""Reading what a service sent: tolerant of its form, never inventing a value.

First a whole answer (JSON, times of HTTP, an excerpt for a message), then single fields. The
generated parsers check no types, so a field may hold anything JSON has. What makes no sense is None
here, and stays what it was in `Progress.wire`.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from opwatch.errors import BadResponse
from opwatch.wire import Answer

LONGEST_RETRY_AFTER = 10 * 365 * 86_400.0


# --- a whole answer ----------------------------------------------------------------------------


def json_object(answer: Answer, *envelope: str) -> dict[str, Any]:
    """The JSON object that is the body; `BadResponse` where it is anything else.

    `envelope` names the objects in it, each in the one before: a generated parser would take a
    list of pairs for an object.
    """
    value = any_json(answer.body)
    if _has(value, envelope):
        fields: dict[str, Any] = value
        return fields
    fault = "holds no object " + ".".join(envelope) if _has(value, ()) else "is not a JSON object"
    del value  # this error's frames are shown to people
    raise bad_response(answer, f"the answer {fault}")


def _has(value: Any, envelope: tuple[str, ...]) -> bool:
    for name in envelope:
        value = value.get(name) if isinstance(value, dict) else None
    return isinstance(value, dict)


def any_json(body: bytes) -> Any:
    """The JSON value that is the body; None where it is none."""
    try:
        plain = body[:1] == b"{" and body[1:2] != b"\0"  # else one of UTF-16 and UTF-32, or a BOM
        return _DECODER.decode(body.decode("utf-8" if plain else json.detect_encoding(body)))
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A body that says two things under one name says nothing that can be relied on."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)  # json.loads would build one each time


def bad_response(answer: Answer, message: str) -> BadResponse:
    return BadResponse(message, status=answer.status, excerpt=excerpt(answer))


def excerpt(answer: Answer) -> str:
    """The beginning of a body as one short printable line."""
    text = answer.erased(answer.body.decode("utf-8", "replace"))
    return printable(re.sub(_CREDENTIAL, r"\1***", text), 200)


_CREDENTIAL = r'(?i)("[^"]*(?:token|secret|password)"\s*:\s*")(?:[^"\\]|\\.)*'  # compiled when used
"""A member of JSON that is a credential by its name: Catenis's `continuationToken`, say."""


def printable(text: str, limit: int = 500) -> str:
    """`text` as one line of at most `limit` printable characters: safe to show at a terminal."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def retry_after(answer: Answer, epoch: float) -> float | None:
    """`Retry-After` in seconds: a number, or a date read against the answer's own `Date`.

    None where it is missing, negative, or not finite. `epoch` is the wall clock's time, used where
    the answer has no `Date`.
    """
    value = answer.header("retry-after")
    if value is None:
        return None
    try:
        delay = float(value)
    except ValueError:
        then = http_date(value)
        if then is None:
            return None
        delay = max(then - (http_date(answer.header("date")) or epoch), 0.0)
    if not math.isfinite(delay) or delay < 0:
        return None
    return min(delay, LONGEST_RETRY_AFTER)


def http_date(value: str | None) -> float | None:
    """An HTTP-date as seconds since 1970; None where it is none."""
    if not value:
        return None
    try:
        then = parsedate_to_datetime(value)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def parse_time(value: object) -> datetime | None:
    """An ISO 8601 text (or a datetime) in UTC; None where it is neither or says no time zone."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(when, datetime) or when.tzinfo is None:
            return None
        return when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# --- single fields --------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Text that is not empty and can be written; numbers as text."""
    if isinstance(value, str):
        found = str(value)
        # JSON can hold half a surrogate pair, which no file or terminal takes.
        return (found if found.isascii() else found.encode("utf-8", "replace").decode()) or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def state(value: Any) -> str | None:
    """The name of a state, without regard to case; generated enums are text."""
    name = text(value)
    return None if name is None else name.strip().lower()


def number(value: Any) -> float | None:
    """A finite number, also where it came as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def percent(value: Any) -> float | None:
    """A number from 0 to 100."""
    found = number(value)
    return found if found is not None and 0 <= found <= 100 else None


def count(value: Any) -> int | None:
    """A whole number that is not negative."""
    found = number(value)
    if found is None or found < 0 or not found.is_integer():
        return None
    return value if isinstance(value, int) else int(found)


def milliseconds(value: Any) -> datetime | None:
    """A Unix time in milliseconds, in UTC."""
    found = number(value)
    if found is None or found <= 0:
        return None
    try:
        return datetime.fromtimestamp(found / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
