"""Tasks that are cancelled during a request, and many short-lived clients on one event loop.

Whatever was cancelled, the same client works afterwards, and nothing is left behind: no connection,
no slot, no task, no memory.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from counts import LONG_RUN, counts
from hardness_servers import Service, service
from hardness_support import ASYNC_MODES, ITWIN, TOKEN, in_one, leaks, times

from opwatch import AsyncITwin, Schedule
from opwatch.testing import Script, reply

pytestmark = pytest.mark.timeout(max(300, LONG_RUN))
REQUEST_TIMEOUT = 40.0  # only a call that hangs takes so long, on the slowest machine too
LONGEST_CALL = REQUEST_TIMEOUT + 1.0
MAX_IN_FLIGHT = 4

every_backend = pytest.mark.parametrize("backend", ASYNC_MODES)
Work = Callable[[Any], Awaitable[object]]


async def one_query(client: Any) -> None:
    await client.progress("running-5")


async def one_wait(client: Any) -> None:
    await client.wait("running-5", timeout=60)


async def many_waits(client: Any) -> None:
    async for _ in client.watch_many([f"running-{number}" for number in range(6)], timeout=60):
        pass


async def let_it_run(random: Random) -> None:
    """A random number of turns of the event loop, or a random small delay."""
    if random.random() < 0.5:
        for _ in range(random.randrange(60)):
            await anyio.lowlevel.checkpoint()
    else:
        await anyio.sleep(random.uniform(0, 0.004))


async def cancelled_task(work: Work, client: Any, random: Random) -> list[str]:
    """Cancel a task that works at a random moment; the secrets in what it raised."""
    found: list[str] = []

    async def noting() -> None:
        try:
            await work(client)
        except BaseException as error:
            found.extend(leaks(error))
            raise

    if isinstance(_loop(), asyncio.AbstractEventLoop):
        # A task of asyncio itself: its cancellation is raised once, where anyio's is repeated.
        task = asyncio.ensure_future(noting())
        await let_it_run(random)
        task.cancel()
        await asyncio.wait([task], timeout=LONGEST_CALL)
        if not task.done():
            return ["it hangs"]
        if not task.cancelled() and task.exception() is not None:
            found.append(f"it raises {type(task.exception()).__name__}")
        return found
    with anyio.move_on_after(LONGEST_CALL) as limit:
        async with anyio.create_task_group() as group:
            group.start_soon(noting)
            await let_it_run(random)
            group.cancel_scope.cancel()
    return ["it hangs"] if limit.cancelled_caught else found


def _loop() -> object:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def next_call(client: Any, number: int) -> list[str]:
    """What is wrong with the next answer, if anything."""
    try:
        with anyio.fail_after(LONGEST_CALL):
            progress = await client.progress(f"running-{number}")
    except TimeoutError:
        return ["the next call hangs"]
    except Exception as error:
        return [f"the next call raises {type(error).__name__}: {error}"]
    told = progress.percent
    return [] if told == number else [f"the next call gets {told} instead of {number}"]


async def free_slots(client: Any) -> list[float | None]:
    """The answers to as many requests at the same time as the client may make: the server answers
    once it has all of them."""
    found: dict[int, float | None] = {}

    async def ask(number: int) -> None:
        found[number] = (await client.progress(f"together{MAX_IN_FLIGHT}-{number}")).percent

    async with anyio.create_task_group() as group:
        for number in range(MAX_IN_FLIGHT):
            group.start_soon(ask, number)
    return [found[number] for number in range(MAX_IN_FLIGHT)]


@every_backend
@pytest.mark.parametrize("work", [one_query, one_wait, many_waits], ids=lambda work: work.__name__)
def test_tasks_cancelled_at_random_moments(work: Work, backend: str) -> None:
    """After a task was cancelled at any moment the same client works; no connection and no slot is
    lost, nothing is reported to the event loop, and no traceback holds a credential."""
    random, problems, reports = Random(work.__name__ + backend), [], []

    async def main(server: Service) -> None:
        if isinstance(loop := _loop(), asyncio.AbstractEventLoop):
            loop.set_exception_handler(lambda _, context: reports.append(str(context)))
        async with ITWIN.asynchronous(
            server.url,
            request_timeout=REQUEST_TIMEOUT,
            max_in_flight=MAX_IN_FLIGHT,
            schedule=Schedule((0.002,)),
        ) as client:
            for turn in range(times(100)):
                problems.extend(await cancelled_task(work, client, random))
                problems.extend(await next_call(client, 10 + turn % 80))
                if len(problems) > 5:
                    return
            server.wait_until_open(MAX_IN_FLIGHT)
            with anyio.fail_after(LONGEST_CALL):
                assert await free_slots(client) == [*range(MAX_IN_FLIGHT)]
        gc.collect()  # a task whose exception nobody retrieved is reported when it is dropped
        await anyio.lowlevel.checkpoint()
        server.wait_until_open(0)

    with service(token_uses=20) as server:
        in_one(backend, lambda: main(server))
    assert not problems, "\n".join(problems)
    assert reports == []


@every_backend
@pytest.mark.parametrize("cancelled", range(3))
def test_a_shared_token_request_survives_its_callers(cancelled: int, backend: str) -> None:
    """While several tasks wait for one token, any of them may be cancelled, also the one that
    fetches it: the others get a token and their answers."""
    told: list[float | None] = []

    async def main(server: Service) -> None:
        async with ITWIN.asynchronous(server.url, request_timeout=REQUEST_TIMEOUT) as client:

            async def ask(number: int, scope: anyio.CancelScope) -> None:
                with scope:
                    told.append((await client.progress(f"running-{number}")).percent)

            scopes = [anyio.CancelScope() for _ in range(3)]
            with anyio.fail_after(2 * LONGEST_CALL):
                async with anyio.create_task_group() as group:
                    for number, scope in enumerate(scopes):
                        group.start_soon(ask, number, scope)
                    while not server.count("POST"):
                        await anyio.sleep(0.001)
                    scopes[cancelled].cancel()
                assert (await client.progress("running-9")).percent == 9

    with service(token_delay=0.15) as server:
        in_one(backend, lambda: main(server))
        tokens = server.count("POST")
    assert sorted(told) == [number for number in range(3) if number != cancelled]
    assert tokens <= 2


# --- clients that come and go ---------------------------------------------------------------------


async def come_and_go(make: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        async with make() as client:
            await client.progress("running-5")
            await client.wait("succeeded-100", timeout=60)


async def growth(make: Callable[[], Any], count: int, after: Callable[[], object]) -> int:
    """Bytes that so many clients leave behind on one event loop, each time: a table that grows, as
    those of Python do now and then, grows once."""
    await come_and_go(make, 30)
    tracemalloc.start()
    try:
        used = []
        for many in (count // 10, count, count):  # the first fill what has a limit
            await come_and_go(make, many)
            after()
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
        return min(used[1] - used[0], used[2] - used[1])
    finally:
        tracemalloc.stop()


@counts(100, 1500)
@every_backend
def test_clients_leave_no_memory(backend: str, count: int) -> None:
    """Clients that are opened, used and closed on one event loop leave less than 100 bytes each."""

    def answer(request: Any) -> Any:
        if request.target.endswith("/running-5/progress"):
            return reply(200, {"jobProgress": {"state": "Active", "percentage": 5}})
        if request.target.endswith("/progress"):
            return reply(200, {"jobProgress": {"state": "Over", "percentage": 100}})
        return reply(200, {"job": {"id": "succeeded-100", "state": "success"}})

    async def main() -> int:
        with Script(answer) as script:
            return await growth(lambda: AsyncITwin(TOKEN), count, script.sent.clear)

    assert in_one(backend, main) < 100 * count


@counts(30, 150)
@every_backend
def test_clients_of_a_real_server_leave_no_memory(backend: str, count: int) -> None:
    """Clients with real connections leave less than 400 bytes each, and no connection."""

    async def main(server: Service) -> int:
        return await growth(lambda: AsyncITwin(TOKEN, base_url=server.url), count, lambda: None)

    with service() as server:
        left = in_one(backend, lambda: main(server))
        server.wait_until_open(0)
    assert left < 400 * count
