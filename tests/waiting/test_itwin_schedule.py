"""A real client follows iTwin's document to the letter.

"Client should poll with a backoff intervals [15,30,60,120] seconds. The interval between the first
and second poll is 15 sec and then 30 sec... If the percentage changes the sequence is restarted."
(Retrieve job progress, Remarks)
"""

import itertools

import pytest
from opwatch_waits.itwin import SERVICE

from opwatch import ITwin
from opwatch.errors import WaitTimeout
from opwatch.testing import FakeClock, Script, reply

STILL = [15, 30, 60, 120, 120, 120, 120, 120]
"""The delay after each poll of a job that makes no progress."""


def answer(**fields):
    return {"state": "Active", "percentage": 10, "step": "Producing"} | fields


def waits(progresses, queries):
    """The seconds between the first so many polls."""
    replies = [reply(200, {"jobProgress": progress}) for progress in progresses]
    job = [reply(200, {"job": {"id": "job-1", "state": "active"}})]
    with FakeClock() as clock, Script({"/progress": replies, "/jobs/job-1": job}) as script:
        watch = ITwin("a made-up token").watch("job-1", timeout=1e5)
        for _ in range(queries):
            next(watch)
    assert clock.now() < 1e5
    asked = [sent.time for sent in script.sent if sent.target.endswith("/progress")]
    return [after - before for before, after in itertools.pairwise(asked)]


def test_the_schedule_is_the_documents():
    """Its four intervals, restarted by a change of the percentage."""
    assert SERVICE.schedule.delays == (15, 30, 60, 120)
    assert SERVICE.schedule.restart_on_change is True


def test_a_job_that_stands_still_is_asked_at_0_15_45_105_225_345_465():
    """From then on, every 120 s until the deadline, at which the last poll is made."""
    replies = {"/progress": [reply(200, {"jobProgress": answer()})]}
    with FakeClock(), Script(replies) as script, pytest.raises(WaitTimeout):
        ITwin("a made-up token", resolve_outcome=False).wait("job-1", timeout=3600)
    assert [sent.time for sent in script.sent] == [
        0,
        15,
        *range(45, 106, 60),
        *range(225, 3600, 120),
        3600,
    ]


CHANGES = [(10, 11), (10, 9), (10, 10.5), (0, 100), (100, 0), (99.99, 100), (10, None), (None, 0)]
CHANGES += [("10", "11"), (10, "10.1"), (10, 300), (10, "n/a")]


@pytest.mark.parametrize("still", range(1, 7))
@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_any_change_of_the_percentage_makes_the_next_wait_15_seconds(before, after, still):
    """Up or down, by a fraction, to none: on whichever rung the job stood, all starts over."""
    progresses = [answer(percentage=before)] * still + [answer(percentage=after)]
    assert waits(progresses, still + 4) == STILL[:still] + STILL[:3]


SAME = {
    "the step": [answer(step="Preparing"), answer(step=None), answer(step="Producing")],
    "the state": [answer(state="Unsubmitted"), answer(state="Paused"), answer(state=None)],
    "the form of the number": [answer(percentage="10"), answer(percentage=10.0)],
    "a field the document has not": [answer(estimate=7), answer(estimate=8, more={"x": [1]})],
    "a field left out": [{"percentage": 10}, {"percentage": 10, "state": "Active"}],
}


@pytest.mark.parametrize("what", SAME)
def test_no_other_field_restarts_the_sequence(what):
    """The percentage is the same, so the next rung follows."""
    progresses = [answer(), *itertools.islice(itertools.cycle(SAME[what]), 6)]
    assert waits(progresses, 7) == STILL[:6]


def test_percentages_that_make_no_sense_are_all_the_same_none():
    """150 and -1 and a text are no percentages: between them nothing changes."""
    progresses = [answer(percentage=value) for value in (150, -1, "x", None, True, [], {})]
    assert waits(progresses, 7) == STILL[:6]


def test_a_job_that_always_moves_is_asked_every_15_seconds():
    """And never sooner."""
    progresses = [answer(percentage=n) for n in range(20)]
    assert waits(progresses, 20) == [15] * 19


def test_jitter_only_lengthens_the_documents_intervals():
    """By a tenth at most."""
    replies = {"/progress": [reply(200, {"jobProgress": answer()})]}
    for seed in range(20):
        with FakeClock(seed=seed), Script(replies) as script, pytest.raises(WaitTimeout):
            ITwin("a made-up token", resolve_outcome=False).wait("job-1", timeout=900)
        asked = [sent.time for sent in script.sent]
        found = [after - before for before, after in itertools.pairwise(asked)]
        for wait, rung in zip(found[:-1], STILL, strict=False):
            assert rung <= wait <= rung * 1.1
