"""`from_env` reads each ecosystem's own variables, and lists everything that is missing at once."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from auth_support import APIG_CREATING, CATENIS_RUNNING, DEVICE, ITWIN_ACTIVE
from opwatch_waits import itwin

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    AsyncITwinV2,
    Catenis,
    ClientCredentials,
    Ctn1,
    IamPassword,
    ITwin,
    ITwinV2,
    httpx_auth,
)
from opwatch.errors import ConfigurationError
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Script, reply

PREFIXES = ("CATENIS_", "ITWIN_", "APIG_", "OS_", "HUAWEICLOUD_SDK_")


@pytest.fixture
def env(monkeypatch):
    """Return a function that sets environment variables; no relevant one is set before."""
    import os

    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


CATENIS = {"CATENIS_DEVICE_ID": DEVICE, "CATENIS_API_ACCESS_SECRET": "made up"}
AT_AN_ADDRESS = CATENIS | {"CATENIS_BASE_URL": "https://catenis.example.com/api/0.7"}
ITWIN = {"ITWIN_CLIENT_ID": "a-client", "ITWIN_CLIENT_SECRET": "made up"}
LOGIN = {
    "APIG_ENDPOINT": "https://apig.example.com",
    "OS_AUTH_URL": "https://iam.example.com/v3",
    "OS_USERNAME": "a-user",
    "OS_PASSWORD": "made up",
    "OS_USER_DOMAIN_NAME": "a-domain",
    "OS_PROJECT_NAME": "a-name",
}
KEYS = {
    "APIG_ENDPOINT": "https://apig.example.com",
    "HUAWEICLOUD_SDK_AK": "AK",
    "HUAWEICLOUD_SDK_SK": "made up",
    "OS_PROJECT_ID": "a-project",
}
TOKEN = {
    "APIG_ENDPOINT": "https://apig.example.com",
    "OS_TOKEN": "made-up",
    "OS_PROJECT_ID": "a-project",
}


def missing(client) -> set[str]:
    with pytest.raises(ConfigurationError) as caught:
        client.from_env()
    words = str(caught.value).removeprefix("not set in the environment: ").partition(" (")
    return set(words[0].split(", "))


@pytest.mark.parametrize(
    ("client", "given"),
    [
        (Catenis, CATENIS),
        (AsyncCatenis, CATENIS),
        (ITwin, ITWIN),
        (AsyncITwin, ITWIN),
        (ITwinV2, ITWIN),
        (AsyncITwinV2, ITWIN),
        (Apig, LOGIN),
        (AsyncApig, LOGIN),
    ],
)
def test_everything_that_is_missing_is_listed_at_once(env, client, given):
    """The error lists every missing variable; one that holds only spaces is missing too."""
    assert missing(client) == set(given)
    for name, value in list(given.items())[:-1]:
        env(**{name: value})
        given = {key: value for key, value in given.items() if key != name}
        assert missing(client) == set(given)
    env(**{next(iter(given)): "  "})
    assert missing(client) == set(given)


@pytest.mark.parametrize(
    ("given", "trigger"),
    [
        (KEYS, "HUAWEICLOUD_SDK_AK"),
        (KEYS, "HUAWEICLOUD_SDK_SK"),
        (TOKEN, "OS_TOKEN"),
    ],
)
def test_one_variable_of_a_way_to_authenticate_asks_for_the_others(env, given, trigger):
    """If one variable of a way to authenticate is set, the error lists the rest of that way."""
    env(**{trigger: given[trigger]})
    assert missing(Apig) == set(given) - {trigger}


@pytest.mark.parametrize(
    ("client", "other"), [(ITwin, "ITWIN_ACCESS_TOKEN"), (Apig, "OS_TOKEN"), (Apig, "SDK_AK")]
)
def test_the_other_ways_are_listed(env, client, other):
    """If nothing is set, the error names every way to authenticate."""
    with pytest.raises(ConfigurationError, match=other):
        client.from_env()


def test_an_id_in_place_of_a_name_is_named(env):
    """If only a name is missing, the error says which variable may stand for it."""
    env(**{name: value for name, value in LOGIN.items() if name != "OS_USER_DOMAIN_NAME"})
    with pytest.raises(ConfigurationError) as caught:
        Apig.from_env()
    assert str(caught.value) == (
        "not set in the environment: OS_USER_DOMAIN_NAME (OS_USER_DOMAIN_ID can replace the name; "
        "to use a token or keys instead of a password, set the project's ID and either OS_TOKEN or "
        "both HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK)"
    )
    env(OS_USER_DOMAIN_ID="an-id")
    Apig.from_env().close()


@pytest.mark.parametrize("client", [Catenis, ITwin, Apig])
def test_no_variable_is_named_twice(env, client):
    """If nothing is set, the error names each variable once."""
    with pytest.raises(ConfigurationError) as caught:
        client.from_env()
    names = re.findall(r"[A-Z]+(?:_[A-Z]+)+", str(caught.value))
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("client", "given", "name", "value"),
    [
        (Catenis, CATENIS, "CATENIS_DEVICE_ID", "too-short"),
        (Catenis, CATENIS, "CATENIS_API_ACCESS_SECRET", "a\nline"),
        (Catenis, CATENIS, "CATENIS_ENVIRONMENT", "playground"),
        (Catenis, CATENIS, "CATENIS_VERSION", "newest"),
        (Catenis, AT_AN_ADDRESS, "CATENIS_ENVIRONMENT", "playground"),
        (Catenis, AT_AN_ADDRESS, "CATENIS_VERSION", "newest"),
        (Catenis, CATENIS, "CATENIS_BASE_URL", "ftp://example.com"),
        (Catenis, CATENIS, "CATENIS_BASE_URL", "nonsense"),
        (ITwin, ITWIN, "ITWIN_BASE_URL", "http://example.com"),
        (ITwin, ITWIN, "ITWIN_BASE_URL", "nonsense"),
        (ITwin, ITWIN, "ITWIN_BASE_URL", "nonsense/v1.0"),
        (ITwin, ITWIN, "ITWIN_TOKEN_URL", "https://example.com?q"),
        (ITwin, ITWIN, "ITWIN_TOKEN_URL", "localhost:8080"),
        (ITwin, ITWIN, "ITWIN_CLIENT_ID", "a\nline"),
        (ITwin, ITWIN, "ITWIN_SCOPE", "a\nline"),
        (ITwin, {}, "ITWIN_ACCESS_TOKEN", "a\nline"),
        (Apig, LOGIN, "APIG_ENDPOINT", "nonsense"),
        (Apig, LOGIN, "APIG_ENDPOINT", "https://u:p@example.com"),
        (Apig, LOGIN, "OS_AUTH_URL", "nonsense"),
        (Apig, LOGIN, "OS_PROJECT_ID", "a/b"),
        (Apig, KEYS, "HUAWEICLOUD_SDK_AK", "a\nline"),
        (Apig, KEYS, "HUAWEICLOUD_SDK_SECURITY_TOKEN", "a\nline"),
        (Apig, TOKEN, "OS_TOKEN", "a\nline"),
    ],
)
def test_an_invalid_variable_is_named(env, client, given, name, value):
    """The error names the variable instead of the argument, since that is what to fix."""
    env(**given | {name: value})
    with pytest.raises(ConfigurationError) as caught:
        client.from_env()
    assert str(caught.value).startswith(f"{name} ")
    assert caught.value.args == (caught.value.message,)


def test_an_address_without_a_scheme_is_https(env):
    """The services' own documents write endpoints without a scheme."""
    env(**TOKEN | {"APIG_ENDPOINT": "apig.example.com"})
    (query,) = asked(Apig, "g", get=APIG_CREATING)
    assert query.address.origin == "https://apig.example.com"


def asked(client, job: str, *, get, post=None, **options) -> list[Request]:
    """Return the requests of one poll."""
    sent: list[Request] = []

    def service(request: Request):
        sent.append(request)
        if request.method == "GET":
            return reply(200, get)
        return post

    with Script(service):
        client.from_env(**options).progress(job)
    return sent


def test_catenis_is_taken_from_the_environment(env):
    """Catenis takes the device and its secret, and uses the sandbox and version 0.7 by default."""
    env(**CATENIS)
    (request,) = asked(Catenis, "m", get=CATENIS_RUNNING)
    assert request.address.origin == "https://sandbox.catenis.io"
    assert request.target == "/api/0.7/messages/m/progress"
    assert f"Credential={DEVICE}/" in dict(request.headers)["Authorization"]
    env(CATENIS_ENVIRONMENT="production", CATENIS_VERSION="0.13")
    (request,) = asked(Catenis, "m", get=CATENIS_RUNNING)
    assert request.address.origin == "https://catenis.io"
    assert request.target == "/api/0.13/messages/m/progress"
    env(CATENIS_BASE_URL="http://127.0.0.1:3000/api/0.7")
    (request,) = asked(Catenis, "m", get=CATENIS_RUNNING)
    assert request.address.origin == "http://127.0.0.1:3000"


def test_itwin_is_taken_from_the_environment(env):
    """ITwin takes the client's ID and secret, and the optional addresses and scope."""
    granted = reply(200, {"access_token": "made-up", "expires_in": 3600})
    env(**ITWIN)
    login, query = asked(ITwin, "j", post=granted, get=ITWIN_ACTIVE)
    assert login.address.origin == "https://ims.bentley.com"
    assert b"scope=itwin-platform" in login.body
    assert query.address.origin == "https://api.bentley.com"
    env(
        ITWIN_BASE_URL="https://qa-api.bentley.com/contextcapture",
        ITWIN_TOKEN_URL="https://qa-ims.bentley.com/connect/token",
        ITWIN_SCOPE="another",
    )
    login, query = asked(ITwin, "j", post=granted, get=ITWIN_ACTIVE)
    assert login.address.origin == "https://qa-ims.bentley.com"
    assert b"scope=another" in login.body
    assert query.address.origin == "https://qa-api.bentley.com"
    env(ITWIN_ACCESS_TOKEN="Bearer given")
    (query,) = asked(ITwin, "j", get=ITWIN_ACTIVE)
    assert dict(query.headers)["Authorization"] == "Bearer given"


@pytest.mark.parametrize(
    ("project", "scope"),
    [
        ({}, {"name": "a-name", "domain": {"name": "a-domain"}}),
        ({"OS_PROJECT_ID": "an-id"}, {"id": "an-id"}),
        (
            {"OS_PROJECT_DOMAIN_NAME": "its-domain"},
            {"name": "a-name", "domain": {"name": "its-domain"}},
        ),
        (
            {"OS_PROJECT_DOMAIN_ID": "its-id", "OS_PROJECT_DOMAIN_NAME": "its-domain"},
            {"name": "a-name", "domain": {"id": "its-id"}},
        ),
        ({"OS_PROJECT_ID": "an-id", "OS_PROJECT_DOMAIN_ID": "its-id"}, {"id": "an-id"}),
        ({"OS_USER_DOMAIN_ID": "my-id"}, {"name": "a-name", "domain": {"id": "my-id"}}),
        *(
            ({blank: " \t"}, {"name": "a-name", "domain": {"name": "a-domain"}})
            for blank in (
                *("OS_USER_DOMAIN_ID", "OS_PROJECT_ID", "OS_PROJECT_DOMAIN_ID", "OS_TOKEN"),
                *("OS_PROJECT_DOMAIN_NAME", "HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"),
            )
        ),
    ],
)
def test_apig_logs_in_with_openstacks_variables(env, project, scope):
    """A login is for the project's ID if it is set, and else for its name, in its domain or the
    user's; of a domain's name and ID, the ID counts. A blank variable counts as unset."""
    logged_in = reply(201, {"token": {"project": {"id": "an-id"}}}, {"X-Subject-Token": "made-up"})
    env(**(LOGIN | project))
    login, query = asked(Apig, "g", post=logged_in, get=APIG_CREATING)
    assert login.address.origin == "https://iam.example.com"
    assert json.loads(login.body)["auth"]["scope"] == {"project": scope}
    assert query.target == "/v2/an-id/apigw/instances/g/progress"


def test_apig_signs_with_huaweis_variables(env):
    """AK/SK keys win over a login, and the security token is optional."""
    env(**(LOGIN | KEYS))
    (query,) = asked(Apig, "g", get=APIG_CREATING)
    headers = dict(query.headers)
    assert headers["Authorization"].startswith("SDK-HMAC-SHA256 Access=AK, ")
    assert headers["X-Project-Id"] == "a-project"
    assert "X-Security-Token" not in headers
    env(HUAWEICLOUD_SDK_SECURITY_TOKEN="made-up")
    (query,) = asked(Apig, "g", get=APIG_CREATING)
    assert dict(query.headers)["X-Security-Token"] == "made-up"


def test_apig_takes_a_token_from_the_environment(env):
    """A token wins over a login."""
    env(**(LOGIN | TOKEN))
    (query,) = asked(Apig, "g", get=APIG_CREATING)
    assert dict(query.headers)["X-Auth-Token"] == "made-up"


def test_options_are_passed_on(env):
    """`from_env` takes the same options as the constructor."""
    env(**CATENIS)
    (request,) = asked(Catenis, "m", get=CATENIS_RUNNING, user_agent="me/1")
    assert dict(request.headers)["User-Agent"].startswith("me/1 opwatch/")
    with pytest.raises(ConfigurationError, match="`max_flights` isn't an option"):
        Catenis.from_env(max_flights=3)


# --- credentials alone ----------------------------------------------------------------------------


PASSWORD = {name: value for name, value in LOGIN.items() if name != "APIG_ENDPOINT"}
PAIR = {"HUAWEICLOUD_SDK_AK": "AK", "HUAWEICLOUD_SDK_SK": "made up"}
IAM = ("https://iam.example.com/v3", "a-user", "made up")
ALONE = {
    "ctn1": (Ctn1, CATENIS, Ctn1(DEVICE, "made up")),
    "oauth2": (ClientCredentials, ITWIN, ClientCredentials("a-client", "made up")),
    "oauth2 elsewhere": (
        ClientCredentials,
        ITWIN | {"ITWIN_SCOPE": "a b", "ITWIN_TOKEN_URL": "https://tokens.example.com/t"},
        ClientCredentials(
            "a-client", "made up", scope="a b", token_url="https://tokens.example.com/t"
        ),
    ),
    "keys": (AkSk, PAIR, AkSk("AK", "made up")),
    "temporary keys": (
        AkSk,
        PAIR | {"HUAWEICLOUD_SDK_SECURITY_TOKEN": "made up too"},
        AkSk("AK", "made up", security_token="made up too"),
    ),
    "password": (
        IamPassword,
        PASSWORD,
        IamPassword(*IAM, domain_name="a-domain", project_name="a-name"),
    ),
    "password and ids": (
        IamPassword,
        PASSWORD | {"OS_USER_DOMAIN_ID": "d", "OS_PROJECT_ID": "p"},
        IamPassword(*IAM, user_domain_id="d", project_id="p"),
    ),
    "password and another domain": (
        IamPassword,
        PASSWORD | {"OS_PROJECT_DOMAIN_NAME": "other", "OS_PROJECT_DOMAIN_ID": "o"},
        IamPassword(*IAM, domain_name="a-domain", project_name="a-name", project_domain_id="o"),
    ),
}


def sent_with(credentials) -> list[tuple]:
    """Return what an httpx client sends with these credentials, down to the signature."""
    sent = []

    def serve(request: httpx.Request) -> httpx.Response:
        sent.append((str(request.url), sorted(request.headers.items()), request.content))
        token = {"access_token": "made up", "token": {"expires_at": "2999-01-01T00:00:00Z"}}
        return httpx.Response(200, json=token, headers={"X-Subject-Token": "made up"})

    with FakeClock(), httpx.Client(transport=httpx.MockTransport(serve)) as client:
        client.get("https://service.example.com/things", auth=httpx_auth(credentials))
    return sent


@pytest.mark.parametrize(("kind", "given", "same"), ALONE.values(), ids=ALONE)
def test_credentials_are_taken_from_the_environment(env, kind, given, same):
    """They send what the same credentials send, written out."""
    env(**given)
    assert sent_with(kind.from_env()) == sent_with(same)


@pytest.mark.parametrize(("kind", "given", "same"), ALONE.values(), ids=ALONE)
def test_credentials_that_are_missing_are_listed(env, kind, given, same):
    """One error names each variable that has no value, and no other."""
    with pytest.raises(ConfigurationError) as nothing:
        kind.from_env()
    needed = {name for name in given if name in {*CATENIS, *ITWIN, *PAIR, *PASSWORD}}
    listed = str(nothing.value).partition(" (")[0].removeprefix("not set in the environment: ")
    assert set(listed.split(", ")) == needed
    for name in needed - {"OS_USER_DOMAIN_NAME", "OS_PROJECT_NAME"}:
        env(**given | {name: "  "})
        with pytest.raises(ConfigurationError, match=f"^not set in the environment: {name}"):
            kind.from_env()


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        (Ctn1, CATENIS | {"CATENIS_DEVICE_ID": "short"}, "CATENIS_DEVICE_ID"),
        (ClientCredentials, ITWIN | {"ITWIN_TOKEN_URL": "http://x.example"}, "ITWIN_TOKEN_URL"),
        (AkSk, PAIR | {"HUAWEICLOUD_SDK_SK": "made\nup"}, "HUAWEICLOUD_SDK_SK"),
        (IamPassword, PASSWORD | {"OS_AUTH_URL": "nowhere"}, "OS_AUTH_URL"),
    ],
)
def test_an_invalid_variable_of_credentials_is_named(env, kind, given, name):
    """The error names the variable, as the clients' errors do."""
    env(**given)
    with pytest.raises(ConfigurationError, match=f"^{name} "):
        kind.from_env()


def test_the_variables_of_client_credentials_are_those_of_the_spec():
    """`ClientCredentials.from_env` and `ITwin.from_env` read the same ones."""
    both = {**ClientCredentials.variables, **itwin.SCHEME.variables}
    assert both == itwin.SCHEME.variables
