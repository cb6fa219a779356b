"""Timelines: which frame a poll gets. Values in, values out."""

import pytest

from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.simulator import Frame, Polls, Timed
from opwatch.simulator.timeline import Timeline, timeline

RUNNING, DONE = Frame("running"), Frame("succeeded", at=10)
TROUBLE = Frame(status=503)


def met(script: Timeline, times: list[float]) -> list[int]:
    """The index of the frame that each of several polls meets, at those seconds."""
    counts = [0] * len(script.frames)
    found = []
    for elapsed in times:
        index = script.pick(elapsed, counts)
        counts[index] += 1
        found.append(index)
    return found


def test_polls_go_one_frame_a_poll_and_repeat_the_last() -> None:
    """Each poll meets the next frame, whatever the time; the last is met forever."""
    script = Polls([RUNNING, TROUBLE, Frame("succeeded")])
    assert met(script, [0, 0, 0, 0, 1000]) == [0, 1, 2, 2, 2]


def test_polls_meet_a_frame_as_often_as_it_says() -> None:
    """`times` is how many polls meet a frame."""
    script = Polls([Frame("running", times=3), Frame("succeeded")])
    assert met(script, [0, 0, 0, 0]) == [0, 0, 0, 1]


def test_time_decides_which_frame_is_met() -> None:
    """A frame lasts from its time to the next one's; the last lasts forever."""
    script = Timed([RUNNING, Frame("running", at=5), DONE])
    assert met(script, [0, 4.9, 5, 9.9, 10, 1e9]) == [0, 0, 1, 1, 2, 2]


def test_a_frame_with_a_count_is_met_by_the_first_polls_after_its_time() -> None:
    """A counted frame lies in the way of exactly that many polls, then the state is what it is."""
    limited = Frame(error="RateLimitExceeded", at=5, times=2)
    script = Timed([RUNNING, limited, DONE])
    assert met(script, [0, 6, 7, 8, 10]) == [0, 1, 1, 0, 2]


def test_a_counted_frame_is_not_missed_by_a_slow_poller() -> None:
    """Also a poll long after it meets a counted frame, before the end is seen."""
    script = Timed([RUNNING, Frame(status=503, at=5, times=1), DONE])
    assert met(script, [0, 100, 101]) == [0, 1, 2]


def test_a_frame_is_shown_as_it_was_written() -> None:
    """Only what isn't at its default: an error that quotes a frame stays readable."""
    assert repr(Frame("running", percent=0)) == "Frame(phase='running', percent=0)"
    refusal = Frame(status=503, at=3, headers={"Retry-After": "5"})
    assert repr(refusal) == "Frame(at=3, status=503, headers={'Retry-After': '5'})"
    after = Frame("ended", lookup=DONE)
    assert repr(after) == "Frame(phase='ended', lookup=Frame(phase='succeeded', at=10))"


def test_a_list_is_a_timeline_by_time_and_a_frame_is_one_for_ever() -> None:
    """What a caller gives becomes a timeline: a list by time, a single frame forever."""
    assert timeline([RUNNING, DONE]) == Timed([RUNNING, DONE])
    assert timeline(RUNNING) == Polls([RUNNING])
    assert timeline(Polls([RUNNING])) == Polls([RUNNING])


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        ([], "one or more Frames"),
        (["running"], "one or more Frames"),
        ([DONE], "must be at 0"),
        ([RUNNING, DONE, Frame("running", at=5)], "ordered by time"),
        ([RUNNING, Frame("succeeded")], "use Polls"),
    ],
)
def test_a_timeline_that_cannot_be_played_is_refused(frames: list[Frame], what: str) -> None:
    """Frames out of order, at the same time, or none at all are a mistake that is named."""
    with pytest.raises(ConfigurationError, match=what):
        timeline(frames)


@pytest.mark.parametrize("script", [None, 7, object()])
def test_what_is_no_timeline_is_refused(script: object) -> None:
    """Anything that is no timeline, frame, or list of frames is a mistake that is named."""
    with pytest.raises(ConfigurationError, match="one or more Frames"):
        timeline(script)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "it has none"),
        ({"phase": "running", "error": "APIC.7302"}, "it has phase and error or status"),
        ({"raw": b"", "body": {}}, "it has body and raw"),
        ({"phase": "done"}, "unknown phase 'done'; the phases are pending, running"),
        ({"phase": "running", "times": 0}, "`times` must be a positive integer"),
    ],
)
def test_a_frame_is_one_kind_of_answer(fields: dict[str, object], what: str) -> None:
    """A frame that is no response, or two at once, is a mistake that is named."""
    with pytest.raises(ConfigurationError, match=what):
        Frame(**fields)  # type: ignore[arg-type]


def test_a_status_belongs_to_what_it_stands_with() -> None:
    """A status alone is a refusal; with bytes or JSON it is theirs."""
    assert Frame(status=503).is_refusal
    assert not Frame(status=502, raw=b"<html>").is_refusal
    assert not Frame(status=404, body={}).is_refusal


def test_a_phase_may_be_given_by_name() -> None:
    """`Frame("running")` is `Frame(Phase.RUNNING)`."""
    assert Frame(Phase.RUNNING) == Frame("running")
