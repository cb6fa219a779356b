"""Single flight: any number of threads, tasks and event loops make one token request.

The servers are real. The case that matters happens every time, because the token endpoint holds its
answer back until all other callers wait; the clients here report when one begins to wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from auth_support import PATIENCE, answer
from flight_support import CALLERS, JOBS, AsyncWatched, Service, Watched, callers, until_waiting

from opwatch.errors import AuthenticationError
from opwatch.testing import FakeClock

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
            f"itwin {job}: token endpoint: the client ID or secret was refused (401 invalid_client)"
            for job in JOBS
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
