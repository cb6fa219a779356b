"""Single flight: a caller that goes away doesn't take the token request of the others with it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from auth_support import APIG_CREATING, ITWIN_ACTIVE, PATIENCE
from flight_support import CALLERS, JOBS, AsyncWatched, Service, Watched, until_waiting

from opwatch import AkSk, Apig, ClientCredentials, ITwin
from opwatch.testing import Script, reply


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_leader_strands_nobody(backend):
    """If the caller who requests the token is cancelled, one of those who wait takes over."""
    found = []

    async def lead(client, scope):
        with scope:
            await client.progress("leader")
            found.append("leader")

    async def follow(client, job):
        found.append((await client.progress(job)).job_id)

    async def main(service):
        async with AsyncWatched(service) as client, anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(lead, client, scope)
            await anyio.to_thread.run_sync(service.until_asked)
            for job in JOBS[1:]:
                tasks.start_soon(follow, client, job)
            await client.until_waiting(CALLERS - 1)
            scope.cancel()

    with Service(holds=1) as service:
        anyio.run(main, service, backend=backend)
        assert sorted(found) == sorted(JOBS[1:])
        assert service.token_requests == 2


def test_a_task_cancelled_by_asyncio_strands_nobody():
    """`asyncio.Task.cancel` of the leader and some who wait leaves nobody waiting either."""
    import asyncio

    async def main(service):
        async with AsyncWatched(service) as client:
            leader = asyncio.create_task(client.progress("leader"))
            await asyncio.to_thread(service.until_asked)
            followers = [asyncio.create_task(client.progress(job)) for job in JOBS[1:]]
            await client.until_waiting(CALLERS - 1)
            for task in (leader, *followers[:10]):
                task.cancel()
            return await asyncio.gather(leader, *followers, return_exceptions=True)

    with Service(holds=1) as service:
        found = asyncio.run(main(service))
        assert [type(error) for error in found[:11]] == [asyncio.CancelledError] * 11
        assert [progress.job_id for progress in found[11:]] == JOBS[11:]
        assert service.token_requests == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_follower_disturbs_nobody(backend):
    """If callers who only wait are cancelled, the request continues for the others."""
    found = []

    async def follow(client, job, scope):
        with scope:
            found.append((await client.progress(job)).job_id)

    async def main(service):
        async with AsyncWatched(service) as client, anyio.create_task_group() as tasks:
            scopes = {job: anyio.CancelScope() for job in JOBS}
            tasks.start_soon(follow, client, JOBS[0], scopes[JOBS[0]])
            await anyio.to_thread.run_sync(service.until_asked)
            for job in JOBS[1:]:
                tasks.start_soon(follow, client, job, scopes[job])
            await client.until_waiting(CALLERS - 1)
            for job in JOBS[-10:]:
                scopes[job].cancel()
            await anyio.wait_all_tasks_blocked()
            service.free.set()

    with Service(holds=1) as service:
        anyio.run(main, service, backend=backend)
        assert len(found) == CALLERS - 10
        assert service.token_requests == 1


def test_a_leader_on_another_loop_that_is_cancelled_strands_nobody():
    """If the leader's event loop ends, a caller on another one takes over."""

    async def lead(client, service, ended):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.progress, "leader")
                await anyio.to_thread.run_sync(ended.wait, PATIENCE)
                scope.cancel()
        await client.aclose()

    async def follow(client):
        async with client:
            return (await client.progress("follower")).job_id

    with Service(holds=1) as service, ThreadPoolExecutor(2) as pool:
        client, ended = AsyncWatched(service), threading.Event()
        leader = pool.submit(anyio.run, lead, client, service, ended)
        service.until_asked()
        follower = pool.submit(anyio.run, follow, client, backend="trio")
        until_waiting(client, 1)
        ended.set()
        leader.result(PATIENCE)
        assert follower.result(PATIENCE) == "follower"
        assert service.token_requests == 2


def test_an_interrupted_leader_strands_no_thread():
    """If Ctrl-C interrupts a token request, one of the threads that wait takes over."""
    count = 8

    def service(request: Any):
        if request.method == "GET":
            return reply(200, ITWIN_ACTIVE)
        asked.append(request)
        if len(asked) == 1:
            until_waiting(client, count - 1)
            raise KeyboardInterrupt
        return reply(200, {"access_token": "made-up-2", "expires_in": 3600})

    asked: list[Any] = []
    with Service() as real, Script(service):
        client = Watched(real)
        interrupted = []

        def ask(job: str) -> str | None:
            try:
                return client.progress(job).job_id
            except KeyboardInterrupt:
                interrupted.append(job)
                return None

        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(ask, JOBS[:count], timeout=PATIENCE))
    assert len(interrupted) == 1
    assert sorted(filter(None, found)) == sorted(set(JOBS[:count]) - set(interrupted))
    assert len(asked) == 2


@pytest.mark.parametrize("way", ["token", "callable", "OAuth", "AK/SK"])
def test_an_interrupt_at_any_place_blocks_nobody(way, monkeypatch):
    """Wherever Ctrl-C interrupts a request, the next one waits for no flight and no slot."""
    printed: set[type] = set()  # by finalizers, which may be interrupted too
    monkeypatch.setattr(sys, "unraisablehook", lambda found: printed.add(found.exc_type))

    def service(request: Any):
        if request.method == "POST":
            return reply(200, {"access_token": "made-up", "expires_in": 3600})
        return reply(200, APIG_CREATING if "instances" in request.target else ITWIN_ACTIVE)

    how = {"max_in_flight": 1, "request_timeout": PATIENCE}
    keys = AkSk("AK", "a made up secret key")
    build: dict[str, Callable[[], Any]] = {
        "token": lambda: ITwin("made-up", **how),
        "callable": lambda: ITwin(lambda: "made-up", **how),
        "OAuth": lambda: ITwin(ClientCredentials("a-client", "a made up secret"), **how),
        "AK/SK": lambda: Apig("https://apig", keys, project_id="p", **how),
    }
    with Script(service):
        build[way]().progress("j")  # fills the caches
        places = 0
        while True:
            client = build[way]()
            if not is_interrupted(lambda: client.progress("j"), places + 1):  # noqa: B023
                break
            places += 1
            assert client.progress("j").job_id == "j"
    assert places > 100
    # A coroutine that was interrupted before it began was never awaited, and Python says so.
    assert printed <= {Interrupt, RuntimeWarning}


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, as the test above raises it."""


def is_interrupted(call: Callable[[], Any], number: int) -> bool:
    """Interrupt a call at one of the places where Python looks for signals, counted from 1.

    These are where a function begins and where a built-in one returns. Returns False if there are
    fewer.
    """
    seen, before = 0, sys.getprofile()

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_return")
        if seen == number:
            sys.setprofile(before)
            raise Interrupt

    sys.setprofile(profile)
    try:
        call()
    except Interrupt:
        pass
    finally:
        sys.setprofile(before)
    return seen == number
