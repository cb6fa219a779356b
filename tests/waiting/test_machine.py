"""The machine on its own: values in, values out. It knows no service, no client and no clock."""

import itertools
import json
import math

import pytest

from opwatch.core import polling
from opwatch.core.polling import (
    TRANSITIONS,
    Event,
    Gate,
    Plan,
    PollState,
    Reading,
    Rung,
    Schedule,
    Trouble,
    Verdict,
    admit,
    advance,
    begin,
    classify,
    dump,
    load,
    opened,
    shut,
    wants_closer_look,
)
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase

ITWIN = Schedule((15, 30, 60, 120), jitter=0)
EPOCH = 1_800_000_000.0
RUNNING = Phase.RUNNING
SHAKY = Trouble(transient=True)


def reading(marker=None, phase=RUNNING):
    return Reading(phase, marker)


def play(events, *, schedule=ITWIN, jitter=0.0, start=0.0, **how):
    """The times of the polls, each made when it is due, and the last state and verdict."""
    state = begin(Plan(schedule, **how), start)
    times = []
    verdict = Verdict.WAIT
    for event in events:
        assert verdict is Verdict.WAIT
        times.append(state.due)
        state, verdict = advance(state, event, state.due, jitter)
    return times, state, verdict


def token_of(state, now=0.0, epoch=EPOCH):
    return dump(state, service="itwin", job_id="job-1", now=now, epoch=epoch)


def loaded(token, now=0.0, epoch=EPOCH):
    return load(token, service="itwin", now=now, epoch=epoch)


# --- the table ------------------------------------------------------------------------------------

AT_100 = PollState(
    Plan(ITWIN, deadline=500.0, stall_timeout=50.0, max_failures=3),
    due=100.0,
    rung=2,
    marker=10,
    phase=RUNNING,
    changed=90.0,
    failures=1,
    polls=4,
)
ROWS = {
    Event.OVER: (AT_100, reading(10, Phase.SUCCEEDED), 100.0),
    Event.LATE: (AT_100, reading(11), 500.0),
    Event.STALLED: (AT_100._replace(changed=50.0), reading(10), 100.0),
    Event.MOVED: (AT_100, reading(9), 100.0),
    Event.STILL: (AT_100, reading(10), 100.0),
    Event.FATAL: (AT_100, Trouble(transient=False), 100.0),
    Event.BARRED: (AT_100, Trouble(transient=True, retry_after=400.5), 100.0),
    Event.SPENT: (AT_100._replace(failures=2), SHAKY, 100.0),
    Event.TROUBLE: (AT_100, SHAKY, 100.0),
}
AFTER = {
    Event.OVER: (2, Verdict.ENDED, 100.0),
    Event.LATE: (2, Verdict.TIMED_OUT, 500.0),
    Event.STALLED: (2, Verdict.STALLED, 100.0),
    Event.MOVED: (1, Verdict.WAIT, 115.0),
    Event.STILL: (3, Verdict.WAIT, 160.0),
    Event.FATAL: (2, Verdict.GAVE_UP, 100.0),
    Event.BARRED: (2, Verdict.GAVE_UP, 100.0),
    Event.SPENT: (2, Verdict.GAVE_UP, 100.0),
    Event.TROUBLE: (3, Verdict.WAIT, 160.0),
}


def test_each_row_of_the_table_has_a_case_here():
    """The table has no row that the next test leaves out."""
    assert set(Event) == set(TRANSITIONS) == set(ROWS) == set(AFTER)


@pytest.mark.parametrize("event", Event)
def test_each_row_of_the_table_is_reached_and_followed(event):
    """What happened is named as the header says, and the row's rung and verdict follow."""
    state, what, now = ROWS[event]
    assert classify(state, what, now) is event
    after, verdict = advance(state, what, now)
    assert (after.rung, verdict, after.due) == AFTER[event]
    assert verdict is TRANSITIONS[event][1]
    assert after.polls == 5


@pytest.mark.parametrize("event", Event)
def test_only_wait_goes_on_and_only_waiting_takes_a_rung(event):
    """A row that ends the wait takes no rung, and one that continues takes one."""
    rung, verdict = TRANSITIONS[event]
    assert (rung is Rung.NONE) == (verdict is not Verdict.WAIT)


@pytest.mark.parametrize(
    ("state", "what", "now", "event"),
    [
        (AT_100, reading(11, Phase.FAILED), 900.0, Event.OVER),
        (AT_100._replace(changed=0.0), reading(10), 500.0, Event.LATE),
        (AT_100._replace(changed=0.0), reading(11), 499.0, Event.MOVED),
        (AT_100._replace(changed=0.0), reading(10), 499.0, Event.STALLED),
        (AT_100, Trouble(transient=False, retry_after=900.0), 500.0, Event.FATAL),
        (AT_100._replace(failures=2), Trouble(True, 900.0), 500.0, Event.LATE),
        (AT_100._replace(failures=2), Trouble(True, 900.0), 499.0, Event.BARRED),
        (AT_100._replace(failures=2), Trouble(True, 1.0), 499.0, Event.SPENT),
    ],
)
def test_the_first_event_that_holds_wins(state, what, now, event):
    """Where several events hold, the header's order decides."""
    assert classify(state, what, now) is event


@pytest.mark.parametrize("phase", Phase)
def test_only_final_phases_end_a_wait(phase):
    """A reading ends the wait where its phase is final, and at no other: unknown is no end."""
    _, _, verdict = play([reading(50, phase)])
    final = {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.ENDED}
    assert (verdict is Verdict.ENDED) == (phase in final)


def test_states_and_events_are_frozen():
    """Nothing the machine hands out can be changed."""
    for value in (ITWIN, Plan(ITWIN), begin(Plan(ITWIN), 0.0), reading(), SHAKY, Gate()):
        name = type(value).__match_args__[0]
        with pytest.raises(AttributeError):
            setattr(value, name, None)


# --- the schedule is a floor ----------------------------------------------------------------------


def test_a_job_that_stands_still_is_asked_by_itwins_document():
    """Without change: 0, 15, 45, 105, 225, 345, 465 s, and 120 s apart from there on."""
    times, _, _ = play([reading(7)] * 9)
    assert times == [0, 15, 45, 105, 225, 345, 465, 585, 705]


@pytest.mark.parametrize("change", [8, 6, 7.5, None, 0])
def test_any_change_of_the_marker_restarts_the_schedule(change):
    """Up, down, by a fraction, to nothing: the next delay is the first rung."""
    times, _, _ = play([reading(7)] * 4 + [reading(change)] * 3)
    assert times == [0, 15, 45, 105, 225, 240, 270]


def test_a_change_of_phase_alone_restarts_nothing():
    """The marker decides, so a phase that changes beside it takes the next rung."""
    times, _, _ = play([reading(0, Phase.PENDING)] * 3 + [reading(0)] * 2)
    assert times == [0, 15, 45, 105, 225]


def test_a_whole_float_is_the_same_marker_as_the_integer():
    """50 and 50.0 are one percentage."""
    times, _, _ = play([reading(50), reading(50.0), reading(50)])
    assert times == [0, 15, 45]


def test_the_first_reading_counts_as_a_change_after_troubles_too():
    """Troubles climb the schedule; the first reading after them begins it."""
    times, _, _ = play([SHAKY, SHAKY, reading(None), reading(None)])
    assert times == [0, 15, 45, 60]


def test_without_restart_on_change_the_schedule_only_climbs():
    """`restart_on_change=False` takes the next rung, whatever moved."""
    schedule = Schedule((1, 2, 4), restart_on_change=False, jitter=0)
    times, _, _ = play([reading(n) for n in range(6)], schedule=schedule)
    assert times == [0, 1, 3, 7, 11, 15]


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.999999])
@pytest.mark.parametrize("fraction", [0, 0.1, 1, 2.5])
@pytest.mark.parametrize("what", [reading(1), SHAKY])
def test_jitter_only_adds(draw, fraction, what):
    """A drawn jitter lengthens a delay by its fraction of the rung at most, and never shortens."""
    schedule = Schedule((10, 20), jitter=fraction)
    after, _ = advance(begin(Plan(schedule), 0.0), what, 0.0, draw)
    assert after.due == 10 * (1 + fraction * draw)
    assert 10 <= after.due <= 10 * (1 + fraction)


def test_a_late_query_counts_the_rung_from_when_it_was_made():
    """A rung is the least time between two polls, however late the first of them was."""
    state, _ = advance(begin(Plan(ITWIN), 0.0), reading(1), 100.0)
    assert state.due == 115


# --- the deadline ---------------------------------------------------------------------------------


def test_one_last_query_is_made_at_the_deadline():
    """The sleep that reaches beyond the deadline is cut there, and no poll follows."""
    times, _, verdict = play([reading(1)] * 4, deadline=100.0)
    assert (times, verdict) == ([0, 15, 45, 100], Verdict.TIMED_OUT)


def test_a_job_that_ended_in_the_last_sleep_ended_in_time():
    """The end is seen by the poll at the deadline."""
    times, _, verdict = play([reading(1)] * 3 + [reading(1, Phase.SUCCEEDED)], deadline=100.0)
    assert (times, verdict) == ([0, 15, 45, 100], Verdict.ENDED)


def test_a_deadline_on_a_rung_is_met_once():
    """A poll that is due at the deadline is the last one."""
    times, _, verdict = play([reading(1)] * 3, deadline=45.0)
    assert (times, verdict) == ([0, 15, 45], Verdict.TIMED_OUT)


def test_a_timeout_of_zero_asks_once():
    """Zero seconds is one poll."""
    times, _, verdict = play([reading(1)], deadline=0.0)
    assert (times, verdict) == ([0], Verdict.TIMED_OUT)


def test_a_backoff_is_cut_at_the_deadline():
    """Trouble near the deadline leaves the last poll where it was."""
    times, _, verdict = play([SHAKY, SHAKY], deadline=3.0)
    assert (times, verdict) == ([0, 3], Verdict.TIMED_OUT)


def test_without_a_deadline_a_job_that_stands_still_is_asked_for_ever():
    """No number of readings ends a wait that has no limits."""
    _, state, verdict = play([reading(1)] * 2000)
    assert (verdict, state.polls, state.rung) == (Verdict.WAIT, 2000, 4)


@pytest.mark.parametrize("delay", [0.0, 3.0, 10.0, 99.0])
def test_the_first_query_may_be_put_off_until_the_deadline(delay):
    """`begin(delay=...)` spreads first polls, and none lies beyond the deadline."""
    assert begin(Plan(ITWIN, deadline=20.0), 10.0, delay=delay).due == min(10.0 + delay, 20.0)


# --- trouble --------------------------------------------------------------------------------------


def test_troubles_back_off_on_top_of_the_floor():
    """Each trouble takes the next rung, and waits 1, 2, 4 ... 60 s at the least."""
    schedule = Schedule((0.5, 3), jitter=0)
    times, _, _ = play([SHAKY] * 10, schedule=schedule, max_failures=99)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits == [1, 3, 4, 8, 16, 32, 60, 60, 60]


def test_the_floor_holds_during_troubles():
    """Where the rung is longer than the backoff, the rung is waited for."""
    times, _, _ = play([SHAKY] * 5)
    assert times == [0, 15, 45, 105, 225]


def test_jitter_spreads_a_backoff_upwards():
    """A drawn jitter up to doubles a backoff, within its sixty seconds."""
    schedule = Schedule((0,), jitter=0)
    state = begin(Plan(schedule, max_failures=99), 0.0)
    waits = []
    for _ in range(8):
        after, _ = advance(state, SHAKY, state.due, 0.5)
        waits.append(after.due - state.due)
        state = after
    assert waits == [1.5, 3, 6, 12, 24, 48, 60, 60]


@pytest.mark.parametrize("most", [1, 2, 10])
def test_max_failures_in_a_row_end_a_wait(most):
    """The n-th trouble in a row is the last."""
    times, state, verdict = play([SHAKY] * most, max_failures=most)
    assert (len(times), state.failures, verdict) == (most, most, Verdict.GAVE_UP)


def test_a_reading_clears_the_count_of_failures():
    """Nine troubles, a reading, nine troubles: the wait continues."""
    _, state, verdict = play(([SHAKY] * 9 + [reading(1)]) * 3)
    assert (state.failures, verdict) == (0, Verdict.WAIT)


def test_trouble_that_no_retry_mends_ends_a_wait_at_once():
    """Refused credentials are not asked about twice."""
    _, _, verdict = play([Trouble(transient=False)])
    assert verdict is Verdict.GAVE_UP


@pytest.mark.parametrize("asked", [0.0, 1.0, 14.0, 16.0, 3600.0])
def test_retry_after_is_never_undercut(asked):
    """The delay is at least what the service asked for, and at least the floor."""
    times, _, _ = play([Trouble(True, asked), reading(1)])
    assert times[1] == max(asked, 15.0)


def test_retry_after_up_to_the_deadline_is_waited_for():
    """A service that opens again just at the deadline is asked there."""
    times, _, verdict = play([Trouble(True, 100.0), reading(1)], deadline=100.0)
    assert (times, verdict) == ([0, 100], Verdict.TIMED_OUT)


def test_retry_after_beyond_the_deadline_ends_a_wait_now():
    """There is nothing left to wait for, so nothing is slept for."""
    times, state, verdict = play([reading(1), Trouble(True, 100.0)], deadline=100.0)
    assert (times, verdict, state.due) == ([0, 15], Verdict.GAVE_UP, 15)


@pytest.mark.parametrize(
    ("how", "troubles"),
    [
        ({"deadline": 0.0}, [Trouble(True, over=True)]),
        ({"deadline": 50.0}, [Trouble(True, 60.0, over=True)]),
        ({"max_failures": 2}, [Trouble(True, over=True)] * 2),
        ({}, [Trouble(False, over=True)]),
    ],
)
def test_a_job_known_to_be_over_ends_where_the_machine_would_give_up(how, troubles):
    """Late, barred, spent or fatal: what is known is that the job is over."""
    _, _, verdict = play(troubles, **how)
    assert verdict is Verdict.ENDED


def test_a_job_known_to_be_over_is_asked_again_like_any_trouble():
    """As long as there is time, how it ended may still be told."""
    times, _, verdict = play([Trouble(True, over=True)] * 3 + [reading(None, Phase.SUCCEEDED)])
    assert (times, verdict) == ([0, 15, 45, 105], Verdict.ENDED)


# --- stalls ---------------------------------------------------------------------------------------


def test_a_job_that_does_not_move_stalls_at_the_next_reading():
    """A floor is not broken to find a stall: it is judged where a reading is."""
    times, _, verdict = play([reading(1)] * 4, stall_timeout=50.0)
    assert (times, verdict) == ([0, 15, 45, 105], Verdict.STALLED)


@pytest.mark.parametrize("moved", [reading(2), reading(1, Phase.PENDING)])
def test_a_change_of_marker_or_phase_is_no_stall(moved):
    """Either one begins the stall's time again."""
    _, state, verdict = play([reading(1)] * 3 + [moved], stall_timeout=50.0)
    assert (verdict, state.changed) == (Verdict.WAIT, 105)


def test_troubles_are_no_movement():
    """A job seen in the same place before and after an outage has stalled."""
    _, _, verdict = play([reading(1), SHAKY, SHAKY, reading(1)], stall_timeout=50.0)
    assert verdict is Verdict.STALLED


def test_a_stall_is_counted_from_the_first_reading():
    """Before it, nothing is known about the job."""
    times, _, verdict = play([SHAKY, SHAKY, SHAKY, reading(1), reading(1)], stall_timeout=50.0)
    assert (times[-1], verdict) == (120, Verdict.WAIT)


# --- looking closer -------------------------------------------------------------------------------


def closer_looks(events):
    """Which polls, counted from 0, looked closer."""
    state = begin(Plan(ITWIN, max_failures=99), 0.0)
    found = []
    for n, event in enumerate(events):
        if wants_closer_look(state):
            found.append(n)
        state, _ = advance(state, event, state.due)
    return found


def test_a_job_that_stands_still_is_looked_at_closer_once():
    """Five readings on the last rung, and the next poll looks closer: the only one."""
    assert closer_looks([reading(1)] * 40) == [8]


def test_a_job_that_moves_again_may_be_looked_at_closer_again():
    """Once each time the job stops making progress."""
    assert closer_looks([reading(1)] * 10 + [reading(2)] * 20) == [8, 18]


def test_a_closer_look_in_trouble_is_taken_by_the_next_query():
    """A failed poll doesn't count as a closer look."""
    assert closer_looks([reading(1)] * 8 + [SHAKY, SHAKY] + [reading(1)] * 9) == [8, 9, 10]


# --- what a wait is given -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delays", "named"),
    [
        ((), "()"),
        ((15, -1), "-1"),
        ((math.nan,), "nan"),
        ((math.inf,), "inf"),
        ((15, "30"), "'30'"),
        ((True,), "True"),
        ((None,), "None"),
        ((10**400,), "1000"),
        ((1e300,), "1e+300"),
        ("15", "'15'"),
        (b"15", "b'15'"),
        (15, "15"),
        (None, "None"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(delays, named):
    """Empty, negative, not a number, text: the message quotes what was given."""
    with pytest.raises(ConfigurationError) as refused:
        Schedule(delays)
    assert named in str(refused.value)


@pytest.mark.parametrize("jitter", [-0.1, math.nan, math.inf, "0.1", None, True])
def test_a_jitter_that_cannot_be_is_refused_by_name(jitter):
    """Jitter is a fraction that only adds."""
    with pytest.raises(ConfigurationError, match="jitter"):
        Schedule((1,), jitter=jitter)


@pytest.mark.parametrize("restart", ["no", None, 0])
def test_restart_on_change_is_true_or_false(restart):
    """What is neither would not survive a token."""
    with pytest.raises(ConfigurationError, match="restart_on_change"):
        Schedule((1,), restart_on_change=restart)


def test_a_schedule_takes_any_sequence_and_keeps_numbers():
    """Lists and generators of integers become rungs."""
    assert Schedule([1, 2]) == Schedule(delay for delay in (1.0, 2.0))


def planned(**how):
    how = {"timeout": None, "stall_timeout": None, "max_failures": 10} | how
    return polling.plan(100.0, how.pop("schedule", ITWIN), **how)


@pytest.mark.parametrize("name", ["timeout", "stall_timeout"])
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, -math.inf, "60", True, 10**400, 1e300, []])
def test_a_time_limit_that_cannot_be_is_refused_by_name(name, value):
    """Below zero, not a number, text, true or false: the message has the name and the value."""
    with pytest.raises(ConfigurationError) as refused:
        planned(**{name: value})
    assert name in str(refused.value)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    ("timeout", "deadline"), [(0, 100.0), (60, 160.0), (0.5, 100.5), (None, None), (math.inf, None)]
)
def test_a_timeout_counts_from_now_and_infinity_is_for_ever(timeout, deadline):
    """None and infinity have no deadline."""
    assert planned(timeout=timeout).deadline == deadline


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_max_failures_is_a_whole_number_above_zero(value):
    """Anything else is refused with its value."""
    with pytest.raises(ConfigurationError) as refused:
        planned(max_failures=value)
    assert f"`max_failures` must be a positive integer, not {value!r}" in str(refused.value)


@pytest.mark.parametrize("schedule", [(15, 30), [], None, "15"])
def test_a_plan_needs_a_schedule(schedule):
    """A bare tuple is not taken for one."""
    with pytest.raises(ConfigurationError, match="`schedule` must be an opwatch"):
        planned(schedule=schedule)


# --- the gate -------------------------------------------------------------------------------------


def test_an_open_gate_lets_everything_through():
    """Without a rate limit, a due poll is made."""
    assert admit(Gate(), 7.0) == (Gate(), 7.0)


def test_a_gate_is_shut_until_retry_after_has_run_out():
    """No place lies before that time, and after it the gate is open."""
    gate = shut(Gate(), 10.0, 30.0)
    assert gate.until == 40
    for _ in range(100):
        gate, place = admit(gate, 39.9)
        assert 40 <= place <= 70
    assert admit(gate, 40.0)[1] == 40.0


@pytest.mark.parametrize("jobs", [2, 10, 100, 1000, 9999])
def test_those_held_go_evenly_spread(jobs):
    """Whatever their number, each tenth of the spread gets a tenth of them, give or take two."""
    gate = shut(Gate(), 0.0, 30.0)
    tenths = [0] * 10
    for _ in range(jobs):
        gate, place = admit(gate, 1.0)
        tenths[int((place - 30) / 3)] += 1
    assert all(abs(count - jobs / 10) <= 2 for count in tenths)


@pytest.mark.parametrize(("asked", "spread"), [(0.0, 1.0), (0.2, 1.0), (5.0, 5.0), (900.0, 60.0)])
def test_a_spread_is_as_long_as_the_hold_within_limits(asked, spread):
    """At least a second, at most sixty."""
    assert shut(Gate(), 0.0, asked).spread == spread


def test_rate_limits_without_a_time_back_off_by_themselves():
    """1, 2, 4 ... 60 seconds, as long as no poll gets through."""
    gate, holds, now = Gate(), [], 0.0
    for _ in range(8):
        gate = shut(gate, now, None)
        holds.append(gate.until - now)
        now = gate.until
    assert holds == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_shorter_rate_limit_does_not_shorten_the_hold():
    """Of two rate limits the later end counts, and places already given stay given."""
    gate, _ = admit(shut(Gate(), 0.0, 60.0), 1.0)
    again = shut(gate, 2.0, 10.0)
    assert (again.until, again.held) == (60.0, 1)


def test_an_answer_ends_the_strikes_once_the_hold_is_over():
    """A response of a request that was under way before says nothing about the limit."""
    gate = shut(Gate(), 0.0, 30.0)
    assert opened(gate, 29.0).strikes == 1
    assert opened(gate, 30.0).strikes == 0
    assert opened(gate, 30.0).until == 30.0


def test_only_what_the_service_asked_for_is_told_from_an_own_guess():
    """`asked` is the end of the longest `Retry-After`; a backoff of our own does not count."""
    gate = shut(shut(Gate(), 0.0, 5.0), 0.0, None)
    assert (gate.until, gate.asked) == (5.0, 5.0)
    gate = shut(shut(gate, 5.0, None), 7.0, 1.0)
    assert (gate.until, gate.asked) == (9.0, 8.0)


# --- tokens ---------------------------------------------------------------------------------------

FULL = PollState(
    Plan(
        Schedule((15, 30.5, 60, 120), restart_on_change=False, jitter=0.25),
        deadline=3600.25,
        stall_timeout=900.0,
        max_failures=7,
    ),
    due=130.5,
    rung=3,
    held=2,
    marker=41.5,
    phase=RUNNING,
    changed=40.0,
    failures=2,
    polls=9,
)
BARE = begin(Plan(ITWIN), 0.0)
SAMPLES = [
    FULL,
    BARE,
    FULL._replace(marker=None),
    FULL._replace(marker="step 3 of 7"),
    FULL._replace(marker=123_456_789_012_345),
    FULL._replace(marker=1e308),
    FULL._replace(phase=Phase.UNKNOWN, marker=0),
]


@pytest.mark.parametrize("state", SAMPLES)
def test_a_token_brings_back_the_same_state(state):
    """Everything the machine knows survives the token."""
    assert loaded(token_of(state, now=100.0), now=100.0) == ("job-1", state)


@pytest.mark.parametrize("state", SAMPLES)
def test_a_token_fits_a_clock_of_another_origin(state):
    """Monotonic time begins anywhere in another process; the epoch ties the two together."""
    _, elsewhere = loaded(token_of(state, now=100.0), now=5000.0, epoch=EPOCH + 20.0)
    shift = 4880.0
    expected = state._replace(
        due=state.due + shift,
        changed=state.changed + shift,
        plan=state.plan._replace(
            deadline=None if state.plan.deadline is None else state.plan.deadline + shift,
        ),
    )
    assert elsewhere == expected


def test_a_token_carries_a_deadline_through_any_number_of_processes_unmoved():
    """Rounding doesn't add up: after 2,000 tokens the deadline is off by microseconds."""
    now = 0.0
    first = epoch = 1_790_000_000.123_456_7
    state = begin(Plan(ITWIN, deadline=1e6 / 7), now)
    for n in range(2000):
        base = 1e5 / 3 * (n % 7)  # each process has a monotonic clock of its own
        token = token_of(state, now, epoch)
        epoch += 0.1 / 3 * (n % 2)  # every other one begins at the very moment
        _, state = loaded(token, base, epoch)
        now = base
    assert state.plan.deadline is not None
    assert abs(epoch + state.plan.deadline - now - first - 1e6 / 7) < 5e-6
    assert abs(epoch + state.changed - now - first) < 5e-6


@pytest.mark.parametrize("moment", [0.0, 1e-7, 5e-7, 9e-7, 0.123_456_789])
@pytest.mark.parametrize("tiny", [0.0, 1e-7, 5e-7, 9e-7, 0.987_654_321])
def test_a_token_makes_no_query_earlier(tiny, moment):
    """To a float's precision nothing is due before it was, and at most microseconds after it.

    The token is read in the very moment in which it is written.
    """
    state = BARE._replace(due=15.0 + tiny)
    _, after = loaded(token_of(state, 0.3, EPOCH + moment), 0.3, EPOCH + moment)
    assert 15.0 + tiny - 5e-7 <= after.due <= 15.0 + tiny + 3e-6


def test_a_token_is_small_readable_json_without_address_or_credential():
    """Under 1 KiB, and its names are these and no others."""
    token = token_of(FULL)
    assert len(token) < 1024
    names = (
        "at changed deadline delays due failures failures_max held jitter job marker phase polls"
        " restart rung service stall sum v"
    )
    assert " ".join(sorted(json.loads(token))) == names


def test_a_token_of_a_long_id_is_still_small():
    """Under 1 KiB with an id of 256 characters and ten rungs."""
    state = FULL._replace(plan=FULL.plan._replace(schedule=Schedule([1.25] * 10)))
    assert len(dump(state, service="catenis", job_id="x" * 256, now=0.1, epoch=EPOCH)) < 1024


REWRITTEN = {
    "reordered": lambda fields: json.dumps(dict(reversed(fields.items()))),
    "sorted": lambda fields: json.dumps(fields, sort_keys=True),
    "indented": lambda fields: json.dumps(fields, indent=4),
    "unescaped": lambda fields: json.dumps(fields, ensure_ascii=False),
    "as floats": lambda fields: json.dumps(
        {name: [float(n) for n in v] if name == "delays" else v for name, v in fields.items()}
        | {name: float(fields[name]) for name in ("due", "at", "changed", "stall")}
    ),
    "as bytes": lambda fields: json.dumps(fields).encode(),
}


@pytest.mark.parametrize("store", REWRITTEN)
def test_a_token_survives_a_store_that_rewrites_json(store):
    """Order, spaces, escapes and the form of a number are no damage."""
    token = dump(FULL, service="itwin", job_id="jöb-1", now=100.0, epoch=EPOCH)
    assert loaded(REWRITTEN[store](json.loads(token)), 100.0) == ("jöb-1", FULL)


@pytest.mark.parametrize("state", [FULL, BARE])
def test_a_token_cut_anywhere_is_refused(state):
    """At every length short of the whole: a `ConfigurationError`."""
    token = token_of(state)
    for length in range(len(token)):
        with pytest.raises(ConfigurationError):
            loaded(token[:length])


@pytest.mark.parametrize("bit", range(8))
def test_a_token_with_one_byte_changed_is_refused_or_means_the_same(bit):
    """Whichever byte is damaged, no other wait comes out of it."""
    whole = token_of(FULL, 100.0)
    expected = loaded(whole, 100.0)
    for place in range(len(whole)):
        raw = bytearray(whole.encode())
        raw[place] ^= 1 << bit
        damaged = raw.decode("latin-1")
        try:
            found = loaded(damaged, 100.0)
        except ConfigurationError:
            continue
        assert found == expected, damaged


@pytest.mark.parametrize("char", '0123456789-.eE"[]{},:nNtIa \\')
def test_a_token_with_one_character_replaced_is_refused_or_means_the_same(char):
    """Nor with a character that JSON gives a meaning to."""
    whole = token_of(FULL, 100.0)
    expected = loaded(whole, 100.0)
    for place in range(len(whole)):
        damaged = whole[:place] + char + whole[place + 1 :]
        try:
            found = loaded(damaged, 100.0)
        except ConfigurationError:
            continue
        assert found == expected, damaged


WRONG = {
    "v": [None, "1", True, 1.0, [], -1],
    "service": [None, "", 7, []],
    "job": [None, "", 7, {}],
    "at": [None, "0", True, [], 10**400, 1e300],
    "due": [None, "0", True, {}, 10**400, -1e300],
    "deadline": ["0", True, [], 10**400],
    "changed": [None, "0", False, [], 10**400],
    "rung": [None, -1, 1.5, "1", True],
    "held": [None, -1, 1.5, "1", False],
    "marker": [True, [], {}],
    "phase": ["paused", 1, [], {}, True],
    "failures": [None, -1, "1"],
    "polls": [None, -1, "1"],
    "delays": [None, [], [-1], ["1"], 15, {"0": 1}, [None], [10**400], [[1]], "15"],
    "restart": [None, 1, "true"],
    "jitter": [None, -1, "1", True],
    "stall": [-1, "1", True, []],
    "failures_max": [None, 0, -1, "1", True],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_token_field_of_another_form_is_refused_by_name(name):
    """Also where somebody made the checksum fit."""
    assert set(WRONG) == set(json.loads(token_of(FULL))) - {"sum"}
    for value in WRONG[name]:
        fields = json.loads(token_of(FULL)) | {name: value}
        del fields["sum"]
        fields["sum"] = polling._checksum(fields)
        with pytest.raises(ConfigurationError, match="token"):
            loaded(json.dumps(fields))


@pytest.mark.parametrize("name", [*WRONG, "sum"])
def test_a_token_without_a_field_is_refused(name):
    """None is optional."""
    fields = json.loads(token_of(FULL))
    del fields[name]
    with pytest.raises(ConfigurationError, match="token"):
        loaded(json.dumps(fields))


@pytest.mark.parametrize(
    "token", ["", "{}", "[]", "null", "7", '"v"', "x" * 10_000, "[" * 100_000, None, 7, b"\xff", {}]
)
def test_what_is_no_token_is_refused(token):
    """The message says what to give, and quotes a short beginning only."""
    with pytest.raises(ConfigurationError, match="isn't a complete opwatch token") as refused:
        loaded(token)
    assert len(str(refused.value)) < 200


def test_a_token_of_another_service_is_refused_by_name():
    """The message says which one it is of."""
    with pytest.raises(ConfigurationError, match=r"for the service 'itwin', not 'apig'"):
        load(token_of(FULL), service="apig", now=0.0, epoch=EPOCH)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_token_of_another_version_is_refused(version):
    """A newer opwatch may mean something else by the same fields."""
    fields = json.loads(token_of(FULL)) | {"v": version}
    with pytest.raises(ConfigurationError, match=f"version {version}"):
        loaded(json.dumps(fields))


def test_a_wall_clock_set_back_between_processes_prolongs_a_wait_by_no_more_than_the_gap():
    """The time of writing is taken for now: what was left to wait is left to wait."""
    token = token_of(FULL, now=100.0)
    _, after = loaded(token, now=0.0, epoch=EPOCH - 86_400.0)
    assert after.plan.deadline is not None
    assert (after.due, after.plan.deadline) == (30.5, 3500.25)


def test_a_wall_clock_set_forward_between_processes_makes_the_next_query_due():
    """One poll at once; the one after it keeps its distance."""
    state = FULL._replace(plan=FULL.plan._replace(deadline=None, stall_timeout=None))
    _, after = loaded(token_of(state, now=100.0), now=0.0, epoch=EPOCH + 86_400.0)
    assert after.due < 0
    after, _ = advance(after, reading(41.5), 0.0)
    assert after.due == 120.0
