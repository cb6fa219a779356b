"""Reading what a service sent: tolerant of its form, never inventing a value.

First a complete answer (JSON, times of HTTP, an excerpt for a message), then single fields. The
generated parsers check no types, so a field may hold anything that JSON has. An invalid value is
None here, and stays what it was in `Progress.wire`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from opwatch.errors import BadResponse
from opwatch.net.message import Answer, hidden, holds_beginning
from opwatch.progress import Fault
from opwatch.text import printable

# --- a complete answer ----------------------------------------------------------------------------


def json_object(answer: Answer, *envelope: str) -> dict[str, Any]:
    """Return the JSON object that the body is; raise `BadResponse` if it is anything else.

    `envelope` names the objects that must be in it, each inside the one before: a generated parser
    would take a list of pairs for an object.
    """
    value = inner = any_json(answer.body, answer)
    for name in envelope:
        inner = object_in(inner).get(name)
    if isinstance(inner, dict):
        fields: dict[str, Any] = value
        return fields
    is_object = isinstance(value, dict)
    del value, inner  # this error's frames are shown to people
    name = ".".join(envelope)
    fault = f"has no object `{name}`" if is_object else "isn't a JSON object"
    raise bad_response(answer, f"the response {fault}")


def object_in(value: Any) -> dict[str, Any]:
    """Return a JSON object as it is, and an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}


def any_json(body: bytes, echoing: Answer | None = None) -> Any:
    """Return the JSON value that the body is; None if it is none.

    What the answer `echoing` may echo of its request's secrets is left out.
    """
    try:
        plain = body[:1] == b"{" and body[1:2] != b"\0"  # else one of UTF-16 and UTF-32, or a BOM
        text = body.decode("utf-8" if plain else json.detect_encoding(body))
        if echoing is None:
            return _DECODER.decode(text)
        is_plain = "\\" not in text and "%" not in text
        if is_plain and not hidden(holds_beginning, echoing.secrets, text):
            echoing.is_clean = True
            return _DECODER.decode(text)
        value = _DECODER.decode(echoing.erased(text))
        return _erased(value, echoing) if "\\" in text else value
    except (ValueError, RecursionError):
        return None


def _erased(value: Any, answer: Answer) -> Any:
    """Return a JSON value without the secrets that were written with escapes, as in `a\\/b`."""
    if isinstance(value, str):
        return answer.erased(value)
    if isinstance(value, list):
        return [_erased(item, answer) for item in value]
    if isinstance(value, dict):
        return {answer.erased(name): _erased(item, answer) for name, item in value.items()}
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A body that says two things under one name says nothing that can be relied on."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)  # json.loads would build one each time


def bad_response(answer: Answer, message: str) -> BadResponse:
    return BadResponse(message, status=answer.status, excerpt=excerpt(answer))


_CREDENTIAL = r'(?i)("[^"]*(?:token|secret|password)"\s*:\s*")(?:[^"\\]|\\.)*'  # compiled when used
"""A member of JSON that is a credential by its name: Catenis's `continuationToken`, for example."""


def excerpt(answer: Answer) -> str:
    """Return the beginning of a body as one short printable line; empty if it may hold a secret.

    An answer about credentials isn't quoted, nor a body that holds the beginning of a secret in any
    case: it may have been cut off, or be quoted in a way that nobody thought of.
    """
    if answer.is_about_credentials:
        return ""
    text = answer.erased(answer.body[:5000].decode("utf-8", "replace"))
    if hidden(holds_beginning, answer.secrets, text):
        return ""
    return printable(re.sub(_CREDENTIAL, r"\1***", text), 200)


def retry_after(answer: Answer, epoch: float) -> float | None:
    """Return the largest `Retry-After` in seconds: a number, or a date read against the `Date`.

    None if there is none, or none that is finite and not negative. `epoch` is the wall clock's
    time, used if the answer has no `Date`.
    """
    if not (found := answer.all("retry-after")):
        return None
    present = sent_at(answer, epoch)
    # A date has a comma of its own: "Sun, 06 Nov 1994 08:49:37 GMT".
    parts = (part for one in found for part in ([one] if http_date(one) else one.split(",")))
    return longest(*(_pause(part.strip(), present) for part in parts))


_LONGEST = 1e300
LONGEST_PAUSE = 86_400.0
"""Seconds: a `Retry-After` beyond this is a mistake of the server's, and not waited for."""


def pause_in_words(pause: float | None) -> str:
    """Return what to add to an error about a pause that isn't waited for; usually nothing."""
    if pause is None or pause <= LONGEST_PAUSE:
        return ""
    return f"; the service asks for a pause of {pause:.15g} s (Retry-After), which is over a day"


def _pause(value: str, present: float) -> float | None:
    try:
        pause = float(value.replace("_", "?"))
    except ValueError:
        then = http_date(value)
        return None if then is None else max(then - present, 0.0)
    if value.isascii() and value.isdecimal():  # of 400 digits, Python makes infinity
        return min(pause, _LONGEST)
    return pause if math.isfinite(pause) and pause >= 0 else None


def http_date(value: str | None) -> float | None:
    """Return an HTTP-date as seconds since 1970; None if it isn't one."""
    from email.utils import parsedate_to_datetime  # takes 6 ms, and few answers need it

    try:
        then = parsedate_to_datetime(value or "")
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def parse_time(value: object) -> datetime | None:
    """Return an ISO 8601 text (or a datetime) in UTC; None if it is neither or has no time zone."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(when, datetime) and when.tzinfo is not None:
            return when.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None


# --- single fields --------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Return text that isn't empty and can be written, or a number as text."""
    if isinstance(value, str):
        found = str(value)
        # JSON can hold half a surrogate pair, which no file or terminal takes.
        return (found if found.isascii() else found.encode("utf-8", "replace").decode()) or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def state(value: Any) -> str | None:
    """Return the name of a state in lower case; generated enums are text."""
    return None if (name := text(value)) is None else name.strip().lower()


def number(value: Any) -> float | None:
    """Return a finite number, which may have come as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:  # Python would read 1_0 as 10
        found = float(value.replace("_", "?") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def percent(value: Any) -> float | None:
    """Return a number from 0 to 100."""
    found = number(value)
    return found if found is not None and 0 <= found <= 100 else None


def share(value: Any, total: Any) -> float | None:
    """A count of a total as a number from 0 to 100."""
    done, whole = number(value), number(total)
    return percent(100 * done / whole) if done is not None and whole and whole > 0 else None


def count(value: Any) -> int | None:
    """Return an integer of at least 0."""
    found = number(value)
    if found is None or found < 0 or not found.is_integer():
        return None
    return value if isinstance(value, int) else int(found)


def milliseconds(value: Any) -> datetime | None:
    """Return a Unix time in milliseconds as a datetime in UTC; 0 is none."""
    return seconds(value, 1000)


def seconds(value: Any, of: int = 1) -> datetime | None:
    """Return a Unix time in seconds, or in a fraction `of` one, as a datetime in UTC; 0 is none."""
    found = number(value) or 0.0
    try:
        return datetime.fromtimestamp(found / of, UTC) if found > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def pause(value: Any, of: int = 1, since: float = 0.0) -> float | None:
    """Return a pause in seconds: a number of them, or of fractions `of` one, or the Unix time at
    which it ends, `since` that of the answer. None if there is none; the longest of a list."""
    if isinstance(value, list):
        return longest(*(pause(each, of, since) for each in value))
    found = number(value)
    told = str(value)
    if found is None and told.isascii() and told.isdecimal():  # of 400 digits: infinity in Python
        found = _LONGEST
    left = -1.0 if found is None else found / of - since
    return left if left > 0 else None


def sent_at(answer: Answer, epoch: float) -> float:
    """Return when an answer was sent, by its `Date`, or else by the wall clock: `epoch`."""
    return http_date(answer.header("date")) or epoch


def longest(*pauses: float | None) -> float | None:
    """Return the longest of several pauses, if there is one."""
    return max((found for found in pauses if found is not None), default=None)


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list, without whatever else is in it."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def word(value: Any) -> str:
    """A value for a message: its text, or what kind of value it is."""
    return text(value) or type(value).__name__


def words_of(fields: dict[str, Any]) -> str:
    """Several fields for a message: each with its name."""
    return ", ".join(f"{name}: {word(value)}" for name, value in fields.items())


def inside(fields: dict[str, Any], *names: str) -> Any:
    """Return the value inside several objects; None if one of them is missing or null.

    Anything else in place of an object is returned in a list, which equals nothing that a spec
    names: an error of another form is an error, too.
    """
    value: Any = fields
    for name in names:
        if value is None:
            return None
        if not isinstance(value, dict):
            return [value] if value else []
        value = value.get(name)
    return value


def is_another(value: Any, job_id: str, *, must: bool = False) -> bool:
    """Whether a field that names the job names another one, or none if it `must`. Case isn't
    compared: IDs are GUIDs."""
    return must if value is None else (text(value) or "").lower() != job_id.lower()


def titled(title: str | None, message: str | None) -> str | None:
    """A title and a message as one text, or the one there is."""
    return f"{title}: {message}" if title and message else title or message


_MESSAGE, _PARAMETER = 10_000, 500
"""Characters of a message with parameters, and of each parameter in it."""


def filled(message: str | None, params: Any) -> str | None:
    """A message with its parameters in their places: `%1` or `{0}` is the first.

    Each parameter is cut off, and the message: a few of them would fill the memory.
    """
    given = params if isinstance(params, list) else []

    def param(place: re.Match[str]) -> str:
        n = int(place[1]) - 1 if place[1] else int(place[2])
        return ((text(given[n]) if 0 <= n < len(given) else None) or "")[:_PARAMETER] or place[0]

    cut = (message or "")[:_MESSAGE]
    return re.sub(r"%([0-9]{1,2})|\{([0-9]{1,2})\}", param, cut)[:_MESSAGE] or None


def as_fault(faults: Iterable[tuple[str | None, str | None]]) -> Fault | None:
    """Several faults as one: the code of the first, the words of all. None if there is none."""
    codes_and_words = list(faults)
    if not codes_and_words:
        return None
    words = "; ".join(words for _, words in codes_and_words if words)
    return Fault(codes_and_words[0][0], words or None)
