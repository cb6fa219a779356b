"""No secret shows when a request is interrupted, cancelled or in a thread that goes away."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from auth_support import PATIENCE, Request
from leak_service import JOB, WAYS, Service, answered, clients, echo
from leak_support import SECRETS, playing

from opwatch.net.address import address
from opwatch.net.message import Answer
from opwatch.net.message import Request as Outgoing


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("piece", [False, True])
def test_ctrl_c_in_the_middle_of_a_request_shows_nothing(way, piece, service, witness):
    """Ctrl-C during a request shows nothing, even after half of the response."""
    play, loopback = service
    main = threading.get_ident()

    def interrupt(request: Request) -> bytes | None:
        if piece:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
            request.send(head + echo(request).encode() + SECRETS["access token"].encode())
        signal.pthread_kill(main, signal.SIGINT)
        play.held.wait(PATIENCE)
        return None

    play.answers = play.token_answers = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with clients(loopback.url)[way] as client, pytest.raises(KeyboardInterrupt) as caught:
            client.progress(JOB)
    finally:
        signal.signal(signal.SIGINT, before)
    witness.hears(caught.value)
    play.held.set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_request_shows_nothing(way, backend, service, witness):
    """What is raised in a task that is cancelled during a request shows nothing."""
    play, loopback = service

    def hold(request: Request) -> bytes | None:
        request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + echo(request).encode())
        arrived.release()
        play.held.wait(PATIENCE)
        return None

    async def ask(client: Any) -> None:
        try:
            await client.progress(JOB)
        except BaseException as error:
            witness.hears(error)
            raise

    async def main() -> None:
        async with clients(loopback.url, asynchronous=True)[way] as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client)
                await anyio.to_thread.run_sync(arrived.acquire)
                tasks.cancel_scope.cancel()
            witness.inspects(client)

    arrived = threading.Semaphore(0)
    play.answers = play.token_answers = hold
    anyio.run(main, backend=backend)
    play.held.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_anywhere_shows_nothing(way, witness):
    """Ctrl-C while a request is signed, a token is read or a response is parsed shows nothing."""

    class Interrupt(KeyboardInterrupt):
        pass

    def interrupted(number: int) -> int:
        """Interrupt a poll at one of the places where Python looks for signals.

        Return how many there were, up to the one of that number.
        """
        seen, before = 0, sys.getprofile()

        def profile(frame: Any, event: str, arg: Any) -> None:
            nonlocal seen
            seen += event in ("call", "c_return")
            if seen == number:
                sys.setprofile(before)
                raise Interrupt

        client = clients("https://example.com")[way]
        sys.setprofile(profile)
        try:
            client.progress(JOB)
        except Interrupt as error:
            witness.hears(error)
        finally:
            sys.setprofile(before)
        return seen

    @functools.cache
    def known(method: str, target: str) -> Answer:
        return answered(Outgoing(method, address("https://example.com", "url"), target), service)

    def handler(request: Outgoing) -> Answer:
        answer = known(request.method, request.target)
        return Answer(answer.status, answer.headers, answer.body, secrets=request.secrets)

    service = Service().well
    with playing(handler):
        interrupted(0)  # fills the caches
        places = interrupted(0)
        assert places > 100
        for number in range(1, places * 9 // 10, max(places // 100, 1)):
            assert interrupted(number) == number
