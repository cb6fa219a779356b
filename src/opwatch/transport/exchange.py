"""What sync and async share: how a client uses the network, the request as it goes on the wire, and
what an answer or a failure comes to.

Sends nothing.
"""

from __future__ import annotations

import functools
import ssl
import time
import zlib
from typing import Any, NamedTuple

import httpcore
import httpx

from opwatch.errors import BadResponse, OpwatchError, TransportError
from opwatch.reading import bad_response, printable
from opwatch.transport.addresses import url_of
from opwatch.transport.limits import LONGEST_ANSWER, Limit, TooLong
from opwatch.wire import Address, Answer, Outgoing

KEEPALIVE_EXPIRY = 300.0
"""Seconds a connection is kept: more than the longest rung of any schedule."""


class Limits(NamedTuple):
    """How a client uses the network."""

    request_timeout: float = 30.0
    """Seconds for one whole request."""
    max_in_flight: int = 16
    ssl_context: ssl.SSLContext | None = None


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Costs 20 to 40 ms, so all clients share it."""
    return httpx.create_ssl_context()


def pool_options(limits: Limits, https: bool) -> dict[str, Any]:
    return {
        "ssl_context": (limits.ssl_context or _default_tls()) if https else None,
        "max_connections": limits.max_in_flight,
        "max_keepalive_connections": limits.max_in_flight,
        "keepalive_expiry": KEEPALIVE_EXPIRY,
    }


def origin(address: Address) -> httpcore.Origin:
    base = url_of(address)
    port = base.port or (443 if address.is_https else 80)
    return httpcore.Origin(base.raw_scheme, base.raw_host, port)


@functools.lru_cache(maxsize=4096)
def _url(address: Address, target: str) -> httpcore.URL:
    base = url_of(address)
    return httpcore.URL(
        scheme=base.raw_scheme, host=base.raw_host, port=base.port, target=target.encode("ascii")
    )


def request(outgoing: Outgoing, limit: Limit) -> httpcore.Request:
    """The request as it goes on the wire: nothing below this changes its target or its headers."""
    headers = [
        (b"Host", outgoing.address.host.encode("ascii")),
        (b"Accept-Encoding", b"identity"),
    ]
    headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in outgoing.headers]
    if outgoing.body:
        headers.append((b"Content-Length", b"%d" % len(outgoing.body)))
    return httpcore.Request(
        outgoing.method,
        _url(outgoing.address, outgoing.target),
        headers=headers,
        content=outgoing.body or None,
        extensions={"timeout": {"connect": limit, "read": limit, "write": limit, "pool": limit}},
    )


def _decoded(raw: bytes, encoding: str) -> tuple[bytes, bool]:
    """A body as far as it can be read, and whether that is all of it."""
    if encoding in ("", "identity"):
        return raw[:LONGEST_ANSWER], len(raw) <= LONGEST_ANSWER
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return b"", False
    decoder = zlib.decompressobj(wbits=47)
    try:
        body = decoder.decompress(raw, LONGEST_ANSWER + 1)
    except zlib.error:
        return b"", False
    return body[:LONGEST_ANSWER], decoder.eof and len(body) <= LONGEST_ANSWER


def _answer(response: httpcore.Response, outgoing: Outgoing, limit: Limit) -> Answer | BadResponse:
    headers = tuple(response.headers)
    encoding = next((value for name, value in headers if name.lower() == b"content-encoding"), b"")
    body, is_whole = _decoded(bytes(limit.body), encoding.decode("latin-1").strip().lower())
    answer = Answer(
        response.status,
        headers,
        body,
        time.monotonic() - limit.began,
        limit.veiled,
        outgoing.secrets,
    )
    if is_whole or response.status >= _ERROR:
        return answer
    return bad_response(
        answer,
        f"the answer is longer than {LONGEST_ANSWER} bytes, or encoded in a way not asked for",
    )


_ERROR = 300
"""From this status on an answer says enough by its head, whatever became of its body."""


def outcome(
    error: Exception | None, outgoing: Outgoing, limit: Limit
) -> Answer | OpwatchError | None:
    """What a request came to; None where its connection was dead before it began."""
    response = limit.response
    if response is not None and (error is None or response.status >= _ERROR):
        return _answer(response, outgoing, limit)
    assert error is not None
    if response is not None and isinstance(error, TooLong):
        return _answer(response, outgoing, limit)
    return None if _is_stale(error, limit) else _failure(error, outgoing, limit)


NETWORK_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)
"""What a network may do to a request; ValueError is h11's word for impossible bytes."""


def _failure(error: Exception, outgoing: Outgoing, limit: Limit) -> TransportError:
    """What went wrong, in words. The exception is left behind: its frames hold the request."""
    origin = outgoing.address.origin
    if isinstance(error, (httpcore.TimeoutException, TimeoutError)):
        if limit.connecting:
            return TransportError(f"no connection to {origin} in time")
        return TransportError(f"no whole answer from {origin} within {limit:g} s")
    if isinstance(error, httpcore.ConnectError):
        why = printable(str(error), 200) or "it was closed before it stood"
        return TransportError(f"no connection to {origin}: {why}")
    if isinstance(error, (httpcore.ProxyError, httpcore.UnsupportedProtocol)):
        return TransportError(f"no way to {origin} through the proxy: {printable(str(error), 200)}")
    if isinstance(error, httpcore.RemoteProtocolError):
        return TransportError(f"{origin} broke off or does not speak HTTP")
    return TransportError(f"the connection to {origin} broke ({type(error).__name__})")


def _is_stale(error: Exception, limit: Limit) -> bool:
    """Whether a kept connection turned out to be dead before anything came back on it.

    Then the request is repeated, once, also a POST: the only ones are for a token, and to ask for
    a token twice does no harm.
    """
    if limit.connected or limit.received or limit.repeats:
        return False
    return limit.closed or isinstance(error, httpcore.NetworkError)


def unseen(error: BaseException) -> BaseException:
    """An interrupt without the frames that hold credentials; any other error as it is."""
    if isinstance(error, Exception):
        return error
    error.__context__ = None
    return error.with_traceback(None)
