"""One table of jobs, watched by every driver: all of them send the same requests at the same times.

A transcript is what was asked when, what was seen, and how it ended. The table says what is to be
asked; the drivers are compared with each other on the rest.
"""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from scripted_answers import JOB_ID, Job
from scripted_jobs import BY_NAME, JOBS, Clock, World, turn

from opwatch.errors import OpwatchError
from opwatch.testing import Script

Transcript = list[tuple[Any, ...]]


# --- the drivers ----------------------------------------------------------------------------------


def blocking(
    drive: Callable[[World, Any], None], *, stepping: bool = False
) -> Callable[[Job], Transcript]:
    """A driver that is given a world and what cancels it."""

    def run(job: Job) -> Transcript:
        cancel = threading.Event()
        clock = Clock(alarm=job.cancel_at or None)
        clock.ring = cancel.set
        if job.cancel_at == 0:
            cancel.set()
        world = World(job, clock)
        with clock, Script(world.handle):
            try:
                drive(world, cancel)
            except OpwatchError as error:
                world.failed(error, stepping=stepping)
        return world.seen

    return run


def in_loop(
    backend: str, drive: Callable[[World, Any], Any], *, stepping: bool = False
) -> Callable[[Job], Transcript]:
    """The same for an event loop."""

    async def run(job: Job) -> Transcript:
        cancel = anyio.Event()
        clock = Clock(alarm=job.cancel_at or None)
        clock.ring = cancel.set
        if job.cancel_at == 0:
            cancel.set()
        world = World(job, clock)
        with clock, Script(world.handle):
            try:
                await drive(world, cancel)
            except OpwatchError as error:
                world.failed(error, stepping=stepping)
        return world.seen

    return lambda job: anyio.run(run, job, backend=backend)


def limits(job: Job) -> dict[str, Any]:
    return {"timeout": job.timeout, **job.how}


def watch(world: World, cancel: threading.Event) -> None:
    with world.client() as client:
        watching = client.watch(JOB_ID, cancel=cancel, **limits(world.job))
        for progress in watching:
            world.saw(progress)
        world.ended(watching.last)


def wait(world: World, cancel: threading.Event) -> None:
    with world.client() as client:
        how = limits(world.job)
        world.ended(client.wait(JOB_ID, on_progress=world.saw, cancel=cancel, **how))


def step(world: World, cancel: threading.Event) -> None:
    """An engine: it keeps nothing but the token, and sleeps for what `Step.delay` says."""
    with world.client() as client:
        token = None
        while not cancel.is_set():
            if token is None:
                turned = client.start(JOB_ID, **limits(world.job))
            else:
                turned = client.step(token)
            if turned.progress is not None:
                world.saw(turned.progress)
            if turned.delay is None:
                world.ended(turned.progress)
                return
            token = turned.token
            world.clock.sleep(turned.delay, cancel)
        world.cancelled()


def resumed(world: World, cancel: threading.Event) -> None:
    """Each response but the last ends a client; the next one resumes from the note of the token."""
    end = float(world.job.end.split()[-1])

    def dies(progress: Any) -> None:
        world.saw(progress)
        if world.clock.now() < end:
            raise ProcessLookupError

    token = None
    while True:
        try:
            with world.client() as client:
                if token is None:
                    how = limits(world.job)
                    last = client.wait(JOB_ID, on_progress=dies, cancel=cancel, **how)
                else:
                    last = client.resume(token, on_progress=dies, cancel=cancel)
        except ProcessLookupError as died:
            [note] = died.__notes__
            token = note.rpartition("resumes the wait: ")[2]
        else:
            world.ended(last)
            return


async def async_watch(world: World, cancel: anyio.Event) -> None:
    async with world.client(asynchronous=True) as client:
        watching = client.watch(JOB_ID, cancel=cancel, **limits(world.job))
        async for progress in watching:
            world.saw(progress)
        world.ended(watching.last)


async def async_wait(world: World, cancel: anyio.Event) -> None:
    async def saw(progress: Any) -> None:
        await anyio.lowlevel.checkpoint()
        world.saw(progress)

    async with world.client(asynchronous=True) as client:
        world.ended(await client.wait(JOB_ID, on_progress=saw, cancel=cancel, **limits(world.job)))


async def async_step(world: World, cancel: anyio.Event) -> None:
    async with world.client(asynchronous=True) as client:
        token = None
        while not cancel.is_set():
            if token is None:
                turned = await client.start(JOB_ID, **limits(world.job))
            else:
                turned = await client.step(token)
            if turned.progress is not None:
                world.saw(turned.progress)
            if turned.delay is None:
                world.ended(turned.progress)
                return
            token = turned.token
            await world.clock.asleep(turned.delay, cancel)
        world.cancelled()


def turns(make: Callable[..., dict[str, Any]]) -> Callable[[Job], Transcript]:
    """An engine that makes each turn elsewhere and keeps the time, the token and the world."""

    def run(job: Job) -> Transcript:
        transcript: Transcript = []
        now, token, counts = 0.0, None, {"progress": 0, "job": 0, "tokens": 0}
        while job.cancel_at is None or now < job.cancel_at:
            found = make(name=job.name, now=now, token=token, counts=counts)
            transcript += [tuple(entry) for entry in found["seen"]]
            if found["delay"] is None:
                return transcript
            token, counts = found["token"], found["counts"]
            now += found["delay"]
        world = World(job, Clock(), job.cancel_at)
        world.cancelled()
        return transcript + world.seen

    return run


class Processes:
    """Makes each turn in a new process. A context manager: what forks them ends with it."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("scripted_jobs.py")
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(
            [sys.executable, program], stdin=pipe, stdout=pipe, text=True
        )
        self.numbers: list[int] = []
        """The numbers of the processes so far."""

    def turn(self, **given: Any) -> dict[str, Any]:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{json.dumps(given)}\n")
        self._program.stdin.flush()
        found: dict[str, Any] = json.loads(self._program.stdout.readline())
        self.numbers.append(found["process"])
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.communicate(timeout=60)


DRIVERS = {
    "watch": blocking(watch),
    "wait": blocking(wait),
    "asyncio watch": in_loop("asyncio", async_watch),
    "asyncio wait": in_loop("asyncio", async_wait),
    "trio watch": in_loop("trio", async_watch),
    "trio wait": in_loop("trio", async_wait),
    "step": blocking(step, stepping=True),
    "asyncio step": in_loop("asyncio", async_step, stepping=True),
    "trio step": in_loop("trio", async_step, stepping=True),
    "resume after each answer": blocking(resumed),
    "step with a new client": turns(turn),
}


# --- the tests ------------------------------------------------------------------------------------


def asked(transcript: Transcript) -> str:
    """The requests of a transcript as the table writes them."""
    found = [entry for entry in transcript if entry[1] == "asked"]
    return " ".join(
        f"{'' if what.endswith('/progress') else 'j'}{time:g}" for time, _, what in found
    )


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_each_job_is_asked_for_as_the_table_says(job):
    """The times of the requests and the end are written by hand, from the documents."""
    transcript = DRIVERS["watch"](job)
    time, _, end, *_ = transcript[-1]
    assert (asked(transcript), f"{end} {time:g}") == (job.asked, job.end)


@functools.cache
def watched(name: str) -> Transcript:
    """The transcript of the blocking `watch`, which is compared with each of the others."""
    return DRIVERS["watch"](BY_NAME[name])


def stepped(job: Job) -> Transcript:
    """What each stepping driver does: the same, unless the job has an entry of its own for it."""
    if job.stepped is None:
        return watched(job.name)
    transcript = DRIVERS["step"](job)
    time, _, end, *_ = transcript[-1]
    assert (asked(transcript), f"{end} {time:g}") == job.stepped
    return transcript


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_driver_has_the_same_transcript(job):
    """Time, request, answer and end are those of the blocking `watch`."""
    found = {name: driver(job) for name, driver in DRIVERS.items()}
    expected = {name: stepped(job) if "step" in name else watched(job.name) for name in DRIVERS}
    assert found == expected


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_new_process_for_every_query_has_the_same_transcript(job, processes):
    """Nothing but the token is carried from one process to the next."""
    before = len(processes.numbers)
    assert turns(processes.turn)(job) == stepped(job)
    numbers = processes.numbers[before:]
    assert len({*numbers, os.getpid()}) == len(numbers) + 1


def test_a_new_interpreter_for_every_query_has_the_same_transcript():
    """The same where each process starts from nothing."""

    def in_new_interpreter(**given: Any) -> dict[str, Any]:
        with Processes() as processes:
            return processes.turn(**given)

    assert turns(in_new_interpreter)(BY_NAME["a token that ends midway"]) == (
        watched("a token that ends midway")
    )


def test_the_table_is_of_all_services():
    """Thirty jobs and more, at least ten of each service."""
    services = [job.service for job in JOBS]
    assert len(JOBS) >= 30
    assert min(map(services.count, ("catenis", "itwin", "apig"))) >= 10
