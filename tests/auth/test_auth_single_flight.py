"""Single flight: any number of threads, tasks and event loops make one token request.

The servers are real. The case that matters happens every time, because the token endpoint holds its
answer back until all other callers wait; the clients here report when one begins to wait.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from auth_support import APIG_CREATING, ITWIN_ACTIVE, PATIENCE, Loopback, Request, answer

from opwatch import AkSk, Apig, AsyncITwin, ClientCredentials, ITwin
from opwatch.errors import AuthenticationError, OpwatchError
from opwatch.testing import FakeClock, Script, reply

CALLERS = 64
JOBS = [f"job-{n}" for n in range(CALLERS)]


class Service:
    """An iTwin with a token endpoint, whose answers a test may hold back."""

    def __init__(self, *, holds: int = 0) -> None:
        self.asked = threading.Semaphore(0)
        """Released at each token request."""
        self.free = threading.Event()
        """Set when the held token requests may be answered."""
        self.holds = holds
        """How many token requests are held back."""
        self.token_requests = 0
        self.life = 3600
        self.refusal: bytes | None = None
        self.revoked: set[str] = set()
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __call__(self, request: Request) -> bytes:
        if request.method == "POST":
            with self._lock:
                self.token_requests += 1
                number = self.token_requests
            self.asked.release()
            if number <= self.holds:
                assert self.free.wait(PATIENCE)
            fields = {"access_token": f"made-up-{number}", "expires_in": self.life}
            return self.refusal or answer(200, fields)
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        if token in self.revoked or not token.startswith("made-up-"):
            return answer(401, {"error": {"code": "Unauthorized", "message": "expired"}})
        return answer(200, ITWIN_ACTIVE)

    def until_asked(self) -> None:
        assert self.asked.acquire(timeout=PATIENCE)

    @property
    def auth(self) -> ClientCredentials:
        url = f"{self.loopback.url}/connect/token"
        return ClientCredentials("a-client", "a made up secret", token_url=url)

    def __enter__(self) -> Service:
        self.loopback = self._stack.enter_context(Loopback(self))
        return self

    def __exit__(self, *what: object) -> None:
        self.free.set()
        self._stack.close()


def until_waiting(client: Any, callers: int) -> None:
    """Block until so many callers wait for another caller's token request."""
    for _ in range(callers):
        assert client.waiting.acquire(timeout=PATIENCE)


class Watched(ITwin):
    """A client that reports when a caller begins to wait for another caller's token request."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        reports_waiting(self)


class AsyncWatched(AsyncITwin):
    """As `Watched`."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        reports_waiting(self)

    async def until_waiting(self, callers: int) -> None:
        await anyio.to_thread.run_sync(until_waiting, self, callers)


def reports_waiting(client: Any) -> None:
    client.waiting = threading.Semaphore(0)
    landing = client._io.landing

    async def reported(*arguments: Any) -> None:
        client.waiting.release()
        await landing(*arguments)

    client._io.landing = reported


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OpwatchError as error:
        return error


@contextmanager
def callers(client: ITwin, count: int = CALLERS) -> Iterator[list[Any]]:
    """Poll one job in each of `count` threads; the list has the outcomes after the block."""
    outcomes: list[Any] = []
    with ThreadPoolExecutor(count) as pool:
        ready = threading.Barrier(count)

        def ask(job: str) -> Any:
            ready.wait(PATIENCE)
            return outcome(lambda: client.progress(job))

        futures = [pool.submit(ask, job) for job in JOBS[:count]]
        yield outcomes
        outcomes += [future.result(PATIENCE) for future in futures]


# --- threads --------------------------------------------------------------------------------------


def test_64_threads_on_a_new_client_make_one_token_request():
    """One thread requests the token and 63 wait for it."""
    with Service(holds=1) as service, Watched(service) as client:
        with callers(client) as found:
            until_waiting(client, CALLERS - 1)
            service.free.set()
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_64_threads_in_any_order_make_one_token_request():
    """64 threads make one token request in whatever order they arrive."""
    with Service() as service, Watched(service) as client:
        with callers(client) as found:
            pass
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_a_token_that_expires_at_once_serves_all_who_waited_for_it():
    """With `expires_in: 0`, those who waited don't each request another token."""
    with Service(holds=1) as service, Watched(service) as client:
        service.life = 0
        with callers(client) as found:
            until_waiting(client, CALLERS - 1)
            service.free.set()
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_64_threads_share_one_failure():
    """All callers share one refusal, and each error names its own job."""
    with Service(holds=1) as service, Watched(service) as client:
        service.refusal = answer(401, {"error": "invalid_client", "error_description": "no"})
        with callers(client) as found:
            until_waiting(client, CALLERS - 1)
            service.free.set()
        assert {type(error) for error in found} == {AuthenticationError}
        assert [error.job_id for error in found] == JOBS
        assert [str(error) for error in found] == [
            f"itwin {job}: token endpoint: invalid_client (401 invalid_client)" for job in JOBS
        ]
        assert service.token_requests == 1


def test_64_threads_whose_token_was_revoked_make_one_token_request():
    """All threads are refused with the old token, and one requests the new one."""
    with Service() as service, Watched(service) as client:
        client.progress("j")
        service.revoked.add("made-up-1")
        with callers(client) as found:
            pass
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 2


def test_nobody_waits_for_a_renewal_while_the_old_token_is_valid():
    """One caller renews the token, and the others keep using the old one."""
    with FakeClock() as clock, Service() as service, Watched(service) as client:
        client.progress("j")
        clock.advance(3540)
        service.holds = 2
        with callers(client, 1):
            service.until_asked()
            service.until_asked()
            for job in JOBS:
                assert client.progress(job).job_id == job
            assert not client.waiting.acquire(blocking=False)
            service.free.set()
        assert service.token_requests == 2
        assert [
            request.header("authorization")
            for request in service.loopback.requests
            if request.method == "GET"
        ] == ["Bearer made-up-1"] * (CALLERS + 1) + ["Bearer made-up-2"]


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_64_tasks_on_a_new_client_make_one_token_request(backend):
    """One task requests the token and 63 wait for it."""
    found = []

    async def ask(client, job):
        found.append((await client.progress(job)).job_id)

    async def main(service):
        async with AsyncWatched(service) as client, anyio.create_task_group() as tasks:
            for job in JOBS:
                tasks.start_soon(ask, client, job)
            await client.until_waiting(CALLERS - 1)
            service.free.set()

    with Service(holds=1) as service:
        anyio.run(main, service, backend=backend)
        assert sorted(found) == sorted(JOBS)
        assert service.token_requests == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_64_tasks_share_one_failure(backend):
    """All callers share one refusal, and each error names its own job."""
    found = {}

    async def ask(client, job):
        try:
            await client.progress(job)
        except AuthenticationError as error:
            found[job] = error.job_id

    async def main(service):
        async with AsyncWatched(service) as client, anyio.create_task_group() as tasks:
            for job in JOBS:
                tasks.start_soon(ask, client, job)
            await client.until_waiting(CALLERS - 1)
            service.free.set()

    with Service(holds=1) as service:
        service.refusal = answer(400, {"error": "invalid_client"})
        anyio.run(main, service, backend=backend)
        assert found == {job: job for job in JOBS}
        assert service.token_requests == 1


def test_several_event_loops_on_one_client_make_one_token_request():
    """16 tasks in each of four event loops (asyncio and trio) share one token request."""
    loops = ["asyncio", "trio", "asyncio", "trio"]
    tasks_each = CALLERS // len(loops)

    async def ask(client, job, found):
        found.append((await client.progress(job)).job_id)

    async def main(client, jobs, found):
        async with client, anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(ask, client, job, found)

    with Service(holds=1) as service, ThreadPoolExecutor(len(loops)) as pool:
        client = AsyncWatched(service)
        found: list[str] = []
        running = [
            pool.submit(anyio.run, main, client, JOBS[n::4], found, backend=backend)
            for n, backend in enumerate(loops)
        ]
        until_waiting(client, CALLERS - 1)
        service.free.set()
        for future in running:
            future.result(PATIENCE)
        assert tasks_each == len(JOBS[0::4])
        assert sorted(found) == sorted(JOBS)
        assert service.token_requests == 1


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")])
def test_a_client_serves_one_event_loop_after_another(backends):
    """A second event loop uses the token of the first."""

    async def main(client, job):
        try:
            return (await client.progress(job)).job_id
        finally:
            await client.aclose()

    with Service() as service:
        client = AsyncWatched(service)
        found = [anyio.run(main, client, f"j{n}", backend=b) for n, b in enumerate(backends)]
        assert found == ["j0", "j1"]
        assert service.token_requests == 1


# --- a caller that goes away ----------------------------------------------------------------------


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

    how = {"max_in_flight": 1, "request_timeout": 0.5}
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
