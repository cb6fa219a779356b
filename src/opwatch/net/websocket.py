"""One WebSocket (RFC 6455) as a client: text comes in, one message goes out. Blocks.

wsproto, the extra `notifications`, reads and writes the frames. It offers no extension, answers
pings, and keeps no more than one short message in memory. Whatever a server does here is a
`TransportError`.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from wsproto import ConnectionType, WSConnection, events
from wsproto.connection import ConnectionState

from opwatch.errors import TransportError
from opwatch.net import fork, proxy, tls
from opwatch.net.connection import Io, connect, encrypt, failure
from opwatch.net.message import Answer, Request, Secret, blocking, hidden

LONGEST_MESSAGE = 64 * 1024  # characters
SILENCE = 90.0  # seconds without anything, also a ping, after which a connection counts as lost
GLANCE = 0.5  # seconds between two looks at whether it is to stop
_READ = 64 * 1024
_WRITE_TIMEOUT = 10.0  # seconds; what is written is short

T = TypeVar("T")


class StoppableIo(Io):
    """Waits for a socket, and looks now and then whether it is to stop.

    It also stops at the end of the time if the socket is ready: a server may send endlessly.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def is_ready(self, sock: socket.socket, for_write: bool, until: float) -> bool:
        while not self._is_over() and (now := time.monotonic()) < until:
            if super().is_ready(sock, for_write, min(until, now + GLANCE)):
                return True
        return False


class WebSocket:
    """An open WebSocket, for one thread. Another ends what it waits for, through `is_over`."""

    open_io = StoppableIo

    def __init__(
        self,
        settings: Any,
        request: Request,
        subprotocol: str,
        end: float,
        is_over: Callable[[], bool],
    ) -> None:
        """Open one before `end` (of `time.monotonic`).

        Raises `TransportError`; if the server answered with anything but an upgrade, its `head` is
        that answer, without a body.
        """
        to = request.address
        headers: Any = [(name.encode(), value.encode()) for name, value in request.headers]
        self._origin = to.origin
        self._frames = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Any] = deque()
        self._text, self._length = "", 0
        io = self.open_io(is_over)
        self._connection = blocking(connect, io, to, proxy.find(to), end)
        if to.is_https:
            context = settings.ssl_context or tls.context()
            blocking(encrypt, self._connection, to, context, end)
        fork.watch(self)
        try:
            self._send(events.Request(to.host, request.target, [], headers, [subprotocol]))
            if self._next(events.AcceptConnection, end).subprotocol != subprotocol:
                raise self._broken(f"doesn't speak the subprotocol {subprotocol}")
        except BaseException:
            self._connection.close()
            raise

    def after_fork(self) -> None:
        """Close it without sending anything: the parent still uses it."""
        self._connection.close()

    def send(self, text: Secret) -> None:
        self._write(self._valid(hidden, self._framed, text))

    def receive(self, end: float | None = None) -> str:
        """Return the next text message, before `end`. Without one, wait as long as pings come."""
        while True:
            message = self._next(events.TextMessage, end)
            self._text += message.data
            self._length += len(message.data) + 1  # so that empty fragments end, too
            if self._length > LONGEST_MESSAGE:
                raise self._broken("sent a message that is too long")
            if message.message_finished:
                text, self._text, self._length = self._text, "", 0
                return text

    def close(self) -> None:
        with suppress(TransportError):
            self._send(events.CloseConnection(1000))
        self._connection.close()

    def _next(self, kind: type[Any], end: float | None) -> Any:
        """Return the next event of a kind; answer pings, and skip other events."""
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, kind):
                    return event
                if isinstance(event, events.Ping):
                    if self._frames.state is ConnectionState.OPEN:  # a close may follow already
                        self._send(event.response())
                elif isinstance(event, events.RejectConnection) and event.status_code >= 200:
                    head = Answer(event.status_code, tuple(event.headers))
                    raise self._broken(f"refused the WebSocket ({event.status_code})", head=head)
                elif isinstance(event, events.CloseConnection):
                    if self._frames.state is ConnectionState.OPEN:  # wsproto's own: nobody closed
                        raise self._broken(f"sent a frame that isn't valid ({int(event.code)})")
                    # Its reason may contain the credentials.
                    raise self._broken(f"closed the WebSocket ({int(event.code)})")
            until = time.monotonic() + SILENCE if end is None else end
            connection = self._connection
            receive = partial(connection.sock.recv, _READ)
            data = self._run(partial(connection.when_ready, for_write=False), receive, until)
            if not data:
                raise self._broken("closed the connection")
            self._valid(self._frames.receive_data, data)
            self._events.extend(self._valid(lambda: list(self._frames.events())))

    def _send(self, event: events.Event) -> None:
        self._write(bytes(self._valid(self._frames.send, event)))

    def _framed(self, text: Secret) -> Secret:
        return Secret(bytes(self._frames.send(events.TextMessage(text.reveal()))))

    def _write(self, data: bytes | Secret) -> None:
        self._connection.end = time.monotonic() + _WRITE_TIMEOUT
        self._run(self._connection.send, [data])

    def _run(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Wait for the socket."""
        try:
            return blocking(function, *arguments)
        except TimeoutError:
            lost = self._broken("sent nothing for too long")
        except OSError as error:
            lost = failure(error, self._origin, 0.0)
        raise lost

    def _valid(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call wsproto. Besides its own errors, a server's data may cause some of Python's."""
        try:
            return call(*arguments)
        except Exception:  # noqa: BLE001
            problem = self._broken("doesn't speak WebSocket")
        raise problem

    def _broken(self, how: str, **details: Any) -> TransportError:
        return TransportError(f"{self._origin} {how}", **details)
