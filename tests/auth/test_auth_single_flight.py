"""Single flight: however many callers, threads, tasks and event loops, one token request.

Real sockets. A token endpoint that holds its answer back until the others wait makes the case that
matters happen every time: the clients here say when a caller begins to wait for another's request.
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
from auth_support import ITWIN_ACTIVE, PATIENCE, Loopback, Request, answer

from opwatch import AsyncITwin, ClientCredentials, ITwin
from opwatch.auth import tokens
from opwatch.auth.flows import Flight
from opwatch.auth.tokens import TokenSource
from opwatch.clock import Clock
from opwatch.errors import AuthenticationError, OpwatchError
from opwatch.testing import FakeClock, Script, reply
from opwatch.wire import Outgoing

CALLERS = 64
JOBS = [f"job-{n}" for n in range(CALLERS)]


class Service:
    """An iTwin with a token endpoint of its own, whose answers a test may hold back."""

    def __init__(self, *, holds: int = 0) -> None:
        self.asked = threading.Semaphore(0)
        """Released at each token request."""
        self.free = threading.Event()
        """Set: the held token requests are answered."""
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


class Watched(ITwin):
    """Says when a caller begins to wait for another's token request."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        self.waiting = threading.Semaphore(0)

    def _do(self, effect: Any) -> Any:
        if isinstance(effect, Flight):
            self.waiting.release()
        return super()._do(effect)

    def until_waiting(self, callers: int) -> None:
        for _ in range(callers):
            assert self.waiting.acquire(timeout=PATIENCE)


class AsyncWatched(AsyncITwin):
    """As `Watched`."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        self.waiting = threading.Semaphore(0)

    async def _do(self, effect: Any) -> Any:
        if isinstance(effect, Flight):
            self.waiting.release()
        return await super()._do(effect)

    async def until_waiting(self, callers: int) -> None:
        await anyio.to_thread.run_sync(Watched.until_waiting, self, callers)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OpwatchError as error:
        return error


@contextmanager
def callers(client: ITwin, count: int = CALLERS) -> Iterator[list[Any]]:
    """Ask for a job each in `count` threads; what came of it once the block is left."""
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


def test_64_threads_on_a_cold_client_make_one_token_request():
    """63 wait for the request of the first."""
    with Service(holds=1) as service, Watched(service) as client:
        with callers(client) as found:
            client.until_waiting(CALLERS - 1)
            service.free.set()
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_64_threads_that_come_as_they_come_make_one_token_request():
    """Whatever the order in which they come."""
    with Service() as service, Watched(service) as client:
        with callers(client) as found:
            pass
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_a_token_that_ends_at_once_still_serves_all_who_waited_for_it():
    """`expires_in: 0` makes no request for each of them in turn."""
    with Service(holds=1) as service, Watched(service) as client:
        service.life = 0
        with callers(client) as found:
            client.until_waiting(CALLERS - 1)
            service.free.set()
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 1


def test_64_threads_share_one_failure():
    """A refusal is not asked for 64 times; each caller's error tells its own job."""
    with Service(holds=1) as service, Watched(service) as client:
        service.refusal = answer(401, {"error": "invalid_client", "error_description": "no"})
        with callers(client) as found:
            client.until_waiting(CALLERS - 1)
            service.free.set()
        assert {type(error) for error in found} == {AuthenticationError}
        assert [error.job_id for error in found] == JOBS
        assert [str(error) for error in found] == [
            f"itwin {job}: token endpoint: no (401 invalid_client)" for job in JOBS
        ]
        assert service.token_requests == 1


def test_64_threads_whose_token_was_revoked_make_one_token_request():
    """All are refused with the old token; one asks for the new one."""
    with Service() as service, Watched(service) as client:
        client.progress("j")
        service.revoked.add("made-up-1")
        with callers(client) as found:
            pass
        assert [progress.job_id for progress in found] == JOBS
        assert service.token_requests == 2


def test_nobody_waits_for_a_renewal_while_the_old_token_is_good():
    """One renews; the others go on with what there is."""
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
def test_64_tasks_on_a_cold_client_make_one_token_request(backend):
    """63 wait for the request of the first."""
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
    """A refusal is not asked for 64 times; each caller's error tells its own job."""
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
    """Four threads with a loop each, asyncio and trio, 16 tasks a loop."""
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
        Watched.until_waiting(client, CALLERS - 1)
        service.free.set()
        for future in running:
            future.result(PATIENCE)
        assert tasks_each == len(JOBS[0::4])
        assert sorted(found) == sorted(JOBS)
        assert service.token_requests == 1


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")])
def test_a_client_serves_one_event_loop_after_another(backends):
    """The second loop has connections of its own, and the token of the first."""

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
    """The caller whose request it was is cancelled: one of those who wait asks anew."""
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
    """As does `asyncio.Task.cancel`, of the leader and of some who wait."""
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
    """One who only waited goes away: the request goes on, for the others."""
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
            leader = client._session.auth._source._flight
            for job in JOBS[-10:]:
                scopes[job].cancel()
            await anyio.wait_all_tasks_blocked()
            assert client._session.auth._source._flight is leader
            service.free.set()

    with Service(holds=1) as service:
        anyio.run(main, service, backend=backend)
        assert len(found) == CALLERS - 10
        assert service.token_requests == 1


def test_a_leader_on_another_loop_that_is_cancelled_strands_nobody():
    """The leader's loop ends; those who wait on another one take over."""

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
        Watched.until_waiting(client, 1)
        ended.set()
        leader.result(PATIENCE)
        assert follower.result(PATIENCE) == "follower"
        assert service.token_requests == 2


def test_an_interrupted_leader_strands_no_thread():
    """Ctrl-C in the middle of a token request: one of the threads that wait asks anew."""
    count = 8

    def service(request: Outgoing):
        if request.method == "GET":
            return reply(200, ITWIN_ACTIVE)
        asked.append(request)
        if len(asked) == 1:
            client.until_waiting(count - 1)
            raise KeyboardInterrupt
        return reply(200, {"access_token": "made-up-2", "expires_in": 3600})

    asked: list[Outgoing] = []
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


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, as this test raises it."""


def interrupted(source: TokenSource, number: int) -> bool:
    """Ask for a token, interrupted at the given one of those places at which Python looks for
    signals: where a function begins and where a built-in one returns. False where there are fewer.
    """
    seen = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_return")
        if seen == number:
            sys.setprofile(before)
            raise Interrupt

    before = sys.getprofile()
    flow = source.get()
    sys.setprofile(profile)
    try:
        next(flow)
    except Interrupt:
        return True
    except StopIteration:
        return False
    finally:
        sys.setprofile(before)


def test_an_interrupt_at_any_place_leaves_no_flight_behind():
    """Wherever Ctrl-C falls, the next caller is not made to wait for a request nobody makes."""
    places = 0
    while True:
        source = TokenSource(tokens._Fixed(tokens.bare("made-up")), Clock())
        if not interrupted(source, places + 1):
            break
        places += 1
        flow = source.get()
        with pytest.raises(StopIteration) as stop:
            next(flow)
        assert stop.value.value.secret.reveal() == "made-up"
    assert places > 20
