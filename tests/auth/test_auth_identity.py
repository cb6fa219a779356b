"""Tokens of the identity service and of callables, and AK/SK, which needs none."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime

import anyio
import anyio.lowlevel
import pytest
from token_support import (
    ACTIVE,
    CREATING,
    GATEWAY,
    LOGIN,
    PROGRESS,
    USER,
    logged_in,
    requests_for_tokens,
    script,
)

from opwatch import AkSk, Apig, AsyncApig, AsyncITwin, IamPassword, ITwin, Phase, net
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    NotFound,
    RateLimited,
    ServiceError,
    Unavailable,
)
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer, Request
from opwatch.testing import FakeClock, Script, reply

KEYS = AkSk("AK", "a made up secret key")


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
    """If the response names no project, the error says that it must be passed."""
    answer = reply(201, {"token": {"project": project}}, {"X-Subject-Token": "made-up"})
    with Script({LOGIN: [answer]}), pytest.raises(ConfigurationError) as caught:
        Apig("https://apig", USER(project_name="p")).progress("g")
    told = "`project_id` must be passed to the client, because the token doesn't name it"
    assert str(caught.value).endswith(told)


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


@pytest.mark.parametrize(
    "end", [None, "", "tomorrow", 7, "2026-01-02T00:00:00", "2026-01-02T00:00:00Z"]
)
def test_a_token_without_a_valid_end_is_kept_for_an_hour(end):
    """A token whose `expires_at` is missing, not valid or over already is kept for an hour."""
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
