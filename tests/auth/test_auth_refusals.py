"""A token that is refused, and a token endpoint that is down."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest
from token_support import (
    ACTIVE,
    CREATING,
    CREDENTIALS,
    GATEWAY,
    LOGIN,
    PROGRESS,
    TOKEN,
    USER,
    granted,
    logged_in,
    requests_for_tokens,
)

from opwatch import Apig, AsyncITwin, ITwin, Phase
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ServiceError,
    TransportError,
    Unavailable,
)
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Script, reply

# --- a token that is refused ----------------------------------------------------------------------


def test_a_token_revoked_in_the_middle_of_a_wait_costs_one_token_request():
    """A wait of 20 polls whose token is revoked fetches one more token, and continues."""
    over = reply(200, {"jobProgress": {"percentage": 100, "state": "success"}})
    good = {"made-up-token-1"}
    polls = []

    def service(request: Request):
        if request.method == "POST":
            good.clear()
            good.add(f"made-up-token-{len(polls)}")
            return granted(*good)
        token = dict(request.headers)["Authorization"].removeprefix("Bearer ")
        if len(polls) == 9:
            good.discard("made-up-token-0")
        if token not in good:
            return reply(401, {"error": {"code": "Unauthorized", "message": "expired"}})
        polls.append(token)
        percent = {"percentage": len(polls), "state": "Active"}
        return over if len(polls) == 20 else reply(200, {"jobProgress": percent})

    with FakeClock(), Script(service) as played:
        last = ITwin(CREDENTIALS, resolve_outcome=False).wait("j", timeout=3600)
    assert last.phase is Phase.SUCCEEDED
    assert polls == ["made-up-token-0"] * 9 + ["made-up-token-9"] * 11
    assert requests_for_tokens(played) == 2
    assert len(played.sent) == 2 + 20 + 1
    assert [sent.time for sent in played.sent if sent.method == "GET"][-1] == 19 * 15


def test_a_token_refused_twice_is_the_end():
    """A 401 to a new token ends a wait: two tokens, two polls, no loop."""
    refused = reply(401, {"error": {"code": "Unauthorized", "message": "no"}})
    tokens = [granted("made-up-1"), granted("made-up-2"), granted("made-up-3")]
    with (
        FakeClock(),
        Script({TOKEN: tokens, PROGRESS: [refused]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        ITwin(CREDENTIALS).wait("j", timeout=3600)
    assert (caught.value.status, caught.value.code) == (401, "Unauthorized")
    assert [sent.method for sent in played.sent] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("auth", ["made-up", lambda: "made-up"], ids=["text", "callable"])
def test_the_same_token_is_not_sent_again(auth):
    """A refused token isn't sent again as long as there is no other one."""
    with Script({PROGRESS: [reply(401)]}) as played:
        client = ITwin(auth)
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                client.progress("j")
    assert len(played.sent) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_late_refusal_of_an_old_token_keeps_the_new_one(backend):
    """A 401 clears the token that was refused, not the one that was fetched meanwhile."""
    tokens = iter([granted("made-up-1"), granted("made-up-2"), granted("made-up-3")])
    seen = []

    def service(request: Request):
        if request.method == "POST":
            return next(tokens)
        seen.append(dict(request.headers)["Authorization"].removeprefix("Bearer "))
        return reply(401) if seen[-1] == "made-up-1" and len(seen) > 1 else ACTIVE

    async def main():
        client = AsyncITwin(CREDENTIALS)
        await client.progress("j")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):  # all are sent with the first token, and refused one by one
                tasks.start_soon(client.progress, "j")
        await client.progress("j")

    with Script(service):
        anyio.run(main, backend=backend)
    assert seen == ["made-up-1"] * 4 + ["made-up-2"] * 4


def test_a_callable_is_called_once_until_its_token_is_refused():
    """What a callable returns is kept, and it is called again after a 401."""
    tokens = iter(["made-up-1", "made-up-2", "made-up-3"])
    seen = []

    def service(request: Request):
        seen.append(dict(request.headers)["Authorization"])
        return reply(401) if seen == ["Bearer made-up-1"] * 3 else ACTIVE

    with Script(service):
        client = ITwin(lambda: next(tokens))
        for _ in range(4):
            client.progress("j")
    assert seen == ["Bearer made-up-1"] * 3 + ["Bearer made-up-2"] * 2


@pytest.mark.parametrize("code", ["APIC.7100", "APIC.7103", "APIG.0301", "APIG.1009"])
def test_a_refusal_that_no_token_fixes_costs_no_token(code):
    """If the code of a 401 isn't about an expired token, no other token is fetched."""
    refused = reply(401, {"error_code": code, "error_msg": "no"})
    with (
        Script({LOGIN: [logged_in()], GATEWAY: [refused]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert caught.value.code == code
    assert [sent.method for sent in played.sent] == ["POST", "GET"]


@pytest.mark.parametrize("body", [{"error_code": "APIC.7101"}, {"error_code": "APIG.0307"}, b""])
def test_a_token_that_expired_early_is_replaced(body):
    """A token that dies early, as when the password changes, costs one more login and poll."""
    tokens = [logged_in("made-up-1"), logged_in("made-up-2")]
    answers = [CREATING, reply(401, body), CREATING]
    with Script({LOGIN: tokens, GATEWAY: answers}) as played:
        client = Apig("https://apig", USER(project_name="p"))
        client.progress("g")
        client.progress("g")
    assert [sent.method for sent in played.sent] == ["POST", "GET", "GET", "POST", "GET"]


# --- a token endpoint that is down ----------------------------------------------------------------


DOWN = [
    TransportError("no connection"),
    reply(503),
    reply(400, {"error": "temporarily_unavailable"}),
    reply(502, b"<html>bad gateway</html>"),
    reply(200, b"<html>maintenance</html>"),
    reply(429),
]


def test_a_token_endpoint_that_is_down_does_not_end_a_wait():
    """A wait retries each kind of outage, and continues afterwards."""
    over = reply(200, {"jobProgress": {"percentage": 100, "state": "success"}})
    with FakeClock(), Script({TOKEN: [*DOWN, granted()], PROGRESS: [ACTIVE, over]}) as played:
        last = ITwin(CREDENTIALS).wait("j", timeout=86_400)
    assert last.phase is Phase.SUCCEEDED
    assert [sent.method for sent in played.sent] == ["POST"] * 7 + ["GET"] * 2


def test_a_token_endpoint_that_stays_down_ends_a_wait():
    """Ten failures in a row end a wait with the last one."""
    with (
        FakeClock(),
        Script({TOKEN: [reply(503)]}) as played,
        pytest.raises(Unavailable, match="token endpoint"),
    ):
        ITwin(CREDENTIALS).wait("j", timeout=None)
    assert len(played.sent) == 10


@pytest.mark.parametrize("failure", DOWN)
def test_the_old_token_is_used_while_it_is_valid(failure, caplog):
    """A token that can't be renewed is used until it expires; a renewal is tried every 5 s."""
    with FakeClock() as clock, Script({TOKEN: [granted(), failure], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.advance(3540)
        with caplog.at_level(logging.WARNING, "opwatch"):
            for _ in range(60):
                client.progress("j")
                clock.advance(0.99)
        assert [sent.time for sent in played.sent if sent.method == "POST"][1:] == pytest.approx(
            [3540 + 5.94 * n for n in range(10)]
        )
        assert len(caplog.records) == 10
        clock.advance(1)
        with pytest.raises((AuthenticationError, BadResponse, TransportError, ServiceError)):
            client.progress("j")


def test_a_renewal_that_is_refused_is_not_tried_again(caplog):
    """If a renewal is refused, the old token is used until it expires, after one warning."""
    refused = reply(401, {"error": "invalid_client"})
    with FakeClock() as clock, Script({TOKEN: [granted(), refused], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.advance(3540)
        with caplog.at_level(logging.WARNING, "opwatch"):
            for _ in range(60):
                client.progress("j")
                clock.advance(0.99)
        clock.advance(1)
        with pytest.raises(AuthenticationError):
            client.progress("j")
    assert requests_for_tokens(played) == 2
    assert len(caplog.records) == 1


def test_a_renewal_waits_for_the_token_endpoints_retry_after():
    """While the old token is valid, a pause that the endpoint asked for is kept."""
    limited = reply(429, b"", {"Retry-After": "30"})
    with FakeClock() as clock, Script({TOKEN: [granted(), limited], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.advance(3540)
        for _ in range(50):
            client.progress("j")
            clock.advance(1)
    assert [sent.time for sent in played.sent if sent.method == "POST"] == [0, 3540, 3570]


def test_an_old_token_that_was_refused_is_not_used_again():
    """A refused token that can't be replaced now is a transient error, and isn't sent again."""
    refused = reply(401, {"error": {"code": "Unauthorized"}})
    with FakeClock(), Script({TOKEN: [granted(), reply(503)], PROGRESS: [ACTIVE, refused]}) as s:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        for _ in range(2):
            with pytest.raises(Unavailable, match="token endpoint"):
                client.progress("j")
    assert [sent.method for sent in s.sent] == ["POST", "GET", "GET", "POST", "POST"]
