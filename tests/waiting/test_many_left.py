"""`watch_many`: iterators that are left, or used where they can't be."""

import asyncio
import contextlib
import contextvars
import gc

import anyio
import anyio.lowlevel
import pytest
from many_support import ACTIVE, MINUTE, SUCCESS, script, sent_by, slow, state

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.errors import TransportError, WaitTimeout
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.progress import Phase
from opwatch.testing import Script, reply


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


@pytest.mark.parametrize("it", ["polls", "sleeps"])
def test_aclose_ends_an_iteration_in_another_task(backend, it):
    """At once and without another request, in the middle of a poll or of a sleep of an hour."""

    async def main():
        started = []
        with sent_by(slow("a", started=started)) if it == "polls" else script(a=[ACTIVE]) as sent:
            client = AsyncITwin("a made-up token")
        many, got = client.watch_many(["a"], timeout=None, schedule=Schedule((3600,))), []

        async def iterate():
            got.extend([progress async for progress in many])

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(iterate)
                await anyio.wait_all_tasks_blocked()
                await many.aclose()
        requests = started if it == "polls" else sent.sent
        assert (len(requests), len(got), list(many.tokens)) == (1, it == "sleeps", ["a"])

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


def test_the_last_polls_have_one_request_timeout_together(watch_many, clock):
    """If a service hangs, its waits end at most `request_timeout` after their deadline, however
    many there are: the rest end without a last poll."""

    def hang(request):
        clock.advance(30)
        return TransportError("no response")

    with Script(hang) as played:
        seen = watch_many(list("abcdefgh"), timeout=60, options={"max_in_flight": 1})
    assert {type(error) for error in seen.errors.values()} == {WaitTimeout}
    assert len(seen.errors) == 8
    assert (clock.now(), len(played.sent)) == (90, 3)


def test_a_caller_who_takes_long_still_gets_each_last_poll(clock):
    """The time that the caller takes with an answer isn't that of the polls."""
    with Script(lambda request: SUCCESS), ITwin("a made-up token") as client:
        many = client.watch_many(["a", "b", "c"], timeout=10)
        for _ in many:
            clock.advance(3600)
    assert {name: last.phase for name, last in many.last.items()} == dict.fromkeys(
        "abc", Phase.SUCCEEDED
    )


def test_a_job_that_is_known_to_be_over_does_not_time_out(watch_many, clock):
    """Even without a last poll, its wait ends with what is known: that it is over, and not how."""

    def answer(request):
        if request.target.endswith("/a/progress"):
            if clock.now() < 60:
                return ACTIVE
            clock.advance(30)
            return TransportError("no response")
        return state("Over", 100) if request.target.endswith("/progress") else reply(503)

    options = {"max_in_flight": 1, "schedule": MINUTE}
    with Script(answer):
        seen = watch_many(["a", "b"], timeout=60, options=options)
    assert seen.phases[-1] == ("b", Phase.ENDED)
    assert {name: type(error) for name, error in seen.errors.items()} == {"a": WaitTimeout}
    assert clock.now() == 90


@pytest.mark.parametrize("away", [0, 1000])
def test_turns_that_are_left_use_up_the_time_of_the_last_polls(away, clock):
    """Whoever asks again doesn't wait longer for a service that hangs; what passes between two
    turns is the caller's own time."""
    interrupts = iter([KeyboardInterrupt])

    def hang(request):
        if clock.now() >= 60:
            clock.advance(10)
            raise next(interrupts, TransportError("no response"))
        return ACTIVE

    with Script(hang), ITwin("a made-up token", schedule=MINUTE) as client:
        many = client.watch_many(list("abcdefgh"), timeout=60)
        with pytest.raises(KeyboardInterrupt):
            list(many)
        clock.advance(away)
        assert list(many) == []
        assert len(many.errors) == 8
    assert clock.now() == 60 + 30 + away


def test_a_job_that_hangs_costs_no_other_its_last_poll(watch_many, clock):
    """The jobs whose polls have failed get theirs after the others."""

    def answer(request):
        if request.target.endswith("/a/progress"):
            clock.advance(30)
            return TransportError("no response")
        return ACTIVE if clock.now() < 80 else SUCCESS

    with Script(answer):
        options = {"max_in_flight": 1, "schedule": MINUTE}
        seen = watch_many(list("abcd"), timeout=80, options=options)
    assert list(seen.errors) == ["a"]
    assert sorted(seen.phases[-3:]) == [(name, Phase.SUCCEEDED) for name in "bcd"]
