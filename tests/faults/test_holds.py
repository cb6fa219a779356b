"""`Retry-After` is respected, whichever server sent it and whichever request received it."""

import threading

import pytest
from faults_support import (
    ACTIVE,
    DRIVERS,
    MINUTE,
    OVER,
    PATIENCE,
    SUCCESS,
    TEN,
    Server,
    answer,
    outcome,
    state,
    times,
)
from holds_support import FAILED_JOB, asking, itwin

from opwatch import Phase
from opwatch.errors import RateLimited, ServiceError, Unavailable
from opwatch.testing import Script, reply

STATUSES = [200, "page", 408, 429, 500, 502, 503]
every_status = pytest.mark.parametrize("status", STATUSES)


def until(clock, time, before, after=SUCCESS):
    """A handler that answers `before` until `time`, and `after` from then on."""
    return lambda request: after if clock.now() >= time else before


# --- a service's answer ---------------------------------------------------------------------------


@every_status
def test_the_next_poll_of_the_job_is_not_early(driver, clock, status):
    """After any response with `Retry-After`, a wait polls no sooner than it says."""
    replies = {"/jobs/j/progress": [ACTIVE, asking(status), SUCCESS]}

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.wait, "j", timeout=3600, schedule=TEN)

    with Script(replies) as script:
        assert driver.run(scenario).phase is Phase.SUCCEEDED
    first, second, third = times(script.sent)
    assert (first, second) == (0, 10)
    assert 110 <= third <= 210


@every_status
def test_the_other_jobs_of_the_client_are_held_too(driver, clock, status):
    """A response with `Retry-After` for one job holds every job at the same origin."""
    replies = {
        "/jobs/a/progress": [asking(status), SUCCESS],
        "/jobs/b/progress": [SUCCESS],
        "/jobs/c/progress": [SUCCESS],
    }

    async def scenario(driver):
        async with driver.opened(itwin(driver, max_in_flight=1)) as client:
            many = client.watch_many(["a", "b", "c"], timeout=3600, schedule=MINUTE)
            await driver.collect(many)
            return many

    with Script(replies) as script:
        many = driver.run(scenario)
    assert many.errors == {}
    assert {progress.phase for progress in many.last.values()} == {Phase.SUCCEEDED}
    early = [request for request in script.sent if request.time < 100]
    assert [(request.time, request.target[-16:]) for request in early] == [(0, "/jobs/a/progress")]


@every_status
def test_progress_during_a_pause_sends_nothing(driver, clock, status):
    """`progress` raises `RateLimited` with the remaining seconds, for that job and for others."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            await outcome(driver, client.progress, "j")
            clock.advance(30)
            held = [await outcome(driver, client.progress, name) for name in ("j", "k")]
            sent = len(script.sent)
            clock.advance(70)
            return held, sent, await driver.call(client.progress, "k")

    with Script(until(clock, 100, asking(status))) as script:
        held, sent, later = driver.run(scenario)
    assert [type(error) for error in held] == [RateLimited, RateLimited]
    assert [error.retry_after for error in held] == [pytest.approx(70), pytest.approx(70)]
    assert sent == 1
    assert later.phase is Phase.SUCCEEDED


@every_status
def test_a_step_is_not_due_before_the_pause_is_over(driver, clock, status):
    """A `Step`'s delay isn't below `Retry-After`, and a step that comes early sends nothing."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            first = await driver.call(client.start, "j", timeout=3600, schedule=TEN)
            assert first.delay >= 100
            clock.advance(50)
            early = await driver.call(client.step, first.token)
            assert early.progress is None
            assert early.delay >= 50
            assert times(script.sent) == [0]
            clock.advance(early.delay)
            return await driver.call(client.step, early.token)

    with Script(until(clock, 100, asking(status))) as script:
        last = driver.run(scenario)
    assert last.progress.phase is Phase.SUCCEEDED
    assert len(script.sent) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_takes_the_pause_of_a_failed_poll_to_another_client(driver, clock, status):
    """The due time in `Step.token` holds a client that never saw the response, and no longer."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            first = await driver.call(client.start, "j", timeout=3600, schedule=TEN)
        clock.advance(50)
        async with driver.opened(itwin(driver)) as client:
            early = await driver.call(client.step, first.token)
            assert early.delay == pytest.approx(first.delay - 50)
        assert len(script.sent) == 1
        clock.advance(early.delay)
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.step, first.token)

    with Script(until(clock, 100, asking(status))) as script:
        assert driver.run(scenario).progress.phase is Phase.SUCCEEDED


def test_a_step_in_another_client_goes_at_its_due_time(driver, clock):
    """A new client knows the token's due time and not the pause that came with good progress."""

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            first = await driver.call(client.start, "j", timeout=3600, schedule=TEN)
        clock.advance(max(first.delay, 10))
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.step, first.token)

    with Script({"/progress": [asking(200), SUCCESS]}) as script:
        assert driver.run(scenario).progress.phase is Phase.SUCCEEDED
    assert len(script.sent) == 2


# --- the second request of a poll -----------------------------------------------------------------


@pytest.mark.parametrize("status", ["active", "page", 429, 500, 503])
def test_a_pause_from_the_closer_look_holds_the_next_poll(driver, clock, status):
    """A job without progress is looked at with GET /jobs/{id}, whose `Retry-After` counts too."""
    headers = {"Retry-After": "1000"}
    looked = (
        reply(200, {"job": {"id": "j", "state": "active"}}, headers)
        if status == "active"
        else asking(status, "1000")
    )

    def handler(request):
        if request.target.endswith("/progress"):
            return SUCCESS if clock.now() >= 1360 else ACTIVE
        return looked

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.wait, "j", timeout=None, schedule=MINUTE)

    with Script(handler) as script:
        assert driver.run(scenario).phase is Phase.SUCCEEDED
    assert times(script.sent, end="/jobs/j") == [360]
    assert [time for time in times(script.sent) if 360 < time < 1360] == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_between_the_two_requests_of_a_poll_holds_the_second(driver, clock, status):
    """While job a's progress is on its way, job b is told to stay away: a's follow-up is held."""
    arrived, limited = threading.Event(), threading.Event()

    def handler(request):
        if request.target.endswith("/jobs/b/progress"):
            return answer(status, FAILED_JOB, [("Retry-After", "100")])
        if request.target.endswith("/jobs/a/progress"):
            arrived.set()
            assert limited.wait(PATIENCE)
            return answer(200, {"jobProgress": {"state": "Over", "percentage": 100}})
        return answer(200, {"job": {"id": "a", "state": "success"}})

    async def scenario(driver):
        async with driver.opened(itwin(driver, base_url=server.url)) as client:

            def second():
                if driver is DRIVERS["blocking"]:
                    return noting(lambda: client.progress("b"))
                return anoting(client.progress("b"))

            return await driver.beside(
                lambda: client.wait("a", timeout=3600, schedule=TEN), second, arrived
            )

    def noting(call):
        try:
            return call()
        finally:
            limited.set()

    async def anoting(call):
        try:
            return await call
        finally:
            limited.set()

    with Server(handler, clock) as server:
        ended, error = driver.run(scenario)
    assert isinstance(error, ServiceError)
    assert error.retry_after == 100
    assert ended.phase is Phase.SUCCEEDED
    follow_ups = [request.time for request in server.asked if request.target.endswith("/jobs/a")]
    assert len(follow_ups) == 1
    assert follow_ups[0] >= 100
    assert [request for request in server.asked if 0 < request.time < 100] == []


def test_a_pause_that_comes_with_over_holds_the_follow_up(driver, clock):
    """`Over` with `Retry-After: 100`: GET /jobs/{id} isn't sent before the 100 seconds are up."""

    def handler(request):
        if request.target.endswith("/progress"):
            return state("Over", 100, Retry_After="100") if clock.now() < 100 else OVER
        return reply(200, {"job": {"id": "j", "state": "success"}})

    async def scenario(driver):
        async with driver.opened(itwin(driver)) as client:
            return await driver.call(client.wait, "j", timeout=3600, schedule=TEN)

    with Script(handler) as script:
        assert driver.run(scenario).phase is Phase.SUCCEEDED
    assert [time for time in times(script.sent) if 0 < time < 100] == []
    assert all(time >= 100 for time in times(script.sent, end="/jobs/j"))


# --- a token endpoint's answer --------------------------------------------------------------------


token_statuses = pytest.mark.parametrize("status", [429, 503])


@token_statuses
def test_a_pause_at_early_renewal_is_kept_when_the_token_ends(driver, clock, kit, status):
    """The token endpoint is left alone for as long as it asked, and the valid token polls on."""
    limited = []

    def handler(request):
        if request.method != "POST":
            return kit.success if limited and clock.now() >= limited[0] + 1800 else kit.active
        if limited and clock.now() >= limited[0] + 1800:
            return kit.token(clock)
        if clock.now() == 0:
            return kit.token(clock)
        limited.append(clock.now())
        return reply(status, None, {"Retry-After": "1800"})

    async def scenario(driver):
        async with driver.opened(kit.client(driver)) as client:
            return await driver.call(client.wait, "j", timeout=None, schedule=MINUTE)

    with Script(handler) as script:
        assert driver.run(scenario).phase is Phase.SUCCEEDED
    first, renewal, later = times(script.sent, "POST")
    assert first == 0
    assert 3000 <= renewal < 3600
    assert later >= renewal + 1800
    polls = times(script.sent, end="/progress")
    assert [time for time in polls if time < 3600] == [60 * n for n in range(60)]


@token_statuses
def test_a_pause_for_a_cold_client_is_one_token_request_for_all_its_jobs(
    driver, clock, kit, status
):
    """50 jobs and no token: one token request, and the next when the time is up."""
    names = [f"j{n}" for n in range(50)]

    def handler(request):
        if request.method != "POST":
            return kit.success
        return kit.token(clock) if clock.now() >= 100 else reply(status, b"", RETRY_100)

    async def scenario(driver):
        async with driver.opened(kit.client(driver)) as client:
            many = client.watch_many(names, timeout=3600, schedule=MINUTE)
            await driver.collect(many)
            return many

    with Script(handler) as script:
        many = driver.run(scenario)
    assert many.errors == {}
    assert {progress.phase for progress in many.last.values()} == {Phase.SUCCEEDED}
    first, second = times(script.sent, "POST")
    assert first == 0
    assert second >= 100
    assert min(times(script.sent, "GET")) >= 100


RETRY_100 = {"Retry-After": "100"}


@token_statuses
def test_progress_during_a_token_endpoints_pause_sends_nothing(driver, clock, kit, status):
    """Without a token, `progress` raises `RateLimited` with the remaining seconds."""

    def handler(request):
        if request.method != "POST":
            return kit.success
        return kit.token(clock) if clock.now() >= 100 else reply(status, b"", RETRY_100)

    async def scenario(driver):
        async with driver.opened(kit.client(driver)) as client:
            first = await outcome(driver, client.progress, "j")
            clock.advance(30)
            held = await outcome(driver, client.progress, "k")
            sent = len(script.sent)
            clock.advance(70)
            return first, held, sent, await driver.call(client.progress, "k")

    with Script(handler) as script:
        first, held, sent, later = driver.run(scenario)
    assert type(first) is (RateLimited if status == 429 else Unavailable)
    assert first.retry_after == 100
    assert type(held) is RateLimited
    assert held.retry_after == pytest.approx(70)
    assert sent == 1
    assert later.phase is Phase.SUCCEEDED
