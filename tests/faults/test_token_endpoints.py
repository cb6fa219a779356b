"""What a token endpoint's response means (by its status, or by an OAuth2 error in a 200), and how
long its token is sent."""

import pytest
from faults_support import KITS, MINUTE, outcome, polled_at_once, times

from opwatch import Phase
from opwatch.errors import AuthenticationError, RateLimited, ServiceError, Unavailable
from opwatch.testing import Script, reply

PAGE = reply(502, b"<html><body>Bad Gateway</body></html>", {"Content-Type": "text/html"})


def both(driver, kit, handler):
    """What `progress` and `wait` of fresh clients come to, with the requests of each."""
    found = []
    for call in ("progress", "wait"):
        how = {"timeout": 3600, "schedule": MINUTE} if call == "wait" else {}

        async def scenario(driver, call=call, how=how):
            async with driver.opened(kit.client(driver)) as client:
                return await outcome(driver, getattr(client, call), "j", **how)

        with Script(handler()) as script:
            found.append((driver.run(scenario), script.sent))
    return found


def answering(kit, clock, first):
    """A handler whose token endpoint answers `first`, and then a token."""

    def fresh():
        answers = [first]

        def handler(request):
            if request.method != "POST":
                return kit.success
            return answers.pop() if answers else kit.token(clock)

        return handler

    return fresh


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_scope"])
def test_an_oauth2_error_with_status_200_is_a_refusal(driver, clock, code):
    """Some servers send errors as 200: `AuthenticationError` with the code, after one request."""
    kit = KITS["itwin"]
    handler = answering(kit, clock, reply(200, {"error": code, "error_description": "no"}))
    for error, sent in both(driver, kit, handler):
        assert type(error) is AuthenticationError
        assert error.code == code
        assert [(request.method, request.time) for request in sent] == [("POST", 0)]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_page_in_place_of_a_token_endpoint_is_an_outage(driver, clock, kit, status):
    """`progress` raises `Unavailable`, and a wait tries again."""
    page = reply(status, PAGE.body, {"Content-Type": "text/html"})
    (error, _), (progress, sent) = both(driver, kit, answering(kit, clock, page))
    assert type(error) is Unavailable
    assert error.status == status
    assert progress.phase is Phase.SUCCEEDED
    assert [request.method for request in sent] == ["POST", "POST", "GET"]


def test_a_page_says_nothing_that_is_quoted(driver, clock, kit):
    """A body that isn't the token endpoint's own isn't shown, as it may echo the secret."""
    (error, _), _ = both(driver, kit, answering(kit, clock, PAGE))
    assert "Bad Gateway" not in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>too large</html>", b'{"error": "too_large"}'])
def test_a_413_is_an_error_that_is_not_about_the_credentials(driver, clock, kit, body):
    """It is a `ServiceError`, no `AuthenticationError`, and isn't retried."""
    handler = answering(kit, clock, reply(413, body))
    for error, sent in both(driver, kit, handler):
        assert isinstance(error, ServiceError)
        assert not isinstance(error, (AuthenticationError, Unavailable, RateLimited))
        assert (error.status, error.transient) == (413, False)
        assert len(sent) == 1


def test_a_rate_limit_of_a_token_endpoint_is_waited_out(driver, clock, kit):
    """`progress` raises `RateLimited`, and a wait fetches the token when the time is up."""
    limited = reply(429, b"", {"Retry-After": "300"})
    (error, _), (progress, sent) = both(driver, kit, answering(kit, clock, limited))
    assert type(error) is RateLimited
    assert error.retry_after == 300
    assert progress.phase is Phase.SUCCEEDED
    first, second = times(sent, "POST")
    assert second - first >= 300


@pytest.mark.parametrize("status", [400, 401])
def test_a_documented_code_of_a_refusal_is_reported(driver, clock, status):
    """`invalid_client` shows, so that the user knows what to fix."""
    kit = KITS["itwin"]
    refusal = reply(status, {"error": "invalid_client", "error_description": "no such client"})
    (error, _), _ = both(driver, kit, answering(kit, clock, refusal))
    assert type(error) is AuthenticationError
    assert (error.code, error.status) == ("invalid_client", status)
    assert "invalid_client" in str(error)


def test_no_token_is_sent_once_it_has_expired(driver, kit, clock):
    """Requests that waited for a slot until then take the next one."""
    jobs, ends, late = [f"job-{n}" for n in range(8)], {}, []

    def handler(request):
        if request.method == "POST":
            token = f"a-made-up-token-{len(ends)}"
            ends[token] = clock.now() + 30
            return kit.token(clock, 30, token)
        token = dict(request.headers)[kit.header].removeprefix("Bearer ")
        if clock.now() >= ends[token]:
            late.append(token)
        clock.advance(20)
        return kit.active

    with Script(handler):
        found = polled_at_once(driver, kit.client(driver, max_in_flight=1), jobs)
    assert {progress.phase for progress in found} == {Phase.RUNNING}
    assert late == []
