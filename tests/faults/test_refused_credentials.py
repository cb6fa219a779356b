"""Refused credentials aren't sent again: the other jobs end with the same error."""

import threading
from collections import Counter

import pytest
from faults_support import (
    DEVICE,
    DRIVERS,
    KEYS,
    KITS,
    MINUTE,
    Server,
    answer,
    outcome,
    polled_at_once,
    signing,
    times,
)

from opwatch import AkSk, Apig, Phase
from opwatch.errors import AuthenticationError, RateLimited
from opwatch.testing import Script, reply

JOBS = [f"job-{n}" for n in range(40)]
IN_FLIGHT = 16
SOON = 60.0
"""Seconds, within the life of a token."""

REFUSED_KEYS = {
    "wrong signature": reply(
        401, {"error_code": "APIG.0301", "error_msg": "Incorrect IAM authentication information"}
    ),
    "unknown key": reply(401, {"error_code": "APIC.7103", "error_msg": "no such access key"}),
    "no code": reply(401, {"message": "no"}),
    "a page": reply(401, b"<html>401</html>", {"Content-Type": "text/html"}),
}
REFUSALS = [
    pytest.param(kit, refusal, id=f"{name}-{refusal.status}")
    for name, kit in KITS.items()
    for refusal in kit.refusals()
]


async def watched(driver, client, clock, pause=3600):
    """The errors of 40 jobs under `watch_many`, and of a call after a pause."""
    async with driver.opened(client):
        many = client.watch_many(JOBS, timeout=3600, schedule=MINUTE)
        await driver.collect(many)
        clock.advance(pause)
        return many.errors, await outcome(driver, client.progress, "later")


def check_alike(errors, later=None):
    """One error for all: of one type, with one message and code, each about its own job."""
    assert sorted(errors) == sorted(JOBS)
    found = [*errors.values(), *([later] if later is not None else [])]
    assert {(type(error), error.message, error.code) for error in found} == {
        (AuthenticationError, found[0].message, found[0].code)
    }
    assert [error.job_id for error in errors.values()] == list(errors)


# --- under watch_many -----------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", REFUSED_KEYS)
def test_a_refused_access_key_signs_one_request(driver, clock, refusal):
    """40 jobs with a wrong key: one signed request, since six failures in a row lock the key."""
    with Script(lambda request: REFUSED_KEYS[refusal]) as script:
        errors, later = driver.run(lambda driver: watched(driver, signing(driver), clock))
    check_alike(errors, later)
    assert len(script.sent) == 1


@pytest.mark.parametrize(("kit", "refusal"), REFUSALS)
def test_a_refused_secret_is_sent_to_the_token_endpoint_once(driver, clock, kit, refusal):
    """40 jobs with a wrong password or client secret: one token request, and no other."""
    with Script(lambda request: refusal) as script:
        errors, later = driver.run(lambda driver: watched(driver, kit.client(driver), clock))
    check_alike(errors, later)
    assert [request.method for request in script.sent] == ["POST"]


def test_a_refused_static_token_is_sent_no_more_than_was_in_flight(driver, clock, kit):
    """40 jobs with a wrong token: a request for each that was already in flight at most."""
    with Script(lambda request: kit.unauthorized) as script:
        client = kit.client(driver, "a wrong token")
        errors, later = driver.run(lambda driver: watched(driver, client, clock))
    check_alike(errors, later)
    assert len(script.sent) <= (1 if driver is DRIVERS["blocking"] else IN_FLIGHT)


def test_a_refused_device_secret_is_sent_no_more_than_was_in_flight(driver, clock):
    """The same for a Catenis device whose signatures are refused."""
    refused = reply(401, {"status": "error", "message": "Authorization failed; invalid signature"})
    with Script(lambda request: refused) as script:
        client = driver.clients["catenis"](DEVICE, "a made-up secret")
        errors, later = driver.run(lambda driver: watched(driver, client, clock))
    check_alike(errors, later)
    assert len(script.sent) <= (1 if driver is DRIVERS["blocking"] else IN_FLIGHT)


def test_a_fetched_token_that_is_refused_is_renewed_once(driver, clock, kit):
    """If the new token is refused too it ends there: for all jobs, and for later calls."""

    def handler(request):
        return kit.token(clock) if request.method == "POST" else kit.unauthorized

    with Script(handler) as script:
        errors, later = driver.run(lambda driver: watched(driver, kit.client(driver), clock, SOON))
    check_alike(errors, later)
    at_once = 1 if driver is DRIVERS["blocking"] else IN_FLIGHT
    assert len(times(script.sent, "POST")) <= 2
    assert len(times(script.sent, "GET")) <= 2 * at_once


def test_a_renewed_token_that_differs_and_is_refused_too_ends_it(driver, clock, kit):
    """The same if the token endpoint gives a different token the second time."""
    tokens = []

    def handler(request):
        if request.method != "POST":
            return kit.unauthorized
        tokens.append(f"a-made-up-token-{len(tokens)}")
        if kit.name == "itwin":
            return reply(200, {"access_token": tokens[-1], "expires_in": 3600})
        fields = {"token": {"project": {"id": "a-project"}}}
        return reply(201, fields, {"X-Subject-Token": tokens[-1]})

    with Script(handler) as script:
        errors, later = driver.run(lambda driver: watched(driver, kit.client(driver), clock, SOON))
    check_alike(errors, later)
    at_once = 1 if driver is DRIVERS["blocking"] else IN_FLIGHT
    assert len(times(script.sent, "POST")) <= 2
    assert len(times(script.sent, "GET")) <= 2 * at_once


def test_a_refusal_that_a_new_token_cannot_mend_is_not_renewed(driver, clock):
    """APIC.7100 and the like are about the configuration: one token request and one poll."""
    kit = KITS["apig"]
    refused = reply(401, {"error_code": "APIC.7100", "error_msg": "unauthorized"})

    def handler(request):
        return kit.token(clock) if request.method == "POST" else refused

    with Script(handler) as script:
        errors, later = driver.run(lambda driver: watched(driver, kit.client(driver), clock, SOON))
    check_alike(errors, later)
    assert len(times(script.sent, "POST")) == 1
    assert len(times(script.sent, "GET")) <= (1 if driver is DRIVERS["blocking"] else IN_FLIGHT)


# --- calls at the same time, on a real server -----------------------------------------------------


class Patient:
    """Answers the first request once a second one has come, or a quarter of a second later."""

    def __init__(self, response):
        self._response = response
        self._second = threading.Event()
        self._first = threading.Lock()

    def __call__(self, request):
        if self._first.acquire(blocking=False):
            self._second.wait(0.25)
        else:
            self._second.set()
        return self._response


def check_calls_at_once(driver, handler, make, most):
    """40 calls of `progress` at the same time send `most` requests at most, a later one none."""

    async def scenario(driver):
        async with driver.opened(make(server.url)) as client:
            results = await driver.at_once(client.progress, JOBS)
            assert len(server.asked) <= most
            sent = len(server.asked)
            later = await outcome(driver, client.progress, "later")
            assert len(server.asked) == sent
            return [result.outcome for result in results], later

    with Server(handler) as server:
        errors, later = driver.run(scenario)
    check_alike(dict(zip(JOBS, errors, strict=True)), later)
    return server.asked


def test_40_calls_at_once_sign_one_request_with_a_refused_key(driver):
    """In threads or tasks, the refused key is used once."""
    handler = Patient(answer(401, {"error_code": "APIG.0301", "error_msg": "Incorrect"}))
    check_calls_at_once(
        driver, handler, lambda url: signing(driver, AkSk(**KEYS), base_url=url), most=1
    )


def test_a_redirect_does_not_prove_a_key(driver, clock):
    """It may be a proxy's: the next request is still the only one in flight."""
    responses = [reply(302), REFUSED_KEYS["wrong signature"]]
    with Script({"/progress": responses}) as script:
        kinds = [type(found) for found in polled_at_once(driver, signing(driver), JOBS)]
    assert len(script.sent) == 2
    assert kinds.count(AuthenticationError) == len(JOBS) - 1


def test_40_calls_at_once_send_a_refused_secret_once(driver, kit):
    """In threads or tasks, a wrong password or client secret is sent once."""
    refused = kit.refusals()[-1]
    asked = check_calls_at_once(
        driver,
        Patient(answer(refused.status, refused.body)),
        lambda url: kit.client(driver, kit.credentials(url), base_url=url),
        most=1,
    )
    assert [request.method for request in asked] == ["POST"]


def test_40_calls_at_once_send_a_refused_token_no_more_than_was_in_flight(driver, kit):
    """In threads or tasks, the calls that had to wait for a slot don't send a refused token."""
    refused = kit.unauthorized
    check_calls_at_once(
        driver,
        Patient(answer(refused.status, refused.body)),
        lambda url: kit.client(driver, "a-wrong-token", base_url=url, max_in_flight=4),
        most=4,
    )


def test_40_calls_at_once_send_no_fetched_token_after_its_refusal(driver, clock, kit):
    """Those that had to wait for a slot take the next token, or end with its refusal."""
    tokens, shown = [], Counter()

    def handler(request):
        if request.method == "POST":
            tokens.append(f"a-made-up-token-{len(tokens)}")
            return kit.token(clock, value=tokens[-1])
        shown.update([dict(request.headers)[kit.header]])
        return kit.unauthorized

    with Script(handler):
        errors = polled_at_once(driver, kit.client(driver, max_in_flight=4), JOBS)
    check_alike(dict(zip(JOBS, errors, strict=True)))
    assert len(tokens) == len(shown) == 2
    assert max(shown.values()) <= 4


def test_40_calls_at_once_send_an_accepted_token_no_more_once_it_is_refused(driver, clock, kit):
    """Those that had to wait for a slot take the next token."""
    tokens, shown, accepted = [], Counter(), []

    def handler(request):
        if request.method == "POST":
            tokens.append(f"a-made-up-token-{len(tokens)}")
            return kit.token(clock, value=tokens[-1])
        token = dict(request.headers)[kit.header].removeprefix("Bearer ")
        shown.update([token])
        return kit.active if token in accepted else kit.unauthorized

    async def scenario(driver):
        async with driver.opened(kit.client(driver, max_in_flight=4)) as client:
            accepted.append("a-made-up-token-0")
            await driver.call(client.progress, JOBS[0])
            accepted[:] = ["a-made-up-token-1"]
            return await driver.at_once(client.progress, JOBS)

    with Script(handler):
        results = driver.run(scenario)
    assert {result.outcome.phase for result in results} == {Phase.RUNNING}
    assert len(tokens) == 2
    assert shown["a-made-up-token-0"] <= 1 + 4


def test_waits_at_once_end_with_the_refusal_too(clock):
    """Forty threads in `wait` with a wrong access key: one signed request."""
    driver = DRIVERS["blocking"]
    with (
        Script(lambda request: REFUSED_KEYS["wrong signature"]) as script,
        signing(driver) as client,
    ):

        async def scenario(driver):
            return await driver.at_once(lambda job: client.wait(job, timeout=3600), JOBS)

        results = driver.run(scenario)
    check_alike(dict(zip(JOBS, [result.outcome for result in results], strict=True)))
    assert len(script.sent) == 1


# --- tokens from a callable -----------------------------------------------------------------------


class Gatekeeper:
    """An iTwin that takes one token, and keeps those that it was shown."""

    def __init__(self, valid):
        self.valid = valid
        self.shown = []

    def __call__(self, request):
        self.shown.append(request.headers["authorization"].removeprefix("Bearer "))
        if self.shown[-1] != self.valid:
            return answer(401, {"error": {"code": "Unauthorized", "message": "refused"}})
        return answer(200, {"jobProgress": {"state": "success", "percentage": 100}})


def with_callable(driver, gatekeeper, given, scenario):
    """Run a scenario on a client whose token callable returns `given[0]`."""

    async def run(driver):
        client = driver.clients["itwin"](lambda: given[0], base_url=server.url)
        async with driver.opened(client):
            return await scenario(client)

    with Server(gatekeeper) as server:
        return driver.run(run)


def test_a_callables_refused_token_is_not_sent_again(driver):
    """A callable that keeps returning the refused token causes no more requests."""
    gatekeeper = Gatekeeper("valid-token")

    async def scenario(client):
        return [await outcome(driver, client.progress, job) for job in JOBS[:5]]

    errors = with_callable(driver, gatekeeper, ["refused-token"], scenario)
    assert {type(error) for error in errors} == {AuthenticationError}
    assert gatekeeper.shown == ["refused-token"]


def test_a_callable_that_returns_another_token_later_is_heard(driver):
    """New credentials are tried, and only those."""
    gatekeeper, given = Gatekeeper("valid-token"), ["refused-token"]

    async def scenario(client):
        first = [await outcome(driver, client.progress, job) for job in JOBS[:3]]
        given[0] = "valid-token"
        return first, await driver.call(client.progress, "j")

    errors, progress = with_callable(driver, gatekeeper, given, scenario)
    assert {type(error) for error in errors} == {AuthenticationError}
    assert progress.phase is Phase.SUCCEEDED
    assert gatekeeper.shown == ["refused-token", "valid-token"]


def test_a_callable_may_correct_its_token_within_one_call(driver):
    """The token that it returns after a refusal is sent at once, and the job is polled again."""
    gatekeeper, tokens = Gatekeeper("valid-token"), ["refused-token", "valid-token"]

    async def run(driver):
        client = driver.clients["itwin"](lambda: tokens.pop(0), base_url=server.url)
        async with driver.opened(client):
            return await driver.call(client.progress, "j")

    with Server(gatekeeper) as server:
        assert driver.run(run).phase is Phase.SUCCEEDED
    assert gatekeeper.shown == ["refused-token", "valid-token"]


def test_a_callable_that_returns_two_refused_tokens_by_turns_is_believed_once(driver):
    """Neither of them is sent again, and a valid one that comes later is."""
    gatekeeper, given = Gatekeeper("valid-token"), ["first-token", "second-token"]

    async def run(driver):
        def token():
            given.append(given.pop(0))
            return given[-1]

        async with driver.opened(driver.clients["itwin"](token, base_url=server.url)) as client:
            errors = [await outcome(driver, client.progress, job) for job in JOBS[:7]]
            given[:] = ["valid-token"]
            return errors, await driver.call(client.progress, "j")

    with Server(gatekeeper) as server:
        errors, progress = driver.run(run)
    assert {type(error) for error in errors} == {AuthenticationError}
    assert progress.phase is Phase.SUCCEEDED
    assert gatekeeper.shown == ["first-token", "second-token", "valid-token"]


def test_a_pause_that_a_callable_raises_is_a_failed_poll(driver, clock):
    """It is that of another client, and may be over: each try takes its delay of the schedule."""
    calls = []

    def token():
        calls.append(clock.now())
        assert len(calls) < 20
        raise RateLimited("too many", held_until=0.0)

    async def scenario(driver):
        async with driver.opened(driver.clients["itwin"](token, max_failures=3)) as client:
            return await outcome(driver, client.wait, "j", timeout=None, schedule=MINUTE)

    with Script({"": [reply(200)]}):
        error = driver.run(scenario)
    assert isinstance(error, RateLimited)
    assert calls == [0, 60, 120]


def test_a_callables_refused_token_ends_all_jobs(driver, clock, kit):
    """Under `watch_many` it is sent no more than was in flight."""
    with Script(lambda request: kit.unauthorized) as script:
        client = kit.client(driver, lambda: "a wrong token")
        errors, later = driver.run(lambda driver: watched(driver, client, clock))
    check_alike(errors, later)
    assert len(script.sent) <= (1 if driver is DRIVERS["blocking"] else IN_FLIGHT)


def test_a_client_with_accepted_credentials_is_not_affected(driver, clock, kit):
    """A 403 or a 404 for one job says nothing about the credentials: the others are polled."""
    for refusal in (reply(403, b"{}"), reply(404, b"{}")):
        with Script({"/job-0/progress": [refusal], "": [kit.success]}) as script:

            async def scenario(driver):
                async with driver.opened(kit.client(driver, "an-access-token")) as client:
                    many = client.watch_many(JOBS[:5], timeout=3600, schedule=MINUTE)
                    await driver.collect(many)
                    return many

            many = driver.run(scenario)
        assert list(many.errors) == ["job-0"]
        assert len(script.sent) == 5


@pytest.mark.parametrize(("auth", "sent"), [(AkSk("a-key", "a-secret"), 1), ("a-token", 4)])
def test_keys_that_could_be_locked_are_not_sent_after_any_401(clock, auth, sent):
    """Even if its code is that of a rate limit: each job ends then, and isn't retried without a
    request. A token is sent again."""
    limited = reply(401, {"error_code": "APIG.0308", "error_msg": "too many"})
    created = reply(200, {"status": "success", "progress": 100})
    with Script({"/progress": [limited, created]}) as script:
        client = Apig("https://apig.example.com", auth, project_id="p")
        many = client.watch_many(["g1", "g2", "g3"], timeout=3600)
        ended = [one for one in many if one.phase is Phase.SUCCEEDED]
    assert len(script.sent) == sent
    assert len(ended) == (0 if sent == 1 else 3)
    assert [error.transient for error in many.errors.values()] == [False] * (3 - len(ended))
    assert bool(clock.now()) == bool(ended)
