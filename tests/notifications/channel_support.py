"""Clients with a channel, blocking and async."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from agenda import Agenda
from channel_server import DEVICE_ID, SECRET, ChannelServer

from opwatch import AsyncCatenis, Catenis, Schedule, net
from opwatch.testing import FakeClock, Script, reply

QUARTER = Schedule((15,), jitter=0)
ID = "pProvisional00000001"


def message(done: bool) -> Any:
    progress: dict[str, Any] = {"bytesProcessed": 900 if done else 100, "done": done}
    if done:
        progress |= {"success": True, "finishDate": "2027-01-15T08:00:00.000Z"}
    return reply(200, {"status": "success", "data": {"action": "log", "progress": progress}})


RUNNING, DONE = message(False), message(True)


@contextmanager
def scripted(replies: Any) -> Iterator[Script]:
    """Polls are scripted; the channel is a real one."""
    real = net.open_websocket.get()
    with Script(replies) as script:
        token = net.open_websocket.set(real)
        try:
            yield script
        finally:
            net.open_websocket.reset(token)


def blocking(server: ChannelServer, *jobs: str, **how: Any) -> Any:
    how = {"timeout": 3600, "schedule": QUARTER} | how
    with Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client:
        if len(jobs) == 1:
            return client.wait(jobs[0], **how)
        return [*client.watch_many(jobs, **how)][-1]


def in_loop(backend: str) -> Callable[..., Any]:
    def run(server: ChannelServer, *jobs: str, **how: Any) -> Any:
        how = {"timeout": 3600, "schedule": QUARTER} | how

        async def main() -> Any:
            url = server.url
            async with AsyncCatenis(DEVICE_ID, SECRET, base_url=url, notifications=True) as client:
                if len(jobs) == 1:
                    return await client.wait(jobs[0], **how)
                return [progress async for progress in client.watch_many(jobs, **how)][-1]

        return anyio.run(main, backend=backend)

    return run


DRIVERS = {"blocking": blocking, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


@pytest.fixture(params=DRIVERS)
def wait(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return DRIVERS[request.param]


class Messages:
    """Each is done from a time on."""

    def __init__(self, clock: FakeClock, **ends: float) -> None:
        self._clock, self._ends = clock, ends

    def __call__(self, request: Any) -> Any:
        is_done = self._clock.now() >= self._ends[request.target.split("/")[-2]]
        return DONE if is_done else RUNNING


@contextmanager
def playing(
    ends: dict[str, float], *scripts: str
) -> Iterator[tuple[ChannelServer, Agenda, Script]]:
    """A channel's server, a clock on which things happen, and polls by that clock."""
    with (
        ChannelServer(*scripts) as server,
        Agenda() as clock,
        scripted(Messages(clock, **ends)) as script,
    ):
        yield server, clock, script


@contextmanager
def opened(replies: dict[str, list[Any]]) -> Iterator[tuple[ChannelServer, Catenis]]:
    """A channel's server, and a client whose polls are scripted."""
    with (
        ChannelServer() as server,
        FakeClock(),
        scripted(replies),
        Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client,
    ):
        yield server, client


def times(script: Script) -> list[float]:
    return [sent.time for sent in script.sent]
