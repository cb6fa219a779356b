"""The wire: one request out, one bounded answer in, and what a bad answer becomes.

The only file that knows httpx: its addresses, its TLS settings, and the connections of its own
engine, httpcore, without the client layer on top. That layer would rewrite what was signed, follow
and decode what we refuse, and cost as much again as the request. This file sends what it is given
to the one origin it is for and follows nothing; every limit is explicit, and every failure is one
of our errors with no trace of the request in it. It does not know services, tokens or waiting.

How a limit on a whole request is kept
--------------------------------------
httpcore hands the timeout of a request, as it is, to each read and write of the network. `_Limit`
is that number and also knows when its request has to be over, so each read is given only what is
left: a server that drips a byte a second is cut off in time. The same object sees whether the
request had to open a connection and whether anything came back. From that follows the one silent
repetition there is: a kept connection that turns out dead before a single byte came is replaced.

Why credentials in response headers are taken out on the way in
---------------------------------------------------------------
httpcore logs the response headers at DEBUG. A token that a service sends as a header
(`X-Subject-Token`) is therefore replaced in the bytes before httpcore sees them, and handed over
beside them; and so is what a server echoes of the request's own credentials.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import logging
import math
import re
import select
import socket
import ssl
import threading
import time
import urllib.request
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.abc
import attrs
import httpcore
import httpx
from anyio.abc import SocketAttribute
from anyio.lowlevel import RunVar
from anyio.streams.tls import TLSAttribute, TLSStream

from opwatch.errors import BadResponse, ConfigurationError, OpwatchError, TransportError
from opwatch.reading import bad_response, printable
from opwatch.wire import SHORTEST_ECHO, Address, Answer, Outgoing, Secret, is_loopback

LONGEST_ANSWER = 1024 * 1024
"""Bytes of a decoded body."""
CONNECT_TIMEOUT = 10.0
KEEPALIVE_EXPIRY = 300.0
"""Seconds a connection is kept: more than the longest rung of any schedule."""
_LONGEST_HEAD = 100 * 1024
_PIECE = 16 * 1024
"""Bytes sent at once."""
_LOG_OF_HEADS = logging.getLogger("httpcore.http11")


# --- addresses ------------------------------------------------------------------------------------


def address(url: str, name: str) -> Address:
    """`url` as the address of a service; `name` is what the caller calls it.

    Raises `ConfigurationError` for anything but an absolute https URL (http to loopback) without
    user information, query or fragment. The message does not quote it: it may hold a password.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{name} must be text, not {type(url).__name__}")
    for mark, part in (("@", "user information"), ("?", "a query"), ("#", "a fragment")):
        if mark in url:
            raise ConfigurationError(f"{name} must be an address without {part}")
    parsed = _parsed(url if "://" in url else f"https://{url}")
    if parsed is None or parsed.scheme not in ("https", "http"):
        raise ConfigurationError(f"{name} must be an address like https://example.com/path")
    if parsed.scheme == "http" and not is_loopback(parsed.host):
        raise ConfigurationError(
            f"{name} must be https: plain http, which sends credentials in the clear, "
            "is for loopback only"
        )
    host = parsed.netloc.decode("ascii")
    prefix = parsed.raw_path.decode("ascii").rstrip("/")
    return Address(f"{parsed.scheme}://{host}", host, prefix)


def _parsed(url: str) -> httpx.URL | None:
    """`url` where it is one with a host and a port that can be; httpx takes nearly anything."""
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port
    except (httpx.InvalidURL, ValueError):
        return None
    good = _is_host(parsed.raw_host.decode("ascii")) and (port is None or 0 < port < 65536)
    return parsed if host and good else None


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def _is_host(host: str) -> bool:
    if ":" in host:
        return _is_ipv6(host)
    labels = host.removesuffix(".").split(".")
    return len(host) < 255 and all(map(_LABEL.fullmatch, labels))


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False


# --- limits on a request in flight ----------------------------------------------------------------


class _TooLong(httpcore.NetworkError):
    """More came than an answer may hold."""


class _Limit(float):
    """The seconds of one request, and what became of it so far."""

    began: float
    end: float
    repeats: bool
    connected: bool
    connecting: bool
    received: bool
    closed: bool
    response: httpcore.Response | None
    body: bytearray
    reads_heads: bool
    """Whether credentials have to be taken out of heads: nobody else sees them but a log."""
    has_head: bool
    veil: re.Pattern[str] | None
    veiled: Secret | None
    secrets: tuple[Secret, ...]

    def __new__(cls, seconds: float, request: Outgoing) -> _Limit:
        limit = super().__new__(cls, seconds)
        limit.began = time.monotonic()
        limit.end = limit.began + seconds
        limit.repeats = limit.connected = limit.received = limit.closed = False
        limit.connecting = False
        limit.reads_heads = bool(request.veil) or _LOG_OF_HEADS.isEnabledFor(logging.DEBUG)
        limit.has_head = not limit.reads_heads
        limit.response = None
        limit.body = bytearray()
        limit.veil = _veil(request.veil) if request.veil else None
        limit.veiled = None
        limit.secrets = request.secrets
        return limit

    def again(self, request: Outgoing) -> _Limit:
        """For the one repetition, which has what is left of the time."""
        limit = _Limit(float(self), request)
        limit.repeats = True
        limit.end = self.end
        return limit

    def left(self, most: float = math.inf) -> float:
        """Seconds left, or `most`; raises where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time of the whole request is up")
        return min(left, most)

    def check_size(self) -> None:
        """Raise where more has come than is wanted. Iterating the body ends in this way only:
        left in the middle, the generators of an async one would be cleaned up too late."""
        if len(self.body) > LONGEST_ANSWER:
            raise _TooLong

    def take(self, data: bytes) -> bytes:
        """Note that something came, or that the other end closed the connection."""
        if data:
            self.received = True
        else:
            self.closed = True
        return data

    def open(self, response: httpcore.Response) -> None:
        """Note the head of the answer.

        Where nothing was read since the request was sent, it is left over from the answer before
        on a kept connection, and not to this request.
        """
        if not self.received:
            self.received = True
            raise httpcore.RemoteProtocolError("an answer before its request")
        self.response = response

    def add(self, chunk: bytes) -> None:
        """Note a piece of the body, unless there were too many before it. The pieces are not kept
        one by one: a server may send them a byte long."""
        if len(self.body) <= LONGEST_ANSWER:
            self.body += chunk

    def unveil(self, data: bytes, own: tuple[Secret, ...]) -> bytes:
        """Take credentials out of the head of an answer, with which `data` begins: the value of the
        veiled header, echoes of the request's, and those of the connection's `own`."""
        self.has_head = True
        end = _head_end(data) or len(data)
        head = data[:end].decode("latin-1")
        if self.veil is not None and (found := self.veil.search(head)):
            self.veiled = Secret(found[1])
            head = f"{head[: found.start(1)]}-{head[found.end(1) :]}"
        for secret in (*self.secrets, *own):
            if len(secret.reveal()) >= SHORTEST_ECHO:
                head = secret.erased(head)
        return head.encode("latin-1", "replace") + data[end:]


@functools.cache
def _veil(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?im)^{re.escape(name)}[ \t]*:[ \t]*([^\r\n]+?)[ \t]*\r?$")


_BLANK_LINE = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d\b")


def _head_end(data: bytes) -> int:
    """Where the head of an answer ends, after those of interim answers; 0 where it does not yet."""
    begin = 0
    while end := _BLANK_LINE.search(data, begin):
        if not _INTERIM.match(data, begin):
            return end.end()
        begin = end.end()
    return 0


def _lacks_head(data: bytes) -> bool:
    """Whether `data` begins like an answer, and its head may yet come."""
    begins = data[:7] == b"HTTP/1."[: len(data)]
    return begins and len(data) < _LONGEST_HEAD and not _head_end(data)


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes are given what is left of a request's time."""

    def __init__(self, inner: httpcore.NetworkStream, secrets: tuple[Secret, ...]) -> None:
        self._inner = inner
        self._secrets = secrets

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not isinstance(timeout, _Limit):
            return self._inner.read(max_bytes, timeout)
        timeout.check_size()
        data = timeout.take(self._inner.read(max_bytes, timeout.left()))
        if timeout.has_head:
            return data
        while _lacks_head(data):
            more = self._inner.read(max_bytes, timeout.left())
            if not more:
                break
            data += more
        return timeout.unveil(data, self._secrets)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not isinstance(timeout, _Limit):
            return self._inner.write(buffer, timeout)
        timeout.connecting = False
        # httpcore gives each piece that the other end takes the whole time again.
        for start in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[start : start + _PIECE], timeout.left())
        return None

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _to_connect(timeout)
        stream = self._inner.start_tls(ssl_context, server_hostname, left)
        return _Stream(stream, self._secrets)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, secrets: tuple[Secret, ...]) -> None:
        self._secrets = secrets

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        if isinstance(timeout, _Limit):
            timeout.connected = timeout.connecting = True
        failure: Exception | None = None
        for address in _addresses(host, port):
            left = _to_connect(timeout)
            try:
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._secrets)
        raise failure or httpcore.ConnectError("the name has no address")


def _addresses(host: str, port: int) -> list[str]:
    """Every address of a name. Asking for them is the one thing that no time limit reaches."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]


class _AsyncStream(httpcore.AsyncNetworkStream):
    """A connection of anyio's. One cancel scope around a whole request keeps its time, so reading
    and writing have no timers of their own, which cost as much as the reading."""

    def __init__(self, stream: anyio.abc.ByteStream, secrets: tuple[Secret, ...]) -> None:
        self._stream = stream
        self._secrets = secrets
        self._socket = stream.extra(SocketAttribute.raw_socket, None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not isinstance(timeout, _Limit):
            return await self._receive(max_bytes)
        timeout.check_size()
        data = timeout.take(await self._receive(max_bytes))
        if timeout.has_head:
            return data
        while _lacks_head(data):
            more = await self._receive(max_bytes)
            if not more:
                break
            data += more
        return timeout.unveil(data, self._secrets)

    async def _receive(self, max_bytes: int) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if isinstance(timeout, _Limit):
            timeout.connecting = False
        try:
            if buffer:
                await self._stream.send(buffer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(_to_connect(timeout)):
                stream = await TLSStream.wrap(
                    self._stream,
                    ssl_context=ssl_context,
                    hostname=server_hostname,
                    standard_compatible=False,
                    server_side=False,
                )
                return _AsyncStream(stream, self._secrets)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            if isinstance(error, (anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError)):
                raise httpcore.ConnectError(str(error)) from error
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)
        if info == "is_readable":
            return _is_readable(self._socket)
        return self._socket if info == "socket" else None


def _is_readable(sock: socket.socket | None) -> bool:
    """Whether a read would not block: on a kept connection, whether its other end has closed it."""
    if sock is None or sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, secrets: tuple[Secret, ...]) -> None:
        self._secrets = secrets

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if isinstance(timeout, _Limit):
            timeout.connected = timeout.connecting = True
        try:
            with anyio.fail_after(_to_connect(timeout)):
                stream = await anyio.connect_tcp(host, port, local_host=local_address)
                return _AsyncStream(stream, self._secrets)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError(str(error)) from error


def _to_connect(timeout: float | None) -> float | None:
    """Seconds left to connect, or for TLS; the answer's head comes after it, not a proxy's."""
    if not isinstance(timeout, _Limit):
        return timeout
    timeout.has_head = not timeout.reads_heads
    return timeout.left(CONNECT_TIMEOUT)


# --- what sync and async share --------------------------------------------------------------------


@attrs.frozen
class Limits:
    """How a client uses the network."""

    request_timeout: float = 30.0
    """Seconds for one whole request."""
    max_in_flight: int = 16
    ssl_context: ssl.SSLContext | None = None


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Costs 20 to 40 ms, so all clients share it."""
    return httpx.create_ssl_context()


def _pool_options(limits: Limits, https: bool) -> dict[str, Any]:
    return {
        "ssl_context": (limits.ssl_context or _default_tls()) if https else None,
        "max_connections": limits.max_in_flight,
        "max_keepalive_connections": limits.max_in_flight,
        "keepalive_expiry": KEEPALIVE_EXPIRY,
    }


def _proxy(address: Address) -> httpx.Proxy | None:
    """The proxy that the environment names for an address (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    base = _base(address)
    host = base.host
    if is_loopback(host):
        return None
    url = _proxy_url(base.scheme)
    if not url.reveal() or urllib.request.proxy_bypass(host):
        return None
    proxy = _parsed_proxy(url)
    if proxy is None:
        raise ConfigurationError(
            f"the proxy of the environment ({base.scheme.upper()}_PROXY) must be an http address; "
            "one that is spoken to over TLS or SOCKS is not supported"
        )
    return proxy


def _proxy_url(scheme: str) -> Secret:
    proxies = urllib.request.getproxies()
    return Secret(proxies.get(scheme) or proxies.get("all") or "")


def _parsed_proxy(url: Secret) -> httpx.Proxy | None:
    text = url.reveal()
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
        # TLS within TLS would keep no time limit.
        fits = proxy.url.scheme == "http" and _is_host(proxy.url.raw_host.decode("ascii"))
        return proxy if fits else None
    except (httpx.InvalidURL, ValueError):
        return None


def _proxy_secrets(proxy: httpx.Proxy | None) -> tuple[Secret, ...]:
    """What a proxy is authenticated with, as it is sent and as it is set."""
    if proxy is None or proxy.raw_auth is None:
        return ()
    pair = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
    return Secret(pair), Secret(proxy.raw_auth[1].decode("utf-8", "replace"))


def _proxy_options(proxy: httpx.Proxy) -> dict[str, Any]:
    return {
        "proxy_url": httpcore.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        ),
        "proxy_auth": proxy.raw_auth,
        "proxy_headers": proxy.headers.raw,
    }


@functools.lru_cache(maxsize=64)
def _base(address: Address) -> httpx.URL:
    return httpx.URL(address.origin)


def _origin(address: Address) -> httpcore.Origin:
    base = _base(address)
    port = base.port or (443 if address.is_https else 80)
    return httpcore.Origin(base.raw_scheme, base.raw_host, port)


@functools.lru_cache(maxsize=4096)
def _url(address: Address, target: str) -> httpcore.URL:
    base = _base(address)
    return httpcore.URL(
        scheme=base.raw_scheme, host=base.raw_host, port=base.port, target=target.encode("ascii")
    )


def _request(outgoing: Outgoing, limit: _Limit) -> httpcore.Request:
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


def _answer(response: httpcore.Response, outgoing: Outgoing, limit: _Limit) -> Answer | BadResponse:
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


def _outcome(
    error: Exception | None, outgoing: Outgoing, limit: _Limit
) -> Answer | OpwatchError | None:
    """What a request came to; None where its connection was dead before it began."""
    response = limit.response
    if response is not None and (error is None or response.status >= _ERROR):
        return _answer(response, outgoing, limit)
    assert error is not None
    if response is not None and isinstance(error, _TooLong):
        return _answer(response, outgoing, limit)
    return None if _is_stale(error, limit) else _failure(error, outgoing, limit)


_NETWORK_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)
"""What a network may do to a request; ValueError is h11's word for impossible bytes."""


def _failure(error: Exception, outgoing: Outgoing, limit: _Limit) -> TransportError:
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


def _is_stale(error: Exception, limit: _Limit) -> bool:
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


# --- connections ----------------------------------------------------------------------------------


class _Connections:
    """The connections to one origin: those not in use are kept, the last that was used goes first.

    httpcore's pool only makes them. Its bookkeeping costs a fifth of a small request, for a limit
    that is kept by the places of the transport.
    """

    def __init__(self, pool: httpcore.ConnectionPool, origin: httpcore.Origin) -> None:
        self._pool = pool
        self._origin = origin
        self._kept: deque[httpcore.ConnectionInterface] = deque()

    def take(self) -> httpcore.ConnectionInterface:
        """A connection of one's own, kept or new."""
        with suppress(IndexError):  # another thread took the last one
            while self._kept:
                connection = self._kept.pop()
                if not connection.has_expired():
                    return connection
                connection.close()
        return self._pool.create_connection(self._origin)

    def give(self, connection: httpcore.ConnectionInterface) -> None:
        """Keep it where it can be used again; close it otherwise."""
        if connection.is_idle():
            self._kept.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is kept."""
        with suppress(IndexError):
            while self._kept:
                self._kept.pop().close()


def _close(origins: dict[str, _Connections]) -> None:
    while origins:
        origins.popitem()[1].close()


class _AsyncConnections:
    """As `_Connections`, for one event loop."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, origin: httpcore.Origin) -> None:
        self._pool = pool
        self._origin = origin
        self._kept: list[httpcore.AsyncConnectionInterface] = []

    async def take(self) -> httpcore.AsyncConnectionInterface:
        while self._kept:
            connection = self._kept.pop()
            if not connection.has_expired():
                return connection
            await _aclose(connection)
        return self._pool.create_connection(self._origin)

    async def give(self, connection: httpcore.AsyncConnectionInterface) -> None:
        if connection.is_idle():
            self._kept.append(connection)
        else:
            await _aclose(connection)

    async def aclose(self) -> None:
        while self._kept:
            await _aclose(self._kept.pop())


async def _aclose(connection: httpcore.AsyncConnectionInterface) -> None:
    """Close, also where the request it was for has just been cancelled."""
    with anyio.CancelScope(shield=True):
        await connection.aclose()


# --- the two transports ---------------------------------------------------------------------------


class Transport:
    """Sends requests and blocks for the answer. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._origins: dict[str, _Connections] = {}
        self._places = threading.BoundedSemaphore(limits.max_in_flight)
        # A client that is used in one line and dropped leaves no connection open.
        weakref.finalize(self, _close, self._origins)

    def send(self, outgoing: Outgoing) -> Answer:
        """The answer, whatever its status; `TransportError` or `BadResponse` where none came."""
        with self._places:
            limit = _Limit(self.limits.request_timeout, outgoing)
            outcome = self._try(outgoing, limit)
            if outcome is None:
                self._connections(outgoing.address).close()
                outcome = self._try(outgoing, limit.again(outgoing))
        if isinstance(outcome, Answer):
            return outcome
        assert outcome is not None
        raise outcome

    def close(self) -> None:
        _close(self._origins)

    def _try(self, outgoing: Outgoing, limit: _Limit) -> Answer | OpwatchError | None:
        """One attempt; None where its connection was dead before it began."""
        try:
            self._exchange(outgoing, limit)
            return _outcome(None, outgoing, limit)
        except OpwatchError as error:
            return error
        except _NETWORK_ERRORS as error:
            return _outcome(error, outgoing, limit)
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise unseen(error)  # noqa: B904 (its context holds the request)

    def _exchange(self, outgoing: Outgoing, limit: _Limit) -> None:
        request = _request(outgoing, limit)
        connections = self._connections(outgoing.address)
        connection = connections.take()
        try:
            response = connection.handle_request(request)
            try:
                limit.open(response)
                for chunk in response.iter_stream():
                    limit.add(chunk)
            finally:
                response.close()
        finally:
            connections.give(connection)

    def _connections(self, address: Address) -> _Connections:
        found = self._origins.get(address.origin)
        if found is None:
            proxy = _proxy(address)
            options = _pool_options(self.limits, address.is_https)
            options["network_backend"] = _Backend(_proxy_secrets(proxy))
            if proxy is not None:
                pool: httpcore.ConnectionPool = httpcore.HTTPProxy(
                    **_proxy_options(proxy), **options
                )
            else:
                pool = httpcore.ConnectionPool(**options)
            found = self._origins.setdefault(address.origin, _Connections(pool, _origin(address)))
        return found


@attrs.frozen
class _Loop:
    origins: dict[str, _AsyncConnections]
    places: anyio.Semaphore


class AsyncTransport:
    """Sends requests from any event loop, asyncio or trio; each has connections of its own."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._loops: RunVar[_Loop] = RunVar(f"opwatch {id(self)}")

    async def send(self, outgoing: Outgoing) -> Answer:
        """As `Transport.send`."""
        async with self._here().places:
            limit = _Limit(self.limits.request_timeout, outgoing)
            outcome = await self._try(outgoing, limit)
            if outcome is None:
                await self._connections(outgoing.address).aclose()
                outcome = await self._try(outgoing, limit.again(outgoing))
        if isinstance(outcome, Answer):
            return outcome
        assert outcome is not None
        raise outcome

    async def aclose(self) -> None:
        origins = self._here().origins
        while origins:
            await origins.popitem()[1].aclose()

    async def _try(self, outgoing: Outgoing, limit: _Limit) -> Answer | OpwatchError | None:
        try:
            with anyio.fail_after(limit.left()):
                await self._exchange(outgoing, limit)
            return _outcome(None, outgoing, limit)
        except OpwatchError as error:
            return error
        except _NETWORK_ERRORS as error:
            return _outcome(error, outgoing, limit)
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise unseen(error)  # noqa: B904 (its context holds the request)

    async def _exchange(self, outgoing: Outgoing, limit: _Limit) -> None:
        request = _request(outgoing, limit)
        connections = self._connections(outgoing.address)
        connection = await connections.take()
        try:
            response = await connection.handle_async_request(request)
            try:
                limit.open(response)
                async for chunk in response.aiter_stream():
                    limit.add(chunk)
            finally:
                await response.aclose()
        finally:
            await connections.give(connection)

    def _connections(self, address: Address) -> _AsyncConnections:
        origins = self._here().origins
        found = origins.get(address.origin)
        if found is None:
            proxy = _proxy(address)
            options = _pool_options(self.limits, address.is_https)
            options["network_backend"] = _AsyncBackend(_proxy_secrets(proxy))
            if proxy is not None:
                pool: httpcore.AsyncConnectionPool = httpcore.AsyncHTTPProxy(
                    **_proxy_options(proxy), **options
                )
            else:
                pool = httpcore.AsyncConnectionPool(**options)
            found = origins[address.origin] = _AsyncConnections(pool, _origin(address))
        return found

    def _here(self) -> _Loop:
        """What belongs to the running event loop."""
        loop = self._loops.get(None)
        if loop is None:
            loop = _Loop({}, anyio.Semaphore(self.limits.max_in_flight, fast_acquire=True))
            self._loops.set(loop)
        return loop


open_blocking: ContextVar[Callable[[Limits], Transport]] = ContextVar(
    "opwatch transport", default=Transport
)
"""What opens the transport of the clients made from here on; tests set another."""
open_async: ContextVar[Callable[[Limits], AsyncTransport]] = ContextVar(
    "opwatch async transport", default=AsyncTransport
)
