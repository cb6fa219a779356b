"""Responses that take long, contain more than they should, or use rare encodings."""

from __future__ import annotations

import gzip
import logging
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import pytest
from hardness_support import (
    ASYNC_MODES,
    MODES,
    SECRETS,
    TOKEN,
    Asker,
    Peer,
    Playing,
    asking,
    http,
    in_one,
    running,
)

from opwatch import AsyncITwin
from opwatch.errors import OpwatchError

pytestmark = pytest.mark.timeout(60)
every_mode = pytest.mark.parametrize("mode", MODES)

# --- one byte a chunk -----------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"1\r\n%c\r\n" % byte for byte in running(extra=b',"padding":"%s"' % (b"x" * 200 * 1024))
)
LONGEST = 2.5
"""Seconds within which a request of 1 s is over, on a machine that does other things too."""


def send_chunks(peer: Peer) -> None:
    while peer.request():
        with suppress(OSError):  # the client has had enough
            peer.sock.sendall(CHUNKED + b"0\r\n\r\n")


@every_mode
def test_chunks_of_one_byte_keep_the_time_limit(mode: str) -> None:
    """A response of 200 KiB in chunks of one byte is read, or is an error, within the time of a
    request."""
    with (
        Playing(send_chunks) as server,
        asking(mode, server.url, request_timeout=1) as client,
    ):
        began = time.monotonic()
        with suppress(OpwatchError):
            assert client.ask("j-1").percent == 37
        took = time.monotonic() - began
    assert took < LONGEST


@pytest.mark.parametrize("backend", ASYNC_MODES)
def test_chunks_of_one_byte_do_not_stop_the_event_loop(backend: str) -> None:
    """While such a response is read, other tasks have their turns."""
    gaps: list[float] = []

    async def heartbeat() -> None:
        last = time.monotonic()
        while True:
            await anyio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    async def main(url: str) -> None:
        async with (
            AsyncITwin(TOKEN, base_url=url, request_timeout=1) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(heartbeat)
            await anyio.sleep(0.03)
            with suppress(OpwatchError):
                await client.progress("j-1")
            await anyio.sleep(0.02)
            group.cancel_scope.cancel()

    with Playing(send_chunks) as server:
        in_one(backend, lambda: main(server.url))
    assert max(gaps) < 0.5


# --- stray bytes ----------------------------------------------------------------------------------

STRAY = [
    b"Authorization: Bearer %s\r\n\r\n" % TOKEN.encode(),
    b"HTTP/1.1 200 OK\r\nX-Echo: Bearer %s\r\nContent-Length: 0\r\n\r\n" % TOKEN.encode(),
    http(running(99, b',"step2":"%s"' % TOKEN.encode())),
    TOKEN.encode(),
]


@contextmanager
def all_logs() -> Iterator[list[logging.LogRecord]]:
    """Every record of every logger, at DEBUG."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    root.handlers = [Keeping(logging.DEBUG)]
    try:
        root.setLevel(logging.DEBUG)
        yield records
    finally:
        root.handlers = handlers
        root.setLevel(level)


@every_mode
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("stray", STRAY, ids=["header", "empty answer", "another answer", "token"])
def test_stray_bytes(stray: bytes, later: bool, mode: str) -> None:
    """Bytes behind a complete answer are in no log, whatever they are; the next poll uses another
    connection and gets its own answer."""
    stray_now, stray_sent = threading.Event(), threading.Event()

    def play(peer: Peer) -> None:
        while peer.request():
            number = 40 + len(server.requests)
            if peer.number or later:
                peer.sock.sendall(http(running(number)))
            else:
                peer.sock.sendall(http(running(number)) + stray)
            if not peer.number and later:
                stray_now.wait(20)
                peer.sock.sendall(stray)
                stray_sent.set()

    with (
        all_logs() as records,
        Playing(play) as server,
        asking(mode, server.url, request_timeout=5) as client,
    ):
        told = [_number(client)]
        if later:
            stray_now.set()
            assert stray_sent.wait(20)
        told += [_number(client), _number(client)]
        used = [number for number, _ in server.requests]
    shown = [
        record.name
        for record in records
        if SECRETS.search(record.getMessage()) or SECRETS.search(repr(vars(record)))
    ]
    assert (told, used, shown) == ([41, 42, 43], [0, 1, 1], [])


def _number(client: Asker) -> float | str | None:
    try:
        return client.ask("j-1").percent
    except OpwatchError as error:
        return f"{type(error).__name__}: {error}"


# --- packed bodies --------------------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


PLAIN = running()
PACKED = {
    "gzip": (b"gzip", gzip.compress(PLAIN)),
    "gzip in capitals": (b"GZIP", gzip.compress(PLAIN)),
    "gzip of two members": (b"gzip", gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:])),
    "gzip of an empty member and another": (b"gzip", gzip.compress(b"") + gzip.compress(PLAIN)),
    "deflate": (b"deflate", zlib.compress(PLAIN)),
    "raw deflate": (b"deflate", raw_deflate(PLAIN)),
}


@every_mode
@pytest.mark.parametrize("packed", PACKED)
def test_packed_answers_are_read(packed: str, mode: str) -> None:
    """A compressed body that nobody asked for is read, in each form that servers send."""
    encoding, body = PACKED[packed]

    def play(peer: Peer) -> None:
        while peer.request():
            peer.sock.sendall(http(body, b"Content-Encoding: " + encoding))

    with Playing(play) as server, asking(mode, server.url) as client:
        assert client.ask("j-1").percent == 37
