"""SDK-HMAC-SHA256 in its `Access=` form: the signature of an APIG request, as a pure function.

Open Telekom Cloud and Huawei Cloud, "AK/SK authentication". Nothing here reads a clock or sends
anything. A signed request that was refused must not be signed and sent again in a loop: more than
five failures in a row lock the pair of keys for five minutes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote

from opwatch.auth import compact, signature, utc
from opwatch.wire import Secret

ALGORITHM = "SDK-HMAC-SHA256"
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()


def sign(
    *,
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: str | Secret,
    timestamp: datetime,
    project_id: str | None = None,
    security_token: str | Secret | None = None,
) -> dict[str, str]:
    """The headers that authenticate one request: `X-Sdk-Date`, `Authorization`, and what was given
    of `X-Project-Id` and `X-Security-Token`.

    `target` is the path and query as sent, `host` the `Host` header as sent, `headers` what is to
    be signed beside `Host` and the headers returned here. `timestamp` is an aware datetime.
    Raises `ConfigurationError` for a `timestamp` without a time zone.
    """
    secret_key = Secret(secret_key)
    security_token = Secret(security_token or "")
    added = {"X-Sdk-Date": compact(utc(timestamp))}
    if project_id:
        added["X-Project-Id"] = project_id
    if token := security_token.reveal():
        added["X-Security-Token"] = token
    lines, names = canonical_headers({**headers, "Host": host, **added})
    path, _, query = target.partition("?")
    canonical = "\n".join(
        (
            method.upper(),
            canonical_path(path),
            canonical_query(query) if query else "",
            lines,
            names,
            hashlib.sha256(body).hexdigest() if body else _EMPTY_HASH,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{added['X-Sdk-Date']}\n{digest}"
    signed = signature(_keyed(secret_key), to_sign)
    added["Authorization"] = (
        f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signed}"
    )
    return added


@lru_cache(maxsize=64)
def _keyed(secret_key: Secret) -> hmac.HMAC:
    return hmac.new(secret_key.encode(), digestmod="sha256")


def canonical_headers(headers: Mapping[str, str]) -> tuple[str, str]:
    """The block of `name:value` lines, each with its newline, and the names joined by `;`."""
    pairs = sorted((name.lower(), value.strip()) for name, value in headers.items())
    return "".join(f"{name}:{value}\n" for name, value in pairs), ";".join(n for n, _ in pairs)


@lru_cache(maxsize=1024)
def canonical_path(path: str) -> str:
    """Each segment decoded and encoded anew, always with a slash at the end."""
    canonical = "/".join(quote(part, safe="~") for part in unquote(path).split("/"))
    return canonical if canonical.endswith("/") else canonical + "/"


def canonical_query(query: str) -> str:
    """The pairs sorted, then encoded; `key=` where a value is empty."""
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in pairs)
