"""What the machine is given and keeps: arguments, the gate of a rate limit, and tokens."""

import json
import math

import pytest
from machine_support import ITWIN, RUNNING, reading

from opwatch.core import polling
from opwatch.core.polling import (
    Gate,
    Plan,
    PollState,
    Schedule,
    admit,
    advance,
    begin,
    dump,
    load,
    opened,
    shut,
)
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase

EPOCH = 1_800_000_000.0


def token_of(state, now=0.0, epoch=EPOCH):
    return dump(state, service="itwin", job_id="job-1", now=now, epoch=epoch)


def loaded(token, now=0.0, epoch=EPOCH):
    return load(token, service="itwin", now=now, epoch=epoch)


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
    assert repr(value)[:80] in str(refused.value)


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
    """The message says what to give, and is short."""
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
