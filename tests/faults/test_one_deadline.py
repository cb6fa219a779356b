"""A poll ends within `request_timeout`, including its token, its requests and the wait for a slot.

A real server gives each response after 0.9 seconds, and `request_timeout` is 1 second. The limit of
the tests leaves half a second to a slow machine, or more if it needs more.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from faults_support import DRIVERS, KITS, Server, answer, outcome, signing
from scales import at_some_scale

from opwatch import ClientCredentials, Phase
from opwatch.errors import OpwatchError, TransportError
from opwatch.testing import Script

LIMIT = 1.5


class Slow:
    """An iTwin whose every response takes 0.9 seconds, whose every job is over."""

    def __init__(self, scale):
        self.scale = scale
        self.closing = threading.Event()

    def __call__(self, request):
        self.closing.wait(0.9 * self.scale)
        if request.method == "POST":
            return answer(200, {"access_token": "an-access-token", "expires_in": 3600})
        if request.target.endswith("/progress"):
            return answer(200, {"jobProgress": {"state": "Over", "percentage": 100}})
        return answer(200, {"job": {"id": "j", "state": "success"}})


@contextmanager
def slow_server(scale):
    slow = Slow(scale)
    with Server(slow) as server:
        try:
            yield server
        finally:
            slow.closing.set()


def client_of(driver, server, auth="a made-up token", *, scale, **options):
    how = {"base_url": server.url, "request_timeout": scale}
    return driver.clients["itwin"](auth, **how, **options)


def credentials(server):
    return ClientCredentials("a-client", "a made-up secret", token_url=f"{server.url}/token")


def timed(driver, scale, auth, call):
    """What one call of a client came to, and how long it took."""

    async def scenario(driver):
        async with driver.opened(client_of(driver, server, auth(server), scale=scale)) as client:
            begun = time.monotonic()
            found = await call(client)
            return found, time.monotonic() - begun

    with slow_server(scale) as server:
        return driver.run(scenario)


@at_some_scale
def test_a_poll_of_three_requests_has_one_time_limit(driver, scale):
    """Token, progress and job take 2.7 seconds in all, and `progress` gives up after one."""
    found, seconds = timed(
        driver, scale, credentials, lambda client: outcome(driver, client.progress, "j")
    )
    assert seconds < LIMIT * scale
    assert isinstance(found, TransportError)


@at_some_scale
def test_a_turn_of_three_requests_has_one_time_limit(driver, scale):
    """`start` reports the time limit as trouble after one second."""
    step, seconds = timed(
        driver, scale, credentials, lambda client: driver.call(client.start, "j", timeout=600)
    )
    assert seconds < LIMIT * scale
    assert isinstance(step.trouble, TransportError)
    assert step.delay is not None


@at_some_scale
def test_the_follow_up_has_what_the_first_request_left(driver, scale):
    """Progress takes 0.9 seconds, so GET /jobs/{id} has 0.1: the outcome stays unknown."""
    found, seconds = timed(
        driver, scale, lambda _: "a token", lambda client: outcome(driver, client.progress, "j")
    )
    assert seconds < LIMIT * scale
    assert isinstance(found, OpwatchError) or found.phase is Phase.ENDED


@pytest.mark.parametrize("how", ["progress", "start"])
@at_some_scale
def test_waiting_for_a_slot_counts(driver, how, scale):
    """With one slot and four callers, each of them ends within its own `request_timeout`."""

    async def scenario(driver):
        made = client_of(driver, server, scale=scale, max_in_flight=1)
        async with driver.opened(made) as client:
            call = client.progress if how == "progress" else lambda j: client.start(j, timeout=600)
            return await driver.at_once(call, ["a", "b", "c", "d"])

    with slow_server(scale) as server:
        results = driver.run(scenario)
    assert max(result.seconds for result in results) < LIMIT * scale


@at_some_scale
def test_waiting_for_anothers_token_counts(driver, scale):
    """Four callers on a cold client: those who wait for the first one's token have a limit too."""

    async def scenario(driver):
        made = client_of(driver, server, credentials(server), scale=scale)
        async with driver.opened(made) as client:
            return await driver.at_once(client.progress, ["a", "b", "c", "d"])

    with slow_server(scale) as server:
        results = driver.run(scenario)
    assert max(result.seconds for result in results) < LIMIT * scale
    assert [request.method for request in server.asked].count("POST") == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (KITS["apig"].client, "no token arrived within"),
        (signing, "no response to the first signed request arrived within"),
    ],
    ids=["token", "keys"],
)
def test_the_error_says_what_a_call_waited_for(make, words, clock):
    """With keys, there is no token that could be late."""
    second = []

    def handler(request):
        """Answer the first request once the second call has ended."""
        if not second:
            second.append(None)
            with ThreadPoolExecutor(1) as pool:
                second[0] = pool.submit(client.progress, "g2").exception()
        return KITS["apig"].token(clock) if request.method == "POST" else KITS["apig"].active

    with (
        Script(handler),
        make(DRIVERS["blocking"], request_timeout=0.2) as client,
        suppress(TransportError),  # the first call's time may be up as well
    ):
        client.progress("g1")
    assert isinstance(second[0], TransportError)
    assert words in str(second[0])
