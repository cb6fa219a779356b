"""Connections kept from one poll to the next, and what happens if they die in between.

The rule: a request is repeated once, on a new connection, if a kept connection turns out dead
before a single byte comes back, or (for a GET) stays silent for too long; never to a server that
has begun to answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from fault_plays import Scenario, good, http
from fault_scenarios import SCENARIOS
from fault_server import FaultServer, Peer
from fault_services import EVERY_MODE, ITWIN, MODES, SAMPLES, TOKEN, Sample, ask
from scales import at_some_scale

from opwatch import AsyncITwin, ClientCredentials, ITwin, Phase, Progress
from opwatch.errors import TransportError
from opwatch.testing import FakeClock

every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
every_mode = pytest.mark.parametrize("mode", EVERY_MODE)
GRACE = 10.0
"""Seconds that a slow machine may take over a time limit."""
ways_to_end = pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])

End = Callable[[Peer], None]


@every_sample
@every_mode
def test_a_connection_is_kept(sample: Sample, mode: str) -> None:
    """Several polls share one connection."""

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(http(good(sample)))

    with FaultServer(play) as server:
        outcomes = ask(sample, mode, server.url, times=3)
    assert [type(outcome) for outcome in outcomes] == [Progress] * 3
    assert (server.connections, len(server.requests)) == (1, 3)


@every_sample
@every_mode
@ways_to_end
def test_a_connection_closed_between_two_polls_is_replaced(
    sample: Sample, mode: str, end: End
) -> None:
    """If a server closed a connection between two polls, the next poll uses a new one."""
    go, gone = threading.Semaphore(0), threading.Semaphore(0)

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http(good(sample)))
            go.acquire(timeout=30)
            end(peer)
            gone.release()

    def between() -> None:
        go.release()
        assert gone.acquire(timeout=30)

    with FaultServer(play) as server:
        outcomes = ask(sample, mode, server.url, times=3, between=between)
        go.release()
    assert [type(outcome) for outcome in outcomes] == [Progress] * 3
    assert [request.connection for request in server.requests] == [0, 1, 2]


@every_sample
@every_mode
@ways_to_end
def test_a_connection_closed_during_a_request_is_replaced_once(
    sample: Sample, mode: str, end: End
) -> None:
    """If a reused connection fails before any response arrives, the request is sent once more on a
    new one, and no error is raised."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http(good(sample)))
        if peer.request():
            end(peer)

    with FaultServer(play) as server:
        outcomes = ask(sample, mode, server.url, times=3)
    assert [type(outcome) for outcome in outcomes] == [Progress] * 3
    assert [request.connection for request in server.requests] == [0, 0, 1, 1, 2]


@every_sample
@every_mode
@ways_to_end
def test_the_repetition_is_not_repeated(sample: Sample, mode: str, end: End) -> None:
    """If the server closes the new connection too, there is no third attempt."""

    def play(peer: Peer) -> None:
        if peer.number == 0 and peer.request():
            peer.send(http(good(sample)))
        if peer.request():
            end(peer)

    with FaultServer(play) as server:
        [first, second] = ask(sample, mode, server.url, times=2)
    assert type(first) is Progress
    assert type(second) is TransportError
    assert [request.connection for request in server.requests] == [0, 0, 1]


@every_sample
@every_mode
@ways_to_end
def test_a_request_on_a_new_connection_is_not_repeated(sample: Sample, mode: str, end: End) -> None:
    """A request on a new connection isn't repeated: only an idle one can have died unnoticed."""

    def play(peer: Peer) -> None:
        if peer.request():
            end(peer)

    with FaultServer(play) as server:
        [outcome] = ask(sample, mode, server.url)
    assert type(outcome) is TransportError
    assert len(server.requests) == 1


@every_sample
@every_mode
def test_what_was_answered_is_not_repeated(sample: Sample, mode: str) -> None:
    """Once a byte of the response has arrived, the request isn't repeated: the server has received
    it."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http(good(sample)))
        if peer.request():
            peer.send(b"H")

    with FaultServer(play) as server:
        [first, second] = ask(sample, mode, server.url, times=2)
    assert type(first) is Progress
    assert type(second) is TransportError
    assert [request.connection for request in server.requests] == [0, 0]


@every_sample
@every_mode
@at_some_scale
def test_a_silent_connection_is_replaced(sample: Sample, mode: str, scale: int) -> None:
    """If a reused connection stays silent, for example because a NAT has dropped it, the request is
    sent once more on a new one, and no error is raised."""

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(http(good(sample)))
        if peer.number == 0 and peer.request():
            peer.hold()

    with FaultServer(play) as server:
        outcomes = ask(sample, mode, server.url, times=2, request_timeout=1.5 * scale)
    assert [type(outcome) for outcome in outcomes] == [Progress] * 2
    assert [request.connection for request in server.requests] == [0, 0, 1]


@every_mode
@at_some_scale
def test_two_silent_connections_take_no_longer_than_one(mode: str, scale: int) -> None:
    """If the new connection stays silent too, the poll ends at its time limit, without a third
    attempt."""
    [sample, *_] = SAMPLES

    def play(peer: Peer) -> None:
        if peer.number == 0 and peer.request():
            peer.send(http(good(sample)))
        if peer.request():
            peer.hold()

    took: list[float] = []
    with FaultServer(play) as server:
        [_, second] = ask(
            sample,
            mode,
            server.url,
            times=2,
            between=lambda: took.append(time.monotonic()),
            request_timeout=0.6 * scale,
        )
        took.append(time.monotonic())
    assert type(second) is TransportError
    assert "no complete response" in str(second)
    assert [request.connection for request in server.requests] == [0, 0, 1]
    assert 0.6 * scale <= took[1] - took[0] < 0.6 * scale + GRACE


@pytest.mark.parametrize("mode", MODES)
@at_some_scale
def test_a_server_known_to_be_slow_is_given_more_time(mode: str, scale: int) -> None:
    """A slow host isn't mistaken for a dead connection: opwatch waits at least twice the host's
    longest response time so far."""
    [sample, *_] = SAMPLES

    def play(peer: Peer) -> None:
        while peer.request():
            server.ended.wait(0.5 * scale)
            peer.send(http(good(sample)))

    with FaultServer(play) as server:  # 1.2 s leave 0.4 s for a connection that may be silent
        outcomes = ask(sample, mode, server.url, times=2, request_timeout=1.2 * scale)
    assert [type(outcome) for outcome in outcomes] == [Progress] * 2
    assert [request.connection for request in server.requests] == [0, 0]


@pytest.mark.parametrize("mode", MODES)
@at_some_scale
def test_a_silent_token_request_is_not_repeated(mode: str, scale: int) -> None:
    """A token endpoint that stays silent may still be working, so the request isn't repeated."""

    def play(peer: Peer) -> None:
        while request := peer.request():
            if request.line.startswith(b"GET"):
                peer.send(http(b"", status=401))
            elif len(server.requests) == 1:
                peer.send(http(NEW_TOKEN))
            else:
                peer.hold()

    with FaultServer(play) as server:
        auth = ClientCredentials("made-up", "made-up", token_url=f"{server.url}/token")
        sample = with_auth(auth)
        [outcome] = ask(sample, mode, server.url, request_timeout=0.6 * scale)
    assert type(outcome) is TransportError
    assert [request.line[:4] for request in server.requests] == [b"POST", b"GET ", b"POST"]
    assert server.connections == 1


def with_auth(auth: ClientCredentials) -> Sample:
    """A job of iTwin, asked about with these credentials."""

    def make(kind: Any) -> Any:
        return lambda url, **options: kind(auth, base_url=url, **options)

    return attrs.evolve(ITWIN, make=make(ITwin), make_async=make(AsyncITwin))


NEW_TOKEN = b'{"access_token": "%s", "expires_in": 100}' % TOKEN.encode()


def test_the_repetition_does_not_use_another_dead_connection() -> None:
    """If one reused connection is dead, the other idle ones are closed, and a new one is opened."""
    [sample, *_] = SAMPLES
    together = threading.Barrier(3)

    def play(peer: Peer) -> None:
        if peer.number < 3:
            if peer.request():
                together.wait(30)
                peer.send(http(good(sample)))
            peer.request()
            return
        while peer.request():
            peer.send(http(good(sample)))

    with (
        FaultServer(play) as server,
        sample.make(server.url) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        list(pool.map(client.progress, [sample.job_id] * 3))
        assert type(client.progress(sample.job_id)) is Progress
    assert [request.connection for request in server.requests][3:] in ([0, 3], [1, 3], [2, 3])


class Moving:
    """A sample whose job has moved by one with each poll."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self.moved = 0

    def poll(self) -> None:
        self.moved += 1

    def body(self, number: str | None = None, text: str | None = None, extra: str = "") -> bytes:
        moved = str(int(self._sample.number) + self.moved)
        return self._sample.body(moved if number is None else number, text, extra)


@pytest.mark.parametrize("mode", MODES)
@every_sample
@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in SCENARIOS if scenario.is_answered],
    ids=lambda scenario: scenario.name,
)
def test_no_poll_gets_an_answer_to_another(scenario: Scenario, sample: Sample, mode: str) -> None:
    """No matter how a response ends, the next poll is sent once and gets its own response or an
    error."""
    play: Any = scenario.play
    moving = Moving(sample)
    with FaultServer(lambda peer: play(peer, moving)) as server:
        outcomes = ask(
            sample, mode, scenario.at(server), times=3, between=moving.poll, **scenario.options()
        )
    for moved, outcome in enumerate(outcomes):
        if isinstance(outcome, Progress):
            assert sample.distance(outcome) in (int(sample.number) + moved, None)
        else:
            assert moved == 1
            assert type(outcome) is TransportError
            assert scenario.name in LEAVES_BYTES
    # A poll that failed over what was left over may have been given up before the server read it.
    failed = sum(isinstance(outcome, TransportError) for outcome in outcomes)
    assert 3 - failed <= len(server.requests) <= 3


LEAVES_BYTES = ("bytes-after-the-body", "second-answer")


def test_a_token_request_is_repeated_like_any_other() -> None:
    """If the connection of a token request turns out to be closed, the request is repeated: a
    second token is harmless."""
    job = b'{"jobProgress":{"percentage":56,"state":"Active"}}'

    def play(peer: Peer) -> None:
        while request := peer.request():
            if request.line.startswith(b"POST"):
                if peer.number == 0 and len(server.requests) > 2:
                    return
                peer.send(http(NEW_TOKEN))
            else:
                peer.send(http(job))

    with FaultServer(play) as server, FakeClock() as clock:
        auth = ClientCredentials("made-up", "made-up", token_url=f"{server.url}/token")
        with ITwin(auth, base_url=server.url) as client:
            client.progress("j-1")
            clock.advance(1000)
            assert client.progress("j-1").phase is Phase.RUNNING
    methods = [(request.connection, request.line[:4]) for request in server.requests]
    assert methods == [(0, b"POST"), (0, b"GET "), (0, b"POST"), (1, b"POST"), (1, b"GET ")]
