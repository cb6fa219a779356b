"""CTN1-HMAC-SHA256: the signature of a Catenis API request, as a pure function.

Catenis, "API authentication": a conformed request is hashed into a string to sign, which is
signed with a key that is valid for a scope of days. Nothing here reads a clock or sends anything.

Two things decide whether a signature is accepted: the target and the Host must be, byte for byte,
what is sent; and the sign date must be neither in the server's future nor seven days old. If a key
is used for seven days, as in the official clients, it is refused on the last day; with "today", it
is refused at midnight by a server whose clock is behind. The date of five minutes before each
request is valid for every clock that passes the timestamp check.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from opwatch.auth.hashing import EMPTY_HASH, signature, stamp
from opwatch.net.message import Secret

ALGORITHM = "CTN1-HMAC-SHA256"
SCOPE = "ctn1_request"
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a timestamp may differ from the server's clock."""


def sign(
    *,
    method: str,
    target: str,
    host: str,
    body: bytes,
    device_id: str,
    secret: str | Secret,
    timestamp: datetime,
    sign_date: date | None = None,
) -> dict[str, str]:
    """Return the headers that authenticate one request: `X-BCoT-Timestamp` and `Authorization`.

    `target` is the path and query exactly as sent, `host` the `Host` header exactly as sent, with
    the port if one is sent. `timestamp` is an aware datetime, truncated to the second. `sign_date`
    defaults to the UTC date of five minutes before it. Raises `ConfigurationError` for a
    `timestamp` without a time zone.
    """
    secret = Secret(secret)
    when = stamp(timestamp)
    day = str(sign_date or timestamp.astimezone(UTC) - CLOCK_TOLERANCE)[:10].replace("-", "")
    digest = hashlib.sha256(body).hexdigest() if body else EMPTY_HASH
    conformed = f"{method}\n{target}\nhost:{host}\nx-bcot-timestamp:{when}\n\n{digest}\n"
    scope = f"{day}/{SCOPE}"
    hashed = hashlib.sha256(conformed.encode()).hexdigest()
    signed = signature(_keyed(secret, day), f"{ALGORITHM}\n{when}\n{scope}\n{hashed}\n")
    return {
        "X-BCoT-Timestamp": when,
        "Authorization": f"{ALGORITHM} Credential={device_id}/{scope}, Signature={signed}",
    }


@lru_cache(maxsize=64)
def _keyed(secret: Secret, day: str) -> hmac.HMAC:
    """Return the key of one secret for one day: the same for every request of the day."""
    dated = hmac.digest(b"CTN1" + secret.encode(), day.encode(), "sha256")
    return hmac.new(hmac.digest(dated, SCOPE.encode(), "sha256"), digestmod="sha256")
