"""Arbitrary traces: whatever a service responds, and whenever, some things always hold.

The first test drives the machine alone, with a token between any two polls. The second drives
real clients, each new at every poll, with arbitrary answers from a script.
"""

import itertools
import json
import math
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scripted_jobs import CLIENTS

from opwatch.core.polling import (
    Plan,
    PollState,
    Reading,
    Schedule,
    Trouble,
    Verdict,
    advance,
    begin,
    dump,
    load,
)
from opwatch.errors import OpwatchError, TransportError
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Reply, Script, reply

EPOCH = 1_790_000_000.0
TICK = 1e-5
"""Seconds that floats and tokens may be off by, all in all."""
MANY = min(40 * settings.default.max_examples, 40_000)
"""Traces; more in `make test-slow` and `make fuzz`, which draw others each time."""
arbitrary = settings(
    derandomize=MANY == 1000,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# --- the machine ----------------------------------------------------------------------------------

MARKERS = (None, 0, 0.0, 1, 50, 50.5, 100, "50", -1, 10**12)
PHASES = (*[Phase.RUNNING] * 10, Phase.PENDING, Phase.UNKNOWN, Phase.UNKNOWN, *Phase)
RETRY_AFTERS = (None, None, 0.0, 0.3, 7.0, 61.5, 400.0, 1e6)
OVERSLEPT = (0.0, 0.0, 0.001, 0.5, 29.0)
LATENCIES = (0.0, 0.01, 1.0, 30.0)
JITTERS = (0.0, 0.25, 0.5, 0.999_999)
BASES = (0.0, 1e5, -3.75)


def event_of(what: int, which: int, more: int, times: int) -> tuple[Any, ...]:
    """An event, how long the sleep was too long and the response took, jitter, the next clock's
    base.

    Of four bytes, which are drawn much faster than an event is built by strategies.
    """

    def pick(choices: Any, number: int) -> Any:
        return choices[number % len(choices)]

    event: Reading | Trouble
    if what < 150:
        event = Reading(pick(PHASES, which), pick(MARKERS, more))
    else:
        event = Trouble(what % 10 != 0, pick(RETRY_AFTERS, which), over=more % 2 == 0)
    late, slow, luck = times // 12, times // 3, times
    return (
        event,
        pick(OVERSLEPT, late),
        pick(LATENCIES, slow),
        pick(JITTERS, luck),
        pick(BASES, more + times),
    )


AT_ONCE = 8
"""Traces of one plan that are tried at once, which costs Hypothesis as much as one."""


def traces_of(raw: bytes) -> list[list[tuple[Any, ...]]]:
    """Traces of eight events each."""
    events = [event_of(*raw[n : n + 4]) for n in range(0, len(raw), 4)]
    return [events[n : n + 8] for n in range(0, len(events), 8)]


TRACES = st.binary(min_size=32 * AT_ONCE, max_size=32 * AT_ONCE).map(traces_of)
DELAYS = st.lists(st.sampled_from([2, 2.5, 15, 30, 60, 120]), min_size=1, max_size=5)
PLANS = st.builds(
    Plan,
    st.builds(Schedule, DELAYS, st.booleans(), st.sampled_from([0, 0.1, 1])),
    st.sampled_from([None, 0.0, 0.7, 45.0, 300.0, 900.0]),
    st.sampled_from([None, None, 0.0, 20.0, 600.0]),
    st.sampled_from([1, 2, 3, 10]),
)


class Model:
    """What is to hold, in words of its own: a rung, and what was last seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rung = 0
        self.marker: Any = None
        self.is_first = True
        self.failures = 0
        self.seen: list[tuple[Any, Phase]] = []
        self.since = 0.0

    def note(self, event: Reading, now: float) -> None:
        """When the job was first seen as it is now; `now` is of one clock for the whole wait."""
        as_it_is = (event.marker, event.phase)
        if self.seen[-1:] != [as_it_is]:
            self.since = now
        self.seen.append(as_it_is)

    def has_stalled(self, now: float) -> bool:
        limit = self.plan.stall_timeout
        alike = self.seen[-1:] == self.seen[-2:-1]
        return alike and limit is not None and now - self.since >= limit + TICK

    def floor(self, event: Reading | Trouble) -> float:
        """The least delay after this event."""
        schedule = self.plan.schedule
        if isinstance(event, Reading):
            moved = self.is_first or event.marker != self.marker
            if moved and schedule.restart_on_change:
                self.rung = 0
            self.is_first, self.marker, self.failures = False, event.marker, 0
        else:
            self.failures += 1
        floor = schedule.delays[min(self.rung, len(schedule.delays) - 1)]
        self.rung += 1
        return floor


def carried(state: PollState, now: float, wall: float, base: float) -> PollState:
    """The state that another process reads from this one's token, on a clock that begins at `base`.

    All but its times is the same, and those are no earlier, and microseconds later at most.
    """
    token = dump(state, service="itwin", job_id="job-1", now=now, epoch=wall)
    assert len(token) < 1024
    job_id, after = load(token, service="itwin", now=now + base, epoch=wall)
    assert job_id == "job-1"
    plan, old = after.plan, state.plan
    assert (plan.schedule, plan.stall_timeout, plan.max_failures) == (
        old.schedule,
        old.stall_timeout,
        old.max_failures,
    )
    for name in ("rung", "held", "marker", "phase", "failures", "polls"):
        assert getattr(after, name) == getattr(state, name)
    pairs = [(after.due, state.due), (after.changed, state.changed)]
    assert (plan.deadline is None) == (old.deadline is None)
    if plan.deadline is not None and old.deadline is not None:
        pairs.append((plan.deadline, old.deadline))
    for later, earlier in pairs:
        assert -TICK / 10 <= later - base - earlier <= TICK / 2
    return after


def check(
    model: Model, event: Reading | Trouble, deadline: float | None, now: float, wall: float,
    state: PollState, verdict: Verdict,
) -> None:  # fmt: skip
    """What holds after every event, whatever came before."""
    floor = model.floor(event)
    is_late = deadline is not None and now >= deadline
    says_over = event.phase.is_final if isinstance(event, Reading) else event.over
    if isinstance(event, Reading) and event.phase.is_final:
        assert verdict is Verdict.ENDED
    if verdict is Verdict.ENDED:
        assert says_over
    elif verdict is Verdict.TIMED_OUT:
        assert is_late
    elif verdict is Verdict.STALLED:
        assert isinstance(event, Reading)
        assert state.plan.stall_timeout is not None
        assert now - state.changed >= state.plan.stall_timeout
    elif verdict is Verdict.GAVE_UP:
        assert isinstance(event, Trouble)
        pause = event.retry_after or 0
        barred = pause > 86_400 or (deadline is not None and now + pause > deadline)
        assert not event.transient or barred or model.failures >= state.plan.max_failures
    else:
        assert not is_late
        assert not (isinstance(event, Reading) and model.has_stalled(wall))
        assert deadline is None or state.due <= deadline
        wait = state.due - now
        assert wait >= floor - TICK or state.due == deadline
        most = floor * (1 + state.plan.schedule.jitter)
        if isinstance(event, Trouble):
            assert event.transient
            assert model.failures < state.plan.max_failures
            retry_after = event.retry_after or 0.0
            assert wait >= retry_after - TICK
            backoff = min(60.0, 2.0 ** (model.failures - 1))
            assert wait >= backoff - TICK or state.due == deadline
            if retry_after > max(floor, backoff):  # what a pause adds isn't watched
                model.since += retry_after - max(floor, backoff)
            most = max(most, retry_after, min(60.0, 2 * backoff))
        assert wait <= most + TICK


@settings(arbitrary, max_examples=MANY // AT_ONCE)
@given(PLANS, TRACES)
def test_no_trace_of_events_fools_the_machine(plan, traces):
    """Never early, never past the deadline, never an end that was not said, and always an end."""
    for events in traces:
        follow(plan, events)


def follow(plan: Plan, events: list[tuple[Any, ...]]) -> None:
    """One trace, with the state carried to another process between any two polls.

    It is repeated until the wait ends, at most as often as the deadline leaves room for.
    """
    state, now, wall, verdict = begin(plan, 0.0), 0.0, EPOCH, Verdict.WAIT
    model, least = Model(plan), min(plan.schedule.delays)
    room = len(events) if plan.deadline is None else len(events) + plan.deadline / least + 2
    polls = 0
    while verdict is Verdict.WAIT and polls < room:
        event, oversleep, latency, jitter, base = events[polls % len(events)]
        if polls >= len(events) and isinstance(event, Reading):
            event = Reading(Phase.RUNNING, event.marker)
        slept = max(0.0, state.due - now) + oversleep + latency
        now, wall = now + slept, wall + slept
        model.since += max(0.0, now - state.due - 60)  # time in which nobody watched
        deadline = state.plan.deadline
        state, verdict = advance(state, event, now, jitter)
        polls += 1
        if isinstance(event, Reading):
            model.note(event, wall)
        check(model, event, deadline, now, wall, state, verdict)
        if verdict is Verdict.WAIT:
            state = carried(state, now, wall, base)
            now += base
    assert state.polls == polls
    if plan.deadline is not None:
        assert verdict is not Verdict.WAIT


# --- real clients ---------------------------------------------------------------------------------

NUMBERS = [0, 1, 30, 50.5, 100, 101, -1, 1e300, math.inf]
TEXTS = ["50", "", " ", "x" * 3000, "\U0001f600", "\x00"]
WEIRD = st.sampled_from([None, True, False, *NUMBERS, *TEXTS, [], [1], {}, {"done": True}])
STATES = st.sampled_from(
    [
        *["Active", "Unsubmitted", "Over", "over", "failed", "cancelled", "creating", "paused"],
        *["success", "Success", "SUCCESS"],
    ]
)
ITWIN = st.fixed_dictionaries(
    {
        "jobProgress": st.fixed_dictionaries(
            {}, optional={"state": STATES | WEIRD, "percentage": WEIRD, "step": WEIRD}
        )
    },
    optional={"job": st.fixed_dictionaries({"state": STATES | WEIRD}), "more": WEIRD},
)
JOB = st.fixed_dictionaries({"job": st.fixed_dictionaries({"id": WEIRD, "state": STATES | WEIRD})})
CATENIS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["success", "success", "error", None]),
        "data": st.fixed_dictionaries(
            {
                "action": WEIRD,
                "progress": st.fixed_dictionaries(
                    {"bytesProcessed": WEIRD, "done": st.booleans() | WEIRD},
                    optional={"success": st.booleans() | WEIRD, "error": WEIRD},
                ),
            }
        ),
    }
)
APIG = st.fixed_dictionaries(
    {}, optional={"progress": WEIRD, "status": STATES | WEIRD, "error_code": WEIRD}
)
RETRY_AFTER = st.sampled_from([None, None, "0", "3", "250", "1e9", "-1", "NaN", "inf", "later"])
BODIES = st.one_of(ITWIN, JOB, CATENIS, APIG, WEIRD)
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([200] * 8 + [201, 204, 301, 400, 404, 408, 418, 429, 500, 503, 599]),
        BODIES,
        RETRY_AFTER,
        st.sampled_from(["json"] * 9 + ["cut", "bytes", "no answer"]),
    ),
    min_size=1,
    max_size=8,
)


def reply_of(status: int, body: Any, retry_after: str | None, form: str) -> Reply | TransportError:
    if form == "no answer":
        return TransportError("no connection")
    raw = json.dumps(body).encode()
    if form != "json":
        raw = raw[: len(raw) // 2] if form == "cut" else b"\xff\x00" + raw
    return reply(status, raw, {} if retry_after is None else {"Retry-After": retry_after})


def says_success(body: Any) -> bool:
    """Whether anywhere in a body there is what some service calls a success."""
    if isinstance(body, dict):
        if body.get("done") is True and body.get("success") is True:
            return True
        return any(map(says_success, body.values()))
    return isinstance(body, str) and body.strip().lower() == "success"


@settings(arbitrary, max_examples=MANY // 13)
@given(
    st.sampled_from(["catenis", "itwin", "apig"]),
    ANSWERS,
    st.sampled_from([0.0, 20.0, 200.0]),
    st.sampled_from([None, 100.0]),
)
@example(
    "itwin",
    [(200, {}, None, "json"), (200, {"jobProgress": {"state": "Over"}}, "3", "json")],
    20.0,
    None,
)
def test_no_answers_fool_a_client(service, answers, timeout, stall_timeout):
    """A new client at every poll: it always ends, in time, and never with a success not said.

    Whatever is raised is an error of opwatch. Nothing is asked before the first rung or a
    `Retry-After` has run out. There is one exception: if a response says that an iTwin job is over
    and asks for a pause, the rung doesn't count, since the request for how it ended is due after
    the pause. A token can't say that the job is over, so a new client polls again then.
    """
    given_out: list[tuple[float, int, Any, str | None]] = []

    def handle(request: Any) -> Reply | TransportError:
        status, body, retry_after, form = answers[len(given_out) % len(answers)]
        heard = body if form == "json" else None
        waits = None if form == "no answer" else retry_after
        given_out.append((clock.now(), status, heard, waits))
        return reply_of(status, body, retry_after, form)

    with FakeClock(epoch=EPOCH) as clock, Script(handle):
        make = CLIENTS[service, False]
        turns: list[float] = []
        token, phase, delay = None, None, 0.0
        while delay is not None and len(turns) < 500:
            clock.advance(delay)
            turns.append(clock.now())
            with make("made-up", max_failures=3) as client:
                try:
                    step = (
                        client.start("job-1", timeout=timeout, stall_timeout=stall_timeout)
                        if token is None
                        else client.step(token)
                    )
                except OpwatchError:
                    break
                token, delay = step.token, step.delay
                phase = step.progress and step.progress.phase
        first_rung = {"catenis": 1, "itwin": 15, "apig": 20}[service]
    assert len(turns) < 500
    assert turns[-1] <= timeout + TICK
    if phase is Phase.SUCCEEDED:
        assert says_success(given_out[-1][2])
    asked = sorted({time for time, *_ in given_out})
    paused = {time for time, _, body, wait in given_out if wait and "over" in str(body).lower()}
    for before, after in itertools.pairwise(asked):
        assert before in paused or after - before >= first_rung - TICK or after >= timeout - TICK
    for time, status, _, retry_after in given_out:
        if status in (408, 429, 500, 503, 599) and retry_after in ("0", "3", "250"):
            later = [moment for moment in asked if moment > time]
            assert all(moment - time >= float(retry_after) - TICK for moment in later)
