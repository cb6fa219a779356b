"""The drivers around the machine: interrupts, cancelling, callbacks, resuming, errors, jumps."""

import asyncio
import itertools
import json
import pickle
import signal
import subprocess
import sys
import threading

import anyio
import attrs
import pytest
import trio

from opwatch import AsyncITwin, ITwin, Schedule, errors
from opwatch import clock as clocks
from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.errors import (
    BadResponse,
    ConfigurationError,
    JobCancelled,
    JobFailed,
    JobGone,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
    WaitCancelled,
    WaitStalled,
    WaitTimeout,
)
from opwatch.progress import Fault, Phase
from opwatch.testing import FakeClock, Script, reply

BACKENDS = ["asyncio", "trio"]
NOTE = "opwatch: the job continues; this token resumes the wait: "


def progress(state, percentage=0):
    return reply(200, {"jobProgress": {"state": state, "percentage": percentage}})


ACTIVE, SUCCESS, FAILED = progress("Active"), progress("success", 100), progress("failed")
GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def script(*replies):
    return Script({"/progress": replies, "/jobs/job-1": [progress("Active")]})


def client(**options):
    return ITwin("a made-up token", **options)


def async_client(**options):
    return AsyncITwin("a made-up token", **options)


def times(sent):
    return [request.time for request in sent.sent]


# --- Ctrl-C ---------------------------------------------------------------------------------------

INTERRUPTED = """
import asyncio, threading, trio
from opwatch import AsyncITwin, ITwin
from opwatch.testing import Script, reply

answer = reply(200, {{"jobProgress": {{"state": "Active", "percentage": 7}}}})
told = lambda progress: print("asleep", flush=True)
with Script({{"/progress": [answer]}}):
    {how}
"""
HOW = {
    "wait": "ITwin('made-up').wait('job-1', timeout=None, on_progress=told)",
    "wait with cancel": (
        "ITwin('made-up').wait('job-1', timeout=None, on_progress=told, cancel=threading.Event())"
    ),
    "asyncio": "asyncio.run(AsyncITwin('made-up').wait('job-1', timeout=None, on_progress=told))",
    "trio": (
        "trio.run(lambda: AsyncITwin('made-up').wait('job-1', timeout=None, on_progress=told))"
    ),
    "watch_many": "[told(p) for p in ITwin('made-up').watch_many(['job-1'], timeout=None)]",
}


@pytest.mark.parametrize("how", HOW)
def test_ctrl_c_ends_a_sleep_at_once(how):
    """A real interrupt in a sleep of 15 s: the process is gone, and `wait` has noted the token."""
    program = INTERRUPTED.format(how=HOW[how])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "asleep\n"
        child.send_signal(signal.SIGINT)
        rest, trace = child.communicate(timeout=14)
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


def resumed_from(error):
    [note] = error.__notes__
    assert note.startswith(NOTE)
    return note.removeprefix(NOTE)


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
    assert set(threading.enumerate()) == before


# --- on_progress ----------------------------------------------------------------------------------


def test_on_progress_is_called_with_each_answer_and_the_last(clock):
    """In order, and before `wait` returns."""
    seen = []
    with script(ACTIVE, progress("Active", 50), SUCCESS):
        last = client().wait("job-1", timeout=None, on_progress=seen.append)
    assert [each.percent for each in seen] == [0, 50, 100]
    assert seen[-1] is last


def test_on_progress_that_raises_ends_the_wait_with_the_token_in_its_notes(clock):
    """The exception is the user's own; the token resumes the wait."""

    def refuses(progress):
        raise LookupError("no such row")

    with script(ACTIVE, SUCCESS) as sent:
        with pytest.raises(LookupError, match="no such row") as raised:
            client().wait("job-1", timeout=None, on_progress=refuses)
        assert client().resume(resumed_from(raised.value)).phase is Phase.SUCCEEDED
    assert times(sent) == [0, 15]


def test_on_progress_may_raise_an_error_of_another_wait(clock):
    """It comes out as it is, with the token of this wait noted."""

    def asks_elsewhere(progress):
        raise WaitTimeout("the other one").about("apig", "gateway-1", token="of the other one")

    with script(ACTIVE), pytest.raises(WaitTimeout) as raised:
        client().wait("job-1", timeout=None, on_progress=asks_elsewhere)
    assert (raised.value.job_id, raised.value.token) == ("gateway-1", "of the other one")
    assert json.loads(resumed_from(raised.value))["job"] == "job-1"


def test_on_progress_may_be_async_on_an_async_client(backend, clock):
    """It is awaited before the next poll; what it raises ends the wait, with the token."""
    seen = []

    async def look(progress):
        await anyio.lowlevel.checkpoint()
        seen.append(progress.percent)

    async def refuses(progress):
        await anyio.lowlevel.checkpoint()
        raise LookupError("no such row")

    async def main():
        async with async_client() as watching:
            await watching.wait("job-1", timeout=None, on_progress=look)
            with pytest.raises(LookupError) as raised:
                await watching.wait("job-1", timeout=None, on_progress=refuses)
        assert json.loads(resumed_from(raised.value))["job"] == "job-1"

    with script(ACTIVE, progress("Active", 50), SUCCESS, ACTIVE):
        anyio.run(main, backend=backend)
    assert seen == [0, 50, 100]


async def _async_on_progress(progress):
    """Of no use to a blocking client."""


@pytest.mark.parametrize("wrong", ["print", 7, [], _async_on_progress])
def test_on_progress_that_cannot_be_called_is_refused_before_any_query(clock, wrong):
    """An async function on a blocking client is one: nobody would await it."""
    with script(SUCCESS) as sent, pytest.raises(ConfigurationError, match="on_progress"):
        client().wait("job-1", timeout=None, on_progress=wrong)
    assert sent.sent == []


# --- what a wait is given -------------------------------------------------------------------------

WAYS = {
    "wait": lambda how: client().wait("job-1", **how),
    "watch": lambda how: client().watch("job-1", **how),
    "start": lambda how: client().start("job-1", **how),
    "watch_many": lambda how: client().watch_many(["job-1"], **how),
    "async watch": lambda how: async_client().watch("job-1", **how),
    "async watch_many": lambda how: async_client().watch_many(["job-1"], **how),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", -1),
        ("timeout", float("nan")),
        ("timeout", "60"),
        ("timeout", True),
        ("stall_timeout", -0.5),
        ("stall_timeout", "60"),
        ("schedule", ()),
        ("schedule", (15, 30)),
        ("schedule", "15"),
        ("schedule", 0),
    ],
)
def test_what_a_wait_cannot_be_given_is_refused_by_name(clock, way, name, value):
    """`ConfigurationError` says what it was and quotes it, and nothing is asked."""
    with script(SUCCESS) as sent, pytest.raises(ConfigurationError) as refused:
        WAYS[way]({"timeout": 60, name: value})
    assert name in str(refused.value)
    assert repr(value) in str(refused.value)
    assert sent.sent == []


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_has_to_be_said(clock, way):
    """There is no default: None is forever."""
    with pytest.raises(TypeError, match="timeout"):
        WAYS[way]({})


@pytest.mark.parametrize("schedule", [(), [], "15", 0])
def test_a_client_refuses_a_schedule_that_cannot_be(schedule):
    """When it is made, not when it first waits."""
    with pytest.raises(ConfigurationError, match="`schedule` must be"):
        client(schedule=schedule)


def test_a_timeout_of_infinity_is_for_ever(clock):
    """As None."""
    assert json.loads(client().watch("job-1", timeout=float("inf")).token)["deadline"] is None


@pytest.mark.parametrize(
    "token", ["", "{}", "x", None, 7, '{"v": 1}', '{"v": 2}', "[]", b"\x00", "\ud800"]
)
def test_what_is_no_token_is_refused(clock, backend, token):
    """By `step` and `resume`, blocking and async, and nothing is asked."""

    async def main():
        with pytest.raises(ConfigurationError, match="token"):
            await async_client().step(token)
        with pytest.raises(ConfigurationError, match="token"):
            await async_client().resume(token)

    with script(SUCCESS) as sent:
        with pytest.raises(ConfigurationError, match="token"):
            client().step(token)
        with pytest.raises(ConfigurationError, match="token"):
            client().resume(token)
        anyio.run(main, backend=backend)
    assert sent.sent == []


def test_a_token_for_an_id_that_cannot_be_is_refused(clock):
    """A token from elsewhere reaches no other path than an id may."""
    state = polling.begin(polling.Plan(Schedule((15,))), 0.0)
    token = polling.dump(state, service="itwin", job_id="../jobs", now=0.0, epoch=clock.epoch())
    with script(SUCCESS) as sent, pytest.raises(ConfigurationError, match="must not contain"):
        client().step(token)
    assert sent.sent == []


def test_a_step_that_comes_too_early_asks_nothing_and_says_what_is_left(clock):
    """An engine may wake at any time; the schedule holds."""
    with script(ACTIVE, SUCCESS) as sent:
        step = client().start("job-1", timeout=None)
        assert step.delay == 15
        clock.advance(5)
        early = client().step(step.token)
        assert (early.progress, early.delay) == (None, 10)
        assert client().step(early.token).delay == 10
        clock.advance(10)
        assert client().step(early.token).delay is None
    assert times(sent) == [0, 15]


def test_a_rate_limit_holds_the_steps_of_other_jobs_of_the_client(clock):
    """They send nothing and say how long they are held, each until its own time."""
    limited = reply(429, None, {"Retry-After": "100"})
    with Script(lambda request: ACTIVE if clock.now() >= 100 else limited) as sent:
        stepping = client()
        assert stepping.start("job-1", timeout=None).delay == 100
        held = [stepping.start(f"job-{n}", timeout=None) for n in range(2, 6)]
        assert [step.progress for step in held] == [None] * 4
        assert len({step.delay for step in held}) == 4
        assert all(100 <= step.delay <= 160 for step in held)
        assert len(sent.sent) == 1
        clock.advance(held[-1].delay)
        assert stepping.step(held[-1].token).progress.phase is Phase.RUNNING


def test_a_step_that_a_rate_limit_holds_beyond_its_deadline_is_over(clock):
    """`RateLimited` now, with the token, and nothing is asked for it."""
    with Script({"/progress": [reply(429, None, {"Retry-After": "100"})]}) as sent:
        stepping = client()
        stepping.start("job-1", timeout=None)
        with pytest.raises(RateLimited, match="asked for a pause, which ends in 100 s") as raised:
            stepping.start("job-2", timeout=50)
    assert (raised.value.job_id, raised.value.retry_after) == ("job-2", 100)
    assert json.loads(raised.value.token)["job"] == "job-2"
    assert len(sent.sent) == 1


def test_a_wait_that_a_rate_limit_holds_beyond_its_deadline_is_over(clock, backend):
    """The same of `wait`, blocking and async."""

    async def main():
        async with async_client() as waiting:
            await waiting.start("job-1", timeout=None)
            with pytest.raises(RateLimited, match="asked for a pause, which ends in 100 s"):
                await waiting.wait("job-2", timeout=50)

    with Script({"/progress": [reply(429, None, {"Retry-After": "100"})]}) as sent:
        waiting = client()
        waiting.start("job-1", timeout=None)
        with pytest.raises(RateLimited, match="asked for a pause, which ends in 100 s"):
            waiting.wait("job-2", timeout=50)
        anyio.run(main, backend=backend)
    assert (len(sent.sent), clock.now()) == (2, 0)


def test_an_async_watch_has_what_a_watch_has(clock, backend):
    """The id, the last response and the token, at any time."""

    async def main():
        async with async_client() as watching:
            watch = watching.watch("job-1", timeout=None)
            assert (watch.job_id, watch.last) == ("job-1", None)
            assert json.loads(watch.token)["polls"] == 0
            first = await anext(watch)
            assert watch.last is first
            assert json.loads(watch.token)["polls"] == 1
            assert [progress.phase async for progress in watch] == [Phase.SUCCEEDED]
            assert [progress async for progress in watch] == []

    with script(ACTIVE, SUCCESS):
        anyio.run(main, backend=backend)


# --- resuming -------------------------------------------------------------------------------------


def test_the_token_of_a_timeout_asks_once_more_and_times_out_again(clock):
    """The deadline is the same: it has passed. A job that ended since is told."""
    with script(ACTIVE, ACTIVE, SUCCESS) as sent:
        with pytest.raises(WaitTimeout) as first:
            client().wait("job-1", timeout=0)
        clock.advance(1000)
        with pytest.raises(WaitTimeout) as second:
            client().resume(first.value.token)
        clock.advance(1000)
        assert client().resume(second.value.token).phase is Phase.SUCCEEDED
    assert times(sent) == [0, 1000, 2000]


def test_the_token_of_a_failed_job_tells_again_that_it_failed(clock):
    """A job does not fail twice, and is asked about once."""
    with script(ACTIVE, FAILED) as sent:
        with pytest.raises(JobFailed) as first:
            client().wait("job-1", timeout=None)
        with pytest.raises(JobFailed):
            client().resume(first.value.token)
    assert times(sent) == [0, 15, 15]


def test_the_token_of_a_job_that_ended_is_stepped_to_the_same_end(clock):
    """An engine that repeats its last turn sees the same."""
    with script(SUCCESS):
        step = client().start("job-1", timeout=None)
        again = client().step(step.token)
    assert (step.delay, again.delay) == (None, None)
    assert again.progress.phase is Phase.SUCCEEDED


def test_a_watch_that_has_ended_stays_ended(clock):
    """With the last response and the id at hand."""
    with script(ACTIVE, SUCCESS) as sent:
        watch = client().watch("job-1", timeout=None)
        assert (watch.last, watch.job_id) == (None, "job-1")
        assert len(list(watch)) == 2
        assert (list(watch), watch.last.phase) == ([], Phase.SUCCEEDED)
    assert len(sent.sent) == 2


def test_a_watch_that_has_raised_stays_ended(clock):
    """The error comes once."""
    with script(ACTIVE):
        watch = client().watch("job-1", timeout=0)
        assert next(watch).phase is Phase.RUNNING
        with pytest.raises(WaitTimeout):
            next(watch)
        assert list(watch) == []


# --- errors ---------------------------------------------------------------------------------------

OTHER = reply(404, {"error": {"code": "ResourceNotFound", "message": "nothing here"}})
DENIED = reply(403, {"error": {"code": "InsufficientPermissions"}})
REFUSED = reply(401, {"error": {"code": "Unauthorized"}})
LIMITED = reply(429, {"error": {"code": "RateLimitExceeded"}}, {"Retry-After": "900"})
ENDS = {
    JobFailed: (FAILED, {}),
    JobCancelled: (progress("cancelled"), {}),
    JobGone: (GONE, {}),
    WaitTimeout: (ACTIVE, {}),
    WaitStalled: (ACTIVE, {"stall_timeout": 20}),
    ServiceError: (reply(418, {"error": {"code": "Teapot"}}), {}),
    errors.AuthenticationError: (REFUSED, {}),
    PermissionDenied: (DENIED, {}),
    NotFound: (OTHER, {}),
    RateLimited: (LIMITED, {}),
    Unavailable: (reply(503), {}),
    BadResponse: (reply(200, b"<html>"), {}),
    TransportError: (TransportError("no connection"), {}),
}


def ended_by(kind):
    """The error of that class from a real wait, which had one response before."""
    answer, how = ENDS[kind]
    with FakeClock(), script(ACTIVE, answer), pytest.raises(kind) as raised:
        client(max_failures=1).wait("job-1", timeout=100, **how)
    return raised.value


@pytest.mark.parametrize("kind", ENDS)
def test_an_error_that_ends_a_wait_tells_of_the_wait(kind):
    """Service, id, last response and token, and the token resumes."""
    error = ended_by(kind)
    assert type(error) is kind
    assert (error.service, error.job_id) == ("itwin", "job-1")
    assert error.last.job_id == "job-1"
    assert str(error).startswith("itwin job-1: ")
    assert not hasattr(error, "__notes__")
    with FakeClock(), script(SUCCESS):
        assert client().resume(error.token).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_that_ends_a_wait_pickles(kind, protocol):
    """As for a process pool: the copy says all that the original said."""
    error = ended_by(kind)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is kind
    assert (str(copy), copy.args) == (str(error), error.args)
    assert shown(copy) == shown(error)


def shown(error):
    """What an error holds; of the last response's model what it says, not which object says it."""
    last = error.last and (attrs.evolve(error.last, wire=None), error.last.wire.to_dict())
    return vars(error) | {"last": last}


def classes(root=OpwatchError):
    return {root}.union(*(classes(kind) for kind in root.__subclasses__()))


def test_every_error_is_public_and_pickles():
    """Each class of the module, with all it can carry."""
    public = {getattr(errors, name) for name in errors.__all__}
    assert public == {kind for kind in classes() if kind.__module__ == "opwatch.errors"}
    for kind in public:
        more = {"fault": Fault("E-1", "no photos")} if issubclass(kind, JobFailed) else {}
        if issubclass(kind, ServiceError):
            more = {"status": 429, "code": "C", "request_id": "r-1", "retry_after": 2.5}
        if kind is BadResponse:
            more = {"status": 200, "excerpt": "<html>"}
        error = kind("said so", service="itwin", job_id="job-1", token="a token", **more)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def test_a_stopped_wait_says_that_the_job_goes_on():
    """So that nobody takes it for stopped. A token keeps its deadline, so it would end again."""
    for kind in (WaitTimeout, WaitStalled):
        assert "the job continues; call wait() again to keep waiting" in str(ended_by(kind))


def test_a_timeout_in_trouble_says_what_the_trouble_was(clock):
    """In its text, and as its cause."""
    with script(ACTIVE, reply(503)), pytest.raises(WaitTimeout) as raised:
        client().wait("job-1", timeout=10)
    assert isinstance(raised.value.__cause__, Unavailable)
    text = str(raised.value)
    assert text.startswith(
        "itwin job-1: timed out before the job finished (last error: the response was empty"
    )
    assert text.count("job-1") == 1
    assert isinstance(raised.value, TimeoutError)


def test_a_timeout_without_any_answer_claims_nothing_of_the_job(clock):
    """Whether it continues, nobody said; also where the token of such a wait was resumed."""
    with script(TransportError("no connection")):
        begun = client().start("job-1", timeout=10)
        with pytest.raises(WaitTimeout) as raised:
            client().resume(begun.token)
    assert str(raised.value) == (
        "itwin job-1: timed out before any request succeeded (last error: no connection); "
        "call wait() again to keep waiting"
    )
    assert raised.value.last is None


def test_a_job_that_is_gone_says_what_the_service_said(clock):
    """As every error response: status, code, words, and the request that support asks for."""
    body = {"error": {"code": "JobNotFound", "message": "no such job"}}
    gone = reply(404, body, {"x-correlation-id": "r-1"})
    with script(ACTIVE, gone), pytest.raises(JobGone) as raised:
        client().wait("job-1", timeout=100)
    error = pickle.loads(pickle.dumps(raised.value))
    found = (error.status, error.code, error.message, error.request_id, error.last.percent)
    assert found == (404, "JobNotFound", "no such job", "r-1", raised.value.last.percent)
    assert str(error) == "itwin job-1: no such job (404 JobNotFound) [request r-1]"


# --- clocks that jump -----------------------------------------------------------------------------

DAY = 86_400.0


@pytest.mark.parametrize("jump", [-10 * DAY, -DAY, -1.5, 1.5, DAY, 10 * DAY])
def test_a_wall_clock_that_jumps_during_a_wait_changes_nothing(clock, jump):
    """Inside a process time is monotonic."""
    with script(ACTIVE) as sent, pytest.raises(WaitTimeout):
        client().wait("job-1", timeout=400, on_progress=lambda _: clock.jump(jump))
    assert times(sent) == [0, 15, 45, 105, 225, 345, 400]


def stepped(clock, sent, jump, *, turns=(1,), timeout=400):
    """The times of an engine's polls where the wall clock jumps after certain turns."""
    step, n = client().start("job-1", timeout=timeout), 0
    try:
        while step.delay is not None:
            n += 1
            assert n < 100, "a busy loop"
            if n in turns:
                clock.jump(jump)
            clock.advance(step.delay)
            step = client().step(step.token)
    except WaitTimeout:
        return times(sent)
    raise AssertionError("the wait has no end")


@pytest.mark.parametrize("jump", [-0.5, -7, -60, -DAY, -1000 * DAY])
@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5])
def test_a_wall_clock_set_back_between_steps_prolongs_the_wait_by_one_delay_at_most(
    clock, turn, jump
):
    """Nothing is asked early, and the deadline is missed by a rung at most."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, jump, turns=(turn,))
    rungs = [15, 30, 60, 120, 120]
    waits = [after - before for before, after in itertools.pairwise(found)]
    assert all(wait >= rung for wait, rung in zip(waits[:-1], rungs, strict=False))
    assert 400 <= found[-1] <= 400 + rungs[turn - 1]


@pytest.mark.parametrize("jump", [1, 60, DAY])
@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_a_wall_clock_set_forward_between_steps_brings_one_query_forward(clock, turn, jump):
    """The one that is due by the new time; what follows keeps its distance. No busy loop."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, jump, turns=(turn,))
    assert found[-1] <= 400
    assert len(found) <= 7


def test_a_wall_clock_that_jumps_at_every_step_ends_all_the_same(clock):
    """Back and forth, by more than the wait itself."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, -DAY, turns=range(1, 5))
    assert found[-1] <= 400 + 15 + 30 + 60 + 120


def test_an_early_step_after_a_clock_set_back_waits_no_longer_than_the_delay(clock):
    """However often it is called: what is left was counted when the token was written."""
    with script(ACTIVE, SUCCESS) as sent:
        step = client().start("job-1", timeout=None)
        clock.jump(-DAY)
        for _ in range(5):
            step = client().step(step.token)
            assert step.delay == pytest.approx(15)
        clock.advance(step.delay)
        assert client().step(step.token).delay is None
    assert times(sent) == [0, 15]


class Lagging(FakeClock):
    """Before a look at one of its clocks time passes, as on a machine that is busy."""

    before_now = before_epoch = 0.0

    def now(self):
        self._now += self.before_now
        return self._now

    def epoch(self):
        self._now += self.before_epoch
        return super().epoch()


@pytest.mark.parametrize("lag", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("left", [1e-3, 0.1, 0.3, 0.6])
def test_a_token_read_by_a_busy_machine_makes_no_query_early(left, lag):
    """What is lost between the two clocks makes a poll later."""
    with Lagging() as clock, script(ACTIVE, SUCCESS) as sent:
        token = client().start("job-1", timeout=None).token
        clock.advance(15 - left)
        clock.before_epoch = lag
        client().step(token)
    assert all(time == 0 or time >= 15 for time in times(sent))


@pytest.mark.parametrize("lag", [0.01, 0.2, 0.5])
def test_a_token_written_by_a_busy_machine_makes_no_query_early(lag):
    """The same of the two looks that are taken to write it."""
    with Lagging(epoch=1_800_000_000) as clock, script(ACTIVE):
        watch = client().watch("job-1", timeout=None)
        next(watch)
        clock.before_now = lag
        assert json.loads(watch.token)["due"] >= 1_800_000_015


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.123_456_789, 0.999_999_9])
def test_an_engine_that_sleeps_as_long_as_it_is_told_is_not_too_early(moment):
    """To a few microseconds, which no real sleep hits: each turn polls, and none is in vain."""
    with FakeClock(epoch=1_790_000_000 + moment) as clock, script(ACTIVE) as sent:
        step = client().start("job-1", timeout=600)
        for _ in range(5):
            clock.advance(step.delay + 5e-6)
            step = client().step(step.token)
            assert step.progress is not None
    assert len(sent.sent) == 6
