"""How a request ends: limits, cancellation, interrupts and forks; and no secret is shown."""

from __future__ import annotations

import gc
import inspect
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import anyio
import pytest
from connection_support import GRACE, every_mode, shape
from fault_server import FaultServer, Peer
from net_support import MODES, TOKEN, Limits, answering, ask, get, http
from scales import at_some_scale

from opwatch.errors import TransportError
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer, Request, Secret

# --- the end of a request -------------------------------------------------------------------------


@every_mode
def test_a_large_body_is_sent_completely(mode: str) -> None:
    """Also if the server takes it bit by bit."""
    body = Secret("x" * 3_000_000)
    with FaultServer(answering(http()), buffer=65_536) as server:
        [outcome] = ask(mode, [get(server.url, method="POST", body=body)])
    assert type(outcome) is Answer
    assert server.requests[0].body == body.encode()


@every_mode
@at_some_scale
def test_a_server_that_does_not_read_is_given_up_in_time(mode: str, scale: int) -> None:
    """The limit holds for sending too."""
    request = {"method": "POST", "body": b"x" * 30_000_000}
    with FaultServer(lambda peer: server.ended.wait() and None, buffer=65_536) as server:
        began = time.monotonic()
        [outcome] = ask(mode, [get(server.url, **request)], seconds=0.2 * scale)
        assert time.monotonic() - began < GRACE * scale
    assert "no complete response" in str(outcome)


@every_mode
def test_an_answer_before_the_whole_request_is_read(mode: str) -> None:
    """A server may refuse a body, say why, and close."""

    def play(peer: Peer) -> None:
        peer.receive(65_536)
        peer.send(http(b"too much", "Connection: close", status=413))
        peer.pause()

    with FaultServer(play) as server:
        [outcome] = ask(mode, [get(server.url, method="POST", body=b"x" * 50_000)])
    assert isinstance(outcome, Answer)
    assert outcome.status == 413


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 600_000


@every_mode
@at_some_scale
def test_one_byte_chunks_do_not_overrun_the_limit(mode: str, scale: int) -> None:
    """The deadline is checked between them: a response that takes seconds to read is an error."""
    whole = CHUNKS + b"0\r\n\r\n"
    with FaultServer(lambda peer: peer.request() and peer.send(whole)) as server:
        [outcome] = ask(mode, [get(server.url)], seconds=0.1 * scale)
    assert "no complete response" in str(outcome)


@pytest.mark.parametrize("mode", MODES[1:])
def test_one_byte_chunks_do_not_stop_the_event_loop(mode: str) -> None:
    """Another task runs hundreds of times while they are read."""
    beats = 0
    answers: list[Answer] = []

    async def beat() -> None:
        nonlocal beats
        while not answers:
            beats += 1
            await anyio.sleep(0)

    async def main(url: str) -> None:
        transport = AsyncTransport(Limits())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat)
            answers.append(await transport.send(get(url), time.monotonic() + 60))
        await transport.aclose()

    whole = CHUNKS[: -6 * 500_000] + b"0\r\n\r\n"
    with FaultServer(answering(whole)) as server:
        anyio.run(main, server.url, backend=mode)
    assert len(answers[0].body) == 100_000
    assert beats > 1000


@pytest.mark.parametrize("mode", MODES[1:])
def test_cancelling_closes_the_connection(mode: str) -> None:
    """The server sees its end, and the next request gets a new connection."""
    arrived, closed = threading.Event(), threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 0:
            peer.request()
            arrived.set()
            peer.hold()
            closed.set()
        answering(http())(peer)

    async def main(url: str) -> Answer:
        transport = AsyncTransport(Limits())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, get(url), time.monotonic() + 60)
            assert await anyio.to_thread.run_sync(arrived.wait, GRACE)
            tasks.cancel_scope.cancel()
        assert closed.wait(GRACE)
        answer = await transport.send(get(url), time.monotonic() + 60)
        await transport.aclose()
        return answer

    with FaultServer(play) as server:
        assert anyio.run(main, server.url, backend=mode).status == 200
    assert shape(server) == [0, 1]


def test_a_client_outlives_an_event_loop() -> None:
    """Idle connections belong to no loop, so the next loop uses them."""
    transport = AsyncTransport(Limits())

    async def main(url: str) -> int:
        return (await transport.send(get(url), time.monotonic() + 20)).status

    with FaultServer(answering(http())) as server:
        assert [anyio.run(main, server.url, backend=mode) for mode in MODES[1:] * 2] == [200] * 4
        anyio.run(transport.aclose)
    assert shape(server) == [0, 0, 0, 0]


def test_five_thousand_async_clients_leave_nothing_behind() -> None:
    """Opened, used and closed in one event loop."""

    async def main(url: str) -> list[int]:
        sizes = []
        for count in range(5001):
            transport = AsyncTransport(Limits())
            if count % 250 == 0:
                await transport.send(get(url), time.monotonic() + 20)
            await transport.aclose()
            if count in (1000, 5000):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        return sizes

    tracemalloc.start()
    try:
        with FaultServer(answering(http())) as server:
            before, after = anyio.run(main, server.url)
    finally:
        tracemalloc.stop()
    assert after - before < 200_000  # 50 bytes a client; the server's threads take most of it


def once(transport: Transport | AsyncTransport, request: Request) -> Answer:
    """Send one request, of an async transport in an event loop of its own."""
    if isinstance(transport, Transport):
        return transport.send(request, time.monotonic() + 20)
    return anyio.run(transport.send, request, time.monotonic() + 20)


@pytest.mark.parametrize("kind", [Transport, AsyncTransport])
def test_a_dropped_transport_closes_its_connections(kind: Any) -> None:
    """Without a ResourceWarning, and also as part of a cycle."""
    ended = threading.Semaphore(0)

    def play(peer: Peer) -> None:
        answering(http())(peer)
        ended.release()

    with FaultServer(play) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transport = kind(Limits())
        transport.itself = transport
        once(transport, get(server.url))
        del transport
        gc.collect()
        assert ended.acquire(timeout=GRACE)
    assert [str(one.message) for one in caught] == []


def test_a_connection_in_use_is_closed_after_its_transport() -> None:
    """Closing a client in one thread does not leave the connections of the others open."""
    arrived, closed, ended = threading.Event(), threading.Event(), threading.Event()

    def play(peer: Peer) -> None:
        peer.request()
        arrived.set()
        closed.wait(GRACE)
        peer.send(http())
        peer.hold()
        ended.set()

    transport = Transport(Limits())
    with FaultServer(play) as server, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(transport.send, get(server.url), time.monotonic() + 20)
        assert arrived.wait(GRACE)
        transport.close()
        closed.set()
        assert answer.result(GRACE).status == 200
        assert ended.wait(GRACE)


# --- secrets and interrupts -----------------------------------------------------------------------


def shown(error: BaseException) -> str:
    """Return an exception with the locals of every frame, and with what is behind it."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(found.format(chain=True))


@every_mode
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 planted-answer", b"planted-answer\r\n\r\n"])
def test_no_error_holds_the_request_or_the_answer(mode: str, answer: bytes) -> None:
    """Neither in its frames nor in what is behind it."""
    with FaultServer(lambda peer: peer.request() and peer.send(answer)) as server:
        [outcome] = ask(mode, [get(server.url)])
    assert isinstance(outcome, TransportError)
    assert (outcome.__context__, outcome.__cause__) == (None, None)
    assert TOKEN not in shown(outcome)
    assert "planted-answer" not in shown(outcome)


class Interrupting(socket.socket):
    """A socket whose `send` fails like an interrupt does."""

    def send(self, *_: Any) -> int:
        raise KeyboardInterrupt


def test_an_interrupt_while_sending_holds_no_secret() -> None:
    """The frames from the socket up have been left behind, and the connection is closed."""
    transport = Transport(Limits())
    with FaultServer(answering(http())) as server:
        transport.send(get(server.url), time.monotonic() + 20)
        [origin] = transport._origins.values()
        connection = origin.take()
        assert connection is not None
        connection.sock = Interrupting(fileno=connection.sock.detach())
        origin.kept.append(connection)
        with pytest.raises(KeyboardInterrupt) as caught:
            transport.send(get(server.url), time.monotonic() + 20)
        assert TOKEN not in shown(caught.value)
        assert connection.sock.fileno() == -1
        assert transport.send(get(server.url), time.monotonic() + 20).status == 200
        transport.close()
    assert shape(server) == [0, 1]


# Python reports a coroutine that was interrupted before its first step, and drops it.
never_awaited = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@never_awaited
def test_running_out_of_stack_holds_no_secret() -> None:
    """Wherever it happens, and the next request works."""
    transport = Transport(Limits())
    errors: list[RecursionError] = []

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            transport.send(request, time.monotonic() + 20)

    with FaultServer(answering(http())) as server:
        request = get(server.url)
        deep = sys.getrecursionlimit() - len(inspect.stack())
        for spare in range(4, 40):
            try:
                dive(deep - spare)
            except RecursionError as error:
                errors.append(error)
        assert transport.send(request, time.monotonic() + 20).status == 200
        transport.close()
    assert len(errors) > 5
    assert [TOKEN in shown(error) for error in errors] == [False] * len(errors)


@never_awaited
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # by finalizers
def test_interrupts_at_any_moment_never_mix_up_answers() -> None:
    """Each request gets its own answer or the interrupt, however often it strikes."""

    def play(peer: Peer) -> None:
        while request := peer.request():
            peer.send(http(request.line.split()[1]))

    def strike(_: int, frame: FrameType | None) -> None:
        while is_struck and frame is not None:
            if frame.f_code is Transport.send.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    transport = Transport(Limits())
    interrupts = answers = 0
    is_struck = True
    before = signal.signal(signal.SIGALRM, strike)
    try:
        with FaultServer(play) as server:
            for number in range(1000):
                target = f"/{number}"
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00002 + number % 200 * 0.00001)
                    answer = transport.send(get(server.url, target), time.monotonic() + 20)
                    assert answer.body == target.encode()
                    answers += 1
                except KeyboardInterrupt:
                    interrupts += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            is_struck = False  # Python may handle the last signal only now
            assert transport.send(get(server.url, "/last"), time.monotonic() + 20).body == b"/last"
            transport.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 50
    assert answers > 0


def test_threads_share_a_transport() -> None:
    """Eight threads, 800 requests, and never the response to another one's."""

    def play(peer: Peer) -> None:
        while request := peer.request():
            peer.send(http(request.line.split()[1]))

    transport = Transport(Limits())
    with FaultServer(play) as server, ThreadPoolExecutor(8) as threads:
        targets = [f"/{number}" for number in range(800)]
        bodies = threads.map(
            lambda target: transport.send(get(server.url, target), time.monotonic() + 20).body,
            targets,
        )
        assert [body.decode() for body in bodies] == targets
        transport.close()
    assert server.connections <= 8


# --- forks ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since Python 3.12
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("kind", [Transport, AsyncTransport])
def test_parent_and_child_use_connections_of_their_own(kind: Any) -> None:
    """200 requests each at the same time, and each gets its own answers."""

    def play(peer: Peer) -> None:
        while request := peer.request():
            peer.send(http(request.line.split()[1]))

    transport = kind(Limits())

    def send(url: str, who: str) -> bool:
        return all(
            once(transport, get(url, f"/{who}-{n}")).body == f"/{who}-{n}".encode()
            for n in range(200)
        )

    with FaultServer(play) as server:
        once(transport, get(server.url, "/before"))
        child = multiprocessing.get_context("fork").Process(
            target=lambda: os._exit(0 if send(server.url, "child") else 1)
        )
        child.start()
        assert send(server.url, "parent")
        child.join(GRACE)
        assert child.exitcode == 0
        assert {
            request.connection for request in server.requests if b"/parent" in request.line
        } == {0}
        once(transport, get(server.url, "/after"))
    assert server.requests[-1].connection == 0
