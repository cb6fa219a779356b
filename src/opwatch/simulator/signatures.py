"""Checks AK/SK signatures, and locks keys after too many failures.

"AK/SK authentication" of the provider's public signing guide.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import attrs

from opwatch.auth import aksk
from opwatch.simulator.simulation import Exchange, Refused
from opwatch.simulator.state import State
from opwatch.simulator.timeline import Frame

CLOCK_TOLERANCE = timedelta(minutes=15)
LOCK_AFTER = 5
"""Failed signatures in a row; one more locks the keys."""
LOCK_TIME = 300.0
_AUTHORIZATION = re.compile(
    rf"{aksk.ALGORITHM} Access=([^,\s]+), SignedHeaders=([^,\s]+), Signature=([0-9a-f]{{64}})"
)


@attrs.define
class KeyPair:
    """An access key, and how often its signature failed."""

    secret_key: str
    project_id: str
    """The only project that it opens."""
    security_token: str | None = None
    failures: int = 0
    """In a row."""
    locked_until: float = 0.0


def project_of_signature(
    exchange: Exchange, state: State, keys: Mapping[str, KeyPair]
) -> str | None:
    """Return the project that a signed request is for, or None if its key doesn't open that.

    Refuses an invalid signature.
    """
    authorization = exchange.header("authorization")
    if authorization is None:
        raise Refused(Frame(error="APIG.0301"))
    parts = _AUTHORIZATION.fullmatch(authorization)
    if parts is None:
        raise _unsigned("the Authorization header is not well formed")
    access_key, names, _ = parts.groups()
    pair = keys.get(access_key)
    if pair is None:
        raise _unsigned("the access key does not exist")
    with state.lock:
        now = state.clock.now()
        if now < pair.locked_until:
            raise _unsigned("the access key is locked after too many failures")
        wrong = _wrong(exchange, state, access_key, pair, names.split(";"))
        pair.failures = 0 if wrong is None else pair.failures + 1
        if pair.failures > LOCK_AFTER:
            pair.failures, pair.locked_until = 0, now + LOCK_TIME
    if wrong is not None:
        raise _unsigned(wrong)
    return pair.project_id if exchange.header("x-project-id") == pair.project_id else None


def _unsigned(why: str) -> Refused:
    return Refused(
        Frame(error="APIG.0301", message=f"Incorrect IAM authentication information: {why}")
    )


def _wrong(
    exchange: Exchange, state: State, access_key: str, pair: KeyPair, names: list[str]
) -> str | None:
    """Return what is wrong with a signature, or None."""
    must = {"host", "x-sdk-date", "x-project-id"}
    if pair.security_token is not None:
        must.add("x-security-token")
    if missing := sorted(must - set(names)):
        return f"not signed: {', '.join(missing)}"
    signed = {name: exchange.header(name) for name in names}
    if absent := sorted(name for name, value in signed.items() if value is None):
        return f"signed but not sent: {', '.join(absent)}"
    headers = {name: value for name, value in signed.items() if value is not None}
    stamp = _time(headers["x-sdk-date"])
    if stamp is None:
        return "X-Sdk-Date is not well formed"
    if abs(stamp - datetime.fromtimestamp(state.epoch(), UTC)) > CLOCK_TOLERANCE:
        return "X-Sdk-Date is too far from the service's time"
    if pair.security_token is not None and headers["x-security-token"] != pair.security_token:
        return "the security token is wrong"
    expected = aksk.sign(
        method=exchange.method,
        target=exchange.target,
        host=headers["host"],
        headers={name: value for name, value in headers.items() if name not in _OWN},
        body=exchange.body,
        access_key=access_key,
        secret_key=pair.secret_key,
        timestamp=stamp,
        project_id=headers["x-project-id"],
        security_token=headers.get("x-security-token"),
    )["Authorization"]
    given = exchange.header("authorization") or ""
    return None if hmac.compare_digest(expected.encode(), given.encode()) else "verify failed"


_OWN = frozenset({"host", "x-sdk-date", "x-project-id", "x-security-token"})
"""Headers that the signing function adds itself."""


def _time(stamp: str) -> datetime | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", stamp, re.ASCII):
        return None
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
