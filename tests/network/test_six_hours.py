"""A job of six hours, with a fifth of all polls failing in every retryable way, ends correctly.

The troubles are those of the fault server's table and of the known errors that are transient, as
the client's transport hands them on. Each run draws its own from a seed, which the test's id shows,
and whether it keeps the service's own schedule.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import anyio
import pytest
from fault_errors import REFUSALS
from fault_scenarios import SCENARIOS
from fault_services import ITWIN, SAMPLES, Sample

from opwatch import Phase, Schedule
from opwatch.errors import BadResponse, JobCancelled, JobFailed, OpwatchError, TransportError
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script, reply

RUNS = 200
AT_ONCE = 10
"""Runs in one test."""
HOURS = 6
FAILING = 0.2
SLOW = Schedule((10, 30, 60, 120))
URL = "http://127.0.0.1:9"
Trouble = Reply | OpwatchError


@lru_cache
def _troubles(sample: Sample) -> tuple[Trouble, ...]:
    return tuple(_each_trouble(sample))


def _each_trouble(sample: Sample) -> Iterator[Trouble]:
    for scenario in SCENARIOS:
        what = scenario.gives.what
        if what is TransportError:
            yield TransportError(scenario.title)
        elif what is BadResponse:
            yield BadResponse(scenario.title, status=200)
        elif isinstance(what, type) and what.transient and scenario.gives.status:
            wait = scenario.gives.retry_after
            headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
            yield reply(scenario.gives.status, b"<p>", headers)
    for refusal in REFUSALS:
        if refusal.sample is sample and refusal.kind.transient:
            yield reply(refusal.status, refusal.body, refusal.headers)
    for body in (b"", b"<p>", b"null", b"[]", b'{"message":"success"}', sample.body()[:-1]):
        yield reply(200, body)


class Job:
    """A job that moves now and then for six hours, at a service that is in trouble."""

    def __init__(self, sample: Sample, seed: int, clock: FakeClock) -> None:
        self.sample = sample
        self.phase = random.Random(seed).choice(list(sample.ended))
        self.polls = self.failed = 0
        self._has_looked = False
        self._random = random.Random(seed)
        self._clock = clock
        self.schedule = self._random.choice([None, SLOW])
        self._end = HOURS * 3600 * self._random.uniform(0.9, 1)
        self._step = self._random.choice([60.0, 600.0, 6000.0])

    def __call__(self, request: Request) -> Trouble:
        is_look = self.sample is ITWIN and not request.target.endswith("/progress")
        is_over = self._clock.now() >= self._end
        if not is_look:
            self._begin_poll(looks=self.sample is ITWIN and is_over)
        elif self._has_looked:  # once the job is known to be over, a poll is the look alone
            self._begin_poll(looks=True, alone=True)
        self._has_looked = is_look
        if self._fails_at == is_look:
            return self._random.choice(_troubles(self.sample))
        if is_over:
            return reply(200, self.sample.ended[self.phase][is_look])
        if is_look:
            return reply(200, {"job": {"id": "j-1", "state": "active"}})
        moved = int(self._clock.now() // self._step) % 100
        return reply(200, self.sample.body(number=str(moved)))

    def _begin_poll(self, looks: bool, alone: bool = False) -> None:
        """Draw whether this poll fails; where it looks at the job too, at which request."""
        self.polls += 1
        self._fails_at: bool | None = None
        if self._random.random() < FAILING:
            self.failed += 1
            self._fails_at = alone or (looks and self._random.random() < 0.5)


def _wait(sample: Sample, seed: int) -> tuple[Job, Phase]:
    """One run, blocking or async by turns; the job, and the phase that the wait ended with."""
    with FakeClock(seed=seed) as clock:
        job = Job(sample, seed, clock)
        with Script(job):
            try:
                found = _blocking(job) if seed % 20 else _asynchronous(job)
            except JobFailed as error:
                return job, Phase.CANCELLED if isinstance(error, JobCancelled) else Phase.FAILED
    return job, found.phase


def _blocking(job: Job) -> Any:
    with job.sample.make(URL, schedule=job.schedule) as client:
        return client.wait(job.sample.job_id, timeout=(HOURS + 1) * 3600)


def _asynchronous(job: Job) -> Any:
    async def run() -> Any:
        async with job.sample.make_async(URL, schedule=job.schedule) as client:
            return await client.wait(job.sample.job_id, timeout=(HOURS + 1) * 3600)

    return anyio.run(run)


SEEDS = range(0, RUNS, AT_ONCE)


@pytest.mark.parametrize(
    "first", [*SEEDS[:3], *(pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS[3:])]
)
def test_six_hours_of_trouble(first: int) -> None:
    """Each run ends as its job did, and a fifth of its polls failed."""
    polls = failed = 0
    for seed in range(first, first + AT_ONCE):
        job, phase = _wait(SAMPLES[seed % len(SAMPLES)], seed)
        assert (seed, phase) == (seed, job.phase)
        polls += job.polls
        failed += job.failed
    assert polls > 100 * AT_ONCE
    assert 0.15 < failed / polls < 0.25


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_troubles_are_those_of_the_table(sample: Sample) -> None:
    """Every transient scenario and every transient error is among what may happen."""
    drawn = _troubles(sample)
    transient = [
        scenario
        for scenario in SCENARIOS
        if isinstance(scenario.gives.what, type) and scenario.gives.what.transient
    ]
    assert len(transient) >= 100
    assert len(drawn) > len(transient)
