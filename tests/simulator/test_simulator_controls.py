"""What a test can do to a simulator (limits, failures, expiring tokens), and how clients cope."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from simulator_tools import SERVICES, statuses

from opwatch import Fault, Phase
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    RateLimited,
    Unavailable,
)
from opwatch.simulator import Frame, Simulator, apig
from opwatch.testing import FakeClock

WITH_TOKENS = ["apig", "itwin"]


def is_good(sim: Simulator, service: str, text: str) -> bool:
    token = sim.state.token(service, text)
    return token is not None and sim.state.is_good(token)


@pytest.fixture(autouse=True)
def jobs(sim: Simulator) -> None:
    for service in SERVICES:
        sim.add(service, "job-1", [Frame("running", percent=30), Frame("succeeded", at=100)])


# --- the clock ------------------------------------------------------------------------------------


HOUR = [Frame("running", percent=30), Frame("succeeded", at=3600)]


def test_a_fake_clock_that_is_entered_after_the_simulator() -> None:
    """Client and simulator share it, as if it had been entered before."""
    with Simulator() as sim, FakeClock() as clock:
        sim.add("itwin", "job-2", HOUR)
        assert sim.client("itwin").wait("job-2", timeout=7200).phase is Phase.SUCCEEDED
        assert 3600 <= clock.now() < 3600 + 132


@pytest.mark.anyio
async def test_the_clients_have_the_simulator_s_own_clock() -> None:
    """One that is passed needn't be entered, and holds whatever the current one is."""
    clock = FakeClock()
    with Simulator(clock=clock) as sim, FakeClock() as other:
        sim.add("itwin", "job-2", HOUR)
        assert sim.client("itwin").wait("job-2", timeout=7200).phase is Phase.SUCCEEDED
        sim.job("itwin", "job-2").restart()
        async with sim.async_client("itwin") as client:
            await client.wait("job-2", timeout=7200)
        assert (clock.now() >= 7200, other.now()) == (True, 0)


# --- rate limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("retry_after", [7, timedelta(seconds=7), "7"])
def test_a_rate_limit_says_when_to_come_back(
    sim: Simulator, service: str, retry_after: float | timedelta | str
) -> None:
    """`Retry-After` goes as seconds, as an HTTP-date, or as it is given."""
    sim.rate_limit(service, retry_after=retry_after)
    with pytest.raises(RateLimited) as caught:
        sim.client(service).progress("job-1")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("retry_after", [300, timedelta(seconds=300)])
def test_a_wait_does_as_a_rate_limit_says(
    sim: Simulator, clock: FakeClock, retry_after: float | timedelta
) -> None:
    """A wait comes back after `Retry-After`, not before, and lives on."""
    sim.rate_limit("itwin", times=2, retry_after=retry_after)
    sim.client("itwin").wait("job-1", timeout=3600)
    times = [one.time for one in sim.requests if one.operation == "progress"]
    assert statuses(sim)[:3] == [429, 429, 200]
    assert min(times[1] - times[0], times[2] - times[1]) >= 300


def test_a_date_is_read_against_the_server_s_own_clock(sim: Simulator) -> None:
    """An HTTP-date of a server whose clock is an hour ahead still means the same seconds."""
    sim.skew = 3600
    sim.rate_limit("itwin", retry_after=timedelta(seconds=7))
    with pytest.raises(RateLimited) as caught:
        sim.client("itwin").progress("job-1")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("service", SERVICES)
def test_a_limit_lets_so_many_through_in_each_window(
    sim: Simulator, clock: FakeClock, service: str
) -> None:
    """Requests above a limit are refused until its window ends, with `Retry-After`."""
    sim.limit(service, 2, seconds=60)
    client = sim.client(service)
    for _ in range(2):
        client.progress("job-1")
    clock.advance(20)
    with pytest.raises(RateLimited) as caught:
        client.progress("job-1")
    assert caught.value.retry_after == 40
    clock.advance(40)
    assert client.progress("job-1").phase is Phase.RUNNING


def test_a_limit_holds_all_jobs_of_a_client(sim: Simulator) -> None:
    """Many jobs watched at once live within the service's limit and all come to their end."""
    for n in range(20):
        sim.add("itwin", f"many-{n}", Frame("succeeded"))
    sim.limit("itwin", 10, seconds=60)
    client = sim.client("itwin")
    ids = [f"many-{n}" for n in range(20)]
    ended = {one.job_id for one in client.watch_many(ids, timeout=3600) if one.phase.is_final}
    assert ended == set(ids)
    assert 429 in statuses(sim)


def test_calm_ends_limits_and_failures(sim: Simulator) -> None:
    """After `calm` a service answers as if nothing had been."""
    sim.limit("itwin", 0, seconds=60)
    sim.disturb("itwin", Frame(status=503), times=None)
    sim.rate_limit("apig", times=9)
    sim.calm("itwin")
    assert sim.client("itwin").progress("job-1").phase is Phase.RUNNING
    with pytest.raises(RateLimited):
        sim.client("apig").progress("job-1")
    sim.calm()
    assert sim.client("apig").progress("job-1").phase is Phase.RUNNING


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_wait_lives_through_failures(sim: Simulator, service: str) -> None:
    """The next requests can be made to fail, and the one after them is answered."""
    sim.disturb(service, Frame(status=503), times=3)
    assert sim.client(service).wait("job-1", timeout=3600).phase is Phase.SUCCEEDED
    assert statuses(sim)[:4] == [503, 503, 503, 200]


def test_a_failure_may_last_for_a_while(sim: Simulator, clock: FakeClock) -> None:
    """A failure by seconds meets every request until they are over."""
    sim.disturb("apig", Frame(raw=b"<html>down", status=502), seconds=60)
    client = sim.client("apig")
    for _ in range(2):
        with pytest.raises(Unavailable):
            client.progress("job-1")
        clock.advance(30)
    assert client.progress("job-1").phase is Phase.RUNNING


def test_a_failure_meets_one_service_and_one_operation(sim: Simulator) -> None:
    """What is meant for the look at a job meets no poll, and no other service."""
    sim.disturb("itwin", Frame(status=503), operation="job", times=None)
    assert sim.client("catenis").progress("job-1").phase is Phase.RUNNING
    assert sim.client("itwin").progress("job-1").phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("service", "operation"),
    [("itwin", "nonsense"), ("itwin", "notifications"), ("catenis", "token"), ("apig", "")],
)
def test_an_operation_that_a_service_lacks(sim: Simulator, service: str, operation: str) -> None:
    """It would never fail: it is refused, and the error names those that there are."""
    with pytest.raises(ConfigurationError, match=r"`operation` must be None or one of .*progress"):
        sim.disturb(service, Frame(status=503), operation=operation)


def test_a_disturbed_poll_is_not_a_poll_of_the_job(sim: Simulator) -> None:
    """A job is not asked while its service fails: its script waits."""
    sim.disturb("itwin", Frame(status=503))
    with pytest.raises(Unavailable):
        sim.client("itwin").progress("job-1")
    assert sim.job("itwin", "job-1").polls == 0


@pytest.mark.parametrize("control", ["disturb", "rate_limit", "limit", "fail_tokens", "add"])
def test_a_service_that_is_not_simulated_is_refused(sim: Simulator, control: str) -> None:
    """Every control names the services there are where one is misspelt."""
    calls = {
        "disturb": lambda: sim.disturb("itwim", Frame(status=503)),
        "rate_limit": lambda: sim.rate_limit("itwim"),
        "limit": lambda: sim.limit("itwim", 1, seconds=1),
        "fail_tokens": lambda: sim.fail_tokens("itwim"),
        "add": lambda: sim.add("itwim", "job-1", Frame("running")),
    }
    with pytest.raises(ConfigurationError, match="the services are apig, catenis, itwin"):
        calls[control]()


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", WITH_TOKENS)
def test_a_revoked_token_is_renewed_once_and_the_poll_repeated(
    sim: Simulator, service: str
) -> None:
    """A token that is refused before its end is replaced, and nobody notices."""
    client = sim.client(service)
    client.progress("job-1")
    sim.revoke_tokens(service)
    assert client.progress("job-1").phase is Phase.RUNNING
    assert statuses(sim) == [200, 401, 200]
    assert len(statuses(sim, "token")) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("service", WITH_TOKENS)
async def test_an_async_client_renews_a_revoked_token(sim: Simulator, service: str) -> None:
    """The async clients do the same."""
    async with sim.async_client(service) as client:
        await client.progress("job-1")
        sim.revoke_tokens()
        assert (await client.progress("job-1")).phase is Phase.RUNNING
    assert statuses(sim) == [200, 401, 200]


def test_tokens_of_one_service_can_be_revoked(sim: Simulator) -> None:
    """Revoking those of one service leaves the others alone."""
    client = sim.client("itwin")
    client.progress("job-1")
    sim.revoke_tokens("apig")
    client.progress("job-1")
    assert statuses(sim) == [200, 200]


@pytest.mark.parametrize("service", WITH_TOKENS)
def test_a_fixed_token_that_is_revoked_is_the_end(sim: Simulator, service: str) -> None:
    """A token that was given as text cannot be renewed: the refusal is the response."""
    more = {"project_id": apig.PROJECT_ID} if service == "apig" else {}
    client = sim.client(service, auth=sim.token(service), **more)
    client.progress("job-1")
    sim.revoke_tokens()
    with pytest.raises(AuthenticationError):
        client.progress("job-1")
    assert statuses(sim) == [200, 401]


@pytest.mark.parametrize("service", WITH_TOKENS)
def test_a_short_lived_token_is_renewed_before_it_ends(
    sim: Simulator, clock: FakeClock, service: str
) -> None:
    """Tokens may be made to last a few minutes; a client is never refused for it."""
    sim.set_token_life(300)
    client = sim.client(service)
    for _ in range(10):
        client.progress("job-1")
        clock.advance(100)
    assert set(statuses(sim)) == {200}
    assert 3 <= len(statuses(sim, "token")) <= 5


def test_the_life_of_one_service_s_tokens_can_be_set(sim: Simulator, clock: FakeClock) -> None:
    """A life set for one service is that of its tokens alone."""
    sim.set_token_life(10, service="apig")
    tokens = {service: sim.token(service) for service in WITH_TOKENS}
    clock.advance(10)
    good = {name: is_good(sim, name, tokens[name]) for name in WITH_TOKENS}
    assert good == {"apig": False, "itwin": True}


@pytest.mark.parametrize("service", WITH_TOKENS)
def test_a_wait_lives_through_a_token_endpoint_that_fails(sim: Simulator, service: str) -> None:
    """A token endpoint in trouble is trouble as any other: it is asked again."""
    sim.fail_tokens(service, times=2)
    assert sim.client(service).wait("job-1", timeout=3600).phase is Phase.SUCCEEDED
    assert statuses(sim, "token")[:3] == [503, 503, 200 if service == "itwin" else 201]


@pytest.mark.parametrize("service", WITH_TOKENS)
@pytest.mark.parametrize("status", [429, 500])
def test_a_token_endpoint_may_fail_for_a_while(
    sim: Simulator, clock: FakeClock, service: str, status: int
) -> None:
    """A token endpoint's trouble may last for some seconds, with any status."""
    sim.fail_tokens(service, seconds=60, status=status)
    client = sim.client(service)
    with pytest.raises(RateLimited if status == 429 else Unavailable):
        client.progress("job-1")
    clock.advance(60)
    assert client.progress("job-1").phase is Phase.RUNNING


def test_many_callers_share_one_token(sim: Simulator) -> None:
    """Ten concurrent callers of one client request one token."""
    client = sim.client("itwin")
    with ThreadPoolExecutor(10) as pool:
        phases = list(pool.map(lambda _: client.progress("job-1").phase, range(10)))
    assert phases == [Phase.RUNNING] * 10
    assert len(statuses(sim, "token")) == 1


def test_a_service_without_tokens_hands_out_none(sim: Simulator) -> None:
    """Catenis has no tokens, and says so."""
    with pytest.raises(ConfigurationError, match="no tokens"):
        sim.token("catenis")


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_can_be_played_again(sim: Simulator, clock: FakeClock) -> None:
    """A job starts over by its script, or with another, under the same id."""
    client, job = sim.client("itwin"), sim.job("itwin", "job-1")
    client.wait("job-1", timeout=3600)
    job.restart()
    assert client.progress("job-1").phase is Phase.RUNNING
    job.play(Frame("cancelled"))
    assert client.progress("job-1").phase is Phase.CANCELLED


def test_a_job_cannot_be_added_twice(sim: Simulator) -> None:
    """An id that a service has already is a mistake that is named."""
    with pytest.raises(ConfigurationError, match="already"):
        sim.add("itwin", "job-1", Frame("running"))


def test_a_job_that_was_not_added_is_named(sim: Simulator) -> None:
    """Asking for the handle of no job is a mistake that is named."""
    with pytest.raises(ConfigurationError, match="has no job 'job-2'"):
        sim.job("itwin", "job-2")


@pytest.mark.parametrize(
    ("service", "frame", "what"),
    [
        ("catenis", Frame("cancelled"), "no such state"),
        ("catenis", Frame("running", state="busy"), "no such state"),
        ("catenis", Frame("running", bytes_processed=-1), "bytesProcessed"),
        ("catenis", Frame("failed", fault=Fault("E1")), "integers, not 'E1'"),
        ("catenis", Frame(error="Odd"), "documents no error 'Odd'"),
        ("itwin", Frame("unknown"), "needs a state"),
        ("itwin", Frame("running", percent="half"), "percentage"),  # type: ignore[arg-type]
        ("itwin", Frame(error="Odd"), "documents no error 'Odd'"),
        ("itwin", Frame("succeeded", lookup=Frame(error="Odd")), "documents no error 'Odd'"),
        ("itwin", Frame(body={"jobProgress": {"extra": 1}}), "extra"),
        ("apig", Frame("cancelled"), "no state"),
        ("apig", Frame("running", percent=30.5), "progress"),
        ("apig", Frame("running", percent=101), "progress"),
        ("apig", Frame(error="Odd"), "documents no error 'Odd'"),
        ("apig", Frame(body={"progress": "50"}), "progress"),
        ("apig", Frame(body={"error_code": 7}, status=404), "error_code"),
    ],
)
def test_a_frame_that_a_document_does_not_allow_is_refused(
    sim: Simulator, service: str, frame: Frame, what: str
) -> None:
    """A frame is held to the service's spec when its job is added, and the job is not."""
    with pytest.raises(ConfigurationError, match=what):
        sim.add(service, "job-2", frame)
    sim.add(service, "job-2", Frame("running"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_raw_frame_may_be_anything(sim: Simulator, service: str) -> None:
    """Only a raw frame is not held to a spec."""
    sim.add(service, "job-2", Frame(raw=b'["50"]'))
    with pytest.raises(BadResponse):
        sim.client(service).progress("job-2")
