"""Nudges: one poll ahead of the schedule, whatever their source and time; the response decides."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from agenda import Agenda
from hypothesis import given
from hypothesis import strategies as st

from opwatch import AsyncITwin, ITwin, Phase, Schedule
from opwatch.errors import ConfigurationError, JobGone, Unavailable, WaitStalled, WaitTimeout
from opwatch.testing import FakeClock, Script, reply

MINUTE = Schedule((60,), jitter=0)


def state(name: str, percentage: int = 0) -> Any:
    return reply(200, {"jobProgress": {"state": name, "percentage": percentage}})


ACTIVE, SUCCESS = state("Active"), state("success", 100)
DOWN = reply(503, {"error": {"code": "ServiceUnavailable", "message": "down"}})
GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})


class Service:
    """Jobs by the clock: what each answers from which time on."""

    def __init__(self, clock: FakeClock, **jobs: dict[float, Any]) -> None:
        self._clock = clock
        self._jobs = jobs

    def __call__(self, request: Any) -> Any:
        job = self._jobs[request.target.split("/")[3]]
        return job[max(time for time in job if time <= self._clock.now())]


def blocking(clock: Agenda, *jobs: str, **how: Any) -> Any:
    with ITwin("a made-up token", **how.pop("options", {})) as client:
        for time in how.pop("nudges", ()):
            clock.at(time, lambda: client.nudge(jobs[-1]))
        if len(jobs) == 1:
            return client.wait(jobs[0], **how)
        return {progress.job_id: progress for progress in client.watch_many(jobs, **how)}


def in_loop(backend: str) -> Callable[..., Any]:
    def run(clock: Agenda, *jobs: str, **how: Any) -> Any:
        async def main() -> Any:
            async with AsyncITwin("a made-up token", **how.pop("options", {})) as client:
                for time in how.pop("nudges", ()):
                    clock.at(time, lambda: client.nudge(jobs[-1]))
                if len(jobs) == 1:
                    return await client.wait(jobs[0], **how)
                many = client.watch_many(jobs, **how)
                return {progress.job_id: progress async for progress in many}

        return anyio.run(main, backend=backend)

    return run


DRIVERS = {"blocking": blocking, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


@pytest.fixture(params=DRIVERS)
def wait(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return DRIVERS[request.param]


def played(
    wait: Callable[..., Any], job: dict[float, Any], nudges: list[float], **how: Any
) -> tuple[list[float], Any]:
    """When a job was polled, and what the wait returned or raised."""
    how = {"timeout": 3600, "schedule": MINUTE} | how
    with Agenda() as clock, Script(Service(clock, j=job)) as script:
        try:
            outcome = wait(clock, "j", nudges=nudges, **how)
        except Exception as error:
            outcome = error
    # Not a closer look at a job that stands still, which is a request of its own.
    return [sent.time for sent in script.sent if sent.target.endswith("/progress")], outcome


# --- one wait -------------------------------------------------------------------------------------


def test_a_nudge_makes_the_next_poll_due_now(wait: Any) -> None:
    """A job that ended is noticed at the nudge, not at the end of the delay."""
    times, outcome = played(wait, {0: ACTIVE, 100: SUCCESS}, [100])
    assert times == [0, 60, 100]
    assert outcome.phase is Phase.SUCCEEDED


def test_there_is_one_nudged_poll_per_delay(wait: Any) -> None:
    """However many nudges come, at most every other poll is made by one."""
    nudges = [70, 70.5, 71, 100, 119, 121, 122]
    times, _ = played(wait, {0: ACTIVE, 200: SUCCESS}, nudges)
    assert times == [0, 60, 70, 120, 121, 180, 240]


def test_the_schedule_continues_as_if_nothing_had_been_polled(wait: Any) -> None:
    """A nudge that came too early takes no rung, whether or not the job moved meanwhile."""
    still = {0: ACTIVE, 200: SUCCESS}
    times, _ = played(wait, still, [16, 50], schedule=None)
    assert times == [0, 15, 16, 45, 50, 105, 225]
    moving = {0: ACTIVE, 16: state("Active", 5), 200: SUCCESS}
    times, _ = played(wait, moving, [16, 50], schedule=None)
    assert times == [0, 15, 16, 45, 50, 60, 90, 150, 270]


def test_a_pause_that_the_service_asked_for_is_not_undercut(wait: Any) -> None:
    """While a `Retry-After` lasts, a nudge sends nothing; the poll is made when it is over."""
    paused = reply(200, {"jobProgress": {"state": "Active"}}, {"Retry-After": "300"})
    times, outcome = played(
        wait, {0: paused, 1: ACTIVE, 200: SUCCESS}, [100], schedule=Schedule((600,), jitter=0)
    )
    assert times == [0, 300]
    assert outcome.phase is Phase.SUCCEEDED


def test_a_pause_that_another_job_met_holds_a_nudge_too(wait: Any) -> None:
    """A nudge that meets a rate limit of the whole client is kept until that is over."""
    slow = Schedule((600,), jitter=0)
    limited = reply(200, {"jobProgress": {"state": "Active"}}, {"Retry-After": "300"})
    jobs = {"a": {0: limited, 1: ACTIVE, 500: SUCCESS}, "b": {0: ACTIVE, 200: SUCCESS}}
    with Agenda() as clock, Script(Service(clock, **jobs)) as script:
        wait(clock, "b", "a", nudges=[1], timeout=3600, schedule=slow)
        assert {sent.time for sent in script.sent if 0 < sent.time < 300} == set()


@pytest.mark.parametrize("down", [DOWN, reply(200, b"<html>")])
def test_a_nudged_poll_that_fails_is_not_counted(wait: Any, down: Any) -> None:
    """Trouble that a retry may fix doesn't count toward `max_failures`, nor move the schedule."""
    job = {0: ACTIVE, 70: down, 80: ACTIVE, 150: SUCCESS}
    times, outcome = played(wait, job, [75], options={"max_failures": 1})
    assert times == [0, 60, 75, 120, 180]
    assert outcome.phase is Phase.SUCCEEDED


def test_a_nudged_poll_can_end_the_wait_with_an_error(wait: Any) -> None:
    """What no retry fixes ends a wait as it would at any other poll."""
    times, outcome = played(wait, {0: ACTIVE, 70: GONE}, [75])
    assert times == [0, 60, 75]
    assert isinstance(outcome, JobGone)


def test_a_pause_beyond_the_deadline_ends_the_wait(wait: Any) -> None:
    """If a nudged poll is asked for a pause beyond the deadline, the wait ends."""
    busy = reply(503, {"error": {"code": "ServiceUnavailable"}}, {"Retry-After": "5000"})
    times, outcome = played(wait, {0: ACTIVE, 70: busy}, [75])
    assert times == [0, 60, 75]
    assert isinstance(outcome, Unavailable)


def test_stall_and_deadline_are_judged_by_the_schedule(wait: Any) -> None:
    """A nudged poll brings neither a stall nor a timeout forward."""
    times, outcome = played(wait, {0: ACTIVE}, [110], stall_timeout=100)
    assert times == [0, 60, 110, 120]
    assert isinstance(outcome, WaitStalled)
    times, outcome = played(wait, {0: ACTIVE}, [90], timeout=100)
    assert times == [0, 60, 90, 100]
    assert isinstance(outcome, WaitTimeout)


@pytest.mark.parametrize("backend", [None, "asyncio", "trio"])
def test_a_nudge_during_a_poll_is_kept(backend: str | None) -> None:
    """The event may have come after the service made up its response: then one more is fetched."""
    client: Any = None
    answers = iter([ACTIVE, SUCCESS])

    def handle(request: Any) -> Any:
        client.nudge("j")
        return next(answers)

    with FakeClock(), Script(handle) as script:
        client = AsyncITwin("a made-up token") if backend else ITwin("a made-up token")
        if backend:
            anyio.run(lambda: client.wait("j", timeout=100), backend=backend)
        else:
            client.wait("j", timeout=100)
    assert [sent.time for sent in script.sent] == [0, 0]


def test_a_resumed_wait_is_not_nudged_before_its_token_is_due() -> None:
    """A token doesn't say whether the service or the schedule set the time."""
    paused = reply(200, {"jobProgress": {"state": "Active"}}, {"Retry-After": "300"})
    with Agenda() as clock, Script(Service(clock, j={0: paused, 1: SUCCESS})) as script:
        client = ITwin("a made-up token")
        token = client.start("j", timeout=3600).token
        clock.at(100, lambda: client.nudge("j"))
        client.resume(token)
    assert [sent.time for sent in script.sent] == [0, 300]


def test_a_watch_can_be_nudged_itself() -> None:
    """`watch.nudge()` is for that wait alone; its token stays that of the schedule."""
    with FakeClock() as clock, Script(Service(clock, j={0: ACTIVE, 5: SUCCESS})) as script:
        client = ITwin("a made-up token")
        watch, other = (client.watch("j", timeout=3600, schedule=MINUTE) for _ in range(2))
        assert next(watch).phase is next(other).phase is Phase.RUNNING
        clock.advance(5)
        token = watch.token
        watch.nudge()
        assert watch.token == token
        assert next(watch).phase is Phase.SUCCEEDED
        assert next(other).phase is Phase.SUCCEEDED
    assert [sent.time for sent in script.sent] == [0, 0, 5, 60]


def test_a_nudge_for_nothing() -> None:
    """A job that nobody waits for is no error; what can't be an ID is."""
    with FakeClock(), Script({"/progress": [SUCCESS]}) as script:
        client = ITwin("a made-up token")
        client.nudge("j")
        client.wait("j", timeout=10)
        client.nudge("j")
        with pytest.raises(ConfigurationError, match="job_id"):
            client.nudge("a/b")
    assert len(script.sent) == 1


# --- many -----------------------------------------------------------------------------------------


def test_one_of_many_is_nudged(wait: Any) -> None:
    """A nudge is for its job; the others keep their times."""
    jobs = {name: {0: ACTIVE, 90: SUCCESS} for name in ("a", "b", "c")}
    with Agenda() as clock, Script(Service(clock, **jobs)) as script:
        last = wait(clock, "a", "b", "c", nudges=[95], timeout=3600, schedule=MINUTE)
    assert {progress.phase for progress in last.values()} == {Phase.SUCCEEDED}
    ends = {sent.target.split("/")[3]: sent.time for sent in script.sent}
    assert ends == {"a": 120, "b": 120, "c": 95}


def test_a_first_poll_that_is_nudged_is_moved_not_added(wait: Any) -> None:
    """Of more jobs than fit at once, one whose first poll is later may be nudged before."""
    names = [f"j{n}" for n in range(6)]
    jobs = {name: {0: ACTIVE, 130: SUCCESS} for name in names}
    with Agenda() as clock, Script(Service(clock, **jobs)) as script:
        wait(
            clock,
            *names,
            nudges=[5],
            timeout=3600,
            schedule=MINUTE,
            options={"max_in_flight": 2},
        )
    assert [sent.time for sent in script.sent if "j5" in sent.target] == [5, 65, 125, 185]


@pytest.mark.parametrize("how", ["watch", "watch_many"])
def test_case_is_not_compared(how: str) -> None:
    """IDs are GUIDs, and who sends a nudge may write them in another case."""
    with FakeClock() as clock, Script(Service(clock, j={0: ACTIVE, 5: SUCCESS})) as script:
        client = ITwin("a made-up token")
        watch: Any = client.watch("j", timeout=3600, schedule=MINUTE)
        if how == "watch_many":
            watch = client.watch_many(["j"], timeout=3600, schedule=MINUTE)
        next(watch)
        clock.advance(5)
        client.nudge("J")
        assert next(watch).phase is Phase.SUCCEEDED
    assert [sent.time for sent in script.sent][:2] == [0, 5]


@pytest.mark.parametrize("job_id", [5, [], {}, b"a", True])
@pytest.mark.parametrize("jobs", [["a"], []])
def test_what_is_no_id_nudges_none_of_many(job_id: Any, jobs: list[str]) -> None:
    """It is a mistake in the program, which hears of it."""
    many = ITwin("a made-up token").watch_many(jobs, timeout=5)
    with pytest.raises(ConfigurationError, match="`job_id` must be a job ID or None, not "):
        many.nudge(job_id)


def test_all_of_many_are_nudged() -> None:
    """`watch_many(...).nudge()` polls each job once."""
    with FakeClock() as clock:
        jobs = {name: {0: ACTIVE, 5: SUCCESS} for name in ("a", "b")}
        with Script(Service(clock, **jobs)) as script:
            many = ITwin("a made-up token").watch_many(["a", "b"], timeout=3600, schedule=MINUTE)
            assert [next(many).phase, next(many).phase] == [Phase.RUNNING] * 2
            clock.advance(5)
            many.nudge("nobody's")
            many.nudge()
            assert [progress.phase for progress in many] == [Phase.SUCCEEDED] * 2
    assert [sent.time for sent in script.sent] == [0, 0, 5, 5]


# --- from other threads, in real time -------------------------------------------------------------


@pytest.mark.parametrize("cancel", [None, threading.Event()], ids=["", "with cancel"])
@pytest.mark.parametrize("how", ["wait", "watch_many"])
def test_another_thread_wakes_a_blocking_wait(how: str, cancel: threading.Event | None) -> None:
    """A sleep of an hour ends when a nudge comes, also if the wait can be cancelled."""
    asleep = threading.Event()
    options: dict[str, Any] = {"timeout": None, "schedule": Schedule((3600,)), "cancel": cancel}
    with Script({"/progress": [ACTIVE, SUCCESS]}) as script:
        client = ITwin("a made-up token")
        thread = threading.Thread(target=lambda: asleep.wait() and client.nudge("j"))
        thread.start()
        if how == "wait":
            client.wait("j", on_progress=lambda _: asleep.set(), **options)
        else:
            for _ in client.watch_many(["j"], **options):
                asleep.set()
        thread.join()
    assert len(script.sent) == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["wait", "watch_many"])
def test_another_thread_wakes_an_async_wait(how: str, backend: str) -> None:
    """From a thread that has no event loop, too."""
    asleep = threading.Event()
    options: dict[str, Any] = {"timeout": None, "schedule": Schedule((3600,))}

    async def main() -> None:
        client = AsyncITwin("a made-up token")
        thread = threading.Thread(target=lambda: asleep.wait() and client.nudge("j"))
        thread.start()
        if how == "wait":
            await client.wait("j", on_progress=lambda _: asleep.set(), **options)
        else:
            async for _ in client.watch_many(["j"], **options):
                asleep.set()
        thread.join()

    with Script({"/progress": [ACTIVE, SUCCESS]}) as script:
        anyio.run(main, backend=backend)
    assert len(script.sent) == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_nudge_after_the_event_loop_has_ended(backend: str) -> None:
    """A wait that was left in a loop that is gone raises nothing in whoever nudges it."""

    async def main() -> tuple[Any, Any]:
        client = AsyncITwin("a made-up token")
        watch = client.watch("j", timeout=None, schedule=Schedule((3600,)))
        many = client.watch_many(["j"], timeout=None, schedule=Schedule((3600,)))
        for iterator in (watch, many):
            await anext(iterator)
            with anyio.move_on_after(0.01):
                await anext(iterator)
        return client, (watch, many)

    with Script({"/progress": [ACTIVE]}):
        client, _kept = anyio.run(main, backend=backend)
        client.nudge("j")


# --- whatever comes -------------------------------------------------------------------------------


@given(
    delays=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    moves=st.lists(st.integers(1, 600), max_size=6),
    trouble=st.lists(st.tuples(st.integers(1, 600), st.integers(1, 60)), max_size=3),
    ends=st.integers(1, 600),
    nudges=st.lists(st.floats(0.5, 700), max_size=12),
)
def test_any_nudges_leave_the_outcome_and_the_schedule_alone(
    delays: list[int],
    moves: list[int],
    trouble: list[tuple[int, int]],
    ends: int,
    nudges: list[float],
) -> None:
    """Each scheduled poll is where it would have been; what is more is at most one per delay."""
    job = {0.0: ACTIVE} | {float(at): state("Active", at % 100) for at in moves if at < ends}
    for at, seconds in trouble:
        if at + seconds < ends:
            job |= {float(at): DOWN, float(at + seconds): ACTIVE}
    job = {at: answer for at, answer in job.items() if at < ends} | {float(ends): SUCCESS}
    how: dict[str, Any] = {"schedule": Schedule(tuple(delays), jitter=0)}
    how |= {"options": {"max_failures": 4}, "timeout": 800}
    alone, expected = played(blocking, job, [], **how)
    times, outcome = played(blocking, job, nudges, **how)
    if isinstance(expected, Exception):
        assert type(outcome) is type(expected)
    else:
        assert outcome.phase is expected.phase
    left, extra = list(alone), []
    for time in times:
        if left and time == left[0]:
            left.pop(0)
        else:
            extra.append(time)
    assert len(left) <= 1  # the last one, if a nudge found the end
    assert len(extra) <= min(len(nudges), len(alone))
    assert times[-1] <= alone[-1]
