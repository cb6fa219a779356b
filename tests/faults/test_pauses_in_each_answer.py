"""A service that asks for a pause in every response, including successful ones."""

from itertools import pairwise

import pytest

from opwatch import ITwin, Phase
from opwatch.testing import FakeClock, Script, reply

PAUSE = {"Retry-After": "1"}
OVER = reply(200, {"jobProgress": {"state": "Over", "percentage": 100}}, PAUSE)
ACTIVE = reply(200, {"jobProgress": {"state": "Active", "percentage": 5}}, PAUSE)
SUCCEEDED = reply(200, {"job": {"id": "j", "state": "success"}})
STILL_ACTIVE = reply(200, {"job": {"id": "j", "state": "active"}}, PAUSE)


@pytest.mark.parametrize("timeout", [None, 600])
def test_a_wait_learns_how_the_job_ended(timeout):
    """Once the job is over, only the job is asked: after the pause, and once."""
    script = Script({"/progress": [OVER], "/jobs/j": [SUCCEEDED]})
    with FakeClock() as clock, script:
        assert ITwin("t").wait("j", timeout=timeout).phase is Phase.SUCCEEDED
        assert clock.now() <= 20
    assert [sent.target.split("/")[-1] for sent in script.sent] == ["progress", "j"]


def test_steps_of_one_client_learn_how_the_job_ended():
    """As `opwatch watch` waits."""
    script = Script({"/progress": [OVER], "/jobs/j": [SUCCEEDED]})
    with FakeClock() as clock, script:
        client = ITwin("t")
        step = client.start("j", timeout=600)
        while step.delay is not None:
            clock.sleep(step.delay)
            step = client.step(step.token)
    assert step.progress is not None
    assert step.progress.phase is Phase.SUCCEEDED
    assert len(script.sent) <= 3


def test_a_job_without_progress_is_polled_by_the_schedule():
    """A closer look that is held costs neither the response nor the schedule."""
    script = Script({"/progress": [ACTIVE], "/jobs/j": [STILL_ACTIVE]})
    seen = []
    with FakeClock() as clock, script:
        for progress in ITwin("t").watch("j", timeout=3600, schedule=None):
            seen.append((clock.now(), progress.phase))
            if len(seen) == 20:
                break
    times = [time for time, _ in seen]
    assert {later - earlier for earlier, later in pairwise(times[4:])} == {120}
