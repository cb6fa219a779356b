"""Connections that are kept, dead, silent or slow, and addresses that can't be reached.

The rule: a request is sent again once, silently and on a new connection, if a kept connection turns
out dead before the first byte of a response; or, for a GET, if it stays silent for much longer than
the server has ever taken."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from connection_support import GRACE, every_mode, shape
from fault_server import FaultServer, Peer, nobody
from net_support import Limits, answering, ask, get, http
from ports import full
from scales import at_some_scale

from opwatch.errors import TransportError
from opwatch.net import pool
from opwatch.net.blocking import Transport
from opwatch.net.connection import CONNECT_TIMEOUT, Io, connect
from opwatch.net.message import Answer, blocking

ways_to_end = pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])


# --- kept connections -----------------------------------------------------------------------------


@every_mode
def test_a_connection_is_kept(mode: str) -> None:
    """Several requests share one connection, which is closed with the transport."""
    ended = threading.Event()

    def play(peer: Peer) -> None:
        answering(http())(peer)
        ended.set()

    with FaultServer(play) as server:
        outcomes = ask(mode, [get(server.url)] * 3)
        assert ended.wait(GRACE)
    assert [type(outcome) for outcome in outcomes] == [Answer] * 3
    assert shape(server) == [0, 0, 0]


@every_mode
@ways_to_end
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_dies_during_a_request_is_replaced_once(
    mode: str, end: Callable[[Peer], None], method: str
) -> None:
    """The request is sent again on a new connection, whatever its method."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http())
        if peer.request():
            end(peer)

    with FaultServer(play) as server:
        outcomes = ask(mode, [get(server.url, method=method)] * 2)
    assert [type(outcome) for outcome in outcomes] == [Answer] * 2
    assert shape(server) == [0, 0, 1]


@every_mode
@ways_to_end
def test_the_second_attempt_is_the_last(mode: str, end: Callable[[Peer], None]) -> None:
    """A server that closes the new connection too gets no third request."""

    def play(peer: Peer) -> None:
        if peer.number == 0 and peer.request():
            peer.send(http())
        if peer.request():
            end(peer)

    with FaultServer(play) as server:
        outcomes = ask(mode, [get(server.url)] * 2)
    assert [type(outcome) for outcome in outcomes] == [Answer, TransportError]
    assert shape(server) == [0, 0, 1]


@every_mode
def test_a_request_that_was_answered_is_not_sent_again(mode: str) -> None:
    """One byte of a response is enough."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http())
        if peer.request():
            peer.send(b"H")

    with FaultServer(play) as server:
        [_, second] = ask(mode, [get(server.url)] * 2)
    assert "closed the connection before its response was complete" in str(second)
    assert shape(server) == [0, 0]


@every_mode
@pytest.mark.parametrize("stray", [b"\r\n", http(b"99")], ids=["bytes", "answer"])
def test_bytes_that_nobody_asked_for_are_never_an_answer(mode: str, stray: bytes) -> None:
    """Whether they come with the response before or after it, the connection is not used again."""
    sent = threading.Event()

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(http(b"1") if peer.number else http(b"1") + stray)

    def play_late(peer: Peer) -> None:
        while peer.request():
            peer.send(http(b"1"))
            if peer.number == 0:
                peer.pause()
                peer.send(stray)
                sent.set()

    for served, between in ((play, lambda: None), (play_late, lambda: sent.wait(GRACE))):
        with FaultServer(served) as server:
            outcomes = ask(mode, [get(server.url)] * 2, between=between)
        assert [isinstance(one, Answer) and one.body for one in outcomes] == [b"1", b"1"]
        assert shape(server) == [0, 1]


@every_mode
def test_a_connection_is_not_kept_for_long(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was idle for more than five minutes is closed; a firewall may have dropped it."""
    monkeypatch.setattr(pool, "KEPT_FOR", 0.0)
    with FaultServer(answering(http())) as server:
        ask(mode, [get(server.url)] * 2)
    assert shape(server) == [0, 1]


@every_mode
def test_a_bad_answer_closes_its_connection(mode: str) -> None:
    """What can't be decoded is no reason to trust the next bytes."""
    with FaultServer(answering(http(b"?", "Content-Encoding: br"))) as server:
        outcomes = ask(mode, [get(server.url)] * 2)
    assert [one.problem for one in outcomes] == ["can't be decoded"] * 2
    assert shape(server) == [0, 1]


# --- silence --------------------------------------------------------------------------------------


@every_mode
@at_some_scale
def test_a_kept_connection_that_is_silent_is_replaced(mode: str, scale: int) -> None:
    """A NAT forgot it: a GET is sent again after a third of its time, on a new connection."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http())
        if peer.number == 0:
            peer.hold()

    began = time.monotonic()
    with FaultServer(play) as server:
        outcomes = ask(mode, [get(server.url)] * 2, seconds=0.6 * scale)
    assert [type(outcome) for outcome in outcomes] == [Answer] * 2
    assert shape(server) == [0, 1]
    assert 0.2 <= (time.monotonic() - began) / scale < GRACE


@every_mode
@at_some_scale
def test_a_silent_post_is_not_sent_again(mode: str, scale: int) -> None:
    """The server may be at work on it."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http())
        if peer.request():
            peer.hold()

    with FaultServer(play) as server:
        [_, second] = ask(mode, [get(server.url, method="POST")] * 2, seconds=0.3 * scale)
    assert "no complete response from http://127.0.0.1" in str(second)
    assert str(second).endswith(f" within {0.3 * scale:g} s")
    assert shape(server) == [0, 0]


@every_mode
@at_some_scale
def test_a_server_known_to_be_slow_gets_each_request_once(mode: str, scale: int) -> None:
    """Twice its slowest answer so far is waited for before a GET is sent again."""

    def play(peer: Peer) -> None:
        while peer.request():
            server.ended.wait(0.15 * scale)
            peer.send(http())

    with FaultServer(play) as server:
        outcomes = ask(mode, [get(server.url)] * 3, seconds=0.4 * scale)
    assert [type(outcome) for outcome in outcomes] == [Answer] * 3
    assert shape(server) == [0, 0, 0]


@at_some_scale
def test_one_silent_connection_closes_the_others(scale: int) -> None:
    """What dropped one has dropped them all, so none of them is tried first."""
    together = threading.Barrier(3)
    silent = threading.Event()

    def play(peer: Peer) -> None:
        while peer.request():
            if silent.is_set() and peer.number < 3:
                peer.hold()
                return
            if peer.number < 3:
                together.wait(GRACE)
            peer.send(http())

    transport = Transport(Limits())
    with FaultServer(play) as server, ThreadPoolExecutor(3) as threads:
        send = lambda seconds: transport.send(get(server.url), time.monotonic() + seconds)  # noqa: E731
        list(threads.map(send, [GRACE] * 3))
        silent.set()
        assert send(0.6 * scale).status == 200
        transport.close()
    assert max(shape(server)) == 3
    assert len(server.requests) == 5


# --- connecting -----------------------------------------------------------------------------------


@every_mode
def test_a_refused_connection_gives_its_reason(mode: str) -> None:
    """In the words of the system."""
    with nobody() as url:
        [outcome] = ask(mode, [get(url)])
    assert str(outcome) == f"could not connect to {url}: Connection refused"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """The addresses of each name, and their ports; no other name is known."""
    known: dict[str, list[tuple[str, int]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in known:
            return [one for at in known[name] for one in real(*at, *args, **kwargs)]
        if name[:1].isdigit():
            return real(host, port, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return known


@every_mode
def test_a_name_that_nobody_knows(mode: str, names: dict[str, list[tuple[str, int]]]) -> None:
    """The error says that it is the name."""
    [outcome] = ask(mode, [get("https://nobody.invalid")])
    assert str(outcome) == (
        "could not connect to https://nobody.invalid: Name or service not known"
    )


@every_mode
@at_some_scale
def test_the_next_address_is_tried(
    mode: str, names: dict[str, list[tuple[str, int]]], scale: int
) -> None:
    """One that refuses costs nothing; one that does not answer costs its share of the time."""
    with FaultServer(answering(http())) as server, nobody() as dead, full() as port:
        refusing = int(dead.rpartition(":")[2])
        names["localhost"] = [
            ("127.0.0.1", refusing),
            ("127.0.0.1", port),
            ("127.0.0.1", server.port),
        ]
        began = time.monotonic()
        [outcome] = ask(mode, [get("http://localhost")], seconds=0.4 * scale)
        assert type(outcome) is Answer
        assert 0.2 <= (time.monotonic() - began) / scale < GRACE


@every_mode
def test_many_dead_addresses_take_no_longer_than_one(
    mode: str, names: dict[str, list[tuple[str, int]]]
) -> None:
    """They share the time of the request."""
    with full() as port:
        names["localhost"] = [("127.0.0.1", port)] * 50
        began = time.monotonic()
        [outcome] = ask(mode, [get("http://localhost")], seconds=0.2)
    assert str(outcome) == "could not connect to http://localhost: timed out"
    assert time.monotonic() - began < GRACE


def test_connecting_never_takes_more_than_its_limit() -> None:
    """However long a request may take, a dead address is given up after 10 s."""
    began = time.monotonic()
    limits = []

    class Dead(Io):
        async def addresses(self, host: str, port: int, until: float) -> list[Any]:
            local = await super().addresses("127.0.0.1", 9, until)
            return [(*local[0][:4], ("127.0.0.1", full_port))]

        async def ready(self, sock: socket.socket, for_write: bool, until: float) -> bool:
            limits.append(until)
            return False

    with full() as full_port, pytest.raises(TransportError, match="timed out"):
        blocking(connect, Dead(), get("https://192.0.2.1").address, None, began + 3600)
    assert [limit <= time.monotonic() + CONNECT_TIMEOUT for limit in limits] == [True]
