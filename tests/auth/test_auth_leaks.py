"""No secret shows in a repr, a log, an error, a traceback with locals, a pickle or a token.

Each place where a secret can be has one of its own. A real server on loopback answers as it should
and as it shouldn't, and echoes everything it was sent. Then everything that anybody could see is
searched for the beginning of each secret.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from auth_support import DEVICE, PATIENCE, Loopback, Request, answer
from leak_support import SECRETS, SIGNATURE, WORDS, Listening, Witness, playing, refuses_copies

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
from opwatch.auth import aksk, ctn1
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    OpwatchError,
    TransportError,
    Unavailable,
    WaitTimeout,
)
from opwatch.net.address import address
from opwatch.net.message import Answer, Secret
from opwatch.net.message import Request as Outgoing
from opwatch.testing import FakeClock, Script

JOB = "j" * 20
NAIVE = datetime(2026, 1, 1)


# --- what answers, and what is sent ---------------------------------------------------------------


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
QUOTED_AS_THEY_ARE = {"400 json in json", "500 json in json"}
"""A documented field that holds JSON, with a secret escaped in it, is quoted as it is. Those of
refusals and token endpoints aren't quoted."""


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


# --- the harness itself ---------------------------------------------------------------------------


def test_each_secret_is_its_own_and_can_be_found():
    """A secret is found in whatever way it is written, so the tests below can fail."""
    assert len(set(WORDS.values())) == len(SECRETS)
    for name, secret in SECRETS.items():
        for way in (str, repr, quote, json.dumps, lambda text: repr(text.encode())):
            seen = Witness()
            seen.note("somewhere", way(secret))
            assert [line.split(" in ")[0] for line in seen.found()] == [name]


def test_the_search_finds_what_errors_and_logs_tell():
    """Locals, contexts, notes, pickles and log records are searched, so the tests can fail."""
    for hide in ("locals", "cause", "notes", "log", "pickle"):
        seen, word = Witness(), SECRETS["static token"]
        try:
            json.loads(f"[{word}" if hide == "locals" else "[")
        except ValueError as error:
            if hide == "cause":
                error.__context__ = LookupError(word)
            if hide == "notes":
                error.add_note(word)
            if hide != "log":
                seen.hears(error)
        if hide == "log":
            with Listening(seen):
                logging.getLogger("anything").debug("so %s", {"headers": word})
        if hide == "pickle":
            seen.pickles("error", OpwatchError("no", token=word))
        assert seen.found() != [], hide


# --- objects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_clients_and_credentials_show_nothing(witness, asynchronous):
    """Clients and credentials that were only created show nothing, and can't be copied."""
    known = credentials("https://example.com")
    for name, one in known.items():
        witness.sees(name, one)
        refuses_copies(one)
    for client in clients("https://example.com", asynchronous=asynchronous).values():
        witness.inspects(client)
        refuses_copies(client)


def test_requests_and_answers_show_nothing(witness):
    """The values that a client exchanges with its transport show nothing, and can't be copied."""

    def handler(request: Outgoing) -> Answer:
        if request.method == "POST":
            return answered(request, Service().well)
        values = [value for _, value in request.headers]
        body = b"".join(v.encode() if isinstance(v, (Secret, str)) else v for v in values)
        witness.signatures.update(SIGNATURE.findall(body.decode()))
        return Answer(503, (), body, secrets=request.secrets)

    with playing(handler) as exchanged:
        for client in clients("https://example.com").values():
            with pytest.raises(Unavailable) as caught:
                client.progress(JOB)
            witness.hears(caught.value)
            witness.inspects(client)
    for one in exchanged:
        witness.sees("what was exchanged", one)
        refuses_copies(one)
        if isinstance(one, Outgoing):
            witness.sees("what is sent", one.headers, one.body, one.secrets)
    assert len(exchanged) == 2 * (len(WAYS) + 3)
    assert len(witness.signatures) >= 3


def answered(request: Outgoing, handler: Callable[[Request], bytes | None]) -> Answer:
    """Return what a handler of the server would answer, without a server."""
    wire = Request(f"{request.method} {request.target} HTTP/1.1\r\n\r\n".encode(), b"")
    head, _, body = (handler(wire) or b"").partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [line.partition(b":") for line in lines]
    headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Answer(int(status.split()[1]), headers, body, secrets=request.secrets)


# --- success --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_success_shows_nothing(way, service, witness):
    """A wait shows nothing in its answers, tokens and logs."""
    play, loopback = service
    with clients(loopback.url)[way] as client:
        watch = client.watch(JOB, timeout=60)
        for progress in watch:
            witness.sees("progress", progress)
            witness.note("token", watch.token)
        witness.sees("watch", watch)
        witness.note("token", watch.token)
        step = client.start(JOB, timeout=60)
        witness.sees("step", step)
        witness.note("token", step.token)
        many = client.watch_many([JOB, "k" * 20], timeout=60)
        witness.sees("progress", *many)
        witness.sees("many", many)
        witness.note("tokens", many.tokens)
        witness.inspects(client)
    witness.signatures |= play.signatures


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", WAYS)
def test_async_success_shows_nothing(way, backend, service, witness):
    """A wait of an async client shows nothing, even in asyncio's debug mode."""
    play, loopback = service

    async def main() -> None:
        async with clients(loopback.url, asynchronous=True)[way] as client:
            watch = client.watch(JOB, timeout=60)
            async for progress in watch:
                witness.sees("progress", progress)
            witness.sees("watch", watch)
            witness.note("token", watch.token)
            async for progress in client.watch_many([JOB], timeout=60):
                witness.sees("progress", progress)
            witness.inspects(client)

    anyio.run(
        main, backend=backend, backend_options={"debug": True} if backend == "asyncio" else {}
    )
    witness.signatures |= play.signatures


def test_every_log_was_heard(service):
    """The logs of asyncio and ours are heard at DEBUG, so the tests can fail."""
    play, loopback = service
    play.answers = BAD["500 text"]
    seen = Witness()
    with Listening(seen) as heard:
        clients(loopback.url)["apig login"].start(JOB, timeout=60)
        with pytest.raises(Unavailable):
            anyio.run(clients(loopback.url, asynchronous=True)["apig login"].progress, JOB)
    assert {"opwatch", "asyncio"} <= heard.names


# --- bad answers ----------------------------------------------------------------------------------


def asked(client: Any, witness: Witness) -> None:
    """Note what a poll, and the first poll of a wait, return or raise."""
    for call in (client.progress, functools.partial(client.start, timeout=1)):
        try:
            witness.sees("answer", call(JOB))
        except OpwatchError as error:
            witness.hears(error)


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad not in QUOTED_AS_THEY_ARE])
def test_a_bad_answer_shows_nothing(bad, service, witness):
    """A service that echoes everything shows nothing, whatever the way to authenticate."""
    play, loopback = service
    play.answers = BAD[bad]
    with FakeClock():
        for client in clients(loopback.url, max_failures=1).values():
            with client:
                asked(client, witness)
                witness.inspects(client)
    witness.signatures |= play.signatures


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_of_a_token_endpoint_shows_nothing(bad, service, witness):
    """A token endpoint that echoes the client's secret or the user's password shows neither."""
    play, loopback = service
    play.token_answers = BAD[bad]
    with FakeClock():
        for way in ("itwin form", "itwin basic", "apig login"):
            with clients(loopback.url, max_failures=1)[way] as client:
                asked(client, witness)
                witness.inspects(client)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_bad_answer_to_an_async_client_shows_nothing(backend, status, service, witness):
    """Async clients show as little as blocking ones."""
    play, loopback = service

    async def main(ways: list[str]) -> None:
        known = clients(loopback.url, asynchronous=True)
        for way in ways:
            async with known[way] as client:
                try:
                    witness.sees("progress", await client.progress(JOB))
                except OpwatchError as error:
                    witness.hears(error)
                witness.inspects(client)

    for name in ("itwin", "list", "wrong types", "cut off"):
        play.answers, play.token_answers = BAD[f"{status} {name}"], play.well
        anyio.run(main, WAYS, backend=backend)
        play.token_answers = play.answers
        anyio.run(main, ["itwin form", "itwin basic", "apig login"], backend=backend)
    witness.signatures |= play.signatures


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize(
    "body",
    [
        {"token": SECRETS["access token"]},
        [SECRETS["access token"]],
        SECRETS["access token"],
        {"access_token": [SECRETS["access token"]]},
        {"access_token": f"{SECRETS['access token']}\n"},
        {"access_token": f"{SECRETS['access token']}ä"},
    ],
)
def test_a_token_in_the_wrong_form_is_not_shown(body, status, service, witness):
    """A token in a response that isn't valid isn't quoted."""
    play, loopback = service
    for way, headers in (
        ("itwin form", {}),
        ("apig login", {"X-Subject-Token": SECRETS["subject token"]}),
    ):
        play.token_answers = lambda request: answer(status, body, headers)  # noqa: B023
        with clients(loopback.url)[way] as client, pytest.raises(OpwatchError) as caught:
            client.progress(JOB)
        witness.hears(caught.value)


@pytest.mark.parametrize(
    "head", ["X-Subject-Token: {}", "x-subject-token:{}\r\nX-Subject-Token: 2"]
)
@pytest.mark.parametrize(
    ("status", "body"), [(200, b"{}"), (201, b"[]"), (201, b"<html>"), (500, b"")]
)
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_subject_token_in_a_wrong_answer_is_not_shown(
    cut_off, head, status, body, service, witness
):
    """A token in the header of a response that isn't valid or complete isn't shown."""
    play, loopback = service
    line = head.format(SECRETS["subject token"])
    lines = f"HTTP/1.1 {status} Answer\r\n{line}\r\nContent-Length: {len(body)}\r\n"
    whole = lambda request: lines.encode() + b"\r\n" + body  # noqa: E731
    play.token_answers = closing(lambda request: lines.encode()) if cut_off else whole
    with clients(loopback.url)["apig login"] as client, pytest.raises(OpwatchError) as caught:
        client.progress(JOB)
    witness.hears(caught.value)


# --- no answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
@pytest.mark.parametrize("what", ["refused", "silent", "silent after a piece"])
@pytest.mark.parametrize("where", ["API", "token endpoint"])
def test_no_answer_shows_nothing(what, where, backend, service, witness):
    """Refused connections, and responses that don't come in time, show nothing."""
    play, loopback = service
    piece = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" if what != "silent" else b""

    def silent(request: Request) -> bytes | None:
        if piece:
            request.send(piece + echo(request).encode())
        play.held.wait(PATIENCE)
        return None

    url = loopback.url
    if what == "refused":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    if where == "API":
        play.answers = silent
    else:
        play.token_answers = silent
    ways = WAYS if where == "API" else ["itwin form", "itwin basic", "apig login"]
    how = {"request_timeout": 0.1 if what != "refused" else 10}

    async def ask(client: Any) -> None:
        async with client:
            with pytest.raises(TransportError) as caught:
                await client.progress(JOB)
        witness.hears(caught.value)

    async def main() -> None:
        known = clients(url, asynchronous=True, **how)
        async with anyio.create_task_group() as tasks:
            for way in ways:
                tasks.start_soon(ask, known[way])

    def ask_blocking(client: Any) -> None:
        with client, pytest.raises(TransportError) as caught:
            client.progress(JOB)
        witness.hears(caught.value)

    # All at the same time, since each takes its time limit.
    if backend:
        anyio.run(main, backend=backend)
        return
    with ThreadPoolExecutor(len(ways)) as threads:
        known = clients(url, **how)
        for done in [threads.submit(ask_blocking, known[way]) for way in ways]:
            done.result()


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("piece", [False, True])
def test_ctrl_c_in_the_middle_of_a_request_shows_nothing(way, piece, service, witness):
    """Ctrl-C during a request shows nothing, even after half of the response."""
    play, loopback = service
    main = threading.get_ident()

    def interrupt(request: Request) -> bytes | None:
        if piece:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
            request.send(head + echo(request).encode() + SECRETS["access token"].encode())
        signal.pthread_kill(main, signal.SIGINT)
        play.held.wait(PATIENCE)
        return None

    play.answers = play.token_answers = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with clients(loopback.url)[way] as client, pytest.raises(KeyboardInterrupt) as caught:
            client.progress(JOB)
    finally:
        signal.signal(signal.SIGINT, before)
    witness.hears(caught.value)
    play.held.set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_request_shows_nothing(way, backend, service, witness):
    """What is raised in a task that is cancelled during a request shows nothing."""
    play, loopback = service

    def hold(request: Request) -> bytes | None:
        request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + echo(request).encode())
        arrived.release()
        play.held.wait(PATIENCE)
        return None

    async def ask(client: Any) -> None:
        try:
            await client.progress(JOB)
        except BaseException as error:
            witness.hears(error)
            raise

    async def main() -> None:
        async with clients(loopback.url, asynchronous=True)[way] as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client)
                await anyio.to_thread.run_sync(arrived.acquire)
                tasks.cancel_scope.cancel()
            witness.inspects(client)

    arrived = threading.Semaphore(0)
    play.answers = play.token_answers = hold
    anyio.run(main, backend=backend)
    play.held.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_anywhere_shows_nothing(way, witness):
    """Ctrl-C while a request is signed, a token is read or a response is parsed shows nothing."""

    class Interrupt(KeyboardInterrupt):
        pass

    def interrupted(number: int) -> int:
        """Interrupt a poll at one of the places where Python looks for signals.

        Return how many there were, up to the one of that number.
        """
        seen, before = 0, sys.getprofile()

        def profile(frame: Any, event: str, arg: Any) -> None:
            nonlocal seen
            seen += event in ("call", "c_return")
            if seen == number:
                sys.setprofile(before)
                raise Interrupt

        client = clients("https://example.com")[way]
        sys.setprofile(profile)
        try:
            client.progress(JOB)
        except Interrupt as error:
            witness.hears(error)
        finally:
            sys.setprofile(before)
        return seen

    @functools.cache
    def known(method: str, target: str) -> Answer:
        return answered(Outgoing(method, address("https://example.com", "url"), target), service)

    def handler(request: Outgoing) -> Answer:
        answer = known(request.method, request.target)
        return Answer(answer.status, answer.headers, answer.body, secrets=request.secrets)

    service = Service().well
    with playing(handler):
        interrupted(0)  # fills the caches
        places = interrupted(0)
        assert places > 100
        for number in range(1, places * 9 // 10, max(places // 100, 1)):
            assert interrupted(number) == number


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
