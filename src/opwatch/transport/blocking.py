"""Sending and blocking for the answer: one thread's reads and writes, connections that are kept."""

from __future__ import annotations

import socket
import ssl
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore

from opwatch.errors import OpwatchError
from opwatch.transport import exchange, proxies
from opwatch.transport.exchange import Limits
from opwatch.transport.limits import Limit, lacks_head, to_connect
from opwatch.wire import Address, Answer, Outgoing, Secret

_PIECE = 16 * 1024
"""Bytes sent at once."""


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
            limit = Limit(self.limits.request_timeout, outgoing)
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

    def _try(self, outgoing: Outgoing, limit: Limit) -> Answer | OpwatchError | None:
        """One attempt; None where its connection was dead before it began."""
        try:
            self._exchange(outgoing, limit)
            return exchange.outcome(None, outgoing, limit)
        except OpwatchError as error:
            return error
        except exchange.NETWORK_ERRORS as error:
            return exchange.outcome(error, outgoing, limit)
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise exchange.unseen(error)  # noqa: B904 (its context holds the request)

    def _exchange(self, outgoing: Outgoing, limit: Limit) -> None:
        request = exchange.request(outgoing, limit)
        connections = self._connections(outgoing.address)
        connection = connections.take()
        try:
            response = connection.handle_request(request)
            body: Any = response.stream  # the response's own iterator checks each time what it is
            try:
                limit.open(response)
                for chunk in body:
                    limit.add(chunk)
            finally:
                body.close()
        finally:
            connections.give(connection)

    def _connections(self, address: Address) -> _Connections:
        found = self._origins.get(address.origin)
        if found is None:
            proxy = proxies.find(address)
            kind = httpcore.ConnectionPool if proxy is None else httpcore.HTTPProxy
            pool = kind(
                **exchange.pool_options(self.limits, address.is_https),
                **proxies.options(proxy),
                network_backend=_Backend(proxies.secrets(proxy)),
            )
            found = self._origins.setdefault(
                address.origin, _Connections(pool, exchange.origin(address))
            )
        return found


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


# --- the network ----------------------------------------------------------------------------------


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes are given what is left of a request's time."""

    def __init__(self, inner: httpcore.NetworkStream, secrets: tuple[Secret, ...]) -> None:
        self._inner = inner
        self._secrets = secrets

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not isinstance(timeout, Limit):
            return self._inner.read(max_bytes, timeout)
        timeout.check_size()
        data = timeout.take(self._inner.read(max_bytes, timeout.left()))
        if timeout.has_head:
            return data
        while lacks_head(data):
            more = self._inner.read(max_bytes, timeout.left())
            if not more:
                break
            data += more
        return timeout.unveil(data, self._secrets)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not isinstance(timeout, Limit):
            return self._inner.write(buffer, timeout)
        timeout.connecting = False
        if 0 < len(buffer) <= _PIECE:
            return self._inner.write(buffer, timeout.left())
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
        left = to_connect(timeout)
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
        if isinstance(timeout, Limit):
            timeout.connected = timeout.connecting = True
        failure: Exception | None = None
        for address in _addresses(host, port):
            left = to_connect(timeout)
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
