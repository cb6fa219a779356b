"""The drivers around the machine: resuming, errors, and clocks that jump."""

import itertools
import json
import pickle

import attrs
import pytest
from drivers_support import ACTIVE, FAILED, SUCCESS, client, progress, script, times

from opwatch import errors
from opwatch.errors import (
    BadResponse,
    JobCancelled,
    JobFailed,
    JobGone,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
    WaitStalled,
    WaitTimeout,
)
from opwatch.progress import Fault, Phase
from opwatch.testing import FakeClock, reply

GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})


# --- resuming -------------------------------------------------------------------------------------


def test_the_token_of_a_timeout_asks_once_more_and_times_out_again(clock):
    """The deadline is the same: it has passed. A job that ended since is told."""
    with script(ACTIVE, ACTIVE, SUCCESS) as sent:
        with pytest.raises(WaitTimeout) as first:
            client().wait("job-1", timeout=0)
        clock.advance(1000)
        with pytest.raises(WaitTimeout) as second:
            client().resume(first.value.token)
        clock.advance(1000)
        assert client().resume(second.value.token).phase is Phase.SUCCEEDED
    assert times(sent) == [0, 1000, 2000]


def test_the_token_of_a_failed_job_tells_again_that_it_failed(clock):
    """A job does not fail twice, and is asked about once."""
    with script(ACTIVE, FAILED) as sent:
        with pytest.raises(JobFailed) as first:
            client().wait("job-1", timeout=None)
        with pytest.raises(JobFailed):
            client().resume(first.value.token)
    assert times(sent) == [0, 15, 15]


def test_the_token_of_a_job_that_ended_is_stepped_to_the_same_end(clock):
    """An engine that repeats its last turn sees the same."""
    with script(SUCCESS):
        step = client().start("job-1", timeout=None)
        again = client().step(step.token)
    assert (step.delay, again.delay) == (None, None)
    assert again.progress.phase is Phase.SUCCEEDED


def test_a_watch_that_has_ended_stays_ended(clock):
    """With the last response and the id at hand."""
    with script(ACTIVE, SUCCESS) as sent:
        watch = client().watch("job-1", timeout=None)
        assert (watch.last, watch.job_id) == (None, "job-1")
        assert len(list(watch)) == 2
        assert (list(watch), watch.last.phase) == ([], Phase.SUCCEEDED)
    assert len(sent.sent) == 2


def test_a_watch_that_has_raised_stays_ended(clock):
    """The error comes once."""
    with script(ACTIVE):
        watch = client().watch("job-1", timeout=0)
        assert next(watch).phase is Phase.RUNNING
        with pytest.raises(WaitTimeout):
            next(watch)
        assert list(watch) == []


# --- errors ---------------------------------------------------------------------------------------


OTHER = reply(404, {"error": {"code": "ResourceNotFound", "message": "nothing here"}})
DENIED = reply(403, {"error": {"code": "InsufficientPermissions"}})
REFUSED = reply(401, {"error": {"code": "Unauthorized"}})
LIMITED = reply(429, {"error": {"code": "RateLimitExceeded"}}, {"Retry-After": "900"})
ENDS = {
    JobFailed: (FAILED, {}),
    JobCancelled: (progress("cancelled"), {}),
    JobGone: (GONE, {}),
    WaitTimeout: (ACTIVE, {}),
    WaitStalled: (ACTIVE, {"stall_timeout": 20}),
    ServiceError: (reply(418, {"error": {"code": "Teapot"}}), {}),
    errors.AuthenticationError: (REFUSED, {}),
    PermissionDenied: (DENIED, {}),
    NotFound: (OTHER, {}),
    RateLimited: (LIMITED, {}),
    Unavailable: (reply(503), {}),
    BadResponse: (reply(200, b"<html>"), {}),
    TransportError: (TransportError("no connection"), {}),
}


def ended_by(kind):
    """The error of that class from a real wait, which had one response before."""
    answer, how = ENDS[kind]
    with FakeClock(), script(ACTIVE, answer), pytest.raises(kind) as raised:
        client(max_failures=1).wait("job-1", timeout=100, **how)
    return raised.value


@pytest.mark.parametrize("kind", ENDS)
def test_an_error_that_ends_a_wait_tells_of_the_wait(kind):
    """Service, id, last response and token, and the token resumes."""
    error = ended_by(kind)
    assert type(error) is kind
    assert (error.service, error.job_id) == ("itwin", "job-1")
    assert error.last.job_id == "job-1"
    assert str(error).startswith("itwin job-1: ")
    assert not hasattr(error, "__notes__")
    with FakeClock(), script(SUCCESS):
        assert client().resume(error.token).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_that_ends_a_wait_pickles(kind, protocol):
    """As for a process pool: the copy says all that the original said."""
    error = ended_by(kind)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is kind
    assert (str(copy), copy.args) == (str(error), error.args)
    assert shown(copy) == shown(error)


def shown(error):
    """What an error holds; of the last response's model what it says, not which object says it."""
    last = error.last and (attrs.evolve(error.last, wire=None), error.last.wire.to_dict())
    return vars(error) | {"last": last}


def classes(root=OpwatchError):
    return {root}.union(*(classes(kind) for kind in root.__subclasses__()))


def test_every_error_is_public_and_pickles():
    """Each class of the module, with all it can carry."""
    public = {getattr(errors, name) for name in errors.__all__}
    assert public == {kind for kind in classes() if kind.__module__ == "opwatch.errors"}
    for kind in public:
        more = {"fault": Fault("E-1", "no photos")} if issubclass(kind, JobFailed) else {}
        if issubclass(kind, ServiceError):
            more = {"status": 429, "code": "C", "request_id": "r-1", "retry_after": 2.5}
        if kind is BadResponse:
            more = {"status": 200, "excerpt": "<html>"}
        error = kind("said so", service="itwin", job_id="job-1", token="a token", **more)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def test_a_stopped_wait_says_that_the_job_goes_on():
    """So that nobody takes it for stopped. A token keeps its deadline, so it would end again."""
    for kind in (WaitTimeout, WaitStalled):
        assert "the job continues; call wait() again to keep waiting" in str(ended_by(kind))


def test_a_timeout_in_trouble_says_what_the_trouble_was(clock):
    """In its text, and as its cause."""
    with script(ACTIVE, reply(503)), pytest.raises(WaitTimeout) as raised:
        client().wait("job-1", timeout=10)
    assert isinstance(raised.value.__cause__, Unavailable)
    text = str(raised.value)
    assert text.startswith(
        "itwin job-1: timed out before the job finished (last error: the response was empty"
    )
    assert text.count("job-1") == 1
    assert isinstance(raised.value, TimeoutError)


def test_a_timeout_without_any_answer_claims_nothing_of_the_job(clock):
    """Whether it continues, nobody said; also where the token of such a wait was resumed."""
    with script(TransportError("no connection")):
        begun = client().start("job-1", timeout=10)
        with pytest.raises(WaitTimeout) as raised:
            client().resume(begun.token)
    assert str(raised.value) == (
        "itwin job-1: timed out before the job's state was known (last error: no connection); "
        "call wait() again to keep waiting"
    )
    assert raised.value.last is None


def test_a_job_that_is_gone_says_what_the_service_said(clock):
    """As every error response: status, code, words, and the request that support asks for."""
    body = {"error": {"code": "JobNotFound", "message": "no such job"}}
    gone = reply(404, body, {"x-correlation-id": "r-1"})
    with script(ACTIVE, gone), pytest.raises(JobGone) as raised:
        client().wait("job-1", timeout=100)
    error = pickle.loads(pickle.dumps(raised.value))
    found = (error.status, error.code, error.message, error.request_id, error.last.percent)
    assert found == (404, "JobNotFound", "no such job", "r-1", raised.value.last.percent)
    assert str(error) == "itwin job-1: no such job (404 JobNotFound) [request r-1]"


# --- clocks that jump -----------------------------------------------------------------------------


DAY = 86_400.0


@pytest.mark.parametrize("jump", [-10 * DAY, -DAY, -1.5, 1.5, DAY, 10 * DAY])
def test_a_wall_clock_that_jumps_during_a_wait_changes_nothing(clock, jump):
    """Inside a process time is monotonic."""
    with script(ACTIVE) as sent, pytest.raises(WaitTimeout):
        client().wait("job-1", timeout=400, on_progress=lambda _: clock.jump(jump))
    assert times(sent) == [0, 15, 45, 105, 225, 345, 400]


def stepped(clock, sent, jump, *, turns=(1,), timeout=400):
    """The times of an engine's polls where the wall clock jumps after certain turns."""
    step, n = client().start("job-1", timeout=timeout), 0
    try:
        while step.delay is not None:
            n += 1
            assert n < 100, "a busy loop"
            if n in turns:
                clock.jump(jump)
            clock.advance(step.delay)
            step = client().step(step.token)
    except WaitTimeout:
        return times(sent)
    raise AssertionError("the wait has no end")


@pytest.mark.parametrize("jump", [-0.5, -7, -60, -DAY, -1000 * DAY])
@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5])
def test_a_wall_clock_set_back_between_steps_prolongs_the_wait_by_one_delay_at_most(
    clock, turn, jump
):
    """Nothing is asked early, and the deadline is missed by a rung at most."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, jump, turns=(turn,))
    rungs = [15, 30, 60, 120, 120]
    waits = [after - before for before, after in itertools.pairwise(found)]
    assert all(wait >= rung for wait, rung in zip(waits[:-1], rungs, strict=False))
    assert 400 <= found[-1] <= 400 + rungs[turn - 1]


@pytest.mark.parametrize("jump", [1, 60, DAY])
@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_a_wall_clock_set_forward_between_steps_brings_one_query_forward(clock, turn, jump):
    """The one that is due by the new time; what follows keeps its distance. No busy loop."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, jump, turns=(turn,))
    assert found[-1] <= 400
    assert len(found) <= 7


def test_a_wall_clock_that_jumps_at_every_step_ends_all_the_same(clock):
    """Back and forth, by more than the wait itself."""
    with script(ACTIVE) as sent:
        found = stepped(clock, sent, -DAY, turns=range(1, 5))
    assert found[-1] <= 400 + 15 + 30 + 60 + 120


def test_an_early_step_after_a_clock_set_back_waits_no_longer_than_the_delay(clock):
    """However often it is called: what is left was counted when the token was written."""
    with script(ACTIVE, SUCCESS) as sent:
        step = client().start("job-1", timeout=None)
        clock.jump(-DAY)
        for _ in range(5):
            step = client().step(step.token)
            assert step.delay == pytest.approx(15)
        clock.advance(step.delay)
        assert client().step(step.token).delay is None
    assert times(sent) == [0, 15]


class Lagging(FakeClock):
    """Before a look at one of its clocks time passes, as on a machine that is busy."""

    before_now = before_epoch = 0.0

    def now(self):
        self._now += self.before_now
        return self._now

    def epoch(self):
        self._now += self.before_epoch
        return super().epoch()


@pytest.mark.parametrize("lag", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("left", [1e-3, 0.1, 0.3, 0.6])
def test_a_token_read_by_a_busy_machine_makes_no_query_early(left, lag):
    """What is lost between the two clocks makes a poll later."""
    with Lagging() as clock, script(ACTIVE, SUCCESS) as sent:
        token = client().start("job-1", timeout=None).token
        clock.advance(15 - left)
        clock.before_epoch = lag
        client().step(token)
    assert all(time == 0 or time >= 15 for time in times(sent))


@pytest.mark.parametrize("lag", [0.01, 0.2, 0.5])
def test_a_token_written_by_a_busy_machine_makes_no_query_early(lag):
    """The same of the two looks that are taken to write it."""
    with Lagging(epoch=1_800_000_000) as clock, script(ACTIVE):
        watch = client().watch("job-1", timeout=None)
        next(watch)
        clock.before_now = lag
        assert json.loads(watch.token)["due"] >= 1_800_000_015


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.123_456_789, 0.999_999_9])
def test_an_engine_that_sleeps_as_long_as_it_is_told_is_not_too_early(moment):
    """To a few microseconds, which no real sleep hits: each turn polls, and none is in vain."""
    with FakeClock(epoch=1_790_000_000 + moment) as clock, script(ACTIVE) as sent:
        step = client().start("job-1", timeout=600)
        for _ in range(5):
            clock.advance(step.delay + 5e-6)
            step = client().step(step.token)
            assert step.progress is not None
    assert len(sent.sent) == 6
