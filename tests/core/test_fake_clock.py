"""`FakeClock` doesn't advance while a request is in flight, whenever the request began.

It and `Script` can be left in any order.
"""

from __future__ import annotations

import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from opwatch import AsyncITwin, ITwin, clock, net
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer, Request
from opwatch.testing import FakeClock, Script, reply

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


def _script(percentage: int) -> Script:
    return Script({"": reply(200, {"jobProgress": {"state": "Active", "percentage": percentage}})})


async def _async_percent() -> float | None:
    async with AsyncITwin("a-made-up-token") as client:
        return (await client.progress("j-1")).percent


@pytest.mark.parametrize("seed", range(20))
def test_left_in_any_order(seed: int) -> None:
    """The latest script and clock that weren't left apply, even if one was entered twice."""
    first, second, one, other = _script(1), _script(2), FakeClock(), FakeClock()
    usual = (net.open_blocking.get(), net.open_async.get(), clock.current.get())
    uses: list[Any] = [first, one, second, other, first, one]
    percents: dict[Any, int] = {first: 1, second: 2}
    for use in uses:
        use.__enter__()
    inside = dict(enumerate(uses))
    for number in random.Random(seed).sample(range(6), 6):
        uses[number].__exit__(None, None, None)
        # A script or clock that was entered twice leaves its latest entry first.
        del inside[max(each for each in inside if inside[each] is uses[number])]
        clocks = [each for each in inside.values() if isinstance(each, FakeClock)]
        assert clock.current.get() is [usual[2], *clocks][-1]
        if scripts := [percents[each] for each in inside.values() if each in percents]:
            assert ITwin("a-made-up-token").progress("j-1").percent == scripts[-1]
            assert anyio.run(_async_percent) == scripts[-1]
    for use in uses:
        use.__exit__(None, None, None)  # which was left: nothing happens
    assert (net.open_blocking.get(), net.open_async.get(), clock.current.get()) == usual
