"""The drivers around the machine: callbacks and arguments."""

import json

import anyio
import pytest
from drivers_support import (
    ACTIVE,
    SUCCESS,
    async_client,
    client,
    progress,
    resumed_from,
    script,
    times,
)

from opwatch import Schedule
from opwatch.core import polling
from opwatch.errors import ConfigurationError, RateLimited, WaitTimeout
from opwatch.progress import Phase
from opwatch.testing import Script, reply

HELD = r"asked for a pause \(Retry-After\) that ends in 100 s, after"

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
        with pytest.raises(RateLimited, match=HELD) as raised:
            stepping.start("job-2", timeout=50)
    assert (raised.value.job_id, raised.value.retry_after) == ("job-2", 100)
    assert json.loads(raised.value.token)["job"] == "job-2"
    assert len(sent.sent) == 1


def test_a_wait_that_a_rate_limit_holds_beyond_its_deadline_is_over(clock, backend):
    """The same of `wait`, blocking and async."""

    async def main():
        async with async_client() as waiting:
            await waiting.start("job-1", timeout=None)
            with pytest.raises(RateLimited, match=HELD):
                await waiting.wait("job-2", timeout=50)

    with Script({"/progress": [reply(429, None, {"Retry-After": "100"})]}) as sent:
        waiting = client()
        waiting.start("job-1", timeout=None)
        with pytest.raises(RateLimited, match=HELD):
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
