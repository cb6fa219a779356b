"""Answers as bytes, and requests sent the blocking way, on asyncio and on trio."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import anyio
from fault_server import Peer

from opwatch.errors import OpwatchError
from opwatch.net.address import address
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.exchange import exchange
from opwatch.net.message import Answer, Request, Secret, blocking

MODES = ["blocking", "asyncio", "trio"]
TOKEN = "planted-bearer-token"
HOST = address("http://127.0.0.1:9", "base_url")


class Limits(NamedTuple):
    """What a transport needs of a client's settings."""

    ssl_context: ssl.SSLContext | None = None


def get(url: str = HOST.origin, target: str = "/job", method: str = "GET", **more: Any) -> Request:
    headers = (("Accept", "application/json"), ("Authorization", Secret(f"Bearer {TOKEN}")))
    return Request(method, address(url, "base_url"), target, headers, **more)


def http(body: bytes = b"{}", *headers: str, status: int = 200, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status} Some Reason", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answering(answer: bytes) -> Callable[[Peer], None]:
    """Answer each request of a connection like this."""

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(answer)

    return play


def ask(
    mode: str,
    requests: Iterable[Request],
    *,
    seconds: float = 20.0,
    between: Callable[[], object] = lambda: None,
    **limits: Any,
) -> list[Answer | OpwatchError]:
    """Send requests one after the other with one transport; return answers and errors."""
    outcomes: list[Answer | OpwatchError] = []
    if mode == "blocking":
        transport = Transport(Limits(**limits))
        for request in requests:
            try:
                outcomes.append(transport.send(request, time.monotonic() + seconds))
            except OpwatchError as error:
                outcomes.append(error)
            between()
        transport.close()
        return outcomes

    async def main() -> None:
        transport = AsyncTransport(Limits(**limits))
        for request in requests:
            try:
                outcomes.append(await transport.send(request, time.monotonic() + seconds))
            except OpwatchError as error:
                outcomes.append(error)
            between()
        await transport.aclose()

    anyio.run(main, backend=mode)
    return outcomes


class Scripted:
    """A wire on which a server sends these pieces, then the end of the stream."""

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self.sent: list[bytes | Secret] = []
        self.pauses = 0
        self._pieces = iter(pieces)

    async def send(self, pieces: list[bytes | Secret]) -> None:
        self.sent += pieces

    async def receive(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def pause(self) -> None:
        self.pauses += 1


def feed(
    pieces: Iterable[bytes | Exception], request: Request | None = None
) -> tuple[Answer, bool, list[bytes | Secret], int]:
    """Run an exchange with what a server sends, then the end of the stream.

    Returns its response, whether the connection can be used again, what was sent, and the number of
    pauses.
    """
    wire = Scripted(pieces)
    answer, is_reusable = blocking(exchange, request or get(), wire)
    return answer, is_reusable, wire.sent, wire.pauses
