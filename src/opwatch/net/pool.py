"""One request from its kept or new connection to its answer, written once for both drivers.

No locks: a connection is out of its origin's deque while in use, and appending and popping are
atomic. It is put back by the last step after a complete answer, so whatever an interrupt or a
cancellation cuts short, no connection in an unknown state is used again. A connection that is no
longer referenced closes itself, so forgetting all connections closes them.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opwatch.errors import TransportError, twin
from opwatch.net import fork, proxy, tls
from opwatch.net.connection import Connection, Io, connect, encrypt, failure
from opwatch.net.exchange import ProtocolError
from opwatch.net.message import Address, Answer, Request

KEPT_FOR = 300.0  # seconds after a request: longer than the longest step of any schedule
_PATIENCE = 5.0


class Origin:
    """What is known about one origin: its proxy, its kept connections, and how slow it is."""

    def __init__(self, address: Address) -> None:
        self.proxy = proxy.find(address)
        self.kept: deque[Connection] = deque()
        self.slowest = 0.0  # seconds to the first byte of an answer
        self.refusal: TransportError | None = None  # why no connection can ever be opened

    def take(self) -> Connection | None:
        """Return the latest used connection over which nothing came: no end, no stray bytes."""
        with suppress(IndexError):
            while self.kept[0].sent <= time.monotonic() - KEPT_FOR:
                self.kept.popleft()
            while True:
                connection = self.kept.pop()
                if not connection.io.is_ready(connection.sock, False, 0.0):
                    return connection
        return None


class Pool:
    """The connections of one client, by origin. Of its settings it needs the `ssl_context`."""

    io = Io()

    def __init__(self, settings: Any) -> None:
        self._ssl_context = settings.ssl_context
        self._origins: dict[str, Origin] = {}
        self.admit: Callable[[Request], None] = lambda request: None
        """Raises if a request must not be sent any more."""
        weakref.finalize(self, self._origins.clear)  # if a client is dropped without being closed
        fork.watch(self)

    def forget(self) -> None:
        """Close every connection; those in use, after their answers."""
        self._origins.clear()

    after_fork = forget  # that sends nothing: the parent still uses its connections

    async def request(self, request: Request, end: float) -> Answer:
        """Send a request and return its answer, all of it before `end`. Raises `TransportError`.

        A kept connection that turns out dead before the first byte of an answer is replaced by a
        new one, once. If it was closed, the request is sent again whatever its method: the only
        requests that change anything fetch a token, and fetching a second one does no harm. If it
        is merely silent, the server may be at work, so only a GET is sent again.
        """
        began, to = time.monotonic(), request.address
        origin = self._origins.get(to.origin) or self._origins.setdefault(to.origin, Origin(to))
        kept = origin.take()
        while True:
            connection, begin_by = kept, end
            if connection is None:
                if origin.refusal is not None:
                    raise twin(origin.refusal)
                try:
                    connection = await connect(self.io, to, origin.proxy, end)
                except TransportError as error:
                    origin.refusal = None if error.transient else error
                    raise
                if to.is_https:
                    context, is_known = self._ssl_context or tls.context(), origin.slowest > 0
                    await encrypt(connection, to, context, end, is_known=is_known)
                self.admit(request)  # connecting takes time, in which the rules may have changed
            elif request.method == "GET":  # a NAT that forgot a connection drops what is sent
                patience = max(min(_PATIENCE, (end - began) / 3), 2 * origin.slowest)
                begin_by = min(end, began + patience)
            is_reusable = False
            try:
                answer, is_reusable = await connection.converse(request, end, begin_by)
                break
            except (OSError, ProtocolError) as error:
                if kept is None or connection.first_byte or time.monotonic() >= end:
                    lost = failure(error, to.origin, end - began)
                    if (head := getattr(error, "head", None)) is not None:
                        lost.head = Answer(head.status_code, tuple(head.headers))
                    raise lost from None
                kept = None
                origin.kept.clear()
            finally:
                if not is_reusable:
                    connection.close()
        origin.slowest = max(origin.slowest, connection.first_byte - connection.sent)
        answer.elapsed = time.monotonic() - connection.sent
        if is_reusable:
            origin.kept.append(connection)
        return answer
