"""As `blocking`, on asyncio and trio. Imported where an async client is made, and not before."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any, NamedTuple

import anyio
import anyio.abc
import httpcore
from anyio.abc import SocketAttribute
from anyio.lowlevel import RunVar
from anyio.streams.tls import TLSAttribute, TLSStream

from opwatch.errors import OpwatchError
from opwatch.transport import exchange, proxies
from opwatch.transport.exchange import Limits
from opwatch.transport.limits import Limit, lacks_head, to_connect
from opwatch.wire import Address, Answer, Outgoing, Secret


class _Loop(NamedTuple):
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
            limit = Limit(self.limits.request_timeout, outgoing)
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

    async def _try(self, outgoing: Outgoing, limit: Limit) -> Answer | OpwatchError | None:
        try:
            with anyio.fail_after(limit.left()):
                await self._exchange(outgoing, limit)
            return exchange.outcome(None, outgoing, limit)
        except OpwatchError as error:
            return error
        except exchange.NETWORK_ERRORS as error:
            return exchange.outcome(error, outgoing, limit)
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise exchange.unseen(error)  # noqa: B904 (its context holds the request)

    async def _exchange(self, outgoing: Outgoing, limit: Limit) -> None:
        request = exchange.request(outgoing, limit)
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
            proxy = proxies.find(address)
            kind = httpcore.AsyncConnectionPool if proxy is None else httpcore.AsyncHTTPProxy
            pool = kind(
                **exchange.pool_options(self.limits, address.is_https),
                **proxies.options(proxy),
                network_backend=_AsyncBackend(proxies.secrets(proxy)),
            )
            found = origins[address.origin] = _AsyncConnections(pool, exchange.origin(address))
        return found

    def _here(self) -> _Loop:
        """What belongs to the running event loop."""
        loop = self._loops.get(None)
        if loop is None:
            loop = _Loop({}, anyio.Semaphore(self.limits.max_in_flight, fast_acquire=True))
            self._loops.set(loop)
        return loop


# --- connections ----------------------------------------------------------------------------------


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


# --- the network ----------------------------------------------------------------------------------


class _AsyncStream(httpcore.AsyncNetworkStream):
    """A connection of anyio's. One cancel scope around a whole request keeps its time, so reading
    and writing have no timers of their own, which cost as much as the reading."""

    def __init__(self, stream: anyio.abc.ByteStream, secrets: tuple[Secret, ...]) -> None:
        self._stream = stream
        self._secrets = secrets
        self._socket = stream.extra(SocketAttribute.raw_socket, None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not isinstance(timeout, Limit):
            return await self._receive(max_bytes)
        timeout.check_size()
        data = timeout.take(await self._receive(max_bytes))
        if timeout.has_head:
            return data
        while lacks_head(data):
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
        if isinstance(timeout, Limit):
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
            with anyio.fail_after(to_connect(timeout)):
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
        if isinstance(timeout, Limit):
            timeout.connected = timeout.connecting = True
        try:
            with anyio.fail_after(to_connect(timeout)):
                stream = await anyio.connect_tcp(host, port, local_host=local_address)
                return _AsyncStream(stream, self._secrets)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError(str(error)) from error
