"""`watch_many`: many jobs on one client, blocking and async, and each job ends on its own."""

import asyncio
import threading
from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from many_support import ACTIVE, FAILED, MINUTE, SUCCESS, asked, script, sent_by, slow, state

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.errors import (
    ConfigurationError,
    JobGone,
    RateLimited,
    TransportError,
    WaitCancelled,
    WaitTimeout,
)
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Script, reply

GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})
LIMITED = reply(429, {"error": {"code": "RateLimitExceeded"}}, {"Retry-After": "100"})


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
        assert go.wait(120)
        return LIMITED

    with Script(answer) as sent, ITwin("a made-up token", max_in_flight=1) as client:
        waits = [
            threading.Thread(target=client.wait, args=(f"j{n}",), kwargs={"timeout": 3600})
            for n in range(4)
        ]
        for wait in waits:
            wait.start()
        assert arrived.wait(120)
        go.set()
        for wait in waits:
            wait.join(120)
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
    told = "2 waits were cancelled; the jobs continue; "
    told += "to resume the waits, use the iterator's `.tokens`"
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
