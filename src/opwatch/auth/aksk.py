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
_TOKEN = "\nx-security-token:"  # noqa: S105 (a header's name)


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
    token = security_token = Secret(security_token or "")
    when = stamp(timestamp)
    added = {"X-Sdk-Date": when}
    if project_id:
        added["X-Project-Id"] = project_id
    if plain := token.reveal():
        added["X-Security-Token"] = plain
    own = tuple(headers.items())
    start, end, names = _repeated(method, target, host, own, project_id or "", bool(plain))
    if plain:
        end = end.replace(_TOKEN, _TOKEN + plain, 1)
    digest = hashlib.sha256(body).hexdigest() if body else EMPTY_HASH
    hashed = hashlib.sha256(f"{start}{when}{end}{digest}".encode()).hexdigest()
    mac = signature(_keyed(secret_key), f"{ALGORITHM}\n{when}\n{hashed}")
    credential = f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={mac}"
    return {**added, "Authorization": credential}


@lru_cache(maxsize=1024)
def _repeated(
    method: str,
    target: str,
    host: str,
    headers: tuple[tuple[str, str], ...],
    project_id: str,
    has_token: bool,
) -> tuple[str, str, str]:
    """Return what the polls of a job have in common: the canonical request up to the date, and from
    there to the digest, without the security token; and the names of the signed headers."""
    signed = {**dict(headers), "Host": host, "X-Sdk-Date": ""}
    signed |= {"X-Project-Id": project_id} if project_id else {}
    signed |= {"X-Security-Token": ""} if has_token else {}
    lines = {name.lower(): value.strip() for name, value in signed.items()}
    path, _, query = target.partition("?")
    fields = sorted(parse_qsl(query, keep_blank_values=True)) if query else []
    query = "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in fields)
    # Each segment is decoded and encoded again, and there is always a slash at the end.
    path = "/".join(quote(part, safe="~") for part in unquote(path).split("/"))
    path = path if path.endswith("/") else path + "/"
    names = ";".join(sorted(lines))
    around = "".join([f"{name}:{lines[name]}\n" for name in sorted(lines)])
    start, date, end = around.partition("\nx-sdk-date:")
    head = "\n".join((method.upper(), path, query, start + date))
    return head, f"{end}\n{names}\n", names


@lru_cache(maxsize=64)
def _keyed(secret_key: Secret) -> hmac.HMAC:
    return hmac.new(secret_key.encode(), digestmod="sha256")
