"""A server that does to a connection whatever a test says, on raw sockets and loopback alone.

It knows where a request ends and nothing else of HTTP: every byte it sends is the test's. A thread
accepts; each connection has a thread of its own that runs the test's function. Where a function
paces what it sends, it waits for the server's end, so no test outlives its server.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import attrs

HEAD_END = b"\r\n\r\n"
PACE = 0.05
"""Seconds between two pieces of what is dripped."""
LONGEST_END = 30.0


@attrs.frozen
class Request:
    """What came on a connection, byte for byte."""

    connection: int
    """Which one, from 0."""
    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int, server: FaultServer) -> None:
        self.number = number
        self._sock = sock
        self._server = server
        self._rest = b""

    def request(self) -> Request | None:
        """The next request, whole; None where the client closed the connection."""
        while HEAD_END not in self._rest:
            if not self._receive():
                return None
        head, _, self._rest = self._rest.partition(HEAD_END)
        found = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        length = int(found[1]) if found else 0
        while len(self._rest) < length:
            if not self._receive():
                return None
        body, self._rest = self._rest[:length], self._rest[length:]
        request = Request(self.number, head, body)
        self._server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def drip(self, data: bytes, size: int = 1) -> None:
        """Send a few bytes at a time, slowly, until the client or the test has had enough."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            if self._server.ended.wait(PACE):
                return

    def receive(self, size: int) -> bytes:
        """Read a little, whatever it is."""
        return self._sock.recv(size)

    def pause(self) -> None:
        """Let the client read what was sent."""
        self._server.ended.wait(PACE)

    def hold(self) -> None:
        """Do nothing until the client closes the connection or the test ends."""
        while self._sock.recv(65536):
            pass

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        """Close with a reset: what is on its way is lost."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._sock = context.wrap_socket(self._sock, server_side=True)
        self._server.keep(self._sock)

    def send_below_tls(self, data: bytes) -> None:
        with socket.socket(fileno=os.dup(self._sock.fileno())) as below:
            below.sendall(data)

    def drop_handshake(self, end: Callable[[Peer], None]) -> None:
        """Read the client's greeting, and do something to the connection."""
        self._sock.recv(65536)
        end(self)

    def _receive(self) -> bool:
        data = self._sock.recv(65536)
        self._rest += data
        return bool(data)


class FaultServer:
    """Runs `play` for each connection; what it leaves open is closed when it returns.

    `requests` is all that was asked, in order. A client that hangs up is no error of the server's;
    any other exception of `play` is raised when the server is left.
    """

    def __init__(
        self, play: Callable[[Peer], None], *, host: str = "127.0.0.1", buffer: int | None = None
    ) -> None:
        self._play = play
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        if buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._address: tuple[str, int] = self._listener.getsockname()[:2]
        self.port = self._address[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = threading.Event()

    def keep(self, sock: socket.socket) -> None:
        """Close this one too when the server is left."""
        self._sockets.append(sock)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.ended.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(sock)
            peer = Peer(sock, self.connections, self)
            self.connections += 1  # before it is served, or a quick client would see too few
            self._start(self._serve, peer, sock)

    def _serve(self, peer: Peer, sock: socket.socket) -> None:
        try:
            with suppress(OSError):  # the client hung up, or the server was left
                self._play(peer)
        except Exception as error:
            self._errors.append(error)
        finally:
            peer.close()
            sock.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended.set()
        socket.create_connection(self._address).close()  # wakes who accepts
        self._threads[0].join(LONGEST_END)
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes who reads
            sock.close()
        for thread in self._threads:
            thread.join(LONGEST_END)
            assert not thread.is_alive(), "the fault server does not end"
        if self._errors:
            raise self._errors[0]


@contextmanager
def nobody() -> Iterator[str]:
    """The address of a port of loopback that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
