"""`watch_many`: what a caller's own code raises, and `on_event`."""

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest
from many_support import ACTIVE, MINUTE, SUCCESS, asked, script, sent_by

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.errors import AuthenticationError, WaitCancelled
from opwatch.events import Polled
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.progress import Phase
from opwatch.testing import Script

# --- what is not opwatch's ------------------------------------------------------------------------


def test_a_token_callable_that_raises_ends_each_job_it_was_asked_for(watch_many, clock):
    """The error names it; iterating does not break."""

    def refuse():
        raise LookupError("no such vault")

    with Script(lambda request: ACTIVE):
        seen = watch_many(["a", "b"], timeout=60, auth=refuse)
    assert {name: type(error) for name, error in seen.errors.items()} == {
        "a": AuthenticationError,
        "b": AuthenticationError,
    }


def test_an_interrupt_in_a_query_leaves_its_job_to_be_asked_again(clock):
    """Ctrl-C is raised from the iterator; the job is polled again when the schedule says so, since
    the service may have answered."""
    replies = iter([ACTIVE, KeyboardInterrupt(), SUCCESS])

    def answer(request):
        found = next(replies)
        if isinstance(found, BaseException):
            raise found
        return found

    with Script(answer) as sent, ITwin("a made-up token") as client:
        many = client.watch_many(["a"], timeout=3600)
        assert next(many).phase is Phase.RUNNING
        with pytest.raises(KeyboardInterrupt):
            next(many)
        assert list(many.tokens) == ["a"]
        assert next(many).phase is Phase.SUCCEEDED
    assert asked(sent.sent) == {"a": [0, 15, 45]}


def test_a_defect_in_a_query_comes_out_of_the_iterator(backend, clock):
    """What is no error of opwatch is not swallowed by the task it happened in."""

    def answer(request):
        raise ZeroDivisionError

    async def main():
        with Script(answer):
            client = AsyncITwin("a made-up token")
        with pytest.raises(ZeroDivisionError):
            await anext(client.watch_many(["a"], timeout=None))

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, LookupError])
def test_what_ends_a_program_comes_out_of_the_iterator_too(backend, clock, kind):
    """Raised by a transport or a token callable in a task that nobody else waits for."""

    def answer(request):
        raise kind

    async def main():
        with Script(answer):
            client = AsyncITwin("a made-up token")
        with pytest.raises(kind):
            await anext(client.watch_many(["a"], timeout=None))

    anyio.run(main, backend=backend)


def test_no_more_requests_than_places_are_under_way(backend, clock):
    """`max_in_flight` is the most, and they are used."""
    most = []

    class Counting(AsyncTransport):
        under_way = 0

        async def send(self, outgoing, end):
            self.under_way += 1
            most.append(self.under_way)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            self.under_way -= 1
            return Answer(200, (), SUCCESS.body)

    async def main():
        with sent_by(Counting):
            client = AsyncITwin("a made-up token", max_in_flight=7, schedule=Schedule((0,)))
        async for _ in client.watch_many([f"j{n}" for n in range(100)], timeout=None):
            pass

    anyio.run(main, backend=backend)
    assert max(most) == 7
    assert len(most) == 100


# --- on_event -------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", ["the client", "the iterator"])
def test_on_event_may_close_what_called_it(backend, clock, closes):
    """The poll that it is part of isn't waited for, nor are others whose `on_event` does so too."""

    async def main():
        with script(a=[ACTIVE, SUCCESS], b=[ACTIVE, SUCCESS]):
            client = AsyncITwin("a made-up token", schedule=MINUTE)
        together, closed = anyio.Event(), []

        async def close(event):
            if isinstance(event, Polled):
                closed.append(event.job_id)
                if set(closed) == {"a", "b"}:
                    together.set()
                await together.wait()  # both close while the other is in flight
                await (client if closes == "the client" else many).aclose()

        many = client.watch_many(["a", "b"], timeout=None, on_event=close)
        with anyio.fail_after(30):
            phases = [progress.phase async for progress in many]
        if closes == "the client":
            assert phases.count(Phase.SUCCEEDED) == 2
        else:
            assert phases in ([], [Phase.RUNNING])
            assert set(many.tokens) == {"a", "b"}

    anyio.run(main, backend=backend)


class Leave(BaseException):
    """What no code expects."""


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, GeneratorExit, Leave])
def test_an_exception_of_on_event_comes_out_of_the_iterator(backend, clock, kind):
    """Whatever it is: none is lost in the task of a poll, and none ends an event loop."""

    def on_event(event):
        if isinstance(event, Polled):
            raise kind

    async def main():
        with script(a=[ACTIVE, SUCCESS]):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a"], timeout=None, on_event=on_event)
        assert (await anext(many)).phase is Phase.RUNNING
        with pytest.raises(kind):
            await anext(many)
        assert [progress.phase async for progress in many] == [Phase.SUCCEEDED]

    anyio.run(main, backend=backend)


def test_an_exception_of_on_event_leaves_the_other_jobs_their_events(clock):
    """Each wait that was started says so, also if `on_event` raised for the job before it."""
    told = []

    def on_event(event):
        told.append((event.job_id, event.kind))
        if len(told) == 1:
            raise LookupError

    with script(a=[SUCCESS], b=[SUCCESS]), ITwin("a made-up token") as client:
        many = client.watch_many(["a", "b"], timeout=None, on_event=on_event)
        with pytest.raises(LookupError):
            next(many)
        assert {progress.job_id for progress in many} == {"a", "b"}
    assert told == [("a", "start"), ("b", "start"), ("b", "progress"), ("b", "result")]


@pytest.mark.parametrize("raising", ["a", "b", "c"])
def test_an_exception_of_on_event_hides_no_cancellation(clock, raising):
    """Each wait that was cancelled says so, and then the iterator does."""
    ends, stop = [], threading.Event()

    def on_event(event):
        if event.kind == "result":
            ends.append(event.job_id)
            if event.job_id == raising:
                raise LookupError

    with script(a=[ACTIVE], b=[ACTIVE], c=[ACTIVE]), ITwin("a made-up token") as client:
        many = client.watch_many(["a", "b", "c"], timeout=None, cancel=stop, on_event=on_event)
        next(many)
        stop.set()
        with pytest.raises(LookupError):
            next(many)
        with pytest.raises(WaitCancelled, match="3 waits were cancelled"):
            next(many)
        assert list(many) == []
    assert (ends, sorted(many.tokens)) == (["a", "b", "c"], ["a", "b", "c"])


@pytest.mark.parametrize("way", ["watch", "watch_many"])
def test_an_exception_of_on_event_loses_no_answer(clock, way):
    """Iterating returns it afterwards, and the job isn't polled again for it."""

    def on_event(event):
        if isinstance(event, Polled) and event.progress.phase is Phase.SUCCEEDED:
            raise LookupError

    with script(a=[ACTIVE, SUCCESS]) as sent, ITwin("a made-up token") as client:
        jobs = "a" if way == "watch" else ["a"]
        watch = getattr(client, way)(jobs, timeout=None, on_event=on_event)
        assert next(watch).phase is Phase.RUNNING
        with pytest.raises(LookupError):
            next(watch)
        assert [progress.phase for progress in watch] == [Phase.SUCCEEDED]
    assert len(sent.sent) == 2


def test_cancelling_on_event_loses_no_answer(backend, clock):
    """An async `watch` that is cancelled in `on_event` returns the answer in the next turn."""

    async def main():
        async def on_event(event):
            if isinstance(event, Polled):
                scope.cancel()
                await anyio.lowlevel.checkpoint()

        with script(a=[SUCCESS]):
            client = AsyncITwin("a made-up token")
        watch = client.watch("a", timeout=None, on_event=on_event)
        with anyio.CancelScope() as scope:
            await anext(watch)
        assert scope.cancelled_caught
        assert [progress.phase async for progress in watch] == [Phase.SUCCEEDED]

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("way", ["watch", "watch_many"])
def test_an_exception_of_on_event_does_not_look_like_the_end(backend, clock, way, kind):
    """One that would end the loop of the caller is a RuntimeError, as in a generator."""

    def on_event(event):
        raise kind

    async def main():
        with script(a=[SUCCESS, SUCCESS]):
            client = AsyncITwin("a made-up token")
        jobs = "a" if way == "watch" else ["a"]
        with pytest.raises(RuntimeError, match=kind.__name__):
            async for _ in getattr(client, way)(jobs, timeout=None, on_event=on_event):
                pass

    anyio.run(main, backend=backend)
