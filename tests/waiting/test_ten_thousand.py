"""Thousands of jobs on one client, for an hour of simulated time, with rate limits in between.

The service checks every request as it comes: never before the job's next poll is due by the
schedule, and never while a rate limit holds. Serving a request takes time, so a poll can be late;
how late is measured, bounded, and printed (`pytest -rP`).
"""

import gc
import itertools
import math
import random
import tracemalloc
from array import array

import anyio
import pytest

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Script, reply

HOUR = 3600.0
RUNGS = (60, 300, 900)
SCHEDULE = Schedule(RUNGS, jitter=0)
SERVED_IN = 0.0025
"""Seconds from one response to the next: 400 a second, where up to 335 come due."""
LIMITS = {30.0: 20.0, 55.0: 25.0, 130.0: 30.0, 380.0: 45.0, 2000.0: 7.0}
"""The first request after each of these times is answered with a 429, for so many seconds.

The second one comes while those are let go that the first one held.
"""
LATEST = 0.5
"""Seconds that a poll may be late by at such a service."""
IN_FLIGHT = 16
EPS = 1e-6


class Fleet:
    """A service of many jobs, which end at times of their own, and what it makes of requests."""

    def __init__(self, jobs, clock):
        chance = random.Random(7)
        self.clock = clock
        # Half of the jobs end within a minute, a few continue for the whole hour.
        self.ends = array("d", (10 * 360 ** chance.random() ** 1.7 for _ in range(jobs)))
        self.ends[0] = HOUR
        self.moves = [chance.random() < 0.03 for _ in range(jobs)]
        self.earliest = array("d", (RUNGS[0] / jobs * n for n in range(jobs)))
        """When the next poll of a job is due: the first ones are spread over the first rung."""
        self.was_read = [False] * jobs
        self.rung = array("b", [0] * jobs)
        self.limits = sorted(LIMITS.items())
        self.begun, self.until, self.spread = -math.inf, -math.inf, 0.0
        self.held_from = 0.0
        """When the first of the limits began that hold one after the other."""
        self.asked = self.limited = self.under_way = 0
        self.lateness = self.held_lateness = 0.0
        self.after_hold = []
        """For each hold, the places in its spread (0 to 1) at which those held were asked for."""
        self.cut_short = {}
        """Of a hold: where in its spread the next limit came."""
        self.times = [0] * 5000

    def answer(self, request):
        n, now = int(request.target.split("/")[-2]), self.clock.now()
        self.asked += 1
        self.times[int(now)] += 1
        assert now >= self.earliest[n] - EPS, f"job {n} was asked for early"
        self.note_lateness(n, now)
        if self.limits and now >= self.limits[0][0]:
            if now > self.until + self.spread:
                self.held_from = now
            elif self.after_hold:
                self.cut_short[len(self.after_hold) - 1] = (now - self.until) / self.spread
            self.begun, hold = now, self.limits.pop(0)[1]
            self.until, self.spread, self.under_way = now + hold, hold, 0
            self.after_hold.append([])
        if now < self.until:
            return self.limit(n, now)
        self.clock.advance(SERVED_IN)
        return self.served(n, now)

    def limit(self, n, now):
        """Only what was under way when the limit began may still come."""
        self.limited += 1
        self.under_way += 1
        assert now == self.begun, "asked while a rate limit held"
        assert self.under_way <= IN_FLIGHT
        floor = RUNGS[min(self.rung[n], len(RUNGS) - 1)]
        self.rung[n] += 1
        self.earliest[n] = now + max(floor, self.until - now)
        return reply(429, None, {"Retry-After": str(self.until - now)})

    def served(self, n, now):
        done = now >= self.ends[n]
        if self.moves[n] or not self.was_read[n]:
            self.was_read[n], self.rung[n] = True, 0
        self.earliest[n] = (
            math.inf if done else self.clock.now() + RUNGS[min(self.rung[n], len(RUNGS) - 1)]
        )
        self.rung[n] = min(self.rung[n] + 1, 100)
        percentage = now if self.moves[n] else 7
        state = "success" if done else "Active"
        return reply(200, {"jobProgress": {"state": state, "percentage": percentage % 100}})

    def note_lateness(self, n, now):
        """Behind the schedule; or, of those a rate limit held, behind the end of its spread."""
        if self.held_from <= self.earliest[n] < self.until <= now:
            self.after_hold[-1].append((now - self.until) / self.spread)
            self.held_lateness = max(self.held_lateness, now - self.until - self.spread)
        else:
            self.lateness = max(self.lateness, now - self.earliest[n])


class Uncounted(list):
    """What was sent is not kept: it would be the most of the memory."""

    def append(self, sent):
        """Forget it."""


def fleet_of(jobs, clock):
    fleet = Fleet(jobs, clock)
    script = Script(fleet.answer)
    script.sent = Uncounted()
    return fleet, script


def check(fleet, many, jobs, name):
    assert many.errors == {}
    assert len(many.last) == jobs
    assert {progress.phase for progress in many.last.values()} == {Phase.SUCCEEDED}
    assert many.tokens == {}
    assert fleet.limits == []
    assert HOUR <= fleet.clock.now() <= HOUR + RUNGS[-1] + 60
    assert len(LIMITS) <= fleet.limited <= len(LIMITS) * IN_FLIGHT
    assert fleet.lateness <= LATEST
    assert fleet.held_lateness <= LATEST
    assert [*fleet.cut_short] == [0]
    for n, places in enumerate(fleet.after_hold):
        parts = int(10 * fleet.cut_short.get(n, 1.0))
        tenths = [sum(1 for place in places if int(place * 10) == part) for part in range(parts)]
        even = sum(tenths) / parts
        assert all(abs(count - even) <= max(IN_FLIGHT, even * 0.2) for count in tenths), tenths
    assert sum(map(len, fleet.after_hold)) >= jobs / 2
    print(
        f"{name}: {jobs} jobs, {fleet.asked} queries, lateness at most {fleet.lateness:.3f} s, "
        f"after a rate limit's spread {fleet.held_lateness:.3f} s, "
        f"at most {max(fleet.times)} queries in a second, held {[*map(len, fleet.after_hold)]}"
    )


@pytest.mark.parametrize("jobs", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_jobs_are_waited_for_by_a_blocking_client(jobs):
    """Every poll in its time, the gate never breached, and those it held go evenly spread."""
    with FakeClock() as clock:
        fleet, script = fleet_of(jobs, clock)
        with script, ITwin("a made-up token", schedule=SCHEDULE) as client:
            many = client.watch_many(map(str, range(jobs)), timeout=2 * HOUR)
            for _ in many:
                pass
    check(fleet, many, jobs, "blocking")


@pytest.mark.parametrize(
    ("backend", "jobs"),
    [
        *(("asyncio", 1_500), ("trio", 1_500)),
        pytest.param("asyncio", 10_000, marks=pytest.mark.slow),
    ],
)
def test_thousands_of_jobs_are_waited_for_by_an_async_client(backend, jobs, monkeypatch):
    """The same with sixteen requests at a time."""
    # Here everybody has had their turns after eight; the fake clock's caution is most of the time.
    monkeypatch.setattr("opwatch.testing._IDLE_TURNS", 8)

    async def main():
        async with AsyncITwin("a made-up token", schedule=SCHEDULE) as client:
            many = client.watch_many(map(str, range(jobs)), timeout=2 * HOUR)
            async for _ in many:
                pass
        return many

    with FakeClock() as clock:
        fleet, script = fleet_of(jobs, clock)
        with script:
            many = anyio.run(main, backend=backend)
    check(fleet, many, jobs, backend)


ANSWERS = {
    "waiting": reply(200, {"jobProgress": {"state": "Active", "percentage": 7, "step": "a step"}}),
    "in trouble": reply(503, {"error": {"code": "ServiceUnavailable", "message": "not now"}}),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_job_takes_no_more_than_two_and_a_half_kilobytes(kind, caplog):
    """Of five hundred: its wait, its place in the agenda, its id, and its last response or
    error."""
    caplog.set_level("CRITICAL", "opwatch")  # what is logged of a lost job is kept by pytest
    jobs = 10  # the first time everything is made that is made once
    with FakeClock(), Script({"/progress": [ANSWERS[kind]]}) as script:
        script.sent = Uncounted()
        with ITwin("a made-up token", schedule=Schedule((0,))) as client:
            timeout = 0 if kind == "in trouble" else None
            for _ in range(2):
                gc.collect()
                tracemalloc.start()
                try:
                    many = client.watch_many((f"job-{n:05}" for n in range(jobs)), timeout=timeout)
                    seen = sum(1 for _ in itertools.islice(many, jobs))
                    gc.collect()
                    each = tracemalloc.get_traced_memory()[0] / jobs
                finally:
                    tracemalloc.stop()
                jobs = 500
    assert (seen, len(many.errors)) == ((0, jobs) if kind == "in trouble" else (jobs, 0))
    print(f"a job that is {kind}: {each:.0f} bytes")
    assert each <= 2560
