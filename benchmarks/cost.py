"""What watching costs, on paper: `docs/cost.md`, from measured figures and from the schedules.

`run.py` measures a query of each service (CPU, bytes) and a watched job (memory), and the queries
that a process makes with 10,000 jobs; the queries of a job are counted by letting the machine in
`opwatch.polling` wait for one that moves evenly. The rest is multiplication.
"""

from collections.abc import Callable
from typing import NamedTuple

from opwatch.polling import Plan, PollState, Reading, Schedule, advance, begin, dump
from opwatch.progress import Phase
from opwatch.services import apig, catenis, itwin


class Job(NamedTuple):
    """A job that moves evenly, from its first query to its last."""

    service: str
    what: str
    schedule: Schedule
    seconds: float
    marker: Callable[[float], int]


HOUR = 3600.0
JOBS = [
    Job(
        "Catenis",
        "a message of 15 MB, half a minute",
        catenis.SERVICE.schedule,
        30,
        lambda t: int(t * 500_000),
    ),
    Job(
        "iTwin",
        "a reconstruction, three hours, each percent a change",
        itwin.SERVICE.schedule,
        3 * HOUR,
        lambda t: int(t / (3 * HOUR) * 100),
    ),
    Job(
        "APIG",
        "a gateway, 25 minutes",
        apig.SERVICE.schedule,
        1500,
        lambda t: int(t / 1500 * 100),
    ),
]
PATIENT = Job("iTwin", "the same, schedule=Schedule((120,))", Schedule((120,)), 3 * HOUR, int)


def queries(job: Job) -> tuple[int, float, PollState]:
    """How many queries a job takes, when the last is made, and the state in the middle."""
    state, now, count = begin(Plan(job.schedule), 0.0), 0.0, 0
    middle = state
    while True:
        count += 1
        phase = Phase.SUCCEEDED if now >= job.seconds else Phase.RUNNING
        state, _ = advance(state, Reading(phase, job.marker(now)), now, 0.5)
        if phase is Phase.SUCCEEDED:
            return count, now, middle
        if now < job.seconds / 2:
            middle = state
        now = state.due


def count(value: float) -> str:
    """Three significant digits, as people read them."""
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} "


def plain(value: float) -> str:
    """Two significant digits, or a whole number."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value >= 0.001 else f"{value:.6f}"


PAGE = """# What watching costs

Computed from the figures of [the benchmarks](benchmarks.md), which were measured on one machine,
and from the schedules: the machine that waits was run through a job that moves evenly, with half of
the jitter. `make bench` writes this page anew.

## One job

| service | job | queries | over the wire | CPU | told late by at most |
|---|---|---|---|---|---|
{one}

A query is {bytes}, both ways and without TLS, which adds about 50, and a handshake
of some kilobytes once: the connection is kept between queries. "Told late" is the longest delay of
the schedule, jitter included: how long a job may have been over before it is asked again.

## Many jobs at the same time

All of them under way at once, in steady state. Cores are those that `watch_many` keeps busy: some
{ceiling} queries a second fill one.

| service | jobs | queries a second | bytes a day | cores | memory |
|---|---|---|---|---|---|
{many}

## What the services allow

iTwin's rate limits are {small} requests a minute for the small tiers and {large} for the others.
On its own schedule a job takes {each:.2g} queries a minute while it moves, so one account may watch
about **{fit_small} jobs at a time on a small tier and {fit_large} on the others**. With
`schedule=Schedule((120,))` it is {fit_small_slow} and {fit_large_slow}, and each job's end is told
some two minutes late at most. A million jobs on one account fit no tier, unless they are asked
every {needed:,.0f} seconds.

Catenis and APIG document no figure. Whatever the limit is, one 429 holds all jobs of a client until
its `Retry-After` has run out, and lets them go spread. The gate belongs to a client: several
processes that share an account each meet the limit once.

## From one process to many

One process with `watch_many` is the cheapest: up to some {process} iTwin jobs on one core,
by the queries a second above. Beyond it, or where a process must not live for hours, the waits go
to an engine: a token is all there is to keep, {token} bytes for a job in the middle of its wait, so
a million of them are {tokens}B in a table or a queue. [Cron](recipes/cron.md),
[Celery](recipes/celery.md) and [Airflow](recipes/airflow.md) show it.
"""
SMALL, LARGE = 500, 5000
"""Requests a minute, of iTwin's tiers."""


def page(figures: dict[str, dict[str, float]]) -> str:
    """The page. `figures` has, by service, `cpu` (seconds a query) and `bytes` (of a query); under
    `many`, `cpu` (seconds a query in a process with 10,000 jobs) and `memory` (bytes a job)."""
    one, many = [], []
    many_cpu, memory = figures["many"]["cpu"], figures["many"]["memory"]
    for job in [*JOBS, PATIENT]:
        of = figures[job.service]
        polls, end, _ = queries(job)
        late = max(job.schedule.delays) * (1 + job.schedule.jitter)
        one.append(
            f"| {job.service} | {job.what} | {polls} | {count(polls * of['bytes'])}B "
            f"| {plain(polls * of['cpu'] * 1e3)} ms | {late:.3g} s |"
        )
        for jobs in (1, 10_000, 1_000_000):
            rate = jobs * polls / end
            share = rate * many_cpu * of["cpu"] / figures["iTwin"]["cpu"]
            name = job.service if job is not PATIENT else "iTwin, each 120 s"
            many.append(
                f"| {name} | {jobs:,} | {plain(rate)} | {count(rate * 86_400 * of['bytes'])}B "
                f"| {plain(share)} | {count(jobs * memory)}B |"
            )
    polls, end, state = queries(JOBS[1])
    slow, slow_end, _ = queries(PATIENT)
    each, each_slow = polls / end * 60, slow / slow_end * 60
    token = len(
        dump(
            state,
            service="itwin",
            job_id="cc3d35cc-416a-4262-9714-b359da70b419",
            now=0.0,
            epoch=1.8e9,
        )
    )
    sizes = ", ".join(f"{figures[job.service]['bytes']:.0f} bytes ({job.service})" for job in JOBS)
    return PAGE.format(
        one="\n".join(one),
        many="\n".join(many),
        bytes=sizes,
        ceiling=f"{1 / many_cpu:,.0f}",
        small=f"{SMALL:,}",
        large=f"{LARGE:,}",
        each=each,
        fit_small=f"{SMALL / each:,.0f}",
        fit_large=f"{LARGE / each:,.0f}",
        fit_small_slow=f"{SMALL / each_slow:,.0f}",
        fit_large_slow=f"{LARGE / each_slow:,.0f}",
        needed=1_000_000 / LARGE * 60,
        process=f"{round(end / polls / many_cpu, -3):,.0f}",
        token=token,
        tokens=count(token * 1e6),
    )
