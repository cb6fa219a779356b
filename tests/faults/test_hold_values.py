"""Which `Retry-After` counts, and pauses that nobody waits for."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from faults_support import DRIVERS, MINUTE, SUCCESS, Server, answer, outcome, state, times
from holds_support import FAILED_JOB, asking, itwin

from opwatch import Phase
from opwatch.errors import OpwatchError, RateLimited
from opwatch.testing import Script, reply

# --- which value counts ---------------------------------------------------------------------------


# 90 seconds after the moment at which a FakeClock begins.
IN_90 = format_datetime(datetime.fromtimestamp(1_800_000_090, UTC), usegmt=True)


@pytest.mark.parametrize(
    "lines",
    [
        ["90"],
        [IN_90],
        ["90", "90"],
        ["30", "90"],
        ["90", "30"],
        ["90, 90"],
        ["30, 90"],
        ["90, 30"],
        ["30,90"],
        ["30", IN_90],
        [IN_90, "30"],
        [f"30, {IN_90}"],
    ],
)
def test_the_largest_of_several_values_counts(clock, lines):
    """A server and its proxy may each add a header line, or one may join them with a comma."""
    headers = [("Retry-After", line) for line in lines]
    with (
        Server(lambda request: answer(429, FAILED_JOB, headers)) as server,
        itwin(DRIVERS["blocking"], base_url=server.url) as client,
        pytest.raises(RateLimited) as raised,
    ):
        client.progress("j")
    assert raised.value.retry_after == pytest.approx(90)


# --- pauses that nobody waits out -----------------------------------------------------------------


too_long = pytest.mark.parametrize("value", ["1800000060", "315360000", "86401"])
kinds = pytest.mark.parametrize("status", [200, "page", 429, 503])


@too_long
@kinds
def test_a_pause_of_more_than_a_day_ends_a_wait_at_once(driver, clock, status, value):
    """A wait without a deadline reports a `Retry-After` of years instead of waiting it out."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await outcome(driver, client.wait, "j", timeout=None, schedule=MINUTE)

    with Script({"/progress": [asking(status, value), SUCCESS]}) as script:
        error = driver.run(scenario)
    assert isinstance(error, OpwatchError), f"{error} after {clock.now():.0f} s"
    if status == 429:
        assert isinstance(error, RateLimited)
    assert value in str(error)
    assert (len(script.sent), clock.now()) == (1, 0)


@pytest.mark.parametrize("value", ["1800000060", "315360000"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_of_more_than_a_day_ends_all_waits_of_the_client(driver, clock, status, value):
    """Each job of `watch_many` ends with an error, after one request."""

    async def scenario(driver):
        async with driver.opened(itwin(driver, max_in_flight=1)) as client:
            many = client.watch_many(["a", "b", "c"], timeout=None, schedule=MINUTE)
            await driver.collect(many)
            return many

    with Script({"/jobs/a/progress": [asking(status, value), SUCCESS], "": [SUCCESS]}) as script:
        many = driver.run(scenario)
    assert sorted(many.errors) == ["a", "b", "c"]
    assert isinstance(many.errors["b"], RateLimited)
    assert isinstance(many.errors["c"], RateLimited)
    assert (len(script.sent), clock.now() <= 60) == (1, True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_endpoints_pause_of_more_than_a_day_ends_a_wait_at_once(driver, clock, kit, status):
    """The same if no token can be fetched for so long."""

    def handler(request):
        if request.method != "POST":
            return kit.success
        late = reply(status, b"", {"Retry-After": "1800000060"})
        return kit.token(clock) if clock.now() > 0 else late

    async def scenario(driver):
        async with driver.opened(kit.client(driver)) as client:
            return await outcome(driver, client.wait, "j", timeout=None, schedule=MINUTE)

    with Script(handler) as script:
        error = driver.run(scenario)
    assert isinstance(error, OpwatchError), f"{error} after {clock.now():.0f} s"
    assert "1800000060" in str(error)
    assert (len(script.sent), clock.now()) == (1, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_of_more_than_a_day_ends_a_wait_by_steps(driver, clock, status):
    """`start` raises it, so no scheduler sleeps for years."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await outcome(driver, client.start, "j", timeout=None, schedule=MINUTE)

    with Script({"/progress": [asking(status, "1800000060")]}):
        error = driver.run(scenario)
    assert isinstance(error, OpwatchError)
    assert "1800000060" in str(error)


def test_a_date_of_more_than_a_day_ahead_ends_a_wait_at_once(driver, clock):
    """The same if `Retry-After` is a date."""
    then = format_datetime(datetime.fromtimestamp(clock.epoch() + 2 * 86_400, UTC), usegmt=True)

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await outcome(driver, client.wait, "j", timeout=None, schedule=MINUTE)

    with Script({"/progress": [asking(429, then), SUCCESS]}):
        error = driver.run(scenario)
    assert isinstance(error, RateLimited), f"{error} after {clock.now():.0f} s"
    assert clock.now() == 0


@kinds
def test_a_pause_of_a_day_is_waited_out(driver, clock, status):
    """86,400 seconds aren't too long if the wait has no deadline."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.wait, "j", timeout=None, schedule=MINUTE)

    with Script({"/progress": [asking(status, "86400"), SUCCESS]}) as script:
        assert driver.run(scenario).phase is Phase.SUCCEEDED
    first, second = times(script.sent)
    assert first == 0
    assert 86_400 <= second <= 86_500


def test_a_jobs_end_counts_whatever_pause_comes_with_it(driver, clock):
    """A success with a `Retry-After` of years is a success."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.wait, "j", timeout=None)

    with Script({"/progress": [state("success", 100, Retry_After="1800000060")]}):
        assert driver.run(scenario).phase is Phase.SUCCEEDED
