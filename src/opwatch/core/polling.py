"""The machine that decides: a state, an event and the time go in, the next state comes out.

A wait for a long-running operation is a loop: poll, look, sleep. This file holds every decision of
that loop and nothing else. It has no clock (the time is an argument), sends nothing, draws no
random number (jitter is an argument, 0 to 1) and never sleeps. So the same machine is behind the
blocking client, the async client, ten thousand jobs, and one `step(token)` in a task queue, and its
decisions are tested by comparing values. Times are seconds on any clock that only goes forward;
only a token, which outlives its process, holds times since 1970.

**The schedule is a floor.** A `Schedule` is a list of delays, its rungs. iTwin's document dictates
one: "Client should query with a backoff intervals [15,30,60,120] seconds. [...] If the percentage
changes the sequence is restarted." Bentley's own first sample settles what that leaves open: the
first poll is made at once, the first reading counts as a change, and after the last rung the
sequence stays there. So a job without progress is polled at 0, 15, 45, 105, 225, 345 ... seconds.
What counts as a change is one value, the marker (iTwin's and APIG's percentage, Catenis's bytes); a
change downwards is a change. Jitter adds to a rung and never takes away. Only the deadline cuts a
sleep short: one last poll is made then, since a job that ended during the last sleep did end in
time.

**Trouble** is a poll that brought no reading. If it is transient (429, 5xx, no connection, an
answer that isn't the service's), it is retried: it takes the next rung, as any poll does, and the
delay is at least an exponential backoff of 1, 2, 4 ... 60 seconds. A reading clears the count;
`max_failures` in a row end the wait. What no retry fixes (refused credentials, an ID that is gone)
ends it at once. `Retry-After` is never undercut. If it reaches beyond the deadline, or asks for
more than a day, the wait ends now and not after a useless sleep.

**Ends** are those of the table below and no others. An unknown state is not an end, and no number
of failures turns into one. One case is in between: iTwin says "Over" and not how, and the request
that would tell fails. That trouble is marked `over`: it is retried like any other, and when the
machine would give up, the wait ends with what is known: over, outcome unknown.

**A stall** is not a timeout: `stall_timeout` is how long marker and phase may stay the same. It is
judged when a reading arrives, so a floor is never broken to find it, and only over time in which
the job was watched: a pause that the service asked for doesn't count, and neither does by how much
more than 60 s a poll is late (a laptop was suspended).

`classify` names what happened, the first of these that holds; `TRANSITIONS` says what follows.

    a reading   OVER      the job is over
                LATE      the deadline has passed
                STALLED   nothing has changed for stall_timeout
                MOVED     the first reading, or the marker changed
                STILL     the marker is the same
    trouble     FATAL     no retry fixes it
                LATE      the deadline has passed
                BARRED    Retry-After is beyond the deadline, or over a day
                SPENT     max_failures in a row
                TROUBLE   any other

**Looking closer.** Cancelled iTwin jobs were seen to stay "Active". So the state counts the
readings without a change on the last rung (`held`), and `wants_closer_look` is true for exactly one
of them until the job moves again. What a closer look is, the service knows.

**A nudge** says that a job may have ended, and causes one poll ahead of the schedule. It needn't be
trusted: the poll counts only if it ends the wait, and there is no other until the next scheduled
one. So a lost nudge costs nothing, and a forged one costs one poll.

**The gate** is a rate limit: it is an origin's, not a job's. It holds every request until a pause
is over and then releases them gradually: the n-th that was held goes at a fraction of the spread
that is evenly distributed whatever their number (the golden ratio's multiples). A 429 without
`Retry-After` shuts it for a backoff of our own, which ends at a wait's deadline; what the service
asked for never does.

**A token** is what the machine knows, as JSON: small, readable, versioned, with a checksum against
damage, and without address or credential. The epoch clock may jump between two processes, so a
token says when it was written. If the clock shows an earlier time, it has gone back, and the time
of writing counts as now: a wait gets longer by one delay at most. If it jumped forward, the next
poll is due at once, and the one after it keeps its distance.
"""

from __future__ import annotations

import enum
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar

import attrs

from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.reading import LONGEST_PAUSE

T = TypeVar("T")
Marker: TypeAlias = "float | int | str | None"
Duration: TypeAlias = float | timedelta
"""Seconds, or a `timedelta`."""

FIRST_BACKOFF = 1.0
"""Seconds to the next poll after the first of several failures in a row; doubled for each."""
LONGEST_BACKOFF = 60.0
HELD_LOOK = 5
"""Readings without progress on the last rung before a service is asked to look closer."""
LONGEST = 10 * 365 * 86_400.0
"""Seconds: a longer time is a mistake, and wouldn't fit into a token."""
UNWATCHED = 60.0
"""Seconds by which a poll may be late before the delay counts as time not watched."""


# --- what a wait is given -------------------------------------------------------------------------


def checked(value: T, name: str, is_valid: bool, must_be: str) -> T:
    """Return `value` if it is valid; otherwise, raise a `ConfigurationError` that names it."""
    if is_valid:
        return value
    try:
        shown = f"{value!r:.80}"
    except Exception:  # noqa: BLE001 (an integer of thousands of digits has none, for example)
        shown = f"this {type(value).__name__}"
    raise ConfigurationError(f"must be {must_be}, not {shown}", argument=name)


def seconds(value: Any, name: str, what: str = "") -> float:
    """Return a duration in seconds; raise a `ConfigurationError` if it isn't one."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    checked(value, name, is_number, f"{what}a number of seconds or a timedelta")
    is_valid, limits = 0 <= value <= LONGEST, f"{what}from 0 to {LONGEST:.0f} seconds"
    return float(checked(value, name, is_valid, limits))


def positive(value: Any, name: str) -> int:
    is_positive = _is_count(value) and value > 0
    return int(checked(value, name, is_positive, "a positive integer"))


def _delays(delays: Any) -> tuple[float, ...]:
    is_sequence = isinstance(delays, Iterable) and not isinstance(delays, (str, bytes))
    checked(delays, "delays", is_sequence, "a sequence of seconds")
    if found := tuple(
        seconds(delay, "delays", "a sequence in which each delay is ") for delay in delays
    ):
        return found
    raise ConfigurationError("must contain at least one delay, not ()", argument="delays")


@attrs.frozen
class Schedule:
    """The minimum seconds between one poll and the next: a list of delays, the last one repeated.

    `restart_on_change` goes back to the first delay when the job makes progress; `jitter` is the
    largest fraction of a delay that is added to it. Raises `ConfigurationError` for an empty list,
    and for delays that are negative, infinite, or not numbers.
    """

    delays: tuple[float, ...] = attrs.field(converter=_delays)
    restart_on_change: bool = True
    jitter: float = 0.1

    def __attrs_post_init__(self) -> None:
        restart = self.restart_on_change
        checked(restart, "restart_on_change", isinstance(restart, bool), "True or False")
        is_number = isinstance(self.jitter, (int, float)) and not isinstance(self.jitter, bool)
        is_fraction = is_number and 0 <= self.jitter <= LONGEST
        checked(self.jitter, "jitter", is_fraction, "a fraction of the delay, at least 0")


class Plan(NamedTuple):
    """What doesn't change during a wait; the jobs of one `watch_many` share it."""

    schedule: Schedule
    deadline: float | None = None
    """When the last poll is made; None waits indefinitely."""
    stall_timeout: float | None = None
    max_failures: int = 10


def plan(
    now: float,
    schedule: Schedule,
    timeout: Duration | None = None,
    stall_timeout: Duration | None = None,
    max_failures: int = 10,
) -> Plan:
    """Return the plan of a wait that begins now.

    Raises a `ConfigurationError` that names what isn't valid.
    """
    checked(schedule, "schedule", isinstance(schedule, Schedule), "an opwatch.Schedule")
    is_endless = timeout is None or timeout == math.inf
    deadline = None if is_endless else now + seconds(timeout, "timeout")
    stalled = None if stall_timeout is None else seconds(stall_timeout, "stall_timeout")
    return Plan(schedule, deadline, stalled, positive(max_failures, "max_failures"))


# --- what happens ---------------------------------------------------------------------------------


class Reading(NamedTuple):
    """A poll that was answered."""

    phase: Phase
    marker: Marker = None


class Trouble(NamedTuple):
    """A poll that brought no reading."""

    transient: bool
    retry_after: float | None = None
    over: bool = False
    """The job is known to be over; only how it ended is missing."""


class PollState(NamedTuple):
    """The state of a wait."""

    plan: Plan
    due: float
    """When the next poll is to be made."""
    rung: int = 0
    """Which delay follows the next poll, unless that brings a change."""
    held: int = 0
    """Readings in a row without a change on the last rung."""
    marker: Marker = None
    phase: Phase | None = None
    """The marker of the last reading; None before the first."""
    changed: float = 0.0
    """When marker or phase last changed."""
    failures: int = 0
    """Failed polls in a row."""
    polls: int = 0
    """Polls made."""


class Event(enum.Enum):
    """What a poll resulted in; the header says when each applies."""

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
    """Poll again at `PollState.due`."""
    ENDED = "ended"
    """The job is over."""
    TIMED_OUT = "timed out"
    STALLED = "stalled"
    GAVE_UP = "gave up"
    """The wait ends with the error of the last poll."""


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
    """Return a wait whose first poll is due in `delay` seconds, or at the deadline if earlier."""
    return PollState(plan, _cut(now + delay, plan.deadline), changed=now)


def advance(
    state: PollState, event: Reading | Trouble, now: float, jitter: float = 0.0
) -> tuple[PollState, Verdict]:
    """Return a wait's state after a poll at `now`, and what to do next. `jitter` is 0 to 1."""
    kind = classify(state, event, now)
    rung, verdict = TRANSITIONS[kind]
    plan, schedule = state.plan, state.plan.schedule
    last = len(schedule.delays) - 1
    step = min(state.rung, last)
    if rung is Rung.FIRST and schedule.restart_on_change:
        step = 0
    due = now + schedule.delays[step] * (1 + schedule.jitter * jitter)
    if rung is Rung.NONE:
        step, due = state.rung - 1, now
    elif isinstance(event, Trouble):
        due = max(due, now + _backoff(state.failures, jitter))
    marker, phase, held, failures = state.marker, state.phase, state.held, state.failures + 1
    changed = state.changed + _unwatched(state, now)
    if isinstance(event, Reading):
        if event.phase is not phase or event.marker != marker:
            changed = now
        if kind is Event.MOVED:
            held = 0
        elif kind is Event.STILL and state.rung >= last:
            held += 1
        marker, phase, failures = event.marker, event.phase, 0
    elif event.over and verdict is not Verdict.WAIT:
        verdict = Verdict.ENDED
    due, polls = _cut(due, plan.deadline), state.polls + 1
    new = PollState(plan, due, step + 1, held, marker, phase, changed, failures, polls)
    if isinstance(event, Trouble) and event.retry_after and verdict is Verdict.WAIT:
        new = delayed(new, now + event.retry_after)
    return new, verdict


def delayed(state: PollState, until: float) -> PollState:
    """Return a wait whose next poll is due no earlier, for a reason that isn't its schedule.

    The job isn't watched meanwhile, so a stall isn't judged over that time.
    """
    late = max(_cut(until, state.plan.deadline) - state.due, 0.0)
    return state._replace(due=state.due + late, changed=state.changed + late)


def advance_nudged(
    state: PollState, event: Reading | Trouble, now: float, jitter: float = 0.0
) -> tuple[PollState, Verdict]:
    """As `advance`, for a poll that a nudge caused ahead of the schedule.

    It counts only if it ends the wait. Otherwise the schedule continues as if it had not been made.
    """
    if classify(state, event, now) in (Event.OVER, Event.FATAL, Event.BARRED):
        return advance(state, event, now, jitter)
    return state._replace(polls=state.polls + 1), Verdict.WAIT


def unanswered(state: PollState, now: float, jitter: float = 0.0) -> PollState:
    """Return a wait whose poll at `now` may have been made: nobody saw the answer.

    It takes its delay of the schedule, and isn't a failed one. The next poll is due when it would
    be, whatever the answer said, but for a `Retry-After` in it.
    """
    schedule, step = state.plan.schedule, min(state.rung, len(state.plan.schedule.delays) - 1)
    delay = max(schedule.delays[step], schedule.delays[0]) * (1 + schedule.jitter * jitter)
    due = _cut(now + max(delay, _backoff(state.failures, jitter)), state.plan.deadline)
    changed = state.changed + _unwatched(state, now)
    return state._replace(due=due, rung=step + 1, changed=changed)


def classify(state: PollState, event: Reading | Trouble, now: float) -> Event:
    """Return the first case that applies, in the order of the header."""
    plan = state.plan
    late = plan.deadline is not None and now >= plan.deadline
    if isinstance(event, Reading):
        if event.phase.is_final:
            return Event.OVER
        if late:
            return Event.LATE
        if state.phase is None or event.marker != state.marker:
            return Event.MOVED
        watched, limit = now - state.changed - _unwatched(state, now), plan.stall_timeout
        stalled = limit is not None and event.phase is state.phase and watched >= limit
        return Event.STALLED if stalled else Event.STILL
    if not event.transient:
        return Event.FATAL
    if late:
        return Event.LATE
    if event.retry_after and is_too_long(event.retry_after, now, plan.deadline):
        return Event.BARRED
    return Event.SPENT if state.failures + 1 >= plan.max_failures else Event.TROUBLE


def is_too_long(pause: float, now: float, deadline: float | None) -> bool:
    """Whether a pause that a service asked for, in seconds, isn't worth waiting for."""
    return pause > LONGEST_PAUSE or (deadline is not None and now + pause > deadline)


def wants_closer_look(state: PollState) -> bool:
    """Whether the next poll is the one that looks closer at a job without progress."""
    return state.held == HELD_LOOK


def _unwatched(state: PollState, now: float) -> float:
    """Return for how long before this poll the job wasn't watched."""
    return max(0.0, now - state.due - UNWATCHED)


def _backoff(failures: int, jitter: float) -> float:
    """Return seconds of backoff after so many earlier failures; jitter doubles them at most."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 16) * (1 + jitter))


def _cut(due: float, deadline: float | None) -> float:
    return due if deadline is None else min(due, deadline)


# --- the gate -------------------------------------------------------------------------------------

_GOLDEN = (math.sqrt(5) - 1) / 2


class Gate(NamedTuple):
    """How long an origin is left alone."""

    until: float = -math.inf
    """No request is sent before this time."""
    asked: float = -math.inf
    """How much of that the service asked for; the rest is a backoff of our own."""
    spread: float = 0.0
    """What was held is released within so many seconds after it."""
    held: int = 0
    """How many requests were held so far."""
    strikes: int = 0
    """Rate limits in a row."""


def shut(gate: Gate, now: float, retry_after: float | None) -> Gate:
    """Return the gate after a rate limit; without a `Retry-After`, it is a backoff of our own."""
    hold = _backoff(gate.strikes, 0.0) if retry_after is None else retry_after
    spread = min(max(hold, 1.0), 60.0)
    asked = gate.asked if retry_after is None else max(gate.asked, now + retry_after)
    if now + hold <= gate.until:
        return gate._replace(asked=asked, strikes=gate.strikes + 1)
    return Gate(now + hold, asked, spread, 0, gate.strikes + 1)


def opened(gate: Gate, now: float) -> Gate:
    """Return the gate after an answer that was no rate limit."""
    return gate if now < gate.until else gate._replace(strikes=0)


def admit(gate: Gate, now: float) -> tuple[Gate, float]:
    """Return when a request that is due now may be sent: now, or gradually after the hold."""
    if now >= gate.until:
        return gate, now
    place = gate.until + gate.spread * (gate.held * _GOLDEN % 1.0)
    return gate._replace(held=gate.held + 1), place


# --- tokens ---------------------------------------------------------------------------------------

TOKEN_VERSION = 1
READS = "this version of opwatch reads only version"
NEWER = "use the version of opwatch that wrote it, or a newer one"
WHOLE = "pass the value of `.token` or `Step.token` unchanged"


class NewerVersion(ConfigurationError):
    """A token or a file was written by a newer opwatch."""


# Times are rounded up, so that no poll is early, and by at most a microsecond, so that sleeping for
# exactly `Step.delay` is long enough.


def dump(state: PollState, *, service: str, job_id: str, now: float, epoch: float) -> str:
    """Return the token of a wait: `now` on the machine's clock is `epoch` on the wall clock."""

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
    """Return the job ID and the state that `dump` wrote.

    Raises `ConfigurationError` for a token that is damaged, of another service, or newer.
    """
    fields = _fields(token)
    if fields["service"] != service:
        problem = f"is for the service {fields['service']!r}, not {service!r}"
        raise _bad_token(problem, "pass it to a client of that service")
    present: float = max(epoch, fields["at"])

    def here(time: float) -> float:
        return now + (time - present)

    schedule = Schedule(fields["delays"], fields["restart"], fields["jitter"])
    deadline, phase = fields["deadline"], fields["phase"]
    ends = None if deadline is None else here(deadline)
    return fields["job"], PollState(
        Plan(schedule, ends, fields["stall"], fields["failures_max"]),
        due=here(fields["due"]),
        changed=here(fields["changed"]),
        phase=None if phase is None else Phase(phase),
        **{name: fields[name] for name in ("rung", "held", "marker", "failures", "polls")},
    )


Check: TypeAlias = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _within(least: float, most: float) -> Check:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


_is_number, _is_time = _within(-sys.float_info.max, sys.float_info.max), _within(-1e12, 1e12)
_is_delay = _within(0, LONGEST)
_CHECKS: dict[str, Check] = {
    "service": _is_text,
    "job": _is_text,
    "at": _is_time,
    "due": _is_time,
    "deadline": _or_none(_is_time),
    "changed": _is_time,
    "rung": _is_count,
    "held": _is_count,
    "marker": _or_none(lambda value: isinstance(value, str) or _is_number(value)),
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
    """Return the token's fields, all valid; a `ConfigurationError` names the first that isn't."""
    try:
        fields = json.loads(token)
    except (TypeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not _is_count(fields.get("v")):
        raise _bad_token("isn't a complete opwatch token")  # not quoted: it may be an access token
    if fields["v"] != TOKEN_VERSION:
        problem = f"has format version {fields['v']}, but {READS} {TOKEN_VERSION}"
        raise NewerVersion(problem, argument="token", advice=NEWER)
    for name, check in _CHECKS.items():
        if name not in fields or not check(fields[name]):
            raise _bad_token(f"is damaged: {name!r} is {fields.get(name)!r:.60}")
    if fields.pop("sum", None) != _checksum(fields):
        raise _bad_token("is damaged: its checksum doesn't match")
    return fields


def _bad_token(problem: str, advice: str = WHOLE) -> ConfigurationError:
    return ConfigurationError(problem, argument="token", advice=advice)


def _checksum(fields: dict[str, Any]) -> str:
    """Return the checksum of the values, not the bytes: a store may reorder the keys."""
    text = json.dumps({name: _number(value) for name, value in fields.items()}, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def _number(value: Any) -> Any:
    """Return an integral float as an integer, as JSON stores may write it back."""
    if isinstance(value, list):
        return [_number(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
