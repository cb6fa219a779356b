"""No secret shows when the caller makes a mistake, or in the command line."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from auth_support import DEVICE, Request, answer
from leak_service import BAD, JOB, asked, async_callable, clients
from leak_support import SECRETS, represented

from opwatch import AkSk, Apig, AsyncITwin, Catenis, ClientCredentials, Ctn1, IamPassword, ITwin
from opwatch.auth import aksk, ctn1
from opwatch.environment import Connection
from opwatch.errors import AuthenticationError, BadResponse, ConfigurationError, WaitTimeout
from opwatch.net.message import Secret
from opwatch.testing import FakeClock, Script

NAIVE = datetime(2026, 1, 1)


# --- what the caller does wrong -------------------------------------------------------------------


def broken() -> str:
    raise LookupError("no vault")


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
def test_an_interrupt_in_a_callable_shows_nothing(backend, witness):
    """Ctrl-C or a cancellation in a callable doesn't show what the callable was given."""

    def interrupted(secret: str) -> str:
        raise KeyboardInterrupt

    async def cancelled(secret: str) -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    def poll(given: Callable[[], Any]) -> None:
        if backend:
            anyio.run(AsyncITwin(given).progress, JOB, backend=backend)
        else:
            ITwin(given).progress(JOB)

    for function in (interrupted, cancelled) if backend else (interrupted,):
        given = functools.partial(function, SECRETS["callable's token"])
        with Script({}), pytest.raises(KeyboardInterrupt) as caught:
            poll(given)
        witness.hears(caught.value)


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
@pytest.mark.parametrize(
    "function",
    [
        broken,
        lambda: SECRETS["callable's token"] + "\n",
        lambda: SECRETS["callable's token"].encode(),
        lambda: [SECRETS["callable's token"]],
        functools.partial(dict, token=SECRETS["callable's token"]),
        functools.partial(int, SECRETS["callable's token"]),
    ],
)
def test_a_callable_that_goes_wrong_shows_nothing(function, backend, witness):
    """If a callable fails, what it was given or returned isn't shown."""

    async def main() -> None:
        await AsyncITwin(function).progress(JOB)

    with Script({}), pytest.raises(AuthenticationError) as caught:
        anyio.run(main, backend=backend) if backend else ITwin(function).progress(JOB)
    caught.value.__cause__ = caught.value.__context__ = None  # the user's own
    witness.hears(caught.value)


def test_a_future_from_a_callable_shows_nothing(witness):
    """An async callable in a blocking client, or a future that has a token already, isn't shown."""
    loop = asyncio.new_event_loop()
    try:
        future = loop.create_future()
        future.set_result(SECRETS["callable's token"])
        for function in (async_callable, lambda: future):
            with Script({}), pytest.raises(ConfigurationError) as caught:
                ITwin(function).progress(JOB)
            witness.hears(caught.value)
    finally:
        loop.close()


SECRET = SECRETS["misplaced secret"]
WRONG: dict[str, Callable[[], Any]] = {
    "catenis environment": lambda: Catenis(DEVICE, SECRET, environment="moon"),
    "catenis version": lambda: Catenis(DEVICE, SECRET, version="x"),
    "catenis device": lambda: Catenis("short", SECRET),
    "catenis swapped": lambda: Catenis(SECRET, DEVICE),
    "ctn1 swapped": lambda: Ctn1(SECRET, DEVICE),
    "catenis url": lambda: Catenis(DEVICE, SECRET, base_url="http://example.com"),
    "catenis option": lambda: Catenis(DEVICE, SECRET, max_in_flight=0),
    "catenis unknown option": lambda: Catenis(DEVICE, SECRET, secret=SECRET),
    "catenis timeout": lambda: Catenis(DEVICE, SECRET, request_timeout=-1),
    "catenis user agent": lambda: Catenis(DEVICE, SECRET, user_agent="\n"),
    "catenis newline": lambda: Catenis(DEVICE, f"{SECRET}\n"),
    "catenis bytes": lambda: Catenis(DEVICE, SECRET.encode()),
    "catenis list": lambda: Catenis(DEVICE, [SECRET]),
    "itwin url": lambda: ITwin(SECRET, base_url="http://example.com"),
    "itwin option": lambda: ITwin(SECRET, client_secret=SECRET),
    "itwin newline": lambda: ITwin(f"{SECRET}\n"),
    "itwin bytes": lambda: ITwin(SECRET.encode()),
    "itwin dict": lambda: ITwin({"token": SECRET}),
    "itwin partial": lambda: ITwin(functools.partial(str, SECRET), base_url="http://example.com"),
    "async itwin url": lambda: AsyncITwin(SECRET, base_url="http://example.com"),
    "apig endpoint": lambda: Apig("http://example.com", SECRET, project_id="p"),
    "apig project": lambda: Apig("https://example.com", SECRET),
    "apig bytes": lambda: Apig("https://example.com", SECRET.encode(), project_id="p"),
    "apig partial": lambda: Apig("https://example.com", functools.partial(str, SECRET)),
    "apig bad project": lambda: Apig("https://example.com", SECRET, project_id="a/b"),
    "oauth id": lambda: ClientCredentials("", SECRET),
    "oauth scope": lambda: ClientCredentials("c", SECRET, scope=""),
    "oauth url": lambda: ClientCredentials("c", SECRET, token_url="http://example.com"),
    "oauth newline": lambda: ClientCredentials("c", f"{SECRET}\n"),
    "oauth bytes": lambda: ClientCredentials("c", SECRET.encode()),
    "iam user": lambda: IamPassword("https://iam", "", SECRET, domain_name="d", project_id="p"),
    "iam url": lambda: IamPassword("http://iam", "u", SECRET, domain_name="d", project_id="p"),
    "iam project": lambda: IamPassword("https://iam", "u", SECRET, domain_name="d"),
    "iam bytes": lambda: IamPassword(
        "https://iam", "u", SECRET.encode(), domain_name="d", project_id="p"
    ),
    "keys access": lambda: AkSk("", SECRET),
    "keys newline": lambda: AkSk("AK", f"{SECRET}\n"),
    "keys token": lambda: AkSk("AK", SECRET, security_token=""),
    "keys token newline": lambda: AkSk("AK", SECRET, security_token=f"{SECRET}\n"),
    "keys access and token": lambda: AkSk("", SECRET, security_token=SECRET),
    "ctn1 timestamp": lambda: ctn1.sign(
        method="GET",
        target="/",
        host="h",
        body=b"",
        device_id=DEVICE,
        secret=SECRET,
        timestamp=NAIVE,
    ),
    "aksk timestamp": lambda: aksk.sign(
        method="GET",
        target="/",
        host="h",
        headers={},
        body=b"",
        access_key="AK",
        secret_key=SECRET,
        security_token=SECRET,
        timestamp=NAIVE,
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_constructor_that_refuses_shows_nothing(wrong, witness):
    """Neither an invalid secret nor one beside an invalid argument shows."""
    with pytest.raises(ConfigurationError) as caught:
        WRONG[wrong]()
    witness.hears(caught.value)


ENVIRONMENTS = {
    "catenis": (
        Catenis,
        {"CATENIS_DEVICE_ID": DEVICE, "CATENIS_API_ACCESS_SECRET": SECRET},
        [
            {"CATENIS_ENVIRONMENT": "moon"},
            {"CATENIS_DEVICE_ID": "short"},
            {"CATENIS_DEVICE_ID": ""},
        ],
    ),
    "itwin": (
        ITwin,
        {"ITWIN_CLIENT_ID": "c", "ITWIN_CLIENT_SECRET": SECRET},
        [
            {"ITWIN_TOKEN_URL": "http://example.com"},
            {"ITWIN_BASE_URL": "http://example.com"},
            {"ITWIN_CLIENT_ID": ""},
            {"ITWIN_CLIENT_SECRET": f"{SECRET}\n"},
        ],
    ),
    "itwin token": (
        ITwin,
        {"ITWIN_ACCESS_TOKEN": SECRET},
        [{"ITWIN_BASE_URL": "http://example.com"}, {"ITWIN_ACCESS_TOKEN": f"{SECRET}\n"}],
    ),
    "apig login": (
        Apig,
        {
            "APIG_ENDPOINT": "https://example.com",
            "OS_AUTH_URL": "https://example.com",
            "OS_USERNAME": "u",
            "OS_PASSWORD": SECRET,
            "OS_USER_DOMAIN_NAME": "d",
            "OS_PROJECT_NAME": "n",
        },
        [{"APIG_ENDPOINT": "http://example.com"}, {"OS_AUTH_URL": "http://x"}, {"OS_USERNAME": ""}],
    ),
    "apig token": (
        Apig,
        {"APIG_ENDPOINT": "https://example.com", "OS_TOKEN": SECRET, "OS_PROJECT_ID": "p"},
        [{"APIG_ENDPOINT": "http://example.com"}, {"OS_PROJECT_ID": "a/b"}, {"OS_PROJECT_ID": ""}],
    ),
    "apig keys": (
        Apig,
        {
            "APIG_ENDPOINT": "https://example.com",
            "HUAWEICLOUD_SDK_AK": "AK",
            "HUAWEICLOUD_SDK_SK": SECRET,
            "HUAWEICLOUD_SDK_SECURITY_TOKEN": SECRET,
            "OS_PROJECT_ID": "p",
        },
        [
            {"APIG_ENDPOINT": "http://example.com"},
            {"OS_PROJECT_ID": ""},
            {"HUAWEICLOUD_SDK_SECURITY_TOKEN": f"{SECRET}\n"},
        ],
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_from_env_that_refuses_shows_nothing(name, witness, monkeypatch):
    """No variable of the environment shows in a traceback of `from_env`."""
    client, good, wrong = ENVIRONMENTS[name]
    for variable in list(os.environ):
        if variable.startswith(("CATENIS_", "ITWIN_", "APIG_", "OS_", "HUAWEICLOUD_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("SOMETHING_ELSE", SECRET)
    for variable, value in good.items():
        monkeypatch.setenv(variable, value)
    witness.inspects(client.from_env())
    for change in wrong:
        with monkeypatch.context() as patched:
            for variable, value in change.items():
                patched.setenv(variable, value)
            with pytest.raises(ConfigurationError) as caught:
                client.from_env()
        witness.hears(caught.value)


ENDPOINT = "https://example.com"
CONNECTIONS = {
    "catenis device": (Catenis, Connection("short", Secret(SECRET), None, {})),
    "catenis newline": (Catenis, Connection(DEVICE, Secret(f"{SECRET}\n"), None, {})),
    "itwin id": (ITwin, Connection("", Secret(SECRET), None, {})),
    "itwin url": (ITwin, Connection("c", Secret(SECRET), None, {"token_url": "http://x"})),
    "itwin token": (ITwin, Connection(None, Secret(f"{SECRET}\n"), None, {})),
    "itwin nothing": (ITwin, Connection(None, None, None, {})),
    "apig url": (Apig, Connection("u", Secret(SECRET), ENDPOINT, {"auth_url": "http://x"})),
    "apig user": (Apig, Connection("", Secret(SECRET), ENDPOINT, {"auth_url": ENDPOINT})),
    "apig keys": (Apig, Connection("", Secret(SECRET), ENDPOINT, {"security_token": SECRET})),
    "apig security token": (
        Apig,
        Connection("AK", Secret(SECRET), ENDPOINT, {"security_token": f"{SECRET}\n"}),
    ),
    "apig token": (Apig, Connection(None, Secret(SECRET), ENDPOINT, {})),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_connection_that_is_refused_shows_nothing(name, witness):
    """Neither the password of an Airflow connection nor what is in its extra fields shows."""
    client, connection = CONNECTIONS[name]
    with pytest.raises(ConfigurationError) as caught:
        client(**client.from_connection(connection))
    witness.hears(caught.value)
    witness.note("the connection", represented(connection))


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
def test_a_callback_that_raises_shows_nothing_of_ours(backend, service, witness):
    """The user's own exception during a wait shows no continuation token."""
    _, loopback = service

    def on_progress(progress: Any) -> None:
        raise LookupError("mine")

    async def main() -> None:
        async with clients(loopback.url, asynchronous=True)["catenis"] as client:
            await client.wait(JOB, timeout=60, on_progress=on_progress)

    def wait() -> None:
        with clients(loopback.url)["catenis"] as client:
            client.wait(JOB, timeout=60, on_progress=on_progress)

    with pytest.raises(LookupError) as caught:
        anyio.run(main, backend=backend) if backend else wait()
    witness.hears(caught.value)


@pytest.mark.parametrize("status", ["pending", None, 7])
def test_a_continuation_token_in_an_odd_answer_is_not_shown(status, service, witness):
    """A continuation token isn't shown if the response isn't a success or isn't final."""
    play, loopback = service
    body = json.loads(play.well(Request(b"GET /messages/ HTTP/1.1", b"")).partition(b"\r\n\r\n")[2])
    body["status"] = status
    play.answers = lambda request: answer(200, body)
    with FakeClock(), clients(loopback.url, max_failures=1)["catenis"] as client:
        asked(client, witness)
        with pytest.raises(BadResponse) as odd:
            client.progress(JOB)
    witness.hears(odd.value)
    body["status"], body["data"]["progress"]["done"] = "success", "not yet"
    with FakeClock(), pytest.raises(WaitTimeout) as caught:
        clients(loopback.url)["catenis"].wait(JOB, timeout=10)
    # Pickled, its `.last` is what came, token and all: that is for the user's own process.
    witness.hears(caught.value, pickled=False)


@pytest.mark.parametrize(
    "bend",
    [
        lambda good: [good],
        lambda good: {"status": "success", "data": [good["data"]]},
        lambda good: {"data": good["data"]["result"]},
        lambda good: {"status": "success", "data": {**good["data"], "progress": []}},
        lambda good: {**good, "data": {"result": good["data"]["result"], "progress": {}}},
        lambda good: json.dumps(good)[:-1].encode(),
        lambda good: json.dumps(good)[:-25].encode(),
        lambda good: json.dumps(good["data"]["result"], indent=4)[:-1].encode(),
    ],
)
def test_a_continuation_token_in_an_answer_of_another_form_is_not_shown(bend, service, witness):
    """If a response that isn't valid is quoted, members with the name of a credential aren't."""
    play, loopback = service
    good = json.loads(play.well(Request(b"GET /messages/ HTTP/1.1", b"")).partition(b"\r\n\r\n")[2])
    play.answers = lambda request: answer(200, bend(good))
    with clients(loopback.url)["catenis"] as client, pytest.raises(BadResponse) as caught:
        client.progress(JOB)
    assert caught.value.excerpt
    witness.hears(caught.value)


# --- the command line -----------------------------------------------------------------------------


COMMANDS = {
    "catenis": {"CATENIS_DEVICE_ID": DEVICE, "CATENIS_API_ACCESS_SECRET": "api access secret"},
    "itwin": {"ITWIN_CLIENT_ID": "a-client", "ITWIN_CLIENT_SECRET": "client secret"},
    "itwin token": {"ITWIN_ACCESS_TOKEN": "static token"},
    "apig": {
        "OS_USERNAME": "u",
        "OS_PASSWORD": "password",
        "OS_USER_DOMAIN_NAME": "d",
        "OS_PROJECT_NAME": "n",
    },
    "apig token": {"OS_TOKEN": "static token", "OS_PROJECT_ID": "p"},
    "apig keys": {
        "HUAWEICLOUD_SDK_AK": "AK",
        "HUAWEICLOUD_SDK_SK": "secret key",
        "HUAWEICLOUD_SDK_SECURITY_TOKEN": "security token",
        "OS_PROJECT_ID": "p",
    },
}


@pytest.mark.parametrize("way", COMMANDS)
@pytest.mark.parametrize(
    "bad", [None, "401 itwin", "400 oauth", "200 failed", "200 list", "302 html"]
)
def test_the_command_line_shows_nothing(bad, way, service, witness, monkeypatch, capsys, tmp_path):
    """The command shows nothing in its output, its log, the state file and the report."""
    from opwatch.cli import main

    play, loopback = service
    for variable in list(os.environ):
        if variable.startswith(("CATENIS_", "ITWIN_", "APIG_", "OS_", "HUAWEICLOUD_")):
            monkeypatch.delenv(variable)
    urls = {
        "CATENIS_BASE_URL": f"{loopback.url}/api",
        "ITWIN_BASE_URL": loopback.url,
        "ITWIN_TOKEN_URL": f"{loopback.url}/token",
        "APIG_ENDPOINT": loopback.url,
    }
    if way == "apig":
        urls["OS_AUTH_URL"] = f"{loopback.url}/v3"
    for name, value in (urls | COMMANDS[way]).items():
        monkeypatch.setenv(name, SECRETS.get(value, value))
    if bad is not None:
        play.answers = BAD[bad]
        if way in ("itwin", "apig") and bad in ("401 itwin", "400 oauth"):
            play.token_answers = BAD[bad]
    state, report = tmp_path / "state.json", tmp_path / "report.html"
    arguments = [way.partition(" ")[0], JOB, "--json", "--verbose", "--timeout", "0s"]
    files = ["--state", str(state), "--report", str(report)]
    with FakeClock():
        code = main(["watch", *arguments, *files])
    assert (code == 0) is (bad is None)
    captured = capsys.readouterr()
    assert JOB in captured.out
    assert loopback.url in captured.err
    witness.note("standard output", captured.out)
    witness.note("standard error", captured.err)
    for path in (state, report):
        witness.note(path.name, path.read_text("utf-8"))
    witness.signatures |= play.signatures
