"""What an event says: its fields, its JSON, its durations, and the log."""

import json
import logging
from contextlib import suppress
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest
from events_support import Told
from scripted_answers import JOB_ID
from scripted_jobs import BY_NAME, World

from opwatch import AsyncITwin, Fault, ITwin, Schedule
from opwatch.errors import ConfigurationError, JobCancelled, JobFailed, OpwatchError
from opwatch.events import Ended, Held, Polled, Retrying, Started
from opwatch.testing import FakeClock, Script, reply


def active(percentage=0):
    return reply(200, {"jobProgress": {"state": "Active", "percentage": percentage}})


SUCCESS = reply(200, {"jobProgress": {"state": "success", "percentage": 100}})
DOWN = reply(503, {"error": {"code": "ServiceUnavailable", "message": "not now"}})
LIMITED = reply(
    429, {"error": {"code": "RateLimitExceeded", "message": "slowly"}}, {"Retry-After": "70"}
)


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


def script(*answers):
    return Script({"/progress": answers})


# --- what an event says ---------------------------------------------------------------------------


def test_the_events_of_a_wait(clock):
    """Each has its time, the job, the last response, the error, the next poll and the attempt."""
    told = Told()
    with script(active(40), DOWN, LIMITED, SUCCESS):
        ITwin("made-up").wait("j1", timeout=3600, on_event=told)
    assert told.kinds == ["Started", "Polled", "Retrying", "Retrying", "Polled", "Ended"]
    started, polled, down, limited, last, ended = told
    assert {event.job for event in told} == {("itwin", "j1")}
    assert [event.elapsed for event in told] == [0, 0, 15, 45, 115, 115]
    assert [(event.time - started.time).total_seconds() for event in told] == [
        *(0, 0, 15, 45, 115, 115)
    ]
    assert [event.attempt for event in told] == [0, 1, 2, 3, 4, 4]
    assert [event.next_poll_in for event in told] == [None, 15, 30, 70, None, None]
    assert (started.progress, started.error, started.resumed) == (None, None, False)
    assert (polled.progress.percent, polled.error) == (40, None)
    assert (down.progress.percent, down.error.status, limited.error.status) == (40, 503, 429)
    assert (last.progress.percent, ended.progress.percent) == (100, 100)
    assert (ended.error, ended.outcome, ended.exit_code) == (None, "succeeded", 0)


def test_the_token_of_an_event_resumes_the_wait(clock):
    """A wait that is resumed says so, holds until it is due, and counts the polls before."""
    told, resumed = Told(), Told()
    with script(active(40), SUCCESS), ITwin("made-up") as client:
        for _ in client.watch("j1", timeout=3600, on_event=told):
            break
        client.resume(told[-1].token, on_event=resumed)
    assert resumed.kinds == ["Started", "Held", "Polled", "Ended"]
    assert [event.resumed for event in resumed[:2]] == [True, True]
    assert resumed[1].next_poll_in == 15
    assert [event.attempt for event in resumed] == [1, 1, 2, 2]


def test_a_pause_for_the_whole_client_holds_the_other_jobs(clock):
    """Nothing is sent for a job that another's rate limit holds, and an event says so."""
    told = Told()
    with script(LIMITED, active(1)), ITwin("made-up") as client:
        many = client.watch_many(["j1", "j2"], timeout=3600, on_event=told)
        next(many)
    held = [event for event in told if isinstance(event, Held)]
    assert [(event.job_id, event.resumed, event.attempt) for event in held] == [("j2", False, 0)]
    assert held[0].next_poll_in >= 70


def test_a_nudge_brings_the_next_event_forward(clock):
    """`on_event` may nudge: the poll that it makes is an event, and the schedule continues."""
    told = Told()

    def on_event(event):
        told(event)
        if event.attempt == 1:
            client.nudge("j1")

    with script(active(40), active(40), SUCCESS), ITwin("made-up") as client:
        client.wait("j1", timeout=3600, on_event=on_event)
    polled = [event for event in told if isinstance(event, Polled)]
    assert [event.attempt for event in polled] == [1, 2, 3]
    assert [event.elapsed for event in polled] == [0, 0, 15]
    assert [event.next_poll_in for event in polled] == [15, 15, None]


def test_a_failed_job_ends_without_an_error(clock):
    """`wait` raises `JobFailed`; the event has the response."""
    told = Told()
    failed = reply(200, {"jobProgress": {"state": "failed"}})
    with script(failed), pytest.raises(JobFailed):
        ITwin("made-up").wait("j1", timeout=3600, on_event=told)
    assert (told[-1].error, told[-1].outcome, told[-1].exit_code) == (None, "failed", 1)


class Stop(Exception):
    """What a caller's own code raises."""


def test_whatever_ends_a_wait_from_outside_is_its_last_event(clock):
    """Also an exception of `on_progress`: the job continues, and the token says where."""
    told = Told()

    def stop(progress):
        raise Stop

    with script(active(40)), pytest.raises(Stop):
        ITwin("made-up").wait("j1", timeout=3600, on_progress=stop, on_event=told)
    assert told.kinds == ["Started", "Polled", "Ended"]
    assert (told[-1].outcome, told[-1].exit_code) == ("interrupted", 130)


@pytest.mark.parametrize("where", ["on_progress", Polled, Ended])
@pytest.mark.parametrize("state", ["success", "failed"])
def test_an_exception_after_the_end_of_a_job_has_no_token(clock, where, state):
    """There is nothing to resume: the note with the token says that the job continues."""

    def stop(told):
        if where == "on_progress" or isinstance(told, where):
            raise Stop

    how = {"on_progress" if where == "on_progress" else "on_event": stop}
    over = reply(200, {"jobProgress": {"state": state, "percentage": 100}})
    with script(over), pytest.raises(Stop) as raised:
        ITwin("made-up").wait("j1", timeout=3600, **how)
    assert not hasattr(raised.value, "__notes__")


def test_a_task_that_is_cancelled_is_the_last_event_of_its_wait(clock):
    """The same where a task is cancelled."""
    told, world = Told(), World(BY_NAME["never ends"], clock)

    async def main():
        async with anyio.create_task_group() as group:

            def on_event(event):
                told(event)
                if isinstance(event, Polled):
                    group.cancel_scope.cancel()

            async with world.client(asynchronous=True) as client:
                await client.wait(JOB_ID, timeout=400, on_event=on_event)

    with Script(world.handle):
        anyio.run(main)
    assert told.kinds == ["Started", "Polled", "Ended"]
    assert told[-1].outcome == "interrupted"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("cancelled_in", [Started, Polled, None])
def test_an_async_on_event_hears_of_a_cancelled_wait(clock, backend, cancelled_in):
    """It may await while the wait is being cancelled, even if that was what it awaited before."""
    told, world = Told(), World(BY_NAME["never ends"], clock)

    async def main():
        async def on_event(event):
            if isinstance(event, cancelled_in or Polled):
                scope.cancel()
            if cancelled_in is not None or isinstance(event, Ended):
                await anyio.lowlevel.checkpoint()
            told(event)

        with anyio.CancelScope() as scope:
            async with world.client(asynchronous=True) as client:
                await client.wait(JOB_ID, timeout=400, on_event=on_event)

    with Script(world.handle):
        anyio.run(main, backend=backend)
    assert isinstance(told[-1], Ended)
    assert told[-1].outcome == "interrupted"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_during_the_last_answer_is_no_end_without_an_event(clock, backend):
    """Cancelled while it hears of a success, `on_event` still hears that the wait has ended."""
    told = Told()

    async def main():
        async def on_event(event):
            if isinstance(event, Polled):
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            told(event)

        with anyio.CancelScope() as scope:
            async with AsyncITwin("a token") as client:
                await client.wait("j1", timeout=400, on_event=on_event)

    with Script({"/progress": SUCCESS}):
        anyio.run(main, backend=backend)
    assert told.kinds == ["Started", "Ended"]
    assert told[-1].outcome == "succeeded"


def test_callbacks_may_be_objects_with_attributes_of_their_own(clock):
    """What they are called is theirs: an attribute is neither read nor called."""

    class Callback:
        sending = wait_over = "a text of the user's"
        __call__ = staticmethod(lambda _: None)

    with script(SUCCESS):
        done = ITwin("made-up").wait("j1", timeout=60, on_event=Callback(), on_progress=Callback())
    assert done.percent == 100


@pytest.mark.parametrize("kind", [Started, Polled, Ended])
def test_an_exception_of_on_event_passes_through(clock, kind):
    """It isn't called again, and no response of `watch_many` is lost."""
    told = []

    def on_event(event):
        told.append(event)
        if isinstance(event, kind):
            raise Stop

    with script(active(40), SUCCESS), ITwin("made-up") as client:
        with pytest.raises(Stop):
            client.wait("j1", timeout=3600, on_event=on_event)
        assert isinstance(told[-1], kind)
    with script(active(40), SUCCESS), ITwin("made-up") as client:
        many, seen = client.watch_many(["j1"], timeout=3600, on_event=on_event), []
        with pytest.raises(Stop):
            seen.extend(many)
        seen.extend(many)
    assert {progress.percent for progress in [*seen, *many.last.values()]} >= {100}


@pytest.mark.parametrize("value", ["text", 7, object()])
@pytest.mark.parametrize("call", ["wait", "watch", "watch_many", "resume"])
def test_on_event_must_be_callable(clock, value, call):
    """Anything else is refused before the first poll."""
    calls = {
        "wait": lambda client: client.wait("j1", timeout=1, on_event=value),
        "watch": lambda client: client.watch("j1", timeout=1, on_event=value),
        "watch_many": lambda client: client.watch_many(["j1"], timeout=1, on_event=value),
        "resume": lambda client: client.resume("a token", on_event=value),
    }
    client = ITwin("made-up")
    with pytest.raises(ConfigurationError, match="`on_event` must be callable"):
        calls[call](client)


def test_on_event_of_a_blocking_client_is_not_async(clock):
    """A coroutine function is refused by name."""

    async def on_event(event):
        """Never called."""

    client = ITwin("made-up")
    with pytest.raises(ConfigurationError, match="`on_event` must not be async"):
        client.wait("j1", timeout=1, on_event=on_event)


# --- JSON -----------------------------------------------------------------------------------------


def test_a_progress_as_json(clock):
    """All but `wire`, in the words of `--json`."""
    with script(active(40)):
        progress = ITwin("made-up").progress("j1")
    assert json.loads(json.dumps(progress.to_dict())) == {
        "service": "itwin",
        "job_id": "j1",
        "phase": "running",
        "percent": 40,
        **dict.fromkeys(("step", "bytes_processed", "fault", "started_at", "finished_at")),
    }


def test_a_step_as_json(clock):
    """The response, the token, the delay and the error, as JSON."""
    with script(active(40), DOWN), ITwin("made-up") as client:
        first = client.start("j1", timeout=3600)
        clock.advance(15)
        second = client.step(first.token)
    assert json.loads(json.dumps(first.to_dict())) == {
        "progress": first.progress.to_dict(),
        "token": first.token,
        "delay": 15,
        "trouble": None,
    }
    trouble = second.to_dict()["trouble"]
    assert (trouble["type"], trouble["status"]) == ("Unavailable", 503)
    assert second.to_dict()["progress"] is None


# --- durations ------------------------------------------------------------------------------------


def test_durations_may_be_timedeltas(clock):
    """`timeout`, `stall_timeout`, `request_timeout` and the delays of a schedule."""
    minute = timedelta(minutes=1)
    told = Told()
    schedule = Schedule([timedelta(seconds=20)])
    with script(active(1)), ITwin("made-up", request_timeout=minute, schedule=schedule) as client:
        with suppress(OpwatchError):
            client.wait("j1", timeout=minute, on_event=told)
        assert [event.elapsed for event in told if isinstance(event, Polled)] == [0, 20, 40, 60]
        told.clear()
        with suppress(OpwatchError):
            client.wait("j1", timeout=None, stall_timeout=minute / 2, on_event=told)
        assert (told[-1].outcome, told[-1].elapsed) == ("stalled", 40)


@pytest.mark.parametrize("wrong", [timedelta(seconds=-1), timedelta.max, "10m"])
def test_durations_that_are_none(clock, wrong):
    """A negative or endless `timedelta` is refused as the number would be."""
    with pytest.raises(ConfigurationError, match="`timeout` must be"):
        ITwin("made-up").wait("j1", timeout=wrong)
    with pytest.raises(ConfigurationError, match="`request_timeout` must be"):
        ITwin("made-up", request_timeout=wrong)


def test_jitter_is_no_duration():
    """It is a fraction of a delay; a `timedelta` is refused, whatever its length."""
    for jitter in (timedelta(0), timedelta(seconds=1)):
        with pytest.raises(
            ConfigurationError,
            match="`jitter` must be a fraction of the delay, at least 0, not datetime",
        ):
            Schedule([5], jitter=jitter)


# --- the log --------------------------------------------------------------------------------------


def test_each_retry_is_a_line_of_the_log(clock, caplog):
    """At INFO, with status, cause and delay, and the event's fields as `extra`."""
    caplog.set_level(logging.INFO, "opwatch")
    told = Told()
    with script(active(40), DOWN, SUCCESS):
        ITwin("made-up").wait("j1", timeout=3600, on_event=told)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("opwatch", "INFO")
    assert record.getMessage() == ("itwin j1: not now (503 ServiceUnavailable); next poll in 30 s")
    [retrying] = (event for event in told if isinstance(event, Retrying))
    assert {name: getattr(record, name) for name in retrying.to_dict()} == retrying.to_dict()


def test_a_lost_job_of_many_is_a_warning(clock, caplog):
    """What ended the wait without the job's end is logged; a job that failed isn't lost."""
    gone = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})
    failed = reply(200, {"jobProgress": {"state": "failed"}})
    answers = {"j1/progress": [gone], "j2/progress": [failed]}
    with Script(answers), ITwin("made-up") as client:
        list(client.watch_many(["j1", "j2"], timeout=3600))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "itwin j1: no such job (404 JobNotFound)"
    assert (record.outcome, record.exit_code, record.job_id) == ("gone", 5, "j1")


def test_the_error_of_a_failed_job_as_json() -> None:
    """`to_dict` has the code of the job's fault."""
    error = JobFailed("failed: E1: no photos", fault=Fault("E1", "no photos"))
    assert (error.code, error.to_dict()["code"]) == ("E1", "E1")
    assert JobCancelled("cancelled").to_dict()["code"] is None
