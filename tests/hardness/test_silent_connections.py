"""Kept connections that a NAT or a firewall has dropped: still open, but silent.

A relay stands before the server. On command it passes nothing on any more on the connections that
it has, and works for new ones. No test measures more than that a whole request timeout is not lost.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hardness_servers import Peer, Playing, Relay, http, running
from hardness_support import MODES, Asker, asking
from scales import at_some_scale

from opwatch.errors import TransportError

REQUEST_TIMEOUT = 1.5
LONGEST_LOSS = 1.25

every_mode = pytest.mark.parametrize("mode", MODES)


@contextmanager
def relayed(mode: str, scale: int, together: int = 1) -> Iterator[tuple[Asker, Relay, Playing]]:
    """A client of a server behind a relay. The server answers the first requests once it has so
    many of them: each is then on a connection of its own."""
    barrier = threading.Barrier(together)

    def play(peer: Peer) -> None:
        if peer.request():
            if peer.number < together:
                barrier.wait(120)
            peer.sock.sendall(http(running()))
        while peer.request():
            peer.sock.sendall(http(running()))

    with (
        Playing(play) as server,
        Relay(server.port) as relay,
        asking(mode, relay.url, request_timeout=REQUEST_TIMEOUT * scale) as client,
    ):
        yield client, relay, server


@every_mode
@at_some_scale
def test_a_silent_connection_is_given_up(mode: str, scale: int) -> None:
    """A poll on a kept connection that has fallen silent succeeds on a new one, and takes less than
    a request may; the server is sent each request once."""
    with relayed(mode, scale) as (client, relay, server):
        assert client.ask("j-1").percent == 37
        relay.drop()
        began = time.monotonic()
        assert client.ask("j-1").percent == 37
        took = time.monotonic() - began
        assert client.ask("j-1").percent == 37
    assert took < LONGEST_LOSS * scale
    assert len(server.requests) == 3
    assert relay.connections == 2


@every_mode
@at_some_scale
def test_one_silent_connection_condemns_the_others(mode: str, scale: int) -> None:
    """Where one of several kept connections turns out to be silent the others are not tried: the
    next polls lose no more time together than one does."""
    with relayed(mode, scale, together=8) as (client, relay, server):
        assert {progress.percent for progress in client.together(["j-1"] * 8)} == {37}
        assert relay.connections == 8
        relay.drop()
        began = time.monotonic()
        for _ in range(3):
            assert client.ask("j-1").percent == 37
        took = time.monotonic() - began
    assert took < LONGEST_LOSS * scale
    assert len(server.requests) == 11


@every_mode
@at_some_scale
def test_a_slow_server_is_sent_each_request_once(mode: str, scale: int) -> None:
    """A server that answers every poll on a kept connection after 0.6 s, of the 1.6 s that it
    has, is not taken for silent: nothing is sent twice."""

    def play(peer: Peer) -> None:
        while peer.request():
            if server.ended.wait(0.6 * scale):
                return
            with suppress(OSError):
                peer.sock.sendall(http(running()))

    with Playing(play) as server, asking(mode, server.url, request_timeout=1.6 * scale) as client:
        told = [client.ask("j-1").percent for _ in range(4)]
    assert told == [37] * 4
    assert [number for number, _ in server.requests] == [0] * 4


@every_mode
@at_some_scale
def test_a_silent_server_is_an_error_in_time(mode: str, scale: int) -> None:
    """A server that is silent on new connections too is an error within the time of one request."""

    def play(peer: Peer) -> None:
        if peer.number == 0 and peer.request():
            peer.sock.sendall(http(running()))
        while peer.request():
            pass

    with Playing(play) as server, asking(mode, server.url, request_timeout=scale) as client:
        assert client.ask("j-1").percent == 37
        began = time.monotonic()
        with pytest.raises(TransportError):
            client.ask("j-1")
        took = time.monotonic() - began
    assert took < 2.5 * scale


@every_mode
def test_connections_are_kept_alive(mode: str) -> None:
    """TCP keepalive is on for a connection that is kept, so that a NAT does not forget it and its
    end is noticed."""
    with Playing(_answer_all) as server, asking(mode, server.url) as client:
        client.ask("j-1")
        found = keepalive(server.port)
    assert found == [True]


def _answer_all(peer: Peer) -> None:
    while peer.request():
        peer.sock.sendall(http(running()))


def keepalive(port: int) -> list[bool]:
    """SO_KEEPALIVE of each connection of this process to a port, whoever holds it."""
    found = []
    for number in range(3, 512):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
        except OSError:  # not open
            continue
        with socket.socket(fileno=os.dup(number)) as copy, suppress(OSError):  # not connected
            peer = copy.getpeername()
            if isinstance(peer, tuple) and len(peer) > 1 and peer[1] == port:
                on = copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                found.append(bool(on))
    return found
