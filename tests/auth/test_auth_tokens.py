"""Tokens: how they are asked for, what a refusal means, how long they are kept."""

from __future__ import annotations

import base64
import json
import logging
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from urllib.parse import parse_qs

import anyio
import pytest
from auth_support import APIG_CREATING, ITWIN_ACTIVE

from opwatch import AkSk, Apig, AsyncITwin, ClientCredentials, IamPassword, ITwin, Phase
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
from opwatch.testing import FakeClock, Script, reply
from opwatch.wire import Outgoing

TOKEN = "/connect/token"
PROGRESS = "/jobs/j/progress"
CREDENTIALS = ClientCredentials("a-client", "a made up client secret")
LOGIN = "/v3/auth/tokens?nocatalog=true"
GATEWAY = "/v2/a-project/apigw/instances/g/progress"
USER = partial(IamPassword, "https://iam/v3", "a-user", "a made up password", domain_name="a-dom")


def granted(token="made-up-token-1", **fields):
    return reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600} | fields)


def logged_in(token="made-up-token-1", *, date="", **fields):
    body = {"token": {"project": {"id": "a-project"}, **fields}}
    return reply(201, body, {"X-Subject-Token": token} | ({"Date": date} if date else {}))


ACTIVE = reply(200, ITWIN_ACTIVE)
CREATING = reply(200, APIG_CREATING)


class Recorder:
    """A script that also keeps the requests themselves."""

    def __init__(self, **replies) -> None:
        self.requests: list[Outgoing] = []
        self._replies = {end: list(found) for end, found in replies.items()}

    def __call__(self, request: Outgoing):
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


def test_oauth_asks_with_a_form():
    """The client's id and secret go as fields of a form, the token as a bearer token."""
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


def test_oauth_asks_with_basic_authentication():
    """With `basic`, id and secret are form-encoded, then joined and encoded (RFC 6749, 2.3.1)."""
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
    """Whether or not it was handed out with `Bearer `: by the endpoint, as text, by a callable."""
    for auth in (CREDENTIALS, token, lambda: token):
        played = script(token=[granted(token)], progress=[ACTIVE])
        with Script(played):
            ITwin(auth).progress("j")
        assert played.headers(-1)["authorization"] == "Bearer made-up"


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_scope"])
def test_oauth_refusals_are_told_in_the_services_own_words(status, code):
    """What the endpoint refuses is no trouble that passes: one request, and its own words."""
    refusal = reply(status, {"error": code, "error_description": "no such client"})
    with (
        FakeClock(),
        Script({TOKEN: [refusal]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        ITwin(CREDENTIALS).wait("j", timeout=3600)
    assert str(caught.value) == f"itwin j: token endpoint: no such client ({status} {code})"
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(played.sent) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (reply(400, {"error": "invalid_client"}), AuthenticationError, "invalid_client"),
        (reply(401, b""), AuthenticationError, "refused; check token_url"),
        (reply(403, b"<html>no</html>"), AuthenticationError, "refused; check token_url"),
        (reply(400, {"error": "temporarily_unavailable"}), Unavailable, "temporarily_unavailable"),
        (reply(400, {"error": "server_error"}), Unavailable, "server_error"),
        (reply(429, b"", {"Retry-After": "7"}), RateLimited, "refused; check token_url"),
        (reply(500, b"oh"), Unavailable, "refused; check token_url"),
        (reply(503, b"<html>"), Unavailable, "refused; check token_url"),
        (reply(408), Unavailable, "refused; check token_url"),
        (reply(404, b"<html>"), NotFound, "refused; check token_url"),
        (reply(200, b"<html>welcome</html>"), BadResponse, "is not a JSON object; check token_url"),
        (reply(200, {"access_token": None}), BadResponse, "no access_token"),
        (reply(200, {"access_token": "  "}), BadResponse, "no access_token"),
        (reply(200, {"access_token": "made\nup"}), BadResponse, "no access_token"),
        (reply(200, {"access_token": "Bearer "}), BadResponse, "no access_token"),
        (reply(200, [1]), BadResponse, "is not a JSON object"),
        (reply(204), BadResponse, "is not a JSON object"),
        (reply(302, b"", {"Location": "/login"}), ServiceError, "a redirect"),
    ],
)
def test_what_an_answer_of_the_token_endpoint_means(answer, kind, words):
    """Each status and body is the error it is, and says so."""
    with Script({TOKEN: [answer]}), pytest.raises(kind, match=words) as caught:
        ITwin(CREDENTIALS).progress("j")
    assert type(caught.value) is kind
    assert caught.value.transient is (kind in (Unavailable, RateLimited, BadResponse))


@pytest.mark.parametrize("status", [200, 201, 203])
def test_a_token_may_come_with_any_status_of_success(status):
    """Of the token endpoint and of the identity service."""
    token = reply(status, json.loads(granted().body))
    with Script({TOKEN: [token], PROGRESS: [ACTIVE]}):
        assert ITwin(CREDENTIALS).progress("j").percent == 1
    login = reply(status, json.loads(logged_in().body), {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [login], GATEWAY: [CREATING]}):
        assert Apig("https://apig", USER(project_name="p")).progress("g").percent == 30


def test_the_token_endpoints_retry_after_is_told():
    """A rate limit of the token endpoint is a rate limit of the wait."""
    limited = reply(429, b"", {"Retry-After": "90"})
    with (
        FakeClock(),
        Script({TOKEN: [limited, granted()], PROGRESS: [ACTIVE]}) as played,
        pytest.raises(WaitTimeout),
    ):
        ITwin(CREDENTIALS).wait("j", timeout=100)
    assert [sent.time for sent in played.sent[:2]] == [0, 90]


# --- how long a token is kept ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "renewed"),
    [(3600, 3540), (121, 61), (120, 60), (60, 30), (10, 5), (0, 0), ("3600", 3540), (1.5, 0.75)],
)
def test_a_token_is_renewed_early(life, renewed):
    """A minute before its end, or at half its life where that is less."""
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
def test_a_life_that_makes_no_sense_is_an_hour(life):
    """What the endpoint does not say, or says wrongly, is neither for ever nor at once."""
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
    """A token's life is measured on the clock that only goes forward."""
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


def test_a_tokens_life_begins_when_it_is_asked_for():
    """A slow token endpoint has already used up some of what it grants."""

    def slow(request: Outgoing):
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
    """20 polls, the token revoked before the tenth: one more token, and the wait goes on."""
    over = reply(200, {"jobProgress": {"percentage": 100, "state": "success"}})
    good = {"made-up-token-1"}
    polls = []

    def service(request: Outgoing):
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
    """A 401 to a new token is the answer: two tokens, two queries, no loop."""
    refused = reply(401, {"error": {"code": "Unauthorized", "message": "no"}})
    tokens = [granted("made-up-1"), granted("made-up-2"), granted("made-up-3")]
    with (
        FakeClock(),
        Script({TOKEN: tokens, PROGRESS: [refused]}) as played,
        pytest.raises(AuthenticationError, match="no") as caught,
    ):
        ITwin(CREDENTIALS).wait("j", timeout=3600)
    assert caught.value.status == 401
    assert [sent.method for sent in played.sent] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("auth", ["made-up", lambda: "made-up"], ids=["text", "callable"])
def test_the_same_token_is_not_sent_again(auth):
    """Where asking anew brings the same token, its refusal is the answer."""
    with Script({PROGRESS: [reply(401)]}) as played, pytest.raises(AuthenticationError):
        ITwin(auth).progress("j")
    assert len(played.sent) == 1


def test_a_late_refusal_of_an_old_token_keeps_the_new_one():
    """A 401 clears the very token that was refused, not the one that came meanwhile."""
    with Script(
        {TOKEN: [granted("made-up-1"), granted("made-up-2")], PROGRESS: [ACTIVE]}
    ) as played:
        client = ITwin(CREDENTIALS)
        client.progress("j")
        source = client._session.auth._source
        old = source._token
        source.clear(old)
        client.progress("j")
        source.clear(old)
        client.progress("j")
    assert requests_for_tokens(played) == 2


def test_a_callable_is_asked_once_until_its_token_is_refused():
    """What it returns is kept; after a 401 it is asked for another."""
    tokens = iter(["made-up-1", "made-up-2", "made-up-3"])
    seen = []

    def service(request: Outgoing):
        seen.append(dict(request.headers)["Authorization"])
        return reply(401) if seen == ["Bearer made-up-1"] * 3 else ACTIVE

    with Script(service):
        client = ITwin(lambda: next(tokens))
        for _ in range(4):
            client.progress("j")
    assert seen == ["Bearer made-up-1"] * 3 + ["Bearer made-up-2"] * 2


@pytest.mark.parametrize("code", ["APIC.7100", "APIC.7103", "APIG.0301", "APIG.1009"])
def test_a_refusal_that_no_token_mends_costs_no_token(code):
    """APIG says by its code whether the token has ended; these speak of something else."""
    refused = reply(401, {"error_code": code, "error_msg": "no"})
    with (
        Script({LOGIN: [logged_in()], GATEWAY: [refused]}) as played,
        pytest.raises(AuthenticationError) as caught,
    ):
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert caught.value.code == code
    assert [sent.method for sent in played.sent] == ["POST", "GET"]


@pytest.mark.parametrize("body", [{"error_code": "APIC.7101"}, {"error_code": "APIG.0307"}, b""])
def test_a_token_that_ended_early_is_replaced(body):
    """As when the password or the rights change: one more login, one more query."""
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
    """Each kind of outage is trouble that is waited out; then the wait goes on."""
    over = reply(200, {"jobProgress": {"percentage": 100, "state": "success"}})
    with FakeClock(), Script({TOKEN: [*DOWN, granted()], PROGRESS: [ACTIVE, over]}) as played:
        last = ITwin(CREDENTIALS).wait("j", timeout=86_400)
    assert last.phase is Phase.SUCCEEDED
    assert [sent.method for sent in played.sent] == ["POST"] * 7 + ["GET"] * 2


def test_a_token_endpoint_that_stays_down_ends_the_wait_in_the_end():
    """Ten failures in a row are the end, with what the endpoint said."""
    with (
        FakeClock(),
        Script({TOKEN: [reply(503)]}) as played,
        pytest.raises(Unavailable, match="token endpoint"),
    ):
        ITwin(CREDENTIALS).wait("j", timeout=None)
    assert len(played.sent) == 10


@pytest.mark.parametrize("failure", [*DOWN, reply(401, {"error": "invalid_client"})])
def test_the_old_token_is_used_while_it_is_good(failure, caplog):
    """A token that cannot be renewed is used to its end, and the endpoint asked every 5 s."""
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


def test_a_retry_after_of_the_token_endpoint_is_kept_while_the_old_token_is_good():
    """Asked to be left alone, it is left alone."""
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
    """Refused and not to be replaced now: that is trouble, not another use of the old one."""
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
    [({"project_name": "eu-de_x"}, {"name": "eu-de_x"}), ({"project_id": "p1"}, {"id": "p1"})],
)
def test_iam_asks_for_a_project_by_name_or_id(given, scope):
    """The body is Keystone's; any password may stand in it."""
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


def test_the_project_comes_from_the_answer():
    """Without a project id the token's own is used; nobody asks twice for it."""
    played = script(login=[logged_in()], gateway=[CREATING])
    with Script(played):
        client = Apig("https://apig", USER(project_name="eu-de_x"))
        client.progress("g")
        client.progress("g")
    assert played.targets == [LOGIN, GATEWAY, GATEWAY]


def test_the_credentials_project_id_is_the_clients():
    """`IamPassword(project_id=...)` needs no project in the answer."""
    bare = reply(201, {"token": {}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [bare], GATEWAY: [CREATING]}) as played:
        Apig("https://apig", USER(project_id="a-project")).progress("g")
    assert played.sent[1].target == GATEWAY


@pytest.mark.parametrize("project", [None, {}, [], {"id": None}, {"id": ""}, {"id": {}}])
def test_a_token_without_a_project_is_a_configuration_error(project):
    """What the answer does not say must be given; the message says where."""
    answer = reply(201, {"token": {"project": project}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [answer]}), pytest.raises(ConfigurationError, match="give project_id"):
        Apig("https://apig", USER(project_name="p")).progress("g")


@pytest.mark.parametrize("project", ["..", "a/b", "a?b", "a\nb"])
def test_a_project_that_cannot_stand_in_a_path_is_refused(project):
    """Not even the identity service chooses another path."""
    answer = reply(201, {"token": {"project": {"id": project}}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [answer]}) as played, pytest.raises(BadResponse, match="project"):
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert [sent.method for sent in played.sent] == ["POST"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_keystones_errors_are_told(status):
    """`{"error": {code, message, title}}` becomes an `AuthenticationError` in its words."""
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
    """Each status and body is the error it is."""
    with Script({LOGIN: [answer]}), pytest.raises(kind) as caught:
        Apig("https://apig", USER(project_name="p")).progress("g")
    assert type(caught.value) is kind


@pytest.mark.parametrize("off", [0, 86_400 * 365, -86_400 * 365])
def test_a_tokens_end_is_read_against_the_services_own_clock(off):
    """`expires_at` less the answer's `Date` is its life, wherever this machine's clock stands."""
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
def test_a_token_that_does_not_say_its_end_is_kept_for_an_hour(end):
    """Not for ever; and not for no time at all."""
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
    """A callable may be async or not."""
    played = script(progress=[ACTIVE])

    async def main():
        await AsyncITwin(function).progress("j")

    with Script(played):
        anyio.run(main, backend=backend)
    assert played.headers(0)["authorization"] == "Bearer made-up"


def test_a_blocking_client_refuses_an_async_callable():
    """It says so, before any request, and leaves no coroutine that was never awaited."""
    with Script({}) as played, pytest.raises(ConfigurationError, match="give ITwin a blocking one"):
        ITwin(async_token).progress("j")
    assert played.sent == []


@pytest.mark.parametrize("value", [None, 7, b"made-up", "", "  ", "Bearer ", "made\nup", "mäde-up"])
def test_what_a_callable_returns_must_be_a_token(value):
    """Anything else is an error that does not show it."""
    with Script({}) as played, pytest.raises(AuthenticationError, match="callable") as caught:
        ITwin(lambda: value).progress("j")
    assert "made" not in str(caught.value)
    assert "mäde" not in str(caught.value)
    assert played.sent == []


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
def test_what_a_callable_raises_is_the_cause(backend):
    """The user's own exception is kept as the cause; its text is not quoted."""

    def broken():
        raise LookupError("no vault")

    async def main():
        await AsyncITwin(broken).progress("j")

    with Script({}), pytest.raises(AuthenticationError) as caught:
        anyio.run(main, backend=backend) if backend else ITwin(broken).progress("j")
    assert caught.value.message == "the token callable raised LookupError"
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_callable_may_raise_trouble_of_ours():
    """`Unavailable` from a callable is waited out like any other."""
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
    """Six refused signatures lock the keys: a wait ends at the first."""
    refused = reply(401, {"error_code": code, "error_msg": "Incorrect IAM authentication"})
    with (
        FakeClock(),
        Script({GATEWAY: [refused]}) as played,
        pytest.raises(AuthenticationError),
    ):
        Apig("https://apig", AkSk("AK", "a made up secret key"), project_id="a-project").wait(
            "g", timeout=3600
        )
    assert len(played.sent) == 1


def test_only_what_is_needed_is_signed():
    """`Host`, the date and the project; with temporary keys their token too."""
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
