"""Many jobs by script, and the drivers that watch them."""

import contextlib

import anyio
import anyio.lowlevel
import pytest

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch import net as transports
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.testing import Script, reply

BACKENDS = ["asyncio", "trio"]
MINUTE = Schedule((60,), jitter=0)


def state(name, percentage=0):
    return reply(200, {"jobProgress": {"state": name, "percentage": percentage}})


ACTIVE, SUCCESS, FAILED = state("Active"), state("success", 100), state("failed")


def script(**jobs):
    """What each job answers, in turn."""
    return Script({f"/jobs/{name}/progress": replies for name, replies in jobs.items()})


def asked(sent):
    """When each job was asked for."""
    times = {}
    for request in sent:
        times.setdefault(request.target.split("/")[-2], []).append(request.time)
    return times


class Seen:
    """What came of a `watch_many`, by either driver."""

    def __init__(self, many, answers):
        self.phases = [(progress.job_id, progress.phase) for progress in answers]
        self.errors, self.last, self.tokens = many.errors, many.last, many.tokens


def blocking(jobs, **how):
    auth, options = how.pop("auth", "a made-up token"), how.pop("options", {})
    with ITwin(auth, **options) as client:
        many = client.watch_many(jobs, **how)
        return Seen(many, list(many))


def in_loop(backend):
    def run(jobs, **how):
        async def main():
            auth, options = how.pop("auth", "a made-up token"), how.pop("options", {})
            async with AsyncITwin(auth, **options) as client:
                many = client.watch_many(jobs, **how)
                return Seen(many, [progress async for progress in many])

        return anyio.run(main, backend=backend)

    return run


DRIVERS = {"blocking": blocking, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


@pytest.fixture(params=DRIVERS)
def watch_many(request):
    return DRIVERS[request.param]


def slow(*names, started, release=None):
    """A transport that holds the requests for some jobs until it is told, or forever."""

    class Slow(AsyncTransport):
        def __init__(self, limits):
            super().__init__(limits)
            self.under_way = 0

        async def send(self, outgoing, end):
            name = outgoing.target.split("/")[-2]
            if name in names:
                started.append(name)
                self.under_way += 1
                try:
                    await (anyio.sleep_forever() if release is None else release.wait())
                finally:
                    self.under_way -= 1
            await anyio.lowlevel.checkpoint()
            return Answer(200, (), SUCCESS.body)

    return Slow


@contextlib.contextmanager
def sent_by(transport):
    reset = transports.open_async.set(transport)
    try:
        yield
    finally:
        transports.open_async.reset(reset)
