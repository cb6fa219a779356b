"""Tokens of OAuth2: how they are requested, and how long they are kept."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs

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
    script,
)

from opwatch import Apig, ClientCredentials, IamPassword, ITwin
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    NotFound,
    RateLimited,
    ServiceError,
    Unavailable,
    WaitTimeout,
)
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Script, reply

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
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("invalid_client", "the client ID or secret was refused"),
        ("unauthorized_client", "the client isn't allowed to use client credentials"),
        ("invalid_scope", "the scope was refused"),
    ],
)
def test_an_oauth_refusal_ends_a_wait_with_its_documented_code(status, code, words):
    """A refusal ends a wait at its first request; only the documented code is quoted."""
    refusal = reply(status, {"error": code, "error_description": "no such client"})
    with (
        FakeClock(),
        Script({TOKEN: [refusal]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        ITwin(CREDENTIALS).wait("j", timeout=3600)
    assert str(caught.value) == f"itwin j: token endpoint: {words} ({status} {code})"
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(played.sent) == 1


REFUSED = "token endpoint: the credentials were refused"
LATER = "token endpoint: temporarily unavailable"
NO_TOKEN = "token endpoint: no token was returned"
CHECK = "check `token_url` (ITWIN_TOKEN_URL)"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (reply(400, {"error": "invalid_client"}), AuthenticationError, "client ID or secret"),
        (reply(200, {"error": "invalid_scope"}), AuthenticationError, "the scope was refused"),
        (reply(200, {"error": "server_error"}), Unavailable, LATER),
        (reply(400, {"error": "temporarily_unavailable"}), Unavailable, LATER),
        (reply(400, {"error": "server_error"}), Unavailable, LATER),
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
    """Each status and body is its own error, in our words."""
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


def test_a_refusal_that_asks_for_a_pause_is_a_refusal():
    """The new token is sent after the pause, and its refusal ends the wait."""
    refused = reply(401, {"error": {"code": "Unauthorized"}}, {"Retry-After": "5"})
    two = [granted(), granted("made-up-token-2")]
    with FakeClock() as clock, Script({TOKEN: two, PROGRESS: [refused]}) as played:
        with pytest.raises(AuthenticationError):
            ITwin(CREDENTIALS).wait("j", timeout=None)
        assert clock.now() == 5
    assert [sent.method for sent in played.sent] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("pause", [30, 60, 3600])
def test_a_pause_as_long_as_a_token_lives_hides_no_refusal(pause):
    """The token that is renewed after the pause replaces one that was refused, too."""
    refused = reply(401, {"error": {"code": "Unauthorized"}}, {"Retry-After": str(pause)})
    tokens = [granted(f"made-up-token-{n}", expires_in=60) for n in range(9)]
    replies = [refused] * 9 + [reply(404)]
    with FakeClock() as clock, Script({TOKEN: tokens, PROGRESS: replies}) as played:
        with pytest.raises(AuthenticationError):
            ITwin(CREDENTIALS).wait("j", timeout=None)
        assert clock.now() == pause
    assert [sent.method for sent in played.sent].count("GET") == 2


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
