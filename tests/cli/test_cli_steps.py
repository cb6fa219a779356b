"""What the command's loop is built on: a `Step` that reports the retryable error of its poll."""

import pytest

from opwatch.errors import OpwatchError, RateLimited, Unavailable
from opwatch.simulator import Frame, Polls, Simulator


def test_a_step_tells_its_trouble(sim: Simulator) -> None:
    """A turn without a response has the trouble that the wait retries after; one with has none."""
    limit = Frame(error="RateLimitExceeded", retry_after=20)
    sim.add("itwin", "j1", Polls([Frame("running"), limit, Frame("succeeded")]))
    client = sim.client("itwin")
    first = client.start("j1", timeout=None)
    assert (first.progress is None, first.trouble) == (False, None)
    sim.state.clock.sleep(first.delay)
    second = client.step(first.token)
    assert second.progress is None
    assert isinstance(second.trouble, RateLimited)
    assert second.trouble.retry_after == 20
    assert second.delay == 30  # the second rung is longer than what the service asked for
    sim.state.clock.sleep(second.delay)
    assert client.step(second.token).trouble is None


def test_a_step_that_comes_too_early_has_no_trouble(sim: Simulator) -> None:
    """Nothing asked, nothing met."""
    sim.add("itwin", "j1", Frame("running"))
    client = sim.client("itwin")
    early = client.step(client.start("j1", timeout=None).token)
    assert (early.progress, early.trouble, early.delay) == (None, None, 15)


def test_a_trouble_that_ends_the_wait_is_raised(sim: Simulator) -> None:
    """What no retry fixes is not retried."""
    sim.add("itwin", "j1", Frame(error="JobNotFound"))
    with pytest.raises(OpwatchError):
        sim.client("itwin").start("j1", timeout=None)


def test_an_outcome_that_is_missing(sim: Simulator) -> None:
    """A job known to be over is asked again for how it ended; the step has the reason."""
    over = Frame("ended", lookup=Frame(error="ServiceUnavailable"))
    sim.add("itwin", "j1", Polls([over]))
    step = sim.client("itwin").start("j1", timeout=None)
    assert step.progress is None
    assert isinstance(step.trouble, Unavailable)
    assert step.delay == 15
