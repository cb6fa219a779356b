"""The WebSocket client on its own: whatever a server sends is text, or a `TransportError`."""

import random
import time
from typing import Any

import pytest
from channel_server import PATH, PROTOCOL, ChannelServer
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from opwatch.core.options import Settings
from opwatch.errors import TransportError
from opwatch.net import websocket
from opwatch.net.address import address
from opwatch.net.message import Request, Secret
from opwatch.net.websocket import WebSocket


def opened(server: ChannelServer) -> WebSocket:
    request = Request("GET", address(server.url, "base_url"), PATH)
    channel = WebSocket(Settings(), request, PROTOCOL, time.monotonic() + 30, lambda: False)
    channel.send(Secret("{}"))
    return channel


def read(server: ChannelServer, seconds: float = 30) -> tuple[list[str], str]:
    """Every text until the connection breaks, and why it does."""
    channel, texts = opened(server), []
    try:
        while True:
            texts.append(channel.receive(time.monotonic() + seconds))
    except TransportError as error:
        return texts, error.message
    finally:
        channel.close()


def sent(*events: Any) -> bytes:
    """The events as a server's bytes."""
    frames = Connection(ConnectionType.SERVER)
    return b"".join(bytes(frames.send(event)) for event in events)


def test_text_in_pieces_and_between_other_frames() -> None:
    """Fragments are joined; pings, pongs and binary messages are skipped."""
    script = sent(
        TextMessage("one"),
        Ping(b"?"),
        TextMessage("t\u00fcr", message_finished=False),
        Pong(b"!"),
        TextMessage("en"),
        BytesMessage(b"binary"),
        TextMessage(""),
        CloseConnection(1001, "bye"),
    )
    with ChannelServer(script) as server:
        texts, why = read(server)
    assert texts == ["one", "t\u00fcren", ""]
    assert why.endswith("closed the WebSocket (1001)")


def test_pings_without_end() -> None:
    """They don't keep an attempt alive beyond its limit."""
    with ChannelServer("pings") as server:
        texts, why = read(server, seconds=0.2)
    assert texts == []
    assert why.endswith("sent nothing for too long")


def test_a_server_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pong that can't be sent breaks the connection."""
    monkeypatch.setattr(websocket, "_WRITE_TIMEOUT", 0.2)
    with ChannelServer("pings") as server:
        texts, why = read(server, seconds=3600)
    assert texts == []
    assert why.endswith("sent nothing for too long")


def frames(chance: random.Random) -> bytes:
    """Bytes that look like frames, or like valid ones that were damaged."""
    if chance.random() < 0.5:
        return chance.randbytes(chance.randrange(1, 60))
    kinds = [TextMessage("x" * chance.randrange(200)), Ping(b"p"), BytesMessage(b"b" * 130)]
    kinds += [Pong(b"q"), TextMessage("y", message_finished=chance.random() < 0.5)]
    whole = bytearray(
        b"".join(map(sent, chance.choices(kinds, k=3))) if chance.random() < 0.9 else b"\x88\x01x"
    )
    for _ in range(chance.randrange(3)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole[: chance.randrange(1, len(whole) + 1)])


@pytest.mark.parametrize("seed", range(4))
def test_anything_at_all(seed: int) -> None:
    """A hundred servers that send whatever they like: text, then a `TransportError`."""
    chance = random.Random(seed)
    scripts = [frames(chance) for _ in range(100)]
    with ChannelServer(*scripts) as server:
        for _ in scripts:
            texts, why = read(server)
            assert all(isinstance(text, str) for text in texts)
            assert why
