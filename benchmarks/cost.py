"""`docs/cost.md`: what watching costs, calculated from measured figures and from the schedules.

`run.py` measures the CPU time and the bytes of a poll of each service, and the CPU time and memory
of many jobs. The number of polls comes from running `opwatch.core.polling` against a job that
progresses evenly. The rest is multiplication.
"""

from collections.abc import Callable
from typing import NamedTuple

import units
from opwatch_waits import apig, catenis, itwin

from opwatch.core.polling import Plan, PollState, Reading, Schedule, advance, begin, dump
from opwatch.progress import Phase

CONTENDERS = {"Catenis": "catenis", "iTwin": "itwin", "APIG": "apig_aksk"}
"""Whose figures count for each service."""


class Figures(NamedTuple):
    """What `run.py` measured."""

    cpu: dict[str, float]
    """Seconds of a poll, by contender."""
    bytes: dict[str, float]
    """Of a poll, by contender."""
    many_cpu: float
    """Seconds of an iTwin poll in a process that watches 10,000 jobs."""
    many_memory: float
    """Bytes of each of them."""


class Job(NamedTuple):
    """A job that progresses evenly from its first poll to its last."""

    service: str
    what: str
    schedule: Schedule
    seconds: float
    marker: Callable[[float], int]
    """What the service reports after so many seconds."""
    counts: tuple[int, ...] = ()
    """How many such jobs somebody may watch at the same time."""
    is_reported: bool = False
    """Whether the service reports its end."""


HOURS = 3600.0
JOBS = [
    Job(
        "Catenis",
        "a 15 MB message, half a minute",
        catenis.SERVICE.schedule,
        30,
        lambda t: int(t * 500_000),
        (10, 100),
    ),
    Job(
        "Catenis",
        "the same, `notifications=True`",
        catenis.SERVICE.schedule,
        30,
        lambda t: int(t * 500_000),
        is_reported=True,
    ),
    Job(
        "iTwin",
        "a reconstruction, three hours",
        itwin.SERVICE.schedule,
        3 * HOURS,
        lambda t: int(t / (3 * HOURS) * 100),
        (100, 3000),
    ),
    Job(
        "iTwin every 120 s",
        "the same, `schedule=Schedule((120,))`",
        Schedule((120,)),
        3 * HOURS,
        lambda t: int(t / (3 * HOURS) * 100),
        (1000, 10_000),
    ),
    Job(
        "iTwin",
        "the same, with a webhook",
        Schedule((120,)),
        3 * HOURS,
        lambda t: int(t / (3 * HOURS) * 100),
        is_reported=True,
    ),
    Job(
        "APIG",
        "a gateway, 25 minutes",
        apig.SERVICE.schedule,
        1500,
        lambda t: int(t / 1500 * 100),
        (10, 100),
    ),
]
ITWIN, SLOW_ITWIN = JOBS[2], JOBS[3]


def polls(job: Job) -> tuple[int, float, PollState]:
    """Return how many polls a job takes, when the last is made, and the state in the middle."""
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


PAGE = """# What watching costs

These figures are calculated from the [benchmarks](benchmarks.md), which were measured on one
machine, and from the schedules. They assume jobs that progress evenly, and delays with half of
their maximum jitter. `make bench` updates this page.

## One job

| service | job | polls | traffic | CPU time | maximum detection delay |
|---|---|---|---|---|---|
{one}

A request and its response together take {bytes}. Traffic and CPU time are for plain http and a
server that sends two response headers. Real services send more headers, and TLS adds about 50
bytes per poll and a few KiB per connection, but connections stay open between polls.

The maximum detection delay is the longest time between the end of a job and the poll that reports
it, if no request fails: the longest delay of the schedule with its maximum jitter. If the service
announces the end, with [notifications](waiting.md#catenis-notifications) or a
[webhook](recipes/webhooks.md), opwatch polls at once, and the schedule's delay only matters if an
event is lost or comes too early.

## Many jobs at the same time

These figures are for one process that uses an async client's `watch_many`, while all jobs are
running.

| service | jobs | polls per second | traffic per hour | share of one core | memory |
|---|---|---|---|---|---|
{many}

A client sends at most `max_in_flight` concurrent requests, 16 by default. If the service takes
100 ms to respond, that allows 160 polls per second.

## What the services allow

iTwin allows {small} requests per minute on its small tiers and {large} on the others. On iTwin's
schedule, a running job takes {each:.1f} polls per minute, so one account can watch about
**{fit_small} jobs at the same time on a small tier and {fit_large} on the others**. With
`schedule=Schedule((120,))`, it can watch {fit_small_slow} and {fit_large_slow}, respectively.

Catenis and APIG document no rate limit. Whatever the limit is, a single 429 response pauses all
of a client's requests until its `Retry-After` has passed; opwatch then releases them gradually.
If several
processes share an account, each of them pauses only after its own 429.

## One process or several

On one core, a process with `watch_many` can make about {ceiling} iTwin polls per second, {times}
times as many as an iTwin account allows. One process per account is enough.

If you can't keep a process running for hours, use a task queue or a scheduler:
[cron](recipes/cron.md), [Celery](recipes/celery.md) or [Airflow](recipes/airflow.md). They store
one token per job. A token is about {token} bytes long, so 10,000 tokens take {tokens}.
"""
SMALL, LARGE = 500, 5000
"""Requests per minute of iTwin's tiers."""


def page(figures: Figures) -> str:
    """Return the page."""
    one, many = [], []
    for job in JOBS:
        service = job.service.split()[0]
        contender = CONTENDERS[service]
        cpu, size = figures.cpu[contender], figures.bytes[contender]
        count, end, _ = polls(job)
        late = f"{max(job.schedule.delays) * (1 + job.schedule.jitter):.3g} s"
        if job.is_reported:
            late = f"one poll; {late} if the event is lost"
        one.append(
            f"| {service} | {job.what} | {count} | {units.size(count * size)} "
            f"| {units.seconds(count * cpu)} | {late} |"
        )
        for jobs in job.counts:
            rate = jobs * count / end
            share = rate * figures.many_cpu * cpu / figures.cpu["itwin"]
            many.append(
                f"| {job.service} | {jobs:,} | {units.number(rate)} "
                f"| {units.size(rate * 3600 * size)} | {units.number(share * 100)} % "
                f"| {units.size(jobs * figures.many_memory)} |"
            )
    count, end, state = polls(ITWIN)
    slow, slow_end, _ = polls(SLOW_ITWIN)
    each, each_slow = count / end * 60, slow / slow_end * 60
    token = dump(
        state,
        service="itwin",
        job_id="cc3d35cc-416a-4262-9714-b359da70b419",
        now=0.0,
        epoch=1.8e9,
    )
    sizes = [f"{figures.bytes[name]:.0f} bytes ({service})" for service, name in CONTENDERS.items()]
    ceiling = 1 / figures.many_cpu
    return PAGE.format(
        one="\n".join(one),
        many="\n".join(many),
        bytes=f"{sizes[0]}, {sizes[1]} or {sizes[2]}",
        small=f"{SMALL:,}",
        large=f"{LARGE:,}",
        each=each,
        fit_small=rounded(SMALL / each),
        fit_large=rounded(LARGE / each),
        fit_small_slow=rounded(SMALL / each_slow),
        fit_large_slow=rounded(LARGE / each_slow),
        ceiling=rounded(ceiling),
        times=f"{ceiling / (LARGE / 60):.0f}",
        token=round(len(token), -1),
        tokens=units.size(10_000 * len(token)),
    )


def rounded(value: float) -> str:
    """Return a number as an estimate is written: with two significant digits."""
    return f"{float(f'{value:.2g}'):,.0f}"
