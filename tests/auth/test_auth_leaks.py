"""No secret shows in a repr, a log, an error, a traceback with locals, a pickle or a token.

Each place where a secret can be has one of its own. A real server on loopback answers as it should
and as it shouldn't, and echoes everything it was sent. Then everything that anybody could see is
searched for the beginning of each secret."""

from __future__ import annotations

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from auth_support import PATIENCE, Request, answer
from leak_service import (
    BAD,
    JOB,
    WAYS,
    Service,
    answered,
    asked,
    clients,
    closing,
    credentials,
    echo,
)
from leak_support import SECRETS, SIGNATURE, WORDS, Listening, Witness, playing, refuses_copies

from opwatch.errors import OpwatchError, TransportError, Unavailable
from opwatch.net.message import Answer, Secret
from opwatch.net.message import Request as Outgoing
from opwatch.testing import FakeClock

# --- what answers, and what is sent ---------------------------------------------------------------


QUOTED_AS_THEY_ARE = {"400 json in json", "500 json in json"}
"""A documented field that holds JSON, with a secret escaped in it, is quoted as it is. Those of
refusals and token endpoints aren't quoted."""


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


@pytest.fixture
def nowhere():
    """An address on which nobody listens, and no other test's server meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
@pytest.mark.parametrize("what", ["refused", "silent", "silent after a piece"])
@pytest.mark.parametrize("where", ["API", "token endpoint"])
def test_no_answer_shows_nothing(what, where, backend, service, witness, nowhere):
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
        url = nowhere
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
