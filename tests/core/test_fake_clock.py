"""`FakeClock` doesn't advance while a request is in flight, whenever the request began."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from opwatch import AsyncITwin, net
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer, Request
from opwatch.testing import FakeClock

RUNNING = b'{"jobProgress":{"percentage":56,"state":"Active","step":"Import"}}'
A_FEW_TURNS = 30


class _Slow(AsyncTransport):
    """Takes real time, as a server does."""

    async def send(self, request: Request, end: float) -> Answer:
        await anyio.sleep(0.05)
        return Answer(200, (), RUNNING)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("turns", range(A_FEW_TURNS))
def test_no_time_passes_during_a_request(turns: int, backend: str) -> None:
    """A sleeper that finds nobody busy looks again before it moves the time."""
    found: list[float] = []

    async def ask(client: Any, clock: FakeClock) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        began = clock.now()
        await client.progress("j-1")
        found.append(clock.now() - began)

    async def run() -> None:
        async with (
            AsyncITwin("a-made-up-token", base_url="http://127.0.0.1:9") as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(clock.asleep, 10.0)
            group.start_soon(ask, client, clock)

    reset = net.open_async.set(_Slow)
    try:
        with FakeClock() as clock:
            anyio.run(run, backend=backend)
    finally:
        net.open_async.reset(reset)
    assert found == [0.0]
