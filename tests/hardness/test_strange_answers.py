"""Responses that contain more than they should, or use rare encodings."""

from __future__ import annotations

import gzip
import logging
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hardness_servers import Peer, Playing, http, running
from hardness_support import MODES, SECRETS, TOKEN, Asker, asking

from opwatch.errors import OpwatchError

every_mode = pytest.mark.parametrize("mode", MODES)

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
                stray_now.wait(60)
                peer.sock.sendall(stray)
                stray_sent.set()

    with (
        all_logs() as records,
        Playing(play) as server,
        asking(mode, server.url, request_timeout=20) as client,
    ):
        told = [_number(client)]
        if later:
            stray_now.set()
            assert stray_sent.wait(60)
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
