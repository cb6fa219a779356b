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

from opwatch.auth.hashing import EMPTY_HASH, signature, stamp
from opwatch.net.message import Secret

ALGORITHM = "SDK-HMAC-SHA256"


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
    """Return the headers that authenticate one request: `X-Sdk-Date`, `Authorization`, and, if
    given, `X-Project-Id` and `X-Security-Token`.

    `target` is the path and query as sent, `host` is the `Host` header as sent, and `headers` are
    signed in addition to `Host` and the headers returned here. `timestamp` is an aware datetime.
    Raises `ConfigurationError` for a `timestamp` without a time zone.
    """
    secret_key = Secret(secret_key)
    security_token = Secret(security_token or "")
    added = {"X-Sdk-Date": stamp(timestamp)}
    if project_id:
        added["X-Project-Id"] = project_id
    if token := security_token.reveal():
        added["X-Security-Token"] = token
    signed = {**headers, "Host": host, **added}
    pairs = sorted([(name.lower(), value.strip()) for name, value in signed.items()])
    lines = "".join([f"{name}:{value}\n" for name, value in pairs])
    names = ";".join([name for name, _ in pairs])
    path, _, query = target.partition("?")
    fields = sorted(parse_qsl(query, keep_blank_values=True)) if query else []
    query = "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in fields)
    digest = hashlib.sha256(body).hexdigest() if body else EMPTY_HASH
    canonical = "\n".join((method.upper(), _canonical(path), query, lines, names, digest))
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    mac = signature(_keyed(secret_key), f"{ALGORITHM}\n{added['X-Sdk-Date']}\n{hashed}")
    added["Authorization"] = (
        f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={mac}"
    )
    return added


@lru_cache(maxsize=64)
def _keyed(secret_key: Secret) -> hmac.HMAC:
    return hmac.new(secret_key.encode(), digestmod="sha256")


@lru_cache(maxsize=1024)
def _canonical(path: str) -> str:
    """Each segment decoded and encoded again, always with a slash at the end."""
    canonical = "/".join(quote(part, safe="~") for part in unquote(path).split("/"))
    return canonical if canonical.endswith("/") else canonical + "/"
