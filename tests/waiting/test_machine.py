"""The machine on its own: values in, values out. It knows no service, no client and no clock."""

import itertools

import pytest
from machine_support import ITWIN, RUNNING, reading

from opwatch.core.polling import (
    TRANSITIONS,
    Event,
    Gate,
    Plan,
    PollState,
    Rung,
    Schedule,
    Trouble,
    Verdict,
    advance,
    begin,
    classify,
    wants_closer_look,
)
from opwatch.progress import Phase

SHAKY = Trouble(transient=True)


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
