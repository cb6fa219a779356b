"""The drivers around the machine: interrupts, cancelling and threads."""

import asyncio
import signal
import subprocess
import sys
import threading

import anyio
import pytest
import trio
from drivers_support import ACTIVE, NOTE, SUCCESS, async_client, client, resumed_from, script, times

from opwatch import clock as clocks
from opwatch.clock import Clock
from opwatch.errors import ConfigurationError, TransportError, WaitCancelled, WaitTimeout
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Script

# --- Ctrl-C ---------------------------------------------------------------------------------------


INTERRUPTED = """
import asyncio, threading, trio
from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.testing import Script, reply

how = {{"timeout": None, "schedule": Schedule((3600,))}}
answer = reply(200, {{"jobProgress": {{"state": "Active", "percentage": 7}}}})
told = lambda progress: print("asleep", flush=True)
with Script({{"/progress": [answer]}}):
    {how}
"""
HOW = {
    "wait": "ITwin('made-up').wait('job-1', on_progress=told, **how)",
    "wait with cancel": (
        "ITwin('made-up').wait('job-1', on_progress=told, cancel=threading.Event(), **how)"
    ),
    "asyncio": "asyncio.run(AsyncITwin('made-up').wait('job-1', on_progress=told, **how))",
    "trio": "trio.run(lambda: AsyncITwin('made-up').wait('job-1', on_progress=told, **how))",
    "watch_many": "[told(p) for p in ITwin('made-up').watch_many(['job-1'], **how)]",
}


@pytest.mark.parametrize("how", HOW)
def test_ctrl_c_ends_a_sleep_at_once(how):
    """A real interrupt in a sleep of an hour: the process is gone; `wait` has noted the token."""
    program = INTERRUPTED.format(how=HOW[how])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "asleep\n"
        child.send_signal(signal.SIGINT)
        rest, trace = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGINT
    assert rest == ""
    assert "KeyboardInterrupt" in trace
    assert (NOTE in trace) == (how != "watch_many")


class Interrupted(FakeClock):
    """Ctrl-C falls into the first sleep after `at`."""

    at = 20

    def _move_to(self, time):
        if time > self.at:
            self.at = float("inf")
            raise KeyboardInterrupt
        super()._move_to(time)


def test_an_interrupted_wait_has_the_token_at_hand():
    """The note on the interrupt resumes the wait where it was: same rung, same deadline."""
    with Interrupted() as clock, script(ACTIVE) as sent:
        with pytest.raises(KeyboardInterrupt) as raised:
            client().wait("job-1", timeout=100)
        assert clock.now() == 15
        with pytest.raises(WaitTimeout):
            client().resume(resumed_from(raised.value))
    assert times(sent) == [0, 15, 45, 100]


def test_an_interrupted_watch_goes_on_where_it_was():
    """The iterator is not used up by what came out of its sleep."""
    with Interrupted(), script(ACTIVE, ACTIVE, SUCCESS) as sent:
        watch = client().watch("job-1", timeout=100)
        with pytest.raises(KeyboardInterrupt):
            list(watch)
        assert next(watch).phase is Phase.SUCCEEDED
        assert list(watch) == []
    assert times(sent) == [0, 15, 45]


def interrupted():
    """A service during whose second poll Ctrl-C comes."""
    replies = iter([ACTIVE, KeyboardInterrupt()])

    def answer(request):
        if isinstance(found := next(replies, ACTIVE), BaseException):
            raise found
        return found

    return Script(answer)


def test_a_poll_that_was_interrupted_counts_as_made(clock):
    """The service may have received it, so the resumed wait doesn't poll before the next one is
    due."""
    with interrupted() as sent:
        with pytest.raises(KeyboardInterrupt) as raised:
            client().wait("job-1", timeout=None)
        step = client().step(resumed_from(raised.value))
    assert (step.progress, step.delay) == (None, 30)
    assert times(sent) == [0, 15]


@pytest.mark.parametrize("many", [False, True])
def test_an_iterator_that_was_interrupted_in_a_poll_knows_that_it_was_made(many, clock):
    """The same, for the tokens of `watch` and `watch_many`, and for going on with them."""
    with interrupted() as sent:
        watcher = client()
        iterator = (
            watcher.watch_many(["job-1"], timeout=None)
            if many
            else watcher.watch("job-1", timeout=None)
        )
        with pytest.raises(KeyboardInterrupt):
            list(iterator)
        assert watcher.step(iterator.tokens["job-1"] if many else iterator.token).delay == 30
        next(iterator)
    assert times(sent) == [0, 15, 45]


@pytest.mark.parametrize("resumes", [False, True])
def test_an_interrupted_poll_takes_a_delay_of_the_schedule(resumes, clock):
    """So no later delay is shorter than the documentation says."""
    with interrupted() as sent:
        watch = client().watch("job-1", timeout=None)
        with pytest.raises(KeyboardInterrupt):
            list(watch)
        if resumes:
            token, delay = watch.token, 0.0
            for _ in range(4):
                step = client().step(token)
                token, delay = step.token, step.delay
                clock.advance(delay)
        else:
            for _ in range(3):
                next(watch)
    assert times(sent) == [0, 15, 45, 105, 225]


def test_a_nudge_after_an_interrupted_poll_brings_no_scheduled_one_forward(clock):
    with interrupted() as sent:
        watch = client().watch("job-1", timeout=None)
        with pytest.raises(KeyboardInterrupt):
            list(watch)
        clock.advance(5)
        watch.nudge()
        assert next(watch).phase is Phase.RUNNING
        assert client().step(watch.token).delay == 25
        next(watch)
    assert times(sent) == [0, 15, 20, 45]


def test_an_interrupted_poll_is_no_failed_one(clock):
    """It neither shortens the next delay nor counts toward `max_failures`."""
    replies = iter([ACTIVE, ACTIVE, KeyboardInterrupt(), KeyboardInterrupt(), TransportError("no")])

    def answer(request):
        if isinstance(found := next(replies, ACTIVE), KeyboardInterrupt):
            raise found
        return found

    with Script(answer) as sent:
        watch = client(max_failures=2).watch("job-1", timeout=None)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                list(watch)
        assert next(watch).phase is Phase.RUNNING
    assert times(sent) == [0, 15, 45, 105, 225, 345]


def test_a_token_taken_during_a_poll_counts_it(clock):
    """For example, to save it while another thread polls."""
    tokens = []

    def answer(request):
        tokens.append(watch.token)
        return ACTIVE

    with Script(answer) as sent:
        watch = client().watch("job-1", timeout=None)
        next(watch)
        assert client().step(tokens[0]).delay == 15
        assert client().step(watch.token).delay == 15
    assert times(sent) == [0]


def test_a_cancelled_async_wait_has_the_token_at_hand(backend, clock):
    """The note is on the event loop's own exception, which propagates unchanged."""

    async def main():
        seen = []

        async def wait():
            try:
                await async_client().wait("job-1", timeout=None, on_progress=lambda _: cancel())
            except anyio.get_cancelled_exc_class() as error:
                seen.append(error)
                raise

        def cancel():
            scope.cancel()

        with anyio.CancelScope() as scope:
            await wait()
        assert scope.cancelled_caught
        return resumed_from(seen[0])

    with script(ACTIVE, SUCCESS) as sent:
        token = anyio.run(main, backend=backend)
        assert client().resume(token).phase is Phase.SUCCEEDED
    assert times(sent) == [0, 15]


# --- cancel ---------------------------------------------------------------------------------------


class Told(Clock):
    """The real clock, which tells when somebody goes to sleep."""

    def __init__(self, goes_to_sleep):
        self.goes_to_sleep = goes_to_sleep

    def sleep(self, seconds, cancel=None):
        self.goes_to_sleep()
        super().sleep(seconds, cancel)

    async def asleep(self, seconds, until=None):
        self.goes_to_sleep()
        await super().asleep(seconds, until)

    def __enter__(self):
        self.reset = clocks.current.set(self)
        return self

    def __exit__(self, *_):
        clocks.current.reset(self.reset)


@pytest.mark.parametrize("way", ["wait", "watch_many"])
def test_cancel_from_another_thread_ends_a_real_sleep_at_once(way):
    """With the real clock: the sleep of 15 s is not waited for."""
    cancel = threading.Event()
    began = Clock().now()
    with Told(lambda: threading.Thread(target=cancel.set).start()), script(ACTIVE) as sent:
        waiting = client()
    wait = {
        "wait": lambda: waiting.wait("job-1", timeout=None, cancel=cancel),
        "watch_many": lambda: list(waiting.watch_many(["job-1"], timeout=None, cancel=cancel)),
    }
    with pytest.raises(WaitCancelled) as raised:
        wait[way]()
    assert Clock().now() - began < 14
    assert raised.value.last.phase is Phase.RUNNING
    assert len(sent.sent) == 1


EVENTS = {
    "asyncio": [asyncio.Event, anyio.Event],
    "trio": [trio.Event, anyio.Event],
}


@pytest.mark.parametrize("way", ["wait", "watch_many"])
@pytest.mark.parametrize(
    ("backend", "event"), [(name, kind) for name, kinds in EVENTS.items() for kind in kinds]
)
def test_cancel_ends_a_real_async_sleep_at_once(backend, event, way):
    """An event of asyncio, of trio or of anyio."""

    async def main():
        cancel, asleep = event(), anyio.Event()

        async def cancels():
            await asleep.wait()
            cancel.set()

        with Told(asleep.set), script(ACTIVE):
            waiting = async_client()
        async with anyio.create_task_group() as group:
            group.start_soon(cancels)
            with pytest.raises(WaitCancelled):
                await wait[way](waiting, cancel)

    async def wait_for_many(waiting, cancel):
        return [_ async for _ in waiting.watch_many(["job-1"], timeout=None, cancel=cancel)]

    wait = {
        "wait": lambda waiting, cancel: waiting.wait("job-1", timeout=None, cancel=cancel),
        "watch_many": wait_for_many,
    }
    began = Clock().now()
    anyio.run(main, backend=backend)
    assert Clock().now() - began < 14


def test_cancel_that_is_set_before_makes_no_query(clock):
    """And each way to wait says the same."""
    cancel = threading.Event()
    cancel.set()
    with script(ACTIVE) as sent:
        for wait in (
            lambda: client().wait("job-1", timeout=None, cancel=cancel),
            lambda: next(client().watch("job-1", timeout=None, cancel=cancel)),
            lambda: next(client().watch_many(["job-1"], timeout=None, cancel=cancel)),
        ):
            with pytest.raises(WaitCancelled, match="the job continues"):
                wait()
    assert sent.sent == []


@pytest.mark.parametrize("wrong", [True, "now", object(), asyncio.Event(), threading.Event])
def test_cancel_of_another_kind_is_refused(clock, wrong):
    """An event that cannot be waited for here would never end the wait."""
    with script(ACTIVE) as sent:
        for wait in (client().wait, client().watch):
            with pytest.raises(ConfigurationError, match=r"`cancel` must be a threading\.Event"):
                wait("job-1", timeout=None, cancel=wrong)
        with pytest.raises(ConfigurationError, match="`cancel` must be"):
            client().watch_many(["job-1"], timeout=None, cancel=wrong)
    assert sent.sent == []


@pytest.mark.parametrize("wrong", [True, threading.Event(), asyncio.Event])
def test_async_cancel_of_another_kind_is_refused(clock, wrong):
    """A `threading.Event` would block the event loop."""
    with pytest.raises(
        ConfigurationError,
        match="`cancel` must be an asyncio, trio or anyio Event",
    ):
        async_client().watch("job-1", timeout=None, cancel=wrong)
    with pytest.raises(
        ConfigurationError, match="`cancel` must be an asyncio, trio or anyio Event"
    ):
        async_client().watch_many(["job-1"], timeout=None, cancel=wrong)


async def used_elsewhere():
    """Return an event of asyncio that belongs to another event loop."""
    event = asyncio.Event()
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    return event


@pytest.mark.parametrize("way", ["wait", "watch_many"])
@pytest.mark.parametrize(
    ("backend", "make"),
    [
        ("asyncio", trio.Event),
        ("asyncio", lambda: asyncio.run(used_elsewhere())),
        ("trio", asyncio.Event),
    ],
)
def test_cancel_of_another_event_loop_is_refused(backend, make, way):
    """Instead of a group of somebody else's exceptions, at the first sleep."""

    async def main():
        with script(ACTIVE):
            waiting = async_client()
        if way == "wait":
            return await waiting.wait("job-1", timeout=None, cancel=wrong)
        return [_ async for _ in waiting.watch_many(["job-1"], timeout=None, cancel=wrong)]

    wrong = make()
    with pytest.raises(ConfigurationError, match="`cancel` can't be waited for in this event loop"):
        anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    ("make", "wrong", "told"),
    [
        (client, asyncio.Event(), r"a threading\.Event, not asyncio\.locks\.Event"),
        (async_client, threading.Event(), r"an asyncio, .* Event, not threading\.Event"),
        (client, True, r"a threading\.Event, not bool"),
    ],
)
def test_a_refused_cancel_says_whose_event_it_is(make, wrong, told):
    """An `Event` there is in each of four libraries."""
    with pytest.raises(ConfigurationError, match=f"`cancel` must be {told}$"):
        make().watch("job-1", timeout=None, cancel=wrong)


def test_a_cancelled_wait_is_resumed_by_its_token(clock):
    """Same rung: the poll that was due is made when it was due."""
    cancel = threading.Event()
    with script(ACTIVE, ACTIVE, SUCCESS) as sent:
        with pytest.raises(WaitCancelled) as raised:
            client().wait(
                "job-1",
                timeout=None,
                cancel=cancel,
                on_progress=lambda _: cancel.set() if clock.now() else None,
            )
        assert client().resume(raised.value.token).phase is Phase.SUCCEEDED
    assert times(sent) == [0, 15, 45]


# --- threads --------------------------------------------------------------------------------------


def test_waiting_starts_no_threads(backend, clock):
    """In the middle of a wait, and after it, the threads are those there were."""
    before = set(threading.enumerate())
    seen = []

    def look(progress):
        seen.append(set(threading.enumerate()) - before)

    async def main():
        await async_client().wait("job-1", timeout=None, on_progress=look)

    with script(ACTIVE, ACTIVE, SUCCESS):
        client().wait("job-1", timeout=None, on_progress=look)
        list(client().watch_many(["job-1"], timeout=None, cancel=threading.Event()))
    with script(ACTIVE, ACTIVE, SUCCESS):
        anyio.run(main, backend=backend)
    assert seen == [set()] * 6
    assert set(threading.enumerate()) <= before
