"""`on_event`: what happens during a wait, the same in each way to wait and in `--json`."""

import io
import json
import logging
import threading
from contextlib import suppress
from functools import partial

import anyio
import anyio.lowlevel
import attrs
import pytest
from events_support import Told, how
from scripted_answers import JOB_ID
from scripted_jobs import BY_NAME, JOBS, Clock, World

from opwatch import ITwin
from opwatch.cli.lines import JsonLines
from opwatch.cli.report import page
from opwatch.cli.run import Report, watch
from opwatch.cli.state import StateFile
from opwatch.cli.watching import Crew, Limits
from opwatch.errors import OpwatchError, WaitCancelled
from opwatch.events import Ended
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Script, reply

WATCHED = [job for job in JOBS if job.cancel_at is None]


# --- the same, whoever is told --------------------------------------------------------------------


def by_wait(job):
    told, world = Told(), World(job, Clock())
    with world.clock, Script(world.handle), world.client() as client, suppress(OpwatchError):
        client.wait(JOB_ID, on_event=told, **how(job))
    return told.dicts()


def by_watch(job):
    told, world = Told(), World(job, Clock())
    with world.clock, Script(world.handle), world.client() as client, suppress(OpwatchError):
        for _ in client.watch(JOB_ID, on_event=told, **how(job)):
            pass
    return told.dicts()


def by_watch_many(job):
    told, world = Told(), World(job, Clock())
    with world.clock, Script(world.handle), world.client() as client:
        for _ in client.watch_many([JOB_ID], on_event=told, **how(job)):
            pass
    return told.dicts()


def by_async_wait(job, backend="asyncio"):
    told, world = Told(), World(job, Clock())

    async def on_event(event):
        await anyio.lowlevel.checkpoint()
        told(event)

    async def main():
        async with world.client(asynchronous=True) as client:
            with suppress(OpwatchError):
                await client.wait(JOB_ID, on_event=on_event, **how(job))

    with world.clock, Script(world.handle):
        anyio.run(main, backend=backend)
    return told.dicts()


def by_async_watch_many(job, backend="asyncio"):
    told, world = Told(), World(job, Clock())

    async def main():
        async with world.client(asynchronous=True) as client:
            async for _ in client.watch_many([JOB_ID], on_event=told, **how(job)):
                pass

    with world.clock, Script(world.handle):
        anyio.run(main, backend=backend)
    return told.dicts()


TRIO = {"backend": "trio"}
WAYS = {
    "watch": by_watch,
    "watch_many": by_watch_many,
    "async wait": by_async_wait,
    "async wait on trio": partial(by_async_wait, **TRIO),
    "async watch_many": by_async_watch_many,
    "async watch_many on trio": partial(by_async_watch_many, **TRIO),
}


@pytest.mark.parametrize("job", WATCHED, ids=lambda job: job.name)
def test_each_way_to_wait_tells_the_same(job):
    """The events of a scripted job are equal, however it is waited for."""
    expected = by_wait(job)
    assert [event["event"] for event in expected[:1] + expected[-1:]] == ["start", "result"]
    for name, way in WAYS.items():
        assert way(job) == expected, name


@pytest.mark.parametrize("job", WATCHED, ids=lambda job: job.name)
def test_the_command_line_tells_the_same(job, tmp_path, capsys):
    """`--json` prints the events of `wait`; the report and the state file are made of them."""
    expected, out, err = by_wait(job), io.StringIO(), io.StringIO()
    schedule = {name: job.how[name] for name in job.how if name == "schedule"}
    world = World(attrs.evolve(job, options=job.options | schedule), Clock())
    with world.clock, Script(world.handle):
        client = world.client(asynchronous=True)
        state, report = StateFile(tmp_path / "state"), tmp_path / "page.html"
        crew = Crew(state, JsonLines(out, err), Report(report))
        limits = Limits(job.timeout, job.how.get("stall_timeout"))
        code = watch(crew, [(job.service, JOB_ID)], {job.service: client}, limits)
    printed = [json.loads(line) for line in out.getvalue().splitlines()]
    assert printed == expected
    assert report.read_text("utf-8") == page(expected)
    assert code == expected[-1]["exit_code"]
    kept = StateFile(tmp_path / "state")
    assert len(kept.ended) + len(kept.stopped) == 1
    assert kept.tokens == {}


def test_a_wait_that_is_refused_before_it_begins_is_an_end_of_the_command_line():
    """What the client refuses is the job's result, and no success."""
    out, err = io.StringIO(), io.StringIO()
    world = World(BY_NAME["normal"], Clock())
    with world.clock, Script(world.handle):
        crew = Crew(StateFile(None), JsonLines(out, err))
        jobs, clients = [("itwin", "j1")], {"itwin": world.client(asynchronous=True)}
        assert watch(crew, jobs, clients, Limits(timeout=-1.0)) == 2
    [result] = map(json.loads, out.getvalue().splitlines())
    assert (result["event"], result["outcome"]) == ("result", "misconfigured")
    assert "`timeout` must be" in err.getvalue()


@pytest.mark.parametrize("name", [job.name for job in JOBS if job.cancel_at is not None])
@pytest.mark.parametrize("way", [by_wait, by_watch, by_watch_many])
def test_a_wait_that_is_cancelled_ends_with_an_event(name, way):
    """Setting `cancel` is the end of the events, too."""
    job = BY_NAME[name]
    stop = threading.Event()
    clock = Clock(alarm=job.cancel_at or None)
    clock.ring = stop.set
    if job.cancel_at == 0:
        stop.set()
    told, world = Told(), World(job, clock)
    with clock, Script(world.handle), world.client() as client, suppress(WaitCancelled):
        terms = how(job) | {"on_event": told, "cancel": stop}
        if way is by_wait:
            client.wait(JOB_ID, **terms)
        elif way is by_watch:
            list(client.watch(JOB_ID, **terms))
        else:
            list(client.watch_many([JOB_ID], **terms))
    assert isinstance(told[-1], Ended)
    assert (told[-1].outcome, told[-1].elapsed) == ("interrupted", job.cancel_at)


# --- log records ----------------------------------------------------------------------------------


@pytest.fixture(params=["service", "job_id", "event"])
def a_name_of_the_program(request):
    """An attribute that the program's own record factory has set already."""
    usual = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = usual(*args, **kwargs)
        setattr(record, request.param, "the program's own")
        return record

    logging.setLogRecordFactory(factory)
    yield request.param
    logging.setLogRecordFactory(usual)


def test_a_wait_outlives_log_records_with_attributes_of_the_program(a_name_of_the_program, caplog):
    """Each record is still logged, with the program's attribute."""
    progress = [reply(503), reply(200, {"jobProgress": {"state": "Asleep"}}), reply(404)]
    with (
        caplog.at_level(logging.INFO, "opwatch"),
        FakeClock(),
        Script({"/a/progress": progress}),
        ITwin("a made-up token") as client,
    ):
        watch = client.watch_many(["a"], timeout=None)
        assert [progress.phase for progress in watch] == [Phase.UNKNOWN]
    assert list(watch.errors) == ["a"]
    retry, state, lost = caplog.records
    assert "next poll" in retry.message
    assert "that opwatch doesn't know" in state.message
    assert lost.message == str(watch.errors["a"])
    assert {vars(one)[a_name_of_the_program] for one in caplog.records} == {"the program's own"}
