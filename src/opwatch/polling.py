"""The machine that waits: a state, what just happened, the time; and out comes what to do next.

What lives here, and what doesn't
=================================

A wait for a long-running operation is a loop: ask, look, sleep. This file holds every decision of
that loop and nothing else. It has no clock (the time is an argument), sends nothing, draws no
random number (jitter is an argument, 0 to 1), and never sleeps. So the same machine stands behind
the blocking client, the async client on asyncio and on trio, `watch_many` with ten thousand jobs,
and one `step(token)` in a task queue. What it decides can be tested by comparing values.

    plan  = Plan(schedule, deadline=now + 3600)
    state = begin(plan, now)
    loop:
        sleep until state.due
        event = Reading(...) or Trouble(...)              # what the query brought
        state, decision = advance(state, event, now, jitter)
        decision is Verdict.WAIT: go on at state.due
        anything else:            the wait is over

Time is a number of seconds on any clock that only goes forward; the drivers use the monotonic one.
Only a token, which outlives its process, holds times of the epoch (`dump`, `load`).

The schedule is a floor
=======================

A `Schedule` is a list of delays, its rungs. iTwin's document dictates one: "Client should query
with a backoff intervals [15,30,60,120] seconds. [...] If the percentage changes the sequence is
restarted." The document leaves three things open, and Bentley's own first sample settles them: the
first query is made at once; the first reading counts as a change; after the last rung the sequence
stays there. So a job that stands still is asked at 0, 15, 45, 105, 225, 345, 465 ... seconds.

What counts as a change is one value, the marker: iTwin's percentage, Catenis's bytes, APIG's
percentage. A change downwards is a change. Nothing else restarts the sequence.

A rung is the least time between two queries. Jitter adds to it, never takes away. Two things cut a
sleep short, and only these: the deadline, at which one last query is made, since a job that ended
during the last sleep did end in time; and nothing else.

Trouble
=======

A query that brings no reading is trouble. Transient trouble (429, 5xx, no connection, an answer
that is not the service's) is lived through: each one takes the next rung, as any query does, and
the delay is at least an exponential backoff of 1, 2, 4 ... 60 seconds. A reading clears the count;
`max_failures` in a row end the wait. Trouble that no waiting mends (refused credentials, an id
that is gone) ends it at once.

`Retry-After` is never undercut. Where it reaches beyond the deadline there is nothing left to wait
for: the wait ends now, not after a sleep in vain.

Ends
====

The only ends are those of the table below. A job is over when a reading says so (`Phase.is_final`);
an unknown state is not an end, and no number of troubles turns into one. One case is between the
two: iTwin says "Over" and not how, and the query that would tell is in trouble. That trouble is
marked `over`: it is lived through like any other, and where the machine would give up, the wait
ends with what is known: over, outcome unknown.

A stall is not a timeout. `stall_timeout` is how long the marker and the phase may stay the same,
whatever the deadline. It is judged where a reading is, so a floor is never broken to find it.

The transitions
===============

`classify` names what happened, the first of these that holds; `TRANSITIONS` says what follows.

    a reading   OVER      the job is over
                LATE      the deadline has passed
                STALLED   nothing has changed for stall_timeout
                MOVED     the first reading, or the marker changed
                STILL     the marker is the same
    trouble     FATAL     no retry mends it
                LATE      the deadline has passed
                BARRED    Retry-After reaches beyond the deadline
                SPENT     max_failures in a row
                TROUBLE   any other

Looking closer
==============

Cancelled iTwin jobs were seen to stay "Active". So the state counts the readings that stood still
on the last rung (`held`), and `wants_closer_look` is true for exactly one of them until the job
moves again. What a closer look is, the service knows.

The gate
========

A rate limit is the client's, not the job's. `Gate` holds every job of a client until a 429 has run
out, then lets them go spread over a while, not in a burst: the n-th job held goes at a fraction of
the spread that is evenly distributed whatever the number of jobs (the golden ratio's multiples).
A 429 without `Retry-After` shuts it for a backoff of our own. Like any backoff that is cut at a
wait's deadline; what the service asked for never is.

Tokens
======

A token is what the machine knows, as JSON: small, readable, versioned, with a checksum against
damage. It holds no address and no credential. Whoever has the token and credentials of their own
can go on with the wait: the same rung, the same marker, the same deadline.

The epoch clock may jump between two processes. A token says when it was written. A clock that shows
an earlier time than that has gone back; then the time of writing is taken for now, so a wait is
prolonged by one delay at most. A clock that jumped forward makes the next query due at once, and
the one after it keeps its distance.
"""

from __future__ import annotations

import enum
import json
import math
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import attrs

from opwatch.errors import ConfigurationError
from opwatch.progress import Phase

Marker: TypeAlias = "float | int | str | None"

FIRST_BACKOFF = 1.0
"""Seconds to the next query after the first trouble in a row; it doubles with each."""
LONGEST_BACKOFF = 60.0
HELD_LOOK = 5
"""Readings that stood still on the last rung before a service is asked to look closer."""
LONGEST = 10 * 365 * 86_400.0
"""Seconds: more is a mistake, and would not fit the times of a token."""


# --- what a wait is given -------------------------------------------------------------------------


def seconds(value: object, name: str, *, least: float = 0.0) -> float:
    """`value` as seconds; a `ConfigurationError` that names it where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} must be a number of seconds, not {value!r}")
    if not least <= value <= LONGEST:
        most = f"{LONGEST:.0f} seconds"
        raise ConfigurationError(f"{name} must be from {least:g} to {most}, not {value!r}")
    return float(value)


def _delays(delays: Any) -> tuple[float, ...]:
    if isinstance(delays, (str, bytes)) or not isinstance(delays, Iterable):
        raise ConfigurationError(f"delays must be a sequence of seconds, not {delays!r}")
    return tuple(seconds(delay, "each delay of a schedule") for delay in delays)


def _jitter(jitter: Any) -> float:
    return seconds(jitter, "jitter")


@attrs.frozen
class Schedule:
    """The least seconds between one query and the next: a list of rungs, held at the last.

    `delays` are the rungs; `restart_on_change` goes back to the first when the job moves; `jitter`
    is the fraction of a delay that is added to it at most. Raises `ConfigurationError` for an
    empty list, for delays that are negative, infinite, or not numbers, and the like.
    """

    delays: tuple[float, ...] = attrs.field(converter=_delays)
    restart_on_change: bool = True
    jitter: float = attrs.field(default=0.1, converter=_jitter)

    def __attrs_post_init__(self) -> None:
        if not self.delays:
            raise ConfigurationError("a schedule needs at least one delay, not ()")
        if not isinstance(self.restart_on_change, bool):
            raise ConfigurationError(
                f"restart_on_change must be True or False, not {self.restart_on_change!r}"
            )


class Plan(NamedTuple):
    """What does not change during a wait; the jobs of one `watch_many` share it."""

    schedule: Schedule
    deadline: float | None = None
    """When the last query is made; None waits for ever."""
    stall_timeout: float | None = None
    max_failures: int = 10


def plan(
    schedule: Schedule,
    now: float,
    *,
    timeout: float | None,
    stall_timeout: float | None,
    max_failures: int,
) -> Plan:
    """A plan from what a caller gave; `ConfigurationError` names what cannot be."""
    if not isinstance(schedule, Schedule):
        raise ConfigurationError(f"schedule must be an opwatch.Schedule, not {schedule!r}")
    if isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 1:
        raise ConfigurationError(
            f"max_failures must be a whole number above 0, not {max_failures!r}"
        )
    if timeout == math.inf:
        timeout = None
    return Plan(
        schedule,
        None if timeout is None else now + seconds(timeout, "timeout"),
        None if stall_timeout is None else seconds(stall_timeout, "stall_timeout"),
        max_failures,
    )


# --- what happens ---------------------------------------------------------------------------------


class Reading(NamedTuple):
    """A query that was answered."""

    phase: Phase
    marker: Marker = None


class Trouble(NamedTuple):
    """A query that brought no reading."""

    transient: bool
    retry_after: float | None = None
    over: bool = False
    """The job is known to be over; only how it ended is missing."""


class PollState(NamedTuple):
    """Where a wait stands."""

    plan: Plan
    due: float
    """When the next query is to be made."""
    rung: int = 0
    """The delay that the next query without a change is followed by."""
    held: int = 0
    """Readings in a row that stood still on the last rung."""
    marker: Marker = None
    phase: Phase | None = None
    """That of the last reading; None before the first."""
    changed: float = 0.0
    """When marker or phase last changed."""
    failures: int = 0
    """Troubles in a row."""
    polls: int = 0
    """Queries made."""


class Event(enum.Enum):
    """What a query came to; the header says when each holds."""

    OVER = "over"
    LATE = "late"
    STALLED = "stalled"
    MOVED = "moved"
    STILL = "still"
    FATAL = "fatal"
    BARRED = "barred"
    SPENT = "spent"
    TROUBLE = "trouble"


class Verdict(enum.Enum):
    """What to do next."""

    WAIT = "wait"
    """Query again at `PollState.due`."""
    ENDED = "ended"
    """The job is over."""
    TIMED_OUT = "timed out"
    STALLED = "stalled"
    GAVE_UP = "gave up"
    """The trouble is the answer."""


class Rung(enum.Enum):
    """Which delay follows."""

    FIRST = "first"
    NEXT = "next"
    NONE = "none"


TRANSITIONS: dict[Event, tuple[Rung, Verdict]] = {
    Event.OVER: (Rung.NONE, Verdict.ENDED),
    Event.LATE: (Rung.NONE, Verdict.TIMED_OUT),
    Event.STALLED: (Rung.NONE, Verdict.STALLED),
    Event.MOVED: (Rung.FIRST, Verdict.WAIT),
    Event.STILL: (Rung.NEXT, Verdict.WAIT),
    Event.FATAL: (Rung.NONE, Verdict.GAVE_UP),
    Event.BARRED: (Rung.NONE, Verdict.GAVE_UP),
    Event.SPENT: (Rung.NONE, Verdict.GAVE_UP),
    Event.TROUBLE: (Rung.NEXT, Verdict.WAIT),
}


# --- the machine ----------------------------------------------------------------------------------


def begin(plan: Plan, now: float, *, delay: float = 0.0) -> PollState:
    """A wait whose first query is due in `delay` seconds, and at the deadline at the latest."""
    return PollState(plan, _cut(now + delay, plan.deadline), changed=now)


def advance(
    state: PollState, event: Reading | Trouble, now: float, jitter: float = 0.0
) -> tuple[PollState, Verdict]:
    """What a query at `now` makes of a wait, and what to do next. `jitter` is 0 to 1."""
    kind = classify(state, event, now)
    rung, verdict = TRANSITIONS[kind]
    plan = state.plan
    schedule = plan.schedule
    last = len(schedule.delays) - 1
    if rung is Rung.FIRST and schedule.restart_on_change:
        step = 0
    else:
        step = min(state.rung, last)
    floor = schedule.delays[step] * (1 + schedule.jitter * jitter)
    if rung is Rung.NONE:
        step, due = state.rung - 1, now
    elif isinstance(event, Reading):
        due = now + floor
    else:
        due = now + max(floor, _backoff(state.failures, jitter), event.retry_after or 0.0)
    due = _cut(due, plan.deadline)

    if isinstance(event, Reading):
        same = event.phase is state.phase and event.marker == state.marker
        on_last = kind is Event.STILL and state.rung >= last
        held = state.held + 1 if on_last else 0 if kind is Event.MOVED else state.held
        return PollState(
            plan,
            due,
            step + 1,
            held,
            event.marker,
            event.phase,
            state.changed if same else now,
            0,
            state.polls + 1,
        ), verdict
    if event.over and verdict is not Verdict.WAIT:
        verdict = Verdict.ENDED
    return PollState(
        plan,
        due,
        step + 1,
        state.held,
        state.marker,
        state.phase,
        state.changed,
        state.failures + 1,
        state.polls + 1,
    ), verdict


def classify(state: PollState, event: Reading | Trouble, now: float) -> Event:
    """The first that holds, in the order of the header."""
    plan = state.plan
    late = plan.deadline is not None and now >= plan.deadline
    if isinstance(event, Reading):
        if event.phase.is_final:
            return Event.OVER
        if late:
            return Event.LATE
        if state.phase is None or event.marker != state.marker:
            return Event.MOVED
        if _stalled(state, event, now):
            return Event.STALLED
        return Event.STILL
    if not event.transient:
        return Event.FATAL
    if late:
        return Event.LATE
    if event.retry_after and plan.deadline is not None and now + event.retry_after > plan.deadline:
        return Event.BARRED
    if state.failures + 1 >= plan.max_failures:
        return Event.SPENT
    return Event.TROUBLE


def wants_closer_look(state: PollState) -> bool:
    """Whether the next query is the one that looks closer at a job which does not move."""
    return state.held == HELD_LOOK


def _stalled(state: PollState, event: Reading, now: float) -> bool:
    limit = state.plan.stall_timeout
    return limit is not None and event.phase is state.phase and now - state.changed >= limit


def _backoff(failures: int, jitter: float) -> float:
    """Seconds after the `failures`-th trouble before this one; jitter up to doubles them."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 16) * (1 + jitter))


def _cut(due: float, deadline: float | None) -> float:
    return due if deadline is None else min(due, deadline)


# --- the gate -------------------------------------------------------------------------------------

_GOLDEN = (math.sqrt(5) - 1) / 2
_SHORTEST_SPREAD, _LONGEST_SPREAD = 1.0, 60.0


class Gate(NamedTuple):
    """What a rate limit leaves open to all jobs of a client."""

    until: float = -math.inf
    """No query before this."""
    asked: float = -math.inf
    """How much of that the service asked for; the rest is a backoff of our own."""
    spread: float = 0.0
    """Those held go within this many seconds after it."""
    held: int = 0
    """How many were held so far."""
    strikes: int = 0
    """Rate limits in a row."""


def shut(gate: Gate, now: float, retry_after: float | None) -> Gate:
    """The gate after a rate limit. Without a `Retry-After` it backs off by itself."""
    hold = _backoff(gate.strikes, 0.0) if retry_after is None else retry_after
    spread = min(max(hold, _SHORTEST_SPREAD), _LONGEST_SPREAD)
    asked = gate.asked if retry_after is None else max(gate.asked, now + retry_after)
    if now + hold <= gate.until:
        return gate._replace(asked=asked, strikes=gate.strikes + 1)
    return Gate(now + hold, asked, spread, 0, gate.strikes + 1)


def opened(gate: Gate, now: float) -> Gate:
    """The gate after an answer that was no rate limit."""
    return gate if now < gate.until or not gate.strikes else gate._replace(strikes=0)


def admit(gate: Gate, now: float) -> tuple[Gate, float]:
    """When a query that is due now may be made: now, or a place after the hold."""
    if now >= gate.until:
        return gate, now
    place = gate.until + gate.spread * (gate.held * _GOLDEN % 1.0)
    return gate._replace(held=gate.held + 1), place


# --- tokens ---------------------------------------------------------------------------------------

TOKEN_VERSION = 1
NEWER = "use the opwatch that wrote it, or a newer one"
WHOLE = "give what `.token` or `Step.token` held, whole"

# Times are rounded up, so that no query is early, and to no more than a microsecond, so that who
# sleeps exactly as long as a step says does not come too early.


def dump(state: PollState, *, service: str, job_id: str, now: float, epoch: float) -> str:
    """The token of a wait: `now` on the machine's clock is `epoch` on the wall's."""

    def wall(time: float) -> Any:
        return _number(math.ceil((time - now + epoch) * 1e6) / 1e6)

    plan = state.plan
    fields: dict[str, Any] = {
        "v": TOKEN_VERSION,
        "service": service,
        "job": job_id,
        "at": _number(math.floor(epoch * 1e6) / 1e6),
        "due": wall(state.due),
        "deadline": None if plan.deadline is None else wall(plan.deadline),
        "changed": wall(state.changed),
        "rung": state.rung,
        "held": state.held,
        "marker": _number(state.marker),
        "phase": state.phase,
        "failures": state.failures,
        "polls": state.polls,
        "delays": [_number(delay) for delay in plan.schedule.delays],
        "restart": plan.schedule.restart_on_change,
        "jitter": _number(plan.schedule.jitter),
        "stall": _number(plan.stall_timeout),
        "failures_max": plan.max_failures,
    }
    return json.dumps({**fields, "sum": _checksum(fields)}, separators=(",", ":"))


def load(token: str, *, service: str, now: float, epoch: float) -> tuple[str, PollState]:
    """The job's id and the state that `dump` wrote.

    Raises `ConfigurationError` for a token that is damaged, of another service, or of a newer
    version.
    """
    fields = _fields(token)
    if fields["service"] != service:
        raise ConfigurationError(
            f"this token is of the service {fields['service']!r}, not {service!r}; "
            "give it to a client of that service"
        )
    present: float = max(epoch, fields["at"])

    def here(time: float) -> float:
        return now + (time - present)

    deadline = fields["deadline"]
    plan = Plan(
        Schedule(fields["delays"], fields["restart"], fields["jitter"]),
        None if deadline is None else here(deadline),
        fields["stall"],
        fields["failures_max"],
    )
    phase = fields["phase"]
    return fields["job"], PollState(
        plan,
        here(fields["due"]),
        fields["rung"],
        fields["held"],
        fields["marker"],
        None if phase is None else Phase(phase),
        here(fields["changed"]),
        fields["failures"],
        fields["polls"],
    )


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < math.inf  # type: ignore[arg-type]


def _is_time(value: object) -> bool:
    return _is_number(value) and abs(value) < 1e12  # type: ignore[arg-type]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _is_delay(value: object) -> bool:
    return _is_number(value) and 0 <= value <= LONGEST  # type: ignore[operator]


_CHECKS: dict[str, Callable[[object], bool]] = {
    "service": _is_text,
    "job": _is_text,
    "at": _is_time,
    "due": _is_time,
    "deadline": _or_none(_is_time),
    "changed": _is_time,
    "rung": _is_count,
    "held": _is_count,
    "marker": lambda value: value is None or isinstance(value, str) or _is_number(value),
    "phase": _or_none(lambda value: isinstance(value, str) and value in set(Phase)),
    "failures": _is_count,
    "polls": _is_count,
    "delays": lambda value: isinstance(value, list) and value != [] and all(map(_is_delay, value)),
    "restart": lambda value: isinstance(value, bool),
    "jitter": _is_delay,
    "stall": _or_none(_is_delay),
    "failures_max": lambda value: _is_count(value) and value != 0,
}


def _fields(token: str) -> dict[str, Any]:
    """The token's fields, each of its form; `ConfigurationError` names the first that is not."""
    try:
        fields = json.loads(token)
    except (TypeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not _is_count(fields.get("v")):
        raise ConfigurationError(
            f"not a token of opwatch, or cut short: {str(token)[:40]!r}; {WHOLE}"
        )
    if fields["v"] != TOKEN_VERSION:
        raise ConfigurationError(
            f"a token of version {fields['v']}; this opwatch reads version {TOKEN_VERSION}: {NEWER}"
        )
    for name, check in _CHECKS.items():
        if name not in fields or not check(fields[name]):
            raise ConfigurationError(
                f"damaged token: {name!r} is {fields.get(name)!r:.60}; {WHOLE}"
            )
    total = fields.pop("sum", None)
    if total != _checksum(fields):
        raise ConfigurationError(f"damaged token: its checksum does not fit; {WHOLE}")
    return fields


def _checksum(fields: dict[str, Any]) -> str:
    """Of the values, not the bytes: a store that reorders keys does no damage."""
    text = json.dumps({name: _number(value) for name, value in fields.items()}, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def _number(value: Any) -> Any:
    """A whole float as an integer, as JSON stores may write it back."""
    if isinstance(value, list):
        return [_number(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
