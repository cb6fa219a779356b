"""Each way to authenticate, against the simulator, which refuses whatever the services refuse.

It checks dates, locks keys, lets tokens expire and revokes them, and its clock can be wrong.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import anyio
import pytest
from auth_support import PATIENCE

from opwatch import AkSk, Apig, AsyncITwin, Catenis, ClientCredentials, IamPassword, ITwin, Phase
from opwatch.errors import AuthenticationError
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.simulator import apig as simulated_apig
from opwatch.simulator import catenis as simulated_catenis
from opwatch.testing import FakeClock

FIRST = datetime(2026, 2, 20, 0, 2, 30, tzinfo=UTC)
HOURS = 30 * 24


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock(epoch=FIRST.timestamp()) as found:
        yield found


@pytest.fixture
def sim(clock: FakeClock) -> Iterator[Simulator]:
    with Simulator() as found:
        for service in found.services:
            found.add(service, JOB, Frame("running", percent=50))
        yield found


JOB = "p" + "j" * 19


def statuses(sim: Simulator) -> list[tuple[str | None, int | None]]:
    return [(request.operation, request.status) for request in sim.requests]


def catenis(sim: Simulator, secret: str = simulated_catenis.API_ACCESS_SECRET) -> Catenis:
    url = f"{sim.url}/api/0.7"
    return Catenis(simulated_catenis.DEVICE_ID, secret, base_url=url)


def keyed(sim: Simulator, secret: str = simulated_apig.SECRET_KEY) -> Apig:
    auth = AkSk(simulated_apig.ACCESS_KEY, secret)
    return Apig(sim.url, auth, project_id=simulated_apig.PROJECT_ID)


# --- CTN1 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [0, 290, -290])
def test_no_hour_of_30_days_is_refused(sim, clock, skew):
    """In 30 days of hourly requests, none is refused, even if a clock is nearly 5 minutes off."""
    sim.skew = skew
    with catenis(sim) as client:
        for _ in range(HOURS):
            clock.advance(3300)
            client.progress(JOB)
            clock.advance(300)
    assert statuses(sim) == [("progress", 200)] * HOURS


@pytest.mark.parametrize("skew", [3600, -3600])
def test_a_wrong_clock_is_corrected_once(sim, skew):
    """Only the first request is refused because of the clock, and it is signed again."""
    sim.skew = skew
    with catenis(sim) as client:
        for _ in range(3):
            client.progress(JOB)
    assert statuses(sim) == [("progress", 401)] + [("progress", 200)] * 3


def test_a_wrong_secret_is_refused_once(sim):
    """A wrong secret ends a wait at its first request."""
    with catenis(sim, "another made up secret") as client, pytest.raises(AuthenticationError):
        client.wait(JOB, timeout=3600)
    assert statuses(sim) == [("progress", 401)]


# --- AK/SK ----------------------------------------------------------------------------------------


def test_a_wait_with_a_wrong_key_does_not_lock_the_pair(sim):
    """A wrong key ends a wait at its first request, so the pair isn't locked."""
    with keyed(sim, "another made up key") as wrong, pytest.raises(AuthenticationError):
        wrong.wait(JOB, timeout=3600)
    with keyed(sim) as right:
        right.progress(JOB)
    assert statuses(sim) == [("progress", 401), ("progress", 200)]


def test_a_client_never_sends_refused_keys_again(sim):
    """A caller in a loop of its own sends a wrong key once, so the pair isn't locked."""
    with keyed(sim, "another made up key") as wrong, keyed(sim) as right:
        for _ in range(simulated_apig.LOCK_AFTER + 1):
            with pytest.raises(AuthenticationError):
                wrong.progress(JOB)
        assert right.progress(JOB).percent == 50
    assert statuses(sim) == [("progress", 401), ("progress", 200)]


def test_the_simulator_locks_a_pair_that_many_clients_get_wrong(sim, clock):
    """After six failures the right key is refused for five minutes, so the tests above can fail."""
    for _ in range(simulated_apig.LOCK_AFTER + 1):
        with keyed(sim, "another made up key") as wrong, pytest.raises(AuthenticationError):
            wrong.progress(JOB)
    with keyed(sim) as locked, pytest.raises(AuthenticationError):
        locked.progress(JOB)
    clock.advance(simulated_apig.LOCK_TIME)
    with keyed(sim) as right:
        assert right.progress(JOB).percent == 50


def test_temporary_keys_are_taken(sim):
    """Temporary keys are sent with their security token."""
    auth = AkSk(
        simulated_apig.TEMPORARY_ACCESS_KEY,
        simulated_apig.TEMPORARY_SECRET_KEY,
        security_token=simulated_apig.SECURITY_TOKEN,
    )
    with Apig(sim.url, auth, project_id=simulated_apig.PROJECT_ID) as client:
        assert client.progress(JOB).percent == 50


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["itwin", "apig"])
@pytest.mark.parametrize("life", [30, 120, 600])
def test_a_token_is_renewed_before_it_expires(sim, clock, service, life):
    """An hour of polling with short-lived tokens: no poll is ever refused."""
    sim.set_token_life(life)
    with sim.client(service) as client:
        for _ in range(200):
            client.progress(JOB)
            clock.advance(17)
    queries = [request for request in sim.requests if request.operation == "progress"]
    logins = [request for request in sim.requests if request.operation == "token"]
    assert {request.status for request in queries} == {200}
    assert len(queries) == 200
    assert 200 * 17 / life <= len(logins) <= 200 * 17 / (life - min(60, life / 2)) + 1


@pytest.mark.parametrize("service", ["itwin", "apig"])
def test_a_token_revoked_in_the_middle_of_a_wait_costs_one_login(sim, service):
    """A wait of 20 polls whose token is revoked sees one refusal and logs in once more."""
    job = "m" + "j" * 19
    frames = [Frame("running", percent=n) for n in range(19)] + [Frame("succeeded", percent=100)]
    sim.add(service, job, Polls(frames))

    def revoke(progress) -> None:
        if progress.percent == 8:
            sim.revoke_tokens(service)

    with sim.client(service) as client:
        last = client.wait(job, timeout=86_400, on_progress=revoke)
    found = statuses(sim)
    assert last.phase is Phase.SUCCEEDED
    assert found.count(("token", 200 if service == "itwin" else 201)) == 2
    assert found.count(("progress", 200)) == 20
    assert found.count(("progress", 401)) == 1


@pytest.mark.parametrize("service", ["itwin", "apig"])
def test_a_token_endpoint_that_is_down_for_a_while_ends_no_wait(sim, service, caplog):
    """A wait survives a token endpoint that is down, at its start and at a renewal."""
    sim.set_token_life(300)
    job = "m" + "j" * 19
    frames = [Frame("running", percent=n) for n in range(39)] + [Frame("succeeded", percent=100)]
    sim.add(service, job, Polls(frames))
    sim.fail_tokens(service, times=4)

    def fail(progress) -> None:
        if progress.percent in (8, 20):
            sim.fail_tokens(service, seconds=250)

    with caplog.at_level(logging.ERROR, "opwatch"), sim.client(service) as client:
        last = client.wait(job, timeout=86_400, on_progress=fail)
    assert last.phase is Phase.SUCCEEDED
    found = statuses(sim)
    assert found[:4] == [("token", 503)] * 4
    assert found.count(("token", 503)) > 6
    assert ("progress", 401) not in found


@pytest.mark.parametrize("service", ["itwin", "apig"])
def test_64_threads_log_in_once(sim, service):
    """64 threads that start together share one login."""
    ready = threading.Barrier(64)

    def ask(n: int) -> float | None:
        ready.wait(PATIENCE)
        return client.progress(JOB).percent

    with sim.client(service) as client, ThreadPoolExecutor(64) as pool:
        assert list(pool.map(ask, range(64), timeout=PATIENCE)) == [50] * 64
    assert [operation for operation, _ in statuses(sim)].count("token") == 1


def test_wrong_credentials_end_a_wait_with_a_documented_code_or_text(sim):
    """A wrong client secret and a wrong password end a wait at the first request."""
    oauth = ClientCredentials(
        "simulated-service-client", "another made up secret", token_url=f"{sim.url}/connect/token"
    )
    login = IamPassword(
        f"{sim.url}/v3",
        simulated_apig.USERNAME,
        "another made up password",
        domain_name=simulated_apig.DOMAIN_NAME,
        project_name=simulated_apig.PROJECT_NAME,
    )
    with (
        ITwin(oauth, base_url=f"{sim.url}/contextcapture") as client,
        pytest.raises(AuthenticationError, match="client ID or secret was refused") as caught,
    ):
        client.wait(JOB, timeout=3600)
    assert caught.value.code == "invalid_client"
    with (
        Apig(sim.url, login) as client,
        pytest.raises(AuthenticationError, match="username or password is wrong") as caught,
    ):
        client.wait(JOB, timeout=3600)
    assert caught.value.status == 401
    assert len(sim.requests) == 2


def test_an_async_client_shares_one_login_among_its_jobs(sim):
    """40 jobs of one `watch_many` need one token."""
    jobs = [f"n{n:02d}" + "j" * 17 for n in range(40)]
    for job in jobs:
        sim.add("itwin", job, Frame("succeeded", percent=100))

    async def main() -> set[Phase]:
        async with sim.async_client("itwin") as client:
            assert isinstance(client, AsyncITwin)
            return {found.phase async for found in client.watch_many(jobs, timeout=3600)}

    assert anyio.run(main) == {Phase.SUCCEEDED}
    assert [operation for operation, _ in statuses(sim)].count("token") == 1
