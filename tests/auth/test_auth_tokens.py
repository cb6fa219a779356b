"""Tokens: how they are requested, what a refusal means, and how long they are kept."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import pytest
from auth_support import APIG_CREATING, ITWIN_ACTIVE

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncITwin,
    ClientCredentials,
    IamPassword,
    ITwin,
    Phase,
    net,
)
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    NotFound,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
    WaitTimeout,
)
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer, Request
from opwatch.testing import FakeClock, Script, reply

TOKEN = "/connect/token"
PROGRESS = "/jobs/j/progress"
CREDENTIALS = ClientCredentials("a-client", "a made up client secret")
LOGIN = "/v3/auth/tokens?nocatalog=true"
GATEWAY = "/v2/a-project/apigw/instances/g/progress"
KEYS = AkSk("AK", "a made up secret key")
USER = partial(IamPassword, "https://iam/v3", "a-user", "a made up password", domain_name="a-dom")


def granted(token="made-up-token-1", **fields):
    return reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600} | fields)


def logged_in(token="made-up-token-1", *, date="", **fields):
    body = {"token": {"project": {"id": "a-project"}, **fields}}
    return reply(201, body, {"X-Subject-Token": token} | ({"Date": date} if date else {}))


ACTIVE = reply(200, ITWIN_ACTIVE)
CREATING = reply(200, APIG_CREATING)


class Recorder:
    """Answer as a script does, and keep the requests."""

    def __init__(self, **replies) -> None:
        self.requests: list[Request] = []
        self._replies = {end: list(found) for end, found in replies.items()}

    def __call__(self, request: Request):
        self.requests.append(request)
        for end, found in self._replies.items():
            if request.target.endswith(end):
                return found.pop(0) if len(found) > 1 else found[0]
        raise AssertionError(request.target)

    def headers(self, number: int) -> dict[str, str]:
        return {name.lower(): value for name, value in self.requests[number].headers}

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]


def script(**replies) -> Recorder:
    ends = {"token": TOKEN, "progress": PROGRESS, "login": LOGIN, "gateway": GATEWAY}
    return Recorder(**{ends[name]: found for name, found in replies.items()})


def requests_for_tokens(played: Script) -> int:
    return sum(sent.method == "POST" for sent in played.sent)


# --- OAuth2 ---------------------------------------------------------------------------------------


def test_oauth_sends_a_form():
    """The client's ID and secret are sent as form fields, and the token as a bearer token."""
    played = script(token=[granted()], progress=[ACTIVE])
    with Script(played):
        ITwin(ClientCredentials("a-client", "a+b &%=")).progress("j")
    asked = played.requests[0]
    assert (asked.method, asked.target) == ("POST", "/connect/token")
    assert asked.address.origin == "https://ims.bentley.com"
    assert played.headers(0)["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in played.headers(0)
    assert parse_qs(asked.body.decode("ascii"), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["a-client"],
        "client_secret": ["a+b &%="],
        "scope": ["itwin-platform"],
    }
    assert played.headers(1)["authorization"] == "Bearer made-up-token-1"


def test_oauth_sends_basic_authentication():
    """With `basic`, ID and secret are form-encoded, joined and encoded (RFC 6749, 2.3.1)."""
    played = script(token=[granted()], progress=[ACTIVE])
    with Script(played):
        auth = ClientCredentials("a:client", "a+b &%=:", scope="one two", basic=True)
        ITwin(auth).progress("j")
    scheme, _, pair = played.headers(0)["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"a%3Aclient:a%2Bb%20%26%25%3D%3A")
    assert parse_qs(played.requests[0].body.decode("ascii")) == {
        "grant_type": ["client_credentials"],
        "scope": ["one two"],
    }


@pytest.mark.parametrize(
    "token", ["made-up", "Bearer made-up", "bearer  made-up ", "BEARER made-up"]
)
def test_a_token_is_sent_with_one_prefix(token):
    """A token may come with or without `Bearer `, from the endpoint, as a string or a callable."""
    for auth in (CREDENTIALS, token, lambda: token):
        played = script(token=[granted(token)], progress=[ACTIVE])
        with Script(played):
            ITwin(auth).progress("j")
        assert played.headers(-1)["authorization"] == "Bearer made-up"


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_scope"])
def test_an_oauth_refusal_ends_a_wait_with_its_documented_code(status, code):
    """A refusal ends a wait at its first request; only the documented code is quoted."""
    refusal = reply(status, {"error": code, "error_description": "no such client"})
    with (
        FakeClock(),
        Script({TOKEN: [refusal]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        ITwin(CREDENTIALS).wait("j", timeout=3600)
    assert str(caught.value) == f"itwin j: token endpoint: {code} ({status} {code})"
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(played.sent) == 1


REFUSED = "token endpoint: the credentials were refused"
LATER = "token endpoint: temporarily unavailable"
NO_TOKEN = "token endpoint: no token was returned"
CHECK = "check `token_url` (ITWIN_TOKEN_URL)"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (reply(400, {"error": "invalid_client"}), AuthenticationError, "invalid_client"),
        (reply(200, {"error": "invalid_scope"}), AuthenticationError, "invalid_scope"),
        (reply(200, {"error": "server_error"}), Unavailable, "server_error"),
        (reply(400, {"error": "temporarily_unavailable"}), Unavailable, "temporarily_unavailable"),
        (reply(400, {"error": "server_error"}), Unavailable, "server_error"),
        (reply(400, {"error": "other", "error_description": "no"}), AuthenticationError, REFUSED),
        (reply(401, b""), AuthenticationError, REFUSED),
        (reply(403, b"<html>no</html>"), AuthenticationError, REFUSED),
        (reply(404, b"<html>"), NotFound, NO_TOKEN),
        (reply(408), Unavailable, LATER),
        (reply(415), ServiceError, NO_TOKEN),
        (reply(425), Unavailable, LATER),
        (reply(429, b"", {"Retry-After": "7"}), RateLimited, LATER),
        (reply(500, b"oh"), Unavailable, LATER),
        (reply(503, b"<html>"), Unavailable, LATER),
        (
            reply(200, b"<html>welcome</html>"),
            BadResponse,
            "isn't a JSON object",
        ),
        (reply(200, {"error": "other"}), BadResponse, "has no access_token"),
        (reply(200, {"access_token": None}), BadResponse, "has no access_token"),
        (reply(200, {"access_token": "  "}), BadResponse, "has no access_token"),
        (reply(200, {"access_token": "made\nup"}), BadResponse, "has no access_token"),
        (reply(200, {"access_token": "Bearer "}), BadResponse, "has no access_token"),
        (reply(200, [1]), BadResponse, "isn't a JSON object"),
        (reply(204), BadResponse, "isn't a JSON object"),
        (reply(302, b"", {"Location": "/login"}), ServiceError, "a redirect"),
    ],
)
def test_what_an_answer_of_the_token_endpoint_means(answer, kind, words):
    """Each status and body is its own error, in our words or with a documented code."""
    with Script({TOKEN: [answer]}), pytest.raises(kind) as caught:
        ITwin(CREDENTIALS).progress("j")
    error = caught.value
    assert type(error) is kind
    assert words in error.message
    assert error.transient is (kind in (Unavailable, RateLimited, BadResponse))
    says_nothing = not getattr(error, "code", None) and kind not in (Unavailable, RateLimited)
    assert error.advice == (CHECK if says_nothing else None)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "said",
    [
        {"title": "Unauthorized"},
        {"message": "The username or password is wrong."},
        {"message": "Expecting to find domain in project. x"},
    ],
)
def test_a_refused_login_says_what_to_check(status, said):
    """The identity service doesn't say which part is wrong; the error names all of them."""
    refused = reply(status, {"error": {"code": status, **said}})
    with Script({LOGIN: [refused]}), pytest.raises(AuthenticationError) as caught:
        Apig("https://apig", USER(project_name="p")).progress("g")
    for name in ("OS_USER_DOMAIN_", "OS_PROJECT_", "OS_PROJECT_DOMAIN_"):
        assert f"{name}NAME or {name}ID" in caught.value.advice


@pytest.mark.parametrize("answer", [reply(404), reply(404, {"error": {"title": "Not Found"}})])
@pytest.mark.parametrize(
    ("auth_url", "advice"),
    [
        ("https://iam", "check `auth_url` (OS_AUTH_URL): it must end in /v3"),
        ("https://iam/v3/auth", "check `auth_url` (OS_AUTH_URL): it must end in /v3"),
        ("https://iam/identity/v3/", "check `auth_url` (OS_AUTH_URL)"),
    ],
)
def test_a_login_where_there_is_none(answer, auth_url, advice):
    """The error says what is wrong with the address, if that can be seen."""
    auth = IamPassword(auth_url, "a-user", "made up", domain_name="d", project_name="p")
    with Script(lambda _: answer), pytest.raises(NotFound) as caught:
        Apig("https://apig", auth).progress("g")
    assert caught.value.advice == advice


@pytest.mark.parametrize("auth", ["oauth", "iam"])
def test_refused_credentials_are_sent_once(auth):
    """A client remembers that its credentials were refused, and sends nothing any more."""
    refused = reply(401, {"error": {"title": "Unauthorized"}})
    with Script({TOKEN: [refused], LOGIN: [refused]}) as played:
        client = (
            ITwin(CREDENTIALS) if auth == "oauth" else Apig("https://apig", USER(project_name="p"))
        )
        jobs = ["j1", "j2", "j3"]
        for job in jobs:
            with pytest.raises(AuthenticationError) as caught:
                client.progress(job)
            assert caught.value.job_id == job
        assert [*client.watch_many(jobs, timeout=60)] == []
    assert len(played.sent) == 1


@pytest.mark.parametrize("status", [200, 201, 203])
def test_a_token_may_come_with_any_status_of_success(status):
    """Any 2xx status may carry a token, at the token endpoint and the identity service."""
    token = reply(status, json.loads(granted().body))
    with Script({TOKEN: [token], PROGRESS: [ACTIVE]}):
        assert ITwin(CREDENTIALS).progress("j").percent == 1
    login = reply(status, json.loads(logged_in().body), {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [login], GATEWAY: [CREATING]}):
        assert Apig("https://apig", USER(project_name="p")).progress("g").percent == 30


def test_the_token_endpoints_retry_after_holds_a_wait():
    """A wait sends nothing to a token endpoint that asked for a pause until it is over."""
    limited = reply(429, b"", {"Retry-After": "90"})
    with (
        FakeClock(),
        Script({TOKEN: [limited, granted()], PROGRESS: [ACTIVE]}) as played,
        pytest.raises(WaitTimeout),
    ):
        ITwin(CREDENTIALS).wait("j", timeout=100)
    assert [sent.time for sent in played.sent[:2]] == [0, 90]


def test_a_token_endpoint_that_asked_for_a_pause_gets_no_request():
    """Until the pause is over, a poll raises `RateLimited` without sending anything."""
    limited = reply(503, b"", {"Retry-After": "90"})
    with FakeClock() as clock, Script({TOKEN: [limited, granted()], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        with pytest.raises(Unavailable):
            client.progress("j")
        clock.advance(30)
        with pytest.raises(RateLimited) as caught:
            client.progress("k")
        assert (caught.value.job_id, caught.value.retry_after) == ("k", 60)
        assert len(played.sent) == 1
        clock.advance(60)
        assert client.progress("j").percent == 1


def test_a_token_endpoint_that_asks_for_over_a_day_ends_a_wait():
    """A wait doesn't retry before the pause is over, and doesn't wait for over a day."""
    limited = reply(429, b"", {"Retry-After": "86401"})
    with FakeClock(), Script({TOKEN: [limited]}) as played, pytest.raises(RateLimited) as caught:
        ITwin(CREDENTIALS).wait("j", timeout=None)
    assert caught.value.retry_after == 86401
    assert len(played.sent) == 1


# --- how long a token is kept ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "renewed"),
    [(3600, 3540), (121, 61), (120, 60), (60, 30), (10, 5), (0, 0), ("3600", 3540), (1.5, 0.75)],
)
def test_a_token_is_renewed_early(life, renewed):
    """A token is renewed a minute before it expires, or after half its life if that is less."""
    with FakeClock() as clock, Script({TOKEN: [granted(expires_in=life)], PROGRESS: [ACTIVE]}) as s:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        if renewed:
            clock.advance(renewed - 0.01)
            client.progress("j")
            assert requests_for_tokens(s) == 1
            clock.advance(0.01)
        client.progress("j")
    assert requests_for_tokens(s) == 2


@pytest.mark.parametrize("life", [None, "soon", -1, [], {}, "NaN", "Infinity", 1e400, True])
def test_an_invalid_life_is_an_hour(life):
    """A token whose life the endpoint doesn't say, or not validly, is kept for an hour."""
    body = json.dumps({"access_token": "made-up", "expires_in": life}).encode()
    with FakeClock() as clock, Script({TOKEN: [reply(200, body)], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.advance(3539)
        client.progress("j")
        assert requests_for_tokens(played) == 1
        clock.advance(1)
        client.progress("j")
    assert requests_for_tokens(played) == 2


@pytest.mark.parametrize("jump", [10**7, -(10**7)])
def test_setting_the_wall_clock_ends_no_token(jump):
    """A token's life is measured on the monotonic clock."""
    with FakeClock() as clock, Script({TOKEN: [granted()], PROGRESS: [ACTIVE]}) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.jump(jump)
        clock.advance(3539)
        client.progress("j")
        assert requests_for_tokens(played) == 1
        clock.advance(1)
        client.progress("j")
    assert requests_for_tokens(played) == 2


def test_a_tokens_life_begins_when_it_is_requested():
    """The time that a slow token endpoint takes counts as part of the token's life."""

    def slow(request: Request):
        if request.method == "POST":
            clock.advance(20)
            return granted(expires_in=100)
        return ACTIVE

    with FakeClock() as clock, Script(slow) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        clock.advance(29)
        client.progress("j")
        assert requests_for_tokens(played) == 1
        clock.advance(1)
        client.progress("j")
    assert requests_for_tokens(played) == 2


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


# --- the identity service -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        ({"project_name": "eu-de_x"}, {"name": "eu-de_x", "domain": {"name": "döm"}}),
        ({"project_id": "a-project"}, {"id": "a-project"}),
    ],
)
def test_iam_logs_in_to_a_project_by_name_or_id(given, scope):
    """The body is Keystone's, and takes any password."""
    played = script(login=[logged_in()], gateway=[CREATING])
    auth = IamPassword("https://iam/v3/", "üser", 'pä"ss\n\u2028', domain_name="döm", **given)
    with Script(played):
        client = Apig("https://apig", auth, project_id="a-project")
        client.progress("g")
    asked = played.requests[0]
    assert (asked.method, asked.target) == ("POST", LOGIN)
    user = {"name": "üser", "password": 'pä"ss\n\u2028', "domain": {"name": "döm"}}
    assert json.loads(asked.body) == {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": scope},
        }
    }
    assert played.headers(1)["x-auth-token"] == "made-up-token-1"
    assert played.requests[1].target == GATEWAY


@pytest.mark.parametrize(
    ("given", "user", "project"),
    [
        ({"domain_name": "d"}, {"name": "d"}, {"name": "d"}),
        ({"user_domain_id": "i"}, {"id": "i"}, {"id": "i"}),
        ({"domain_name": "d", "project_domain_name": "p"}, {"name": "d"}, {"name": "p"}),
        ({"domain_name": "d", "project_domain_id": "p"}, {"name": "d"}, {"id": "p"}),
        ({"user_domain_id": "i", "project_domain_name": "p"}, {"id": "i"}, {"name": "p"}),
    ],
)
def test_a_named_project_is_in_a_domain(given, user, project):
    """It is the user's, unless another is given; a domain has a name or an ID."""
    played = script(login=[logged_in()], gateway=[CREATING])
    auth = IamPassword("https://iam/v3", "u", "made up", project_name="eu-de_x", **given)
    with Script(played):
        Apig("https://apig", auth).progress("g")
    login = json.loads(played.requests[0].body)["auth"]
    assert login["identity"]["password"]["user"]["domain"] == user
    assert login["scope"] == {"project": {"name": "eu-de_x", "domain": project}}
    assert next(iter(user.values())) in repr(auth)


def test_a_project_of_an_id_needs_no_domain():
    """The domain of the project isn't sent with its ID, which is in one domain anyway."""
    played = script(login=[logged_in()], gateway=[CREATING])
    auth = USER(project_id="a-project", project_domain_name="elsewhere")
    with Script(played):
        Apig("https://apig", auth).progress("g")
    assert json.loads(played.requests[0].body)["auth"]["scope"] == {"project": {"id": "a-project"}}


def test_the_project_comes_from_the_answer():
    """Without a project ID, the one of the token is used, from a single login."""
    played = script(login=[logged_in()], gateway=[CREATING])
    with Script(played):
        client = Apig("https://apig", USER(project_name="eu-de_x"))
        client.progress("g")
        client.progress("g")
    assert played.targets == [LOGIN, GATEWAY, GATEWAY]


def test_the_credentials_project_id_is_the_clients():
    """With `IamPassword(project_id=...)`, the response needs no project."""
    bare = reply(201, {"token": {}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [bare], GATEWAY: [CREATING]}) as played:
        Apig("https://apig", USER(project_id="a-project")).progress("g")
    assert played.sent[1].target == GATEWAY


@pytest.mark.parametrize("project", [None, {}, [], {"id": None}, {"id": ""}, {"id": {}}])
def test_a_token_without_a_project_is_a_configuration_error(project):
    """If the response names no project, the error says where to pass it."""
    answer = reply(201, {"token": {"project": project}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [answer]}), pytest.raises(ConfigurationError) as caught:
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert "`project_id` must be passed to the client (or set OS_PROJECT_ID)" in str(caught.value)


@pytest.mark.parametrize("project", ["..", "a/b", "a?b", "a\nb"])
def test_a_project_that_cannot_be_part_of_a_path_is_refused(project):
    """Not even the identity service can lead to another path."""
    answer = reply(201, {"token": {"project": {"id": project}}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [answer]}) as played, pytest.raises(BadResponse, match="project"):
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert [sent.method for sent in played.sent] == ["POST"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_known_texts_of_keystone_are_quoted(status):
    """Of `{"error": {code, message, title}}`, documented titles and known messages are quoted."""
    error = {
        "code": status,
        "title": "Unauthorized",
        "message": "The username or password is wrong.",
    }
    with (
        FakeClock(),
        Script({LOGIN: [reply(status, {"error": error})]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        Apig("https://apig", USER(project_name="p")).wait("g", timeout=60)
    assert caught.value.message == "identity service: The username or password is wrong."
    assert (caught.value.status, caught.value.code) == (status, "Unauthorized")
    assert len(played.sent) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(503, b"<html>"), Unavailable),
        (reply(429), RateLimited),
        (reply(404, {"error": {"code": 404, "title": "Not Found"}}), NotFound),
        (reply(201, {"token": {}}), BadResponse),
        (reply(201, b"<html>", {"X-Subject-Token": "made-up"}), BadResponse),
        (reply(201, {"token": {}}, {"X-Subject-Token": " "}), BadResponse),
        (reply(201, {"token": []}, {"X-Subject-Token": "made-up"}), BadResponse),
        (reply(201, [], {"X-Subject-Token": "made-up"}), BadResponse),
        (reply(301, b"", {"Location": "/elsewhere"}), ServiceError),
    ],
)
def test_what_an_answer_of_the_identity_service_means(answer, kind):
    """Each status and body of the identity service is its own error."""
    with Script({LOGIN: [answer]}), pytest.raises(kind) as caught:
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert type(caught.value) is kind


@pytest.mark.parametrize("off", [0, 86_400 * 365, -86_400 * 365])
def test_expires_at_is_read_against_the_services_own_clock(off):
    """A token lives from the response's `Date` to `expires_at`, whatever this machine's clock
    is."""
    server = datetime(2026, 1, 1, tzinfo=UTC)
    token = logged_in(
        date=format_datetime(server, usegmt=True), expires_at="2026-01-02T00:00:00.000000Z"
    )
    with (
        FakeClock(epoch=server.timestamp() + off) as clock,
        Script({LOGIN: [token], GATEWAY: [CREATING]}) as played,
    ):
        client = Apig("https://apig", USER(project_name="p"))
        client.progress("g")
        clock.advance(86_339)
        client.progress("g")
        assert requests_for_tokens(played) == 1
        clock.advance(1)
        client.progress("g")
    assert requests_for_tokens(played) == 2


@pytest.mark.parametrize("end", [None, "", "tomorrow", 7, "2026-01-02T00:00:00"])
def test_a_token_without_a_valid_end_is_kept_for_an_hour(end):
    """A token whose `expires_at` is missing or not valid is kept for an hour."""
    with (
        FakeClock() as clock,
        Script({LOGIN: [logged_in(expires_at=end)], GATEWAY: [CREATING]}) as s,
    ):
        client = Apig("https://apig", USER(project_name="p"))
        client.progress("g")
        clock.advance(3539)
        client.progress("g")
        assert requests_for_tokens(s) == 1
        clock.advance(1)
        client.progress("g")
    assert requests_for_tokens(s) == 2


# --- callables ------------------------------------------------------------------------------------


async def async_token():
    await anyio.lowlevel.checkpoint()
    return "Bearer made-up"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("function", [async_token, lambda: "made-up"], ids=["async", "blocking"])
def test_an_async_client_takes_both_kinds_of_callable(backend, function):
    """In an async client, a callable may be async or not."""
    played = script(progress=[ACTIVE])

    async def main():
        await AsyncITwin(function).progress("j")

    with Script(played):
        anyio.run(main, backend=backend)
    assert played.headers(0)["authorization"] == "Bearer made-up"


def test_a_blocking_client_refuses_an_async_callable():
    """An async callable is refused before any request, and its coroutine is closed."""
    with Script({}) as played, pytest.raises(ConfigurationError) as caught:
        ITwin(async_token).progress("j")
    assert caught.value.argument == "auth"
    assert caught.value.problem.startswith(
        "must not be async in a blocking client; use the async one"
    )
    assert played.sent == []


def test_a_callable_may_have_methods_of_any_name():
    """A callable object is called, even if it has methods that our own credentials have too."""

    class Vault:
        def fetch(self):
            raise AssertionError

        bind = fetch

        def __call__(self):
            return "made-up"

    played = script(progress=[ACTIVE], gateway=[CREATING])
    with Script(played):
        ITwin(Vault()).progress("j")
        Apig("https://apig", Vault(), project_id="a-project").progress("g")
    assert played.headers(0)["authorization"] == "Bearer made-up"
    assert played.headers(1)["x-auth-token"] == "made-up"


@pytest.mark.parametrize("value", [None, 7, b"made-up", "", "  ", "Bearer ", "made\nup", "mäde-up"])
def test_what_a_callable_returns_must_be_a_token(value):
    """If a callable returns anything but a token, the error doesn't quote it."""
    with Script({}) as played, pytest.raises(AuthenticationError, match="callable") as caught:
        ITwin(lambda: value).progress("j")
    assert "made" not in str(caught.value)
    assert "mäde" not in str(caught.value)
    assert played.sent == []


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
def test_what_a_callable_raises_is_the_cause(backend):
    """An exception of the callable is the cause of ours, which doesn't quote it."""

    def broken():
        raise LookupError("no vault")

    async def main():
        await AsyncITwin(broken).progress("j")

    with Script({}), pytest.raises(AuthenticationError) as caught:
        anyio.run(main, backend=backend) if backend else ITwin(broken).progress("j")
    assert caught.value.message == "the token callable raised LookupError"
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_callable_may_raise_a_retryable_error():
    """A wait retries an `Unavailable` that the callable raises."""
    outcomes = iter([Unavailable("vault"), Unavailable("vault"), None])

    def token():
        if (error := next(outcomes)) is not None:
            raise error
        return "made-up"

    over = reply(200, {"jobProgress": {"percentage": 100, "state": "success"}})
    with FakeClock(), Script({PROGRESS: [over]}):
        assert ITwin(token).wait("j", timeout=3600).phase is Phase.SUCCEEDED


# --- AK/SK ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["APIG.0301", "APIC.7101", None])
def test_a_signed_refusal_is_never_repeated(code):
    """Six refused signatures lock the keys, so a client sends one."""
    refused = reply(401, {"error_code": code, "error_msg": "Incorrect IAM authentication"})
    with (
        FakeClock(),
        Script({GATEWAY: [refused]}) as played,
    ):
        client = Apig("https://apig", KEYS, project_id="a-project")
        for job in ("g", "h"):
            with pytest.raises(AuthenticationError):
                client.wait(job, timeout=3600)
    assert len(played.sent) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("status", "sent", "at_once"),
    [(401, 1, 1), (403, 8, 1), (503, 8, 1), (200, 8, 5), (404, 8, 5)],
)
def test_keys_are_sent_one_at_a_time_until_they_are_accepted(backend, status, sent, at_once):
    """Until a response shows that the keys are right, one request is in flight; then five are."""
    in_flight = 0
    seen = []

    class Slow(AsyncTransport):
        async def send(self, request: Request, end: float) -> Answer:
            nonlocal in_flight
            in_flight += 1
            seen.append(in_flight)
            for _ in range(20):  # every other task gets its turn
                await anyio.lowlevel.checkpoint()
            in_flight -= 1
            return Answer(status, (), CREATING.body)

    async def ask(client, job):
        with suppress(ServiceError):
            await client.progress(job)

    async def main():
        before = net.open_async.set(Slow)
        client = AsyncApig("https://apig", KEYS, project_id="a-project")
        net.open_async.reset(before)
        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(ask, client, f"g{n}")

    anyio.run(main, backend=backend)
    assert (len(seen), max(seen)) == (sent, at_once)


def test_only_what_is_needed_is_signed():
    """`Host`, the date, the project and the security token are signed, and nothing else."""
    for token, names in (
        (None, "host;x-project-id;x-sdk-date"),
        ("made-up-security-token", "host;x-project-id;x-sdk-date;x-security-token"),
    ):
        played = script(gateway=[CREATING])
        auth = AkSk("AK", "a made up secret key", security_token=token)
        with Script(played):
            Apig("https://apig", auth, project_id="a-project").progress("g")
        assert f"SignedHeaders={names}," in played.headers(0)["authorization"]
        assert played.headers(0).get("x-security-token") == token
