"""`watch_many`: many jobs on one client, blocking and async, and each job ends on its own."""

import asyncio
import contextlib
import contextvars
import gc
import threading
from collections import Counter

import anyio
import anyio.lowlevel
import pytest

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch import net as transports
from opwatch.errors import (
    AuthenticationError,
    ConfigurationError,
    JobGone,
    RateLimited,
    TransportError,
    WaitCancelled,
    WaitTimeout,
)
from opwatch.events import Polled
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Script, reply

BACKENDS = ["asyncio", "trio"]
MINUTE = Schedule((60,), jitter=0)


def state(name, percentage=0):
    return reply(200, {"jobProgress": {"state": name, "percentage": percentage}})


ACTIVE, SUCCESS, FAILED = state("Active"), state("success", 100), state("failed")
GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})
LIMITED = reply(429, {"error": {"code": "RateLimitExceeded"}}, {"Retry-After": "100"})


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


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


# --- each job's end is its own --------------------------------------------------------------------


def test_every_answer_of_every_job_comes_until_all_have_ended(watch_many, clock):
    """Jobs end at their own times, and a failure is a response as any other."""
    with script(a=[ACTIVE, SUCCESS], b=[FAILED], c=[ACTIVE, ACTIVE, SUCCESS]) as sent:
        seen = watch_many(["a", "b", "c"], timeout=3600, schedule=MINUTE)
    assert asked(sent.sent) == {"a": [0, 60], "b": [0], "c": [0, 60, 120]}
    assert Counter(seen.phases) == {
        ("a", Phase.RUNNING): 1,
        ("a", Phase.SUCCEEDED): 1,
        ("b", Phase.FAILED): 1,
        ("c", Phase.RUNNING): 2,
        ("c", Phase.SUCCEEDED): 1,
    }
    assert {name: progress.phase for name, progress in seen.last.items()} == {
        "a": Phase.SUCCEEDED,
        "b": Phase.FAILED,
        "c": Phase.SUCCEEDED,
    }
    assert (seen.errors, seen.tokens) == ({}, {})


def test_one_jobs_error_ends_that_job_alone(watch_many, clock):
    """Gone, refused or timed out: the others continue, and `.errors` has each by its job."""
    down = TransportError("no connection")
    with script(a=[ACTIVE, GONE], b=[ACTIVE, ACTIVE, SUCCESS], c=[down], d=[ACTIVE]):
        seen = watch_many(
            ["a", "b", "c", "d"], timeout=200, schedule=MINUTE, options={"max_failures": 2}
        )
    assert {name: type(error) for name, error in seen.errors.items()} == {
        "a": JobGone,
        "c": TransportError,
        "d": WaitTimeout,
    }
    for name, error in seen.errors.items():
        assert (error.service, error.job_id) == ("itwin", name)
        assert error.token is not None
    assert seen.errors["a"].last.phase is Phase.RUNNING
    assert seen.last["b"].phase is Phase.SUCCEEDED
    assert "c" not in seen.last


def test_a_script_may_give_one_error_to_many_jobs(watch_many, clock):
    """Each job has an error of its own, which tells of that job."""
    names = ["a", "b", "c"]
    with Script({"/progress": [TransportError("no connection")]}):
        seen = watch_many(names, timeout=60, options={"max_failures": 1})
    assert {name: type(error) for name, error in seen.errors.items()} == dict.fromkeys(
        names, TransportError
    )
    assert {name: error.job_id for name, error in seen.errors.items()} == {n: n for n in names}


def test_the_error_of_a_job_resumes_its_wait(clock):
    """With the token of an entry in `.errors` another client continues."""
    with script(a=[ACTIVE, GONE, SUCCESS]), ITwin("a made-up token") as client:
        many = client.watch_many(["a"], timeout=3600)
        list(many)
        assert client.resume(many.errors["a"].token).phase is Phase.SUCCEEDED


def test_a_loop_that_starts_tasks_at_once(clock):
    """Python 3.12 can run a task before `create_task` has returned it."""

    async def main():
        eager = getattr(asyncio, "eager_task_factory", None)  # not in Python 3.11
        asyncio.get_running_loop().set_task_factory(eager)
        async with AsyncITwin("t") as client:
            return [progress.job_id async for progress in client.watch_many(["a", "b"], timeout=60)]

    with script(a=[SUCCESS], b=[SUCCESS]):
        assert sorted(asyncio.run(main())) == ["a", "b"]


def test_ids_given_twice_are_asked_for_once(watch_many, clock):
    """Duplicates are one job."""
    with script(a=[SUCCESS], b=[SUCCESS]) as sent:
        watch_many(["a", "b", "a", "a"], timeout=0)
    assert asked(sent.sent) == {"a": [0], "b": [0]}


def test_no_jobs_are_over_at_once(watch_many, clock):
    """An empty list is no error, and nothing is asked."""
    with script() as sent:
        seen = watch_many([], timeout=None)
    assert (seen.phases, sent.sent) == ([], [])


TURNED = ["a\u202eb"], ["a\u2028b"], ["a\u2066b"], ["a\u200fb"]  # shown as another ID


@pytest.mark.parametrize(
    "jobs", ["job-1", b"job-1", 7, None, ["ok", ""], ["a/b"], [7], [None], *TURNED]
)
def test_ids_that_cannot_be_are_refused_before_anything_is_asked(watch_many, clock, jobs):
    """A text is not taken for its letters, and one bad id refuses all."""
    with script() as sent, pytest.raises(ConfigurationError):
        watch_many(jobs, timeout=60)
    assert sent.sent == []


@pytest.mark.parametrize(
    "how", [{"timeout": -1}, {"timeout": 1, "schedule": []}, {"timeout": 1, "stall_timeout": "1"}]
)
def test_limits_that_cannot_be_are_refused(watch_many, clock, how):
    """As for one job."""
    with pytest.raises(ConfigurationError):
        watch_many(["a"], **how)


def test_any_iterable_of_ids_will_do(watch_many, clock):
    """A generator, say."""
    with script(a=[SUCCESS], b=[SUCCESS]):
        seen = watch_many((name for name in "ab"), timeout=0)
    assert dict(seen.phases) == {"a": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}


def test_jobs_are_asked_for_in_the_order_in_which_they_are_due(watch_many, clock):
    """Each at its own time: a restart of one job's schedule is not another's."""
    a = [state("Active", n) for n in (1, 1, 2, 2)]
    with script(a=a, b=[state("Active", 1)]) as sent:
        watch_many(["a", "b"], timeout=200, schedule=Schedule((10, 40, 70), jitter=0))
    assert asked(sent.sent) == {
        "a": [0, 10, 50, 60, 100, 170, 200],
        "b": [0, 10, 50, 120, 190, 200],
    }
    assert [request.time for request in sent.sent] == sorted(r.time for r in sent.sent)


def test_first_queries_are_spread_where_the_jobs_are_many(watch_many, clock):
    """More jobs than places: the first polls fill the first delay evenly."""
    names = [f"j{n}" for n in range(30)]
    with Script(lambda request: ACTIVE) as sent:
        watch_many(names, timeout=59, schedule=MINUTE, options={"max_in_flight": 4})
    firsts = {name: times[0] for name, times in asked(sent.sent).items()}
    assert [firsts[name] for name in names] == [2 * n for n in range(30)]


def test_few_jobs_are_asked_for_at_once(watch_many, clock):
    """As many as there are places need no spreading."""
    names = [f"j{n}" for n in range(16)]
    with Script(lambda request: ACTIVE) as sent:
        watch_many(names, timeout=0)
    assert {time for times in asked(sent.sent).values() for time in times} == {0}


# --- the gate -------------------------------------------------------------------------------------


def test_a_rate_limit_for_one_job_holds_all(watch_many, clock):
    """Nothing is asked until it has run out; then the jobs go spread, and no two at once."""
    names = [f"j{n}" for n in range(8)]
    script = {f"/{name}/progress": [ACTIVE, SUCCESS] for name in names}
    script["/j0/progress"] = [ACTIVE, LIMITED, SUCCESS]
    with Script(script) as sent:
        watch_many(
            names, timeout=3600, schedule=MINUTE, options={"max_in_flight": 1, "schedule": MINUTE}
        )
    limited = next(r.time for r in sent.sent[8:] if r.target.endswith("/j0/progress"))
    later = [request.time for request in sent.sent if request.time > limited]
    assert len(later) == 8
    assert limited + 100 <= min(later)
    assert max(later) <= limited + 100 + 60
    assert len(set(later)) >= 7  # the limited one goes when the first of those held does


def test_a_rate_limit_beyond_the_deadline_ends_the_waits_it_holds(watch_many, clock):
    """There is nothing to wait for: each job ends at once with `RateLimited`."""
    with script(a=[LIMITED], b=[ACTIVE], c=[ACTIVE]) as sent:
        seen = watch_many(
            ["a", "b", "c"], timeout=90, schedule=MINUTE, options={"max_in_flight": 1}
        )
    assert asked(sent.sent) == {"a": [0]}
    assert {name: type(error) for name, error in seen.errors.items()} == dict.fromkeys(
        "abc", RateLimited
    )
    assert seen.errors["b"].retry_after == pytest.approx(80)
    assert clock.now() <= 40


def test_a_rate_limit_that_ends_before_the_deadline_leaves_each_job_its_last_query(
    watch_many, clock
):
    """A place after the deadline is moved to the deadline."""
    names = [f"j{n}" for n in range(10)]
    replies = {f"/{name}/progress": [ACTIVE] for name in names}
    replies["/j0/progress"] = [LIMITED, ACTIVE]
    with Script(replies) as sent:
        seen = watch_many(
            names, timeout=110, schedule=MINUTE, options={"max_in_flight": 1, "schedule": MINUTE}
        )
    lasts = {name: times[-1] for name, times in asked(sent.sent).items()}
    assert lasts == dict.fromkeys(names, 110)
    assert {type(error) for error in seen.errors.values()} == {WaitTimeout}
    let_go = [time for times in asked(sent.sent).values() for time in times if 100 <= time < 110]
    assert len(let_go) <= len(set(let_go)) + 1  # the limited one goes when the first one held does
    assert all(time >= 100 for times in asked(sent.sent).values() for time in times if time)


def test_a_rate_limit_holds_waits_that_still_wait_for_a_place(backend, clock):
    """Of a hundred waits at once, those not yet sent when the 429 comes are not sent."""
    with Script(lambda request: LIMITED if clock.now() < 100 else SUCCESS) as sent:

        async def main():
            client = AsyncITwin("a made-up token", max_in_flight=4)
            async with client, anyio.create_task_group() as group:
                for n in range(100):
                    group.start_soon(lambda n=n: client.wait(f"j{n}", timeout=3600))

        anyio.run(main, backend=backend)
    early = [request.time for request in sent.sent if request.time < 100]
    assert early == [0, 0, 0, 0]
    assert len(sent.sent) == 104


def test_a_rate_limit_holds_the_waits_of_other_threads(clock):
    """The same of a blocking client: a thread that waited for its place is held."""
    arrived, go = threading.Event(), threading.Event()

    def answer(request):
        if clock.now() >= 100:
            return SUCCESS
        arrived.set()
        assert go.wait(20)
        return LIMITED

    with Script(answer) as sent, ITwin("a made-up token", max_in_flight=1) as client:
        waits = [
            threading.Thread(target=client.wait, args=(f"j{n}",), kwargs={"timeout": 3600})
            for n in range(4)
        ]
        for wait in waits:
            wait.start()
        assert arrived.wait(20)
        go.set()
        for wait in waits:
            wait.join(20)
    assert len([request for request in sent.sent if request.time < 100]) == 1
    assert len(sent.sent) == 5


# --- cancelling -----------------------------------------------------------------------------------


class Alarm(FakeClock):
    """Calls `ring` when its time has come."""

    def __init__(self, at, ring):
        super().__init__()
        self.at, self.ring = at, ring

    def _move_to(self, time):
        if self.at is not None and time >= self.at:
            time, self.at = self.at, None
            self.ring()
        super()._move_to(time)


def test_cancel_ends_all_waits_at_once():
    """The sleep is cut short, one error is raised for all, and `.errors` has one for every job."""
    cancel = threading.Event()
    with Alarm(70, cancel.set) as clock, script(a=[ACTIVE], b=[ACTIVE], c=[SUCCESS]) as sent:
        many = ITwin("a made-up token").watch_many(
            ["a", "b", "c"], timeout=None, schedule=MINUTE, cancel=cancel
        )
        with pytest.raises(WaitCancelled) as raised:
            list(many)
        assert list(many) == []
        assert clock.now() == 70
    assert sorted(many.errors) == sorted(many.tokens) == ["a", "b"]
    told = "2 waits were cancelled; the jobs continue; resume them from the iterator's `.tokens`"
    assert (str(raised.value), raised.value.job_id) == (told, None)
    assert asked(sent.sent) == {"a": [0, 60], "b": [0, 60], "c": [0]}
    assert {name: error.last.phase for name, error in many.errors.items()} == {
        "a": Phase.RUNNING,
        "b": Phase.RUNNING,
    }


def test_cancel_ends_all_async_waits_at_once(backend):
    """The same with an event of the event loop."""

    async def main():
        cancel = anyio.Event()
        with Alarm(70, cancel.set) as clock, script(a=[ACTIVE], b=[ACTIVE], c=[SUCCESS]):
            async with AsyncITwin("a made-up token") as client:
                many = client.watch_many(
                    ["a", "b", "c"], timeout=None, schedule=MINUTE, cancel=cancel
                )
                with pytest.raises(WaitCancelled):
                    [progress async for progress in many]
                assert [progress async for progress in many] == []
                assert sorted(many.errors) == sorted(many.tokens) == ["a", "b"]
                assert clock.now() == 70

    anyio.run(main, backend=backend)


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


def test_cancel_gives_up_a_request_under_way(backend, clock):
    """A service that takes its time doesn't hold up who cancels."""

    async def main():
        started, cancel = [], anyio.Event()
        with sent_by(slow("a", "b", started=started)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a", "b", "c"], timeout=None, cancel=cancel)
        assert (await anext(many)).job_id == "c"

        async def wait():
            with pytest.raises(WaitCancelled):
                await anext(many)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            cancel.set()
        assert sorted(started) == ["a", "b"]
        assert client._transport.under_way == 0
        assert sorted(many.errors) == ["a", "b"]
        with pytest.raises(StopAsyncIteration):
            await anext(many)

    anyio.run(main, backend=backend)


def test_an_answer_that_comes_all_the_same_does_not_bring_a_cancelled_wait_back(backend, clock):
    """Where the request could not be given up: its response is handed out, and nothing is asked."""

    async def main():
        cancel, release, sent = anyio.Event(), anyio.Event(), []

        class Stubborn(AsyncTransport):
            async def send(self, outgoing, end):
                sent.append(outgoing.target)
                with anyio.CancelScope(shield=True):
                    await release.wait()
                return Answer(200, (), ACTIVE.body)

        with sent_by(Stubborn):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a"], timeout=None, cancel=cancel)

        async def wait():
            with pytest.raises(WaitCancelled):
                await anext(many)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            cancel.set()
            await anyio.wait_all_tasks_blocked()
            release.set()
        assert [progress.phase async for progress in many] == [Phase.RUNNING]
        assert ([*many.errors], len(sent)) == (["a"], 1)

    anyio.run(main, backend=backend)


# --- iterators that are left ----------------------------------------------------------------------


def test_a_slow_request_does_not_hold_the_answers_of_the_others(backend, clock):
    """Answers come as they come; the one that is held comes last."""

    async def main():
        started, release = [], anyio.Event()
        with sent_by(slow("a", started=started, release=release)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a", "b", "c"], timeout=None)
        first = [(await anext(many)).job_id for _ in range(2)]
        release.set()
        assert (sorted(first), (await anext(many)).job_id) == (["b", "c"], "a")
        with pytest.raises(StopAsyncIteration):
            await anext(many)

    anyio.run(main, backend=backend)


def test_a_cancelled_turn_loses_nothing(backend, clock):
    """The request continues, is not made twice, and its response comes with the next turn."""

    async def main():
        started, release = [], anyio.Event()
        with sent_by(slow("a", started=started, release=release)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a"], timeout=None)
        for _ in range(5):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.wait_all_tasks_blocked)
                    group.start_soon(lambda: cancel_when_blocked(scope))
                    await anext(many)
            assert scope.cancelled_caught
        release.set()
        assert (await anext(many)).job_id == "a"
        assert started == ["a"]

    async def cancel_when_blocked(scope):
        await anyio.wait_all_tasks_blocked()
        scope.cancel()

    anyio.run(main, backend=backend)


def test_a_turn_whose_native_task_is_cancelled_loses_nothing(clock):
    """As `asyncio.wait_for` does it, after any number of steps of the event loop."""

    async def main():
        started, release = [], anyio.Event()
        with sent_by(slow("a", "b", started=started, release=release)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a", "b"], timeout=None)
        got = []
        for steps in range(60):
            turn = asyncio.ensure_future(anext(many))
            for _ in range(steps % 20):
                await asyncio.sleep(0)
            turn.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                got.append((await turn).job_id)
            if steps == 30:
                release.set()
        assert (sorted(got), sorted(started)) == (["a", "b"], ["a", "b"])

    asyncio.run(main())


def test_an_answer_is_not_lost_where_the_turn_is_cancelled_as_it_comes(backend, clock):
    """Cancelled at each step of the event loop in turn, every job's answer still comes once."""

    async def main(steps):
        with Script(lambda request: SUCCESS) as sent:
            client = AsyncITwin("a made-up token")
            many = client.watch_many(["a", "b", "c"], timeout=None)
            got = []

            async def cancel(scope):
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel, scope)
                    got.append((await anext(many)).job_id)
                    await anyio.sleep_forever()
            got += [progress.job_id async for progress in many]
        assert (sorted(got), len(sent.sent)) == (["a", "b", "c"], 3)

    for steps in range(12):
        anyio.run(main, steps, backend=backend)


def test_an_iterator_left_by_a_break_fails_nowhere(backend, clock, caplog):
    """Its requests end with the client, and nothing is left to complain about."""

    async def main():
        started = []
        with sent_by(slow("b", "c", started=started)):
            client = AsyncITwin("a made-up token")
        async with client:
            async for progress in client.watch_many(["a", "b", "c"], timeout=None):
                assert progress.job_id == "a"
                break
            await anyio.wait_all_tasks_blocked()
            assert (sorted(started), client._transport.under_way) == (["b", "c"], 2)
        assert client._transport.under_way == 0
        assert len(asyncio.all_tasks() if backend == "asyncio" else [0]) == 1

    anyio.run(main, backend=backend)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_an_iterator_left_in_a_loop_that_ends_fails_nowhere(backend, clock, caplog):
    """Also where nobody closes the client."""

    async def main():
        started = []
        with sent_by(slow("b", started=started)):
            client = AsyncITwin("a made-up token")
        assert (await anext(client.watch_many(["a", "b"], timeout=None))).job_id == "a"
        assert started == ["b"]

    anyio.run(main, backend=backend)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_aclose_gives_up_the_requests_and_keeps_the_tokens(backend, clock):
    """As `contextlib.aclosing` does it: nothing continues, and the tokens resume the waits."""

    async def main():
        started = []
        with sent_by(slow("b", started=started)):
            client = AsyncITwin("a made-up token")
        async with contextlib.aclosing(client.watch_many(["a", "b"], timeout=None)) as many:
            assert (await anext(many)).job_id == "a"
        assert client._transport.under_way == 0
        with pytest.raises(StopAsyncIteration):
            await anext(many)
        assert (list(many.tokens), many.errors) == (["b"], {})
        await many.aclose()

    anyio.run(main, backend=backend)


def test_an_iterator_goes_on_after_its_client_was_closed(backend, clock):
    """A client that is used again opens new connections; what was given up is asked for again."""

    async def main():
        started, release = [], anyio.Event()
        with sent_by(slow("b", started=started, release=release)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a", "b"], timeout=None)
        assert (await anext(many)).job_id == "a"
        await client.aclose()
        release.set()
        assert [progress.job_id async for progress in many] == ["b"]
        assert started == ["b", "b"]

    anyio.run(main, backend=backend)


def test_an_iterator_is_for_one_task_at_a_time(backend, clock):
    """A second one gets an error instead of waiting forever."""

    async def main():
        started, release = [], anyio.Event()
        with sent_by(slow("a", started=started, release=release)):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a"], timeout=None)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: anext(many))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="one task"):
                await anext(many)
            release.set()

    anyio.run(main, backend=backend)


def test_an_iterator_is_for_one_event_loop(clock):
    """Its requests are in the first one; another is refused, and the tokens remain."""
    with Script(lambda request: ACTIVE):
        many = AsyncITwin("a made-up token").watch_many(["a", "b"], timeout=None)

        async def one():
            return await anext(many)

        asyncio.run(one())
        with pytest.raises(RuntimeError, match="one event loop"):
            asyncio.run(one())
    assert sorted(many.tokens) == ["a", "b"]


def test_a_sleep_ends_where_an_answer_brings_an_earlier_query(backend, clock):
    """While one job's answer is under way the next is waited for; what it brings is not late."""
    asked = {"a": [], "b": []}

    class OneIsSlow(AsyncTransport):
        async def send(self, outgoing, end):
            name = outgoing.target.split("/")[-2]
            asked[name].append(clock.now())
            if name == "a" and len(asked["a"]) == 2:
                await clock.asleep(20)
            await anyio.lowlevel.checkpoint()
            percentage = len(asked["a"]) if name == "a" else 0
            return Answer(200, (), state("Active", percentage).body)

    async def main():
        with sent_by(OneIsSlow):
            client = AsyncITwin("a made-up token", schedule=Schedule((10, 100), jitter=0))
        async with contextlib.aclosing(client.watch_many(["a", "b"], timeout=None)) as many:
            while clock.now() < 100:
                await anext(many)

    anyio.run(main, backend=backend)
    assert asked == {"a": [0, 10, 40, 50, 60, 70, 80, 90, 100], "b": [0, 10]}


def test_a_token_callable_sees_the_context_of_whoever_iterates(backend, clock):
    """Also where it is called in a task of its own."""
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    def token():
        seen.append(tenant.get())
        return "made-up"

    async def main():
        with Script(lambda request: SUCCESS):
            client = AsyncITwin(token)
        tenant.set("somebody")
        await anext(client.watch_many(["a"], timeout=None))

    anyio.run(main, backend=backend)
    assert seen == ["somebody"]


def test_requests_cancelled_before_they_began_hold_up_nobody(clock):
    """As an application that ends cancels all its tasks: closing returns, and no job is lost."""

    async def main():
        with Script(lambda request: ACTIVE):
            client = AsyncITwin("a made-up token")
        many = client.watch_many(["a", "b"], timeout=None)
        turn = asyncio.ensure_future(anext(many))
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 3
        for task in others:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        await client.aclose()
        assert sorted(many.tokens) == ["a", "b"]
        assert (await anext(many)).phase is Phase.RUNNING

    asyncio.run(main())


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
    """Ctrl-C is raised from the iterator; the job's wait is unchanged."""
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
    assert asked(sent.sent) == {"a": [0, 15, 15]}


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
