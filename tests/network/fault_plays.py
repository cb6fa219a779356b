"""What a server may do on a connection, and what a scenario is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from typing import Any

import attrs
import fault_tls
from fault_server import FaultServer, Peer
from fault_services import Sample

from opwatch import Phase
from opwatch.errors import BadResponse, OpwatchError, TransportError

MIB = 1024 * 1024
Play = Callable[[Peer, Sample], None]
Make = Callable[[Sample], bytes]


@attrs.frozen
class Gives:
    """What a user gets."""

    what: Phase | type[OpwatchError]
    status: int | None = None
    retry_after: float | None = None
    says: str = ""
    """What the message has in it."""
    asks_again: bool = False
    """The job is over; how it ended may yet be learnt."""
    is_final: bool = False
    """No retry fixes it."""


@attrs.frozen
class Scenario:
    """One thing that may happen."""

    name: str
    """For test ids."""
    title: str
    """For the page: what happens."""
    play: Play | None
    """The server's side of each connection; None: nobody listens."""
    gives: Gives
    slow: bool = False
    """The server never comes to an end by itself: the client's time limit is set short."""
    on_trio: bool = False
    """Also run on trio."""
    https: bool = False
    """The client speaks TLS; otherwise it doesn't."""
    note: str = ""
    """For the page: what else is to be said."""

    @property
    def limit(self) -> float:
        """Seconds that the client gives a request."""
        return 0.5 if self.slow else 20.0

    def options(self, scale: int = 1) -> dict[str, Any]:
        """What the client is made with."""
        options: dict[str, Any] = {"request_timeout": self.limit * scale}
        return options | {"ssl_context": fault_tls.trusting()} if self.https else options

    def at(self, server: FaultServer) -> str:
        """Where the client looks for the server."""
        return server.url.replace("http:", "https:") if self.https else server.url

    @property
    def is_answered(self) -> bool:
        """Whether the user gets a `Progress`."""
        return isinstance(self.gives.what, Phase)


RIGHT = Gives(Phase.RUNNING)
BROKEN = Gives(TransportError)
BAD = Gives(BadResponse)


# --- what a server sends --------------------------------------------------------------------------
def http(
    body: bytes = b"",
    *headers: str,
    status: int | str = 200,
    length: bool = True,
    version: str = "1.1",
) -> bytes:
    """A response. Without `length` nothing says where its body ends."""
    lines = [f"HTTP/{version} {status} Some Reason", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunks(body: bytes, size: int = 10, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return coded + b"0\r\n" + trailers + b"\r\n"


CHUNKED = "Transfer-Encoding: chunked"


def answer(make: Make) -> Play:
    """Answer each request on a connection so."""

    def play(peer: Peer, sample: Sample) -> None:
        while peer.request():
            peer.send(make(sample))

    return play


def then(make: Make, end: Callable[[Peer], None]) -> Play:
    """Answer one request so, and then do something to the connection."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            peer.send(make(sample))
            end(peer)

    return play


def drip(make: Make, whole_head: bool = False) -> Play:
    """Answer so, some bytes now and then."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            data = make(sample)
            start = data.index(b"\r\n\r\n") + 4 if whole_head else 0
            peer.send(data[:start])
            peer.drip(data[start:])

    return play


def endless(head: bytes, piece: bytes) -> Play:
    """Answer without an end, as fast as it is read."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            peer.send(head)
            while True:
                peer.send(piece)

    return play


def body(make: Callable[[Sample], bytes], *headers: str, status: int = 200) -> Play:
    """Answer with this body, well framed."""
    return answer(lambda sample: http(make(sample), *headers, status=status))


def just(data: bytes) -> Make:
    return lambda sample: data


def good(sample: Sample) -> bytes:
    return sample.body()


def good_answer(*headers: str) -> Make:
    return lambda sample: http(good(sample), *headers)


def mismeasured(error: int) -> Make:
    """The right response with a `Content-Length` that is wrong by so much."""
    return lambda sample: http(
        good(sample), f"Content-Length: {len(good(sample)) + error}", length=False
    )


def cut(make: Make, keep: int) -> Make:
    return lambda sample: make(sample)[:keep]


def padded(sample: Sample, size: int) -> bytes:
    """The right response, made `size` bytes long."""
    room = size - len(sample.body(extra=',"extra":""'))
    return sample.body(extra=f',"extra":"{"x" * room}"')


HEAD_OF_200 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HEAD_OF_CHUNKED = HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = b"<!doctype html><title>Sign in</title><p>Welcome to our hotel"


@cache
def bomb(sample: Sample) -> bytes:
    """64 KiB that unpacks to 64 MiB."""
    return gzip.compress(b'{"extra":"' + b"x" * (64 * MIB), 9)
