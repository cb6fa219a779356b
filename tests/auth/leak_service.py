"""A service that echoes everything it was sent, and a client for each way to authenticate."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from auth_support import DEVICE, Loopback, Request, answer
from leak_support import SECRETS, SIGNATURE, Listening, Witness

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    Catenis,
    ClientCredentials,
    IamPassword,
    ITwin,
)
from opwatch.errors import OpwatchError
from opwatch.net.message import Answer
from opwatch.net.message import Request as Outgoing

JOB = "j" * 20


class Service:
    """All three services and both token endpoints at once; a test may replace their answers."""

    def __init__(self) -> None:
        self.answers: Callable[[Request], bytes | None] = self.well
        self.token_answers: Callable[[Request], bytes | None] = self.well
        self.held = threading.Event()
        self.signatures: set[str] = set()

    def __call__(self, request: Request) -> bytes | None:
        if found := SIGNATURE.search(request.header("authorization") or ""):
            self.signatures.add(found[1])
        is_login = request.method == "POST"
        return self.token_answers(request) if is_login else self.answers(request)

    def well(self, request: Request) -> bytes | None:
        if request.target.endswith("/token"):
            body = {"access_token": SECRETS["access token"], "expires_in": 3600}
            return answer(200, body)
        if request.method == "POST":
            headers = {"X-Subject-Token": SECRETS["subject token"]}
            return answer(201, {"token": {"project": {"id": "p"}}}, headers)
        if "/messages/" in request.target:
            result = {"messageId": "m", "continuationToken": SECRETS["continuation token"]}
            progress = {"bytesProcessed": 1, "done": True, "success": True}
            data = {"action": "read", "progress": progress, "result": result}
            return answer(200, {"status": "success", "data": data})
        if "/instances/" in request.target:
            return answer(200, {"progress": 100, "status": "success"})
        return answer(200, {"jobProgress": {"percentage": 100, "state": "success"}})


def echo(request: Request) -> str:
    """Return everything that the client sent, as a careless server would print it."""
    return request.head.decode("latin-1") + request.body.decode()


def credentials_in(request: Request) -> str:
    """Return the end of each credential, for fields that are cut off after a few characters."""
    values = [request.header(name) or "" for name in ("authorization", "x-auth-token")]
    secrets = re.findall(
        rb"client_secret=([^&]+)|\"password\": \"([^{]+?)\", \"domain\"", request.body
    )
    values += [(one or other).decode() for one, other in secrets]
    return "".join(value.removeprefix("Bearer ")[-70:] for value in values)


def echoes(status: int) -> dict[str, Callable[[Request], bytes | None]]:
    """Return responses with that status that echo everything, in the ways in which servers do."""

    def headers(request: Request) -> list[tuple[str, str]]:
        line = " ".join(echo(request).split()).encode("ascii", "replace").decode()
        line = "".join(char for char in line if char.isprintable())
        code = credentials_in(request)
        return [
            ("WWW-Authenticate", f"Bearer {line}"),
            ("X-Seen", line),
            ("X-Request-Id", code),
            ("X-Correlation-Id", code),
        ]

    def of(body: Callable[[str], Any]) -> Callable[[Request], bytes]:
        return lambda request: answer(status, body(echo(request)), headers(request))

    def coded(body: Callable[[str, str], Any]) -> Callable[[Request], bytes]:
        return lambda request: answer(
            status, body(credentials_in(request), echo(request)), headers(request)
        )

    return {
        "catenis": of(lambda text: {"status": "error", "message": text}),
        "itwin": coded(lambda code, text: {"error": {"code": code, "message": text}}),
        "apig": coded(
            lambda code, text: {"error_code": code, "error_msg": text, "request_id": code}
        ),
        "oauth": coded(lambda code, text: {"error": code, "error_description": text}),
        "keystone": coded(
            lambda code, text: {"error": {"code": code, "title": code, "message": text}}
        ),
        "text": of(lambda text: text.encode()),
        "html": of(lambda text: f"<pre>{text.replace('&', '&amp;').replace('<', '&lt;')}".encode()),
        "url": of(lambda text: b"https://login/?" + quote(text).encode()),
        "json in json": of(lambda text: {"message": json.dumps({"request": text})}),
        "list": of(lambda text: [text]),
        "string": of(lambda text: text),
        "other object": of(lambda text: {"request": text, "data": text, "jobProgress": [text]}),
        "wrong types": of(
            lambda text: {
                "status": text,
                "progress": text,
                "data": {"action": text, "progress": {"done": text, "bytesProcessed": text}},
                "jobProgress": {"state": text, "step": text, "percentage": text},
            }
        ),
        "failed": of(
            lambda text: {
                "status": "failed" if "instances" in text else "success",
                "error_code": text,
                "error_msg": text,
                "data": {
                    "action": text,
                    "progress": {
                        "bytesProcessed": 0,
                        "done": True,
                        "success": False,
                        "error": {"code": text, "message": text},
                    },
                },
                "jobProgress": {"state": "failed", "step": text},
            }
        ),
        "cut off": closing(lambda request: of(lambda text: {"message": text})(request)[:-9]),
        "no HTTP": closing(lambda request: echo(request).encode()),
        "nothing": lambda request: None,
    }


def closing(handler: Callable[[Request], bytes]) -> Callable[[Request], None]:
    """Send that answer, and close the connection."""

    def close(request: Request) -> None:
        request.send(handler(request))

    return close


BAD = {
    f"{status} {name}": handler
    for status in (200, 302, 400, 401, 403, 407, 500)
    for name, handler in echoes(status).items()
}


@pytest.fixture
def service() -> Iterator[tuple[Service, Loopback]]:
    play = Service()
    with Loopback(play) as loopback:
        yield play, loopback
        play.held.set()


@pytest.fixture
def witness() -> Iterator[Witness]:
    """See the whole test and every log record in it, and check that no secret was shown."""
    found = Witness()
    with Listening(found):
        yield found
    assert found.found() == []
    assert len(found) > 0


def token_callable() -> str:
    return SECRETS["callable's token"]


async def async_callable() -> str:
    return SECRETS["callable's token"]


def credentials(url: str) -> dict[str, Any]:
    oauth = functools.partial(
        ClientCredentials, "a-client", SECRETS["client secret"], token_url=f"{url}/token"
    )
    login = functools.partial(
        IamPassword, f"{url}/v3", "u", SECRETS["password"], domain_name="d", project_name="n"
    )
    keys = functools.partial(AkSk, "AK", SECRETS["secret key"])
    return {
        "form": oauth(),
        "basic": oauth(basic=True),
        "login": login(),
        "keys": keys(),
        "temporary keys": keys(security_token=SECRETS["security token"]),
    }


def clients(url: str, *, asynchronous: bool = False, **how: Any) -> dict[str, Any]:
    """Return a client for each way to authenticate."""
    catenis = AsyncCatenis if asynchronous else Catenis
    itwin = AsyncITwin if asynchronous else ITwin
    apig = AsyncApig if asynchronous else Apig
    called = async_callable if asynchronous else token_callable
    known = credentials(url)
    static = SECRETS["static token"]
    return {
        "catenis": catenis(DEVICE, SECRETS["api access secret"], base_url=f"{url}/api", **how),
        "itwin static": itwin(static, base_url=url, **how),
        "itwin callable": itwin(called, base_url=url, **how),
        "itwin partial": itwin(functools.partial(str, static), base_url=url, **how),
        "itwin form": itwin(known["form"], base_url=url, **how),
        "itwin basic": itwin(known["basic"], base_url=url, **how),
        "apig static": apig(url, f"Bearer {static}", project_id="p", **how),
        "apig login": apig(url, known["login"], **how),
        "apig keys": apig(url, known["keys"], project_id="p", **how),
        "apig temporary": apig(url, known["temporary keys"], project_id="p", **how),
    }


WAYS = list(clients("http://127.0.0.1:9"))


def answered(request: Outgoing, handler: Callable[[Request], bytes | None]) -> Answer:
    """Return what a handler of the server would answer, without a server."""
    wire = Request(f"{request.method} {request.target} HTTP/1.1\r\n\r\n".encode(), b"")
    head, _, body = (handler(wire) or b"").partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [line.partition(b":") for line in lines]
    headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Answer(int(status.split()[1]), headers, body, secrets=request.secrets)


def asked(client: Any, witness: Witness) -> None:
    """Note what a poll, and the first poll of a wait, return or raise."""
    for call in (client.progress, functools.partial(client.start, timeout=1)):
        try:
            witness.sees("answer", call(JOB))
        except OpwatchError as error:
            witness.hears(error)
