"""One connection: opening it, directly or through a proxy, and using it. The pool keeps it.

Written once for blocking and async clients: sockets never block, and what waits is a coroutine that
awaits an `Io`. That of a blocking client never suspends.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from opwatch.errors import TransportError
from opwatch.net import tls
from opwatch.net.address import endpoint
from opwatch.net.exchange import ProtocolError, exchange
from opwatch.net.message import Address, Answer, Request, Secret, hidden
from opwatch.net.proxy import Proxy

CONNECT_TIMEOUT = 10.0  # seconds for all addresses together, and again for the TLS handshake
_OPTIONS = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_READ = 64 * 1024

T = TypeVar("T")
_HAS_POLL = hasattr(select, "poll")


class Io:
    """How to wait: here by blocking, so that a coroutine never suspends; `asynchronous` awaits."""

    def is_ready(self, sock: socket.socket, for_write: bool, until: float) -> bool:
        left = min(max(until - time.monotonic(), 0.0), 1e6)  # `poll` takes milliseconds in 32 bits
        if _HAS_POLL:
            poll = select.poll()
            poll.register(sock, select.POLLOUT if for_write else select.POLLIN)
            return bool(poll.poll(left * 1000))
        # Windows reports a connection that failed as an exceptional condition.
        return any(select.select([] if for_write else [sock], [sock] * for_write, [sock], left))

    async def ready(self, sock: socket.socket, for_write: bool, until: float) -> bool:
        """Wait until a socket is ready; return False if it isn't in time."""
        return self.is_ready(sock, for_write, until)

    async def addresses(self, host: str, port: int, until: float) -> list[Any]:
        """Look up a host. If this blocks, no time limit reaches it."""
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def pause(self) -> None:
        """Let other tasks run."""


class Connection:
    """A socket that closes quietly if an interrupt or a dropped client loses it."""

    end = begin_by = sent = first_byte = 0.0  # of `time.monotonic`, for the latest request

    def __init__(self, sock: socket.socket, io: Io) -> None:
        self.sock = sock
        self.io = io

    def close(self) -> None:
        if hasattr(self, "sock"):
            socket.SocketType.close(self.sock)

    def __del__(self) -> None:
        self.close()

    async def converse(self, request: Request, end: float, begin_by: float) -> tuple[Answer, bool]:
        """Send a request; return its answer, and whether the connection can be used again.

        Raises `ProtocolError`, or `OSError` if the network fails. That is `TimeoutError` at `end`,
        or if nothing came by `begin_by`.
        """
        self.end, self.begin_by, self.first_byte = end, begin_by, 0.0
        return await exchange(request, self)

    async def send(self, pieces: list[bytes | Secret]) -> None:
        # A server may answer before it has read everything, and close.
        with suppress(ConnectionError, ssl.SSLError):
            while pieces:
                send = partial(hidden, _transmit, self.sock, pieces)
                pieces = await self.when_ready(send, self.end, for_write=True, at_once=True)
        self.sent = time.monotonic()

    async def receive(self) -> bytes:
        until = self.end if self.first_byte else self.begin_by
        data = await self.when_ready(partial(self.sock.recv, _READ), until, for_write=False)
        if data and not self.first_byte:
            self.first_byte = time.monotonic()
        return data

    async def pause(self) -> None:
        await self.io.pause()
        if time.monotonic() >= self.end:
            raise TimeoutError

    async def when_ready(
        self, act: Callable[[], T], until: float, *, for_write: bool, at_once: bool = False
    ) -> T:
        """Call `act` when the socket is ready, and again until it needs no further wait."""
        while at_once or await self.io.ready(self.sock, for_write, until):
            at_once = False
            try:
                return act()
            except BlockingIOError:
                pass
            except ssl.SSLWantReadError:
                for_write = False
            except ssl.SSLWantWriteError:
                for_write = True
        raise TimeoutError

    async def dial(self, where: Any, until: float) -> None:
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS.items():
            with suppress(AttributeError, OSError):  # not every system has all of them
                self.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        try:
            self.sock.connect(where)
        except BlockingIOError:
            if not await self.io.ready(self.sock, True, until):
                raise TimeoutError from None
            if code := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, "") from None


class _Socket(socket.socket):
    """Closes quietly, and without a frame, if an interrupt loses it before anything holds it."""

    __slots__ = ()
    __del__ = socket.SocketType.close


def _transmit(sock: socket.socket, pieces: list[bytes | Secret]) -> list[bytes | Secret]:
    """Send what the socket takes, and return the rest. Only here, `hidden`, is it unwrapped."""
    data = b"".join([one.encode() if isinstance(one, Secret) else one for one in pieces])
    rest = data[sock.send(data) :]
    return [Secret(rest)] if rest else []


async def connect(io: Io, address: Address, proxy: Proxy | None, end: float) -> Connection:
    """Open a connection to an address, without TLS.

    Raises `TransportError`, which names the proxy if that is what failed.
    """
    host, port = endpoint(address)
    if proxy is None:
        connection = await _dialed(io, host, port, end, address.origin)
    else:
        connection = await _dialed(io, proxy.host, proxy.port, end, f"the proxy {proxy}")
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await _open_tunnel(connection, proxy, target, end)
    return connection


async def encrypt(
    connection: Connection,
    address: Address,
    context: ssl.SSLContext,
    end: float,
    *,
    is_known: bool = False,
) -> None:
    """Start TLS on a new connection. Raises `TransportError`.

    No retry makes an issuer known, so that error is final, unless the address `is_known`: if it was
    trusted before, something else is in its place, and may not stay there.
    """
    until = min(end, time.monotonic() + CONNECT_TIMEOUT)
    name = endpoint(address)[0].removesuffix(".")
    try:
        connection.sock = sock = context.wrap_socket(
            connection.sock, do_handshake_on_connect=False, server_hostname=name
        )
        await connection.when_ready(sock.do_handshake, until, for_write=True)
        chosen = sock.selected_alpn_protocol()
    except (OSError, ValueError) as error:  # Python raises ValueError for some broken sockets
        problem = f"could not connect to {address.origin}: {tls.why(error)}"
        may_heal = is_known or not tls.is_untrusted(error)
        raise TransportError(problem, transient=may_heal) from None
    if chosen not in (None, "http/1.1"):
        problem = f"{address.origin} chose {chosen}, which `ssl_context` offers (ALPN)"
        raise TransportError(f"{problem}; opwatch speaks only http/1.1", transient=False)


async def _dialed(io: Io, host: str, port: int, end: float, whom: str) -> Connection:
    """Connect to the first address that answers; none gets more than its share of the time."""
    until = min(end, time.monotonic() + CONNECT_TIMEOUT)
    reasons: dict[str, None] = {}
    try:
        found = await io.addresses(host, port, until)
    except OSError as error:
        found, reasons = [], {_reason(error): None}
    for tried, (family, kind, protocol, _, where) in enumerate(found):
        now = time.monotonic()
        try:
            connection = Connection(_Socket(family, kind, protocol), io)
            await connection.dial(where, now + (until - now) / (len(found) - tried))
            return connection
        except OSError as error:
            reasons[_reason(error)] = None
    why = "; ".join(reasons) or "the host name has no address"
    raise TransportError(f"could not connect to {whom}: {why}")


async def _open_tunnel(connection: Connection, proxy: Proxy, target: str, end: float) -> None:
    whom, seconds = f"the proxy {proxy}", end - time.monotonic()
    headers = (("Proxy-Authorization", proxy.authorization),) if proxy.authorization else ()
    try:
        request = Request("CONNECT", Address("", target), target, headers)
        answer, is_silent = await connection.converse(request, end, end)
        if answer.is_success and not is_silent:
            raise ProtocolError  # in TLS, the client speaks first
    except (OSError, ProtocolError) as error:
        raise failure(error, whom, seconds) from None
    if answer.status == 407:
        what = "requires credentials"
        advice = "add them: HTTPS_PROXY=http://user:password@host:port"
        if proxy.authorization:
            what = "refused the credentials"
            advice = "check the user and password in HTTPS_PROXY or ALL_PROXY"
        raise TransportError(f"{whom} {what} (407)", advice=advice, transient=False)
    if not answer.is_success:
        problem = f"{whom} refused to connect to {target} ({answer.status})"
        raise TransportError(problem, head=answer)


def failure(error: OSError | ProtocolError, whom: str, seconds: float) -> TransportError:
    """Say why no answer came from `whom`, to which a request was sent."""
    if isinstance(error, TimeoutError):
        return TransportError(f"no complete response from {whom} within {round(seconds, 2):g} s")
    if isinstance(error, ProtocolError):
        return TransportError(f"{whom} {str(error) or 'did not send a valid HTTP response'}")
    return TransportError(f"the connection to {whom} broke: {_reason(error)}")


def _reason(error: OSError) -> str:
    """Return the system's words; never an exception's own, which may quote what came."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, socket.gaierror):  # its numbers are not the system's
        return str(error.strerror)
    if isinstance(error, ssl.SSLError):
        return f"TLS error {error.reason or type(error).__name__}"
    return os.strerror(error.errno or 0)
