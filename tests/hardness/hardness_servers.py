"""Servers that answer, play a script, or stand between a client and another server."""

from __future__ import annotations

import functools
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
from hardness_support import HERE

import opwatch

SOURCE = str(Path(opwatch.__file__).parent)


# --- servers --------------------------------------------------------------------------------------
class Service:
    """A `hardness_server.Server` in a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self._process = process
        self._lock = threading.Lock()

    def _do(self, *command: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

    def stats(self) -> Any:
        return self._do("stats")

    def forget(self) -> Any:
        """Forget the requests so far."""
        return self._do("forget")

    def release(self) -> None:
        """Answer the requests that are held."""
        self._do("release")

    def wait_for(self, what: str, count: int = 1) -> None:
        """Return once so many requests with `what` in their first line have come."""
        assert self._do("wait_for", what, count, 120), f"no {count} requests for {what} came"

    def wait_until_open(self, most: int) -> None:
        """Return once no more than so many connections are open."""
        done = self._do("wait_until_open", most, 60)
        assert done, f"{self.stats()['open']} connections stay open, {most} may"

    def count(self, what: str) -> int:
        return sum(what in line for _, line in self.stats()["requests"])

    def connections_for(self, what: str) -> set[int]:
        return {number for number, line in self.stats()["requests"] if what in line}


@contextmanager
def service(*, tls: bool = False, host: str = "127.0.0.1", **settings: Any) -> Iterator[Service]:
    settings |= {"host": host, "certificate": certificate_file() if tls else None}
    path = str(Path(HERE) / "hardness_server.py")
    with subprocess.Popen(
        [sys.executable, "-S", "-E", path, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the interrupts of a test are not for it
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            named = f"[{host}]" if ":" in host else host
            yield Service(f"{'https' if tls else 'http'}://{named}:{port}", process)
        finally:
            process.kill()


class Peer:
    """The server's end of one connection to a `Playing`."""

    def __init__(self, sock: socket.socket, number: int, server: Playing) -> None:
        self.sock = sock
        self.number = number
        self._server = server
        self._rest = b""

    def request(self) -> bytes | None:
        """The head of the next request without a body; None once the client has hung up."""
        while b"\r\n\r\n" not in self._rest:
            if not (data := self.sock.recv(65536)):
                return None
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        self._server.requests.append((self.number, head))
        return head


class Playing:
    """Listens on loopback and runs `play` for each connection, in a thread each."""

    def __init__(
        self,
        play: Callable[[Peer], None],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._play = play
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}"
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._sockets.append(sock)
            if self.ended.is_set():
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self.connections += 1  # before it is served, or a quick client would see too few
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError):  # the client hung up, or the test is over
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._play(Peer(sock, number, self))
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
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
        frames: TracebackType | None,
    ) -> None:
        self.ended.set()
        _dial(self._listener.getsockname()[:2]).close()  # wakes the thread that accepts
        self._threads[0].join(120)
        for sock in (*self._sockets, self._listener):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            sock.close()
        for thread in self._threads:
            thread.join(120)


_connect = socket.socket.connect


def _dial(address: tuple[str, int]) -> socket.socket:
    """A connection to loopback, whatever a test has made of `socket`."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    _connect(sock, address)
    return sock


class Relay:
    """Stands before a server; on command, what was connected is connected no longer, silently.

    A connection that was dropped stays open and takes what the client sends, as the buffers of a
    network do; nothing is passed on. With `tunnel` it is a proxy, which reads a `CONNECT` first and
    always leads to the same server.
    """

    def __init__(self, port: int, *, tunnel: bool = False) -> None:
        self._upstream = port
        self._tunnel = tunnel
        self._dropped: set[int] = set()
        self._playing = Playing(self._play)
        self.url = self._playing.url

    @property
    def connections(self) -> int:
        return self._playing.connections

    @property
    def connects(self) -> list[str]:
        """What it was asked to connect to."""
        heads = [head for _, head in self._playing.requests]
        return [head.split()[1].decode() for head in heads if head.startswith(b"CONNECT")]

    def drop(self) -> None:
        self._dropped |= set(range(self._playing.connections))

    def _play(self, peer: Peer) -> None:
        if self._tunnel:
            if not peer.request():
                return
            peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with _dial(("127.0.0.1", self._upstream)) as upstream:
            ends = {peer.sock: upstream, upstream: peer.sock}
            while not self._playing.ended.is_set():
                readable, _, _ = select.select([*ends], [], [], 0.2)
                for end in readable:
                    if not (data := end.recv(65536)):
                        return
                    if peer.number not in self._dropped:
                        ends[end].sendall(data)

    def __enter__(self) -> Self:
        self._playing.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._playing.__exit__(*raised)


def running(number: int = 37, extra: bytes = b"") -> bytes:
    """An iTwin job that is at `number`, as JSON."""
    return b'{"jobProgress":{"percentage":%d,"state":"Active","step":"s"%s}}' % (number, extra)


def http(body: bytes, *headers: bytes) -> bytes:
    """A complete answer."""
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*head, b"", body])


@contextmanager
def nobody() -> Iterator[int]:
    """A port of loopback that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# --- certificates ---------------------------------------------------------------------------------
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def trusting() -> ssl.SSLContext:
    """For a client that trusts our authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@functools.cache
def serving(*names: str) -> ssl.SSLContext:
    """For a server with these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*(names or LOOPBACK)).configure_cert(context)
    return context


@functools.cache
def _certificate() -> bytes:
    return authority().issue_cert(*LOOPBACK).private_key_and_cert_chain_pem.bytes()


@functools.cache
def _folder() -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="opwatch-hardness-"))
    mine = os.getpid()
    atexit.register(lambda: os.getpid() == mine and shutil.rmtree(folder, ignore_errors=True))
    return folder


@functools.cache
def certificate_file() -> str:
    """For a server in another process."""
    path = _folder() / "server.pem"
    path.write_bytes(_certificate())
    return str(path)


@functools.cache
def authority_file() -> str:
    path = _folder() / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)
