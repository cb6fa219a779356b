"""`opwatch.httpx_auth`: credentials that are refused, and tokens that end."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest
from auth_support import API_SECRET, DEVICE, Loopback, Request, aksk_fault, answer
from httpx_support import SERVICE, Server, iam, keys, oauth, received, reply, token, way

from opwatch import AkSk, ClientCredentials, Ctn1, httpx_auth
from opwatch.errors import (
    AuthenticationError,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
)
from opwatch.simulator import Simulator
from opwatch.simulator import itwin as simulated_itwin
from opwatch.testing import FakeClock


@pytest.mark.parametrize("auth", [httpx_auth(Ctn1(DEVICE, API_SECRET)), keys("wrong")])
def test_refused_keys_are_sent_once(auth: httpx.Auth) -> None:
    """The refusal is returned; later requests raise it and send nothing."""
    server = Server(reply(401, {"message": "no"}))
    with server.client(auth) as client:
        assert client.get("/things").json() == {"message": "no"}
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="won't send them again"):
                client.get("/things")
    assert len(server.requests) == 1


def test_many_requests_at_once_lock_no_keys() -> None:
    """Until keys were accepted, one request at a time is sent; a refusal ends the others."""
    server, auth = Server(reply(401)), keys("wrong")

    async def main() -> list[Any]:
        async with httpx.AsyncClient(transport=server.transport, auth=auth) as client:
            sent = (client.get(f"{SERVICE}/things") for _ in range(20))
            return await asyncio.gather(*sent, return_exceptions=True)

    found = asyncio.run(main())
    refused = [each for each in found if isinstance(each, AuthenticationError)]
    assert (len(refused), len(server.requests)) == (19, 1)


@pytest.mark.parametrize("backend", ["threads", "asyncio", "trio"])
def test_many_requests_at_once_lock_no_keys_that_were_accepted(backend: str) -> None:
    """Six refusals in a row would: so no more than five are in flight, and all others end."""
    all_at_once, together = threading.Barrier(20), threading.Barrier(5)
    arrived = [anyio.Event() for _ in range(5)]
    server = Server(reply(200), reply(401))

    class Blocking(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if server.requests:
                together.wait(120)  # answer once five have come, and let others come before that
                for _ in range(20):
                    os.sched_yield()
            return server.transport.handle_request(request)

    class Async(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if server.requests:
                next(each for each in arrived if not each.is_set()).set()
                await arrived[-1].wait()
            return await server.transport.handle_async_request(request)

    def blocking() -> list[int | None]:
        with httpx.Client(transport=Blocking(), auth=keys()) as client:
            client.get(SERVICE)

            def get(_: int) -> int | None:
                all_at_once.wait(120)
                with suppress(AuthenticationError):
                    return client.get(SERVICE).status_code
                return None

            with ThreadPoolExecutor(20) as threads:
                return [*threads.map(get, range(20))]

    async def main() -> list[int | None]:
        found: list[int | None] = []

        async def get() -> None:
            status = None
            with suppress(AuthenticationError):
                status = (await client.get(SERVICE)).status_code
            found.append(status)

        async with httpx.AsyncClient(transport=Async(), auth=keys()) as client:
            await client.get(SERVICE)
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(get)
        return found

    found = blocking() if backend == "threads" else anyio.run(main, backend=backend)
    assert sorted(found, key=str) == [401] * 5 + [None] * 15
    assert len(server.requests) == 6


def test_requests_that_are_cancelled_leave_their_places_to_others() -> None:
    """However far they came; and so do those that failed."""
    server, auth = Server(reply(200)), keys()

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/failing":
                raise httpx.ReadError("broken")
            if request.url.path == "/silent":
                await anyio.sleep_forever()
            return await server.transport.handle_async_request(request)

    async def main() -> None:
        async with httpx.AsyncClient(transport=Silent(), auth=auth) as client:
            await client.get(SERVICE)
            for _ in range(7):
                with pytest.raises(httpx.ReadError):
                    await client.get(f"{SERVICE}/failing")
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(client.get, f"{SERVICE}/silent")
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            with anyio.fail_after(20):
                assert (await client.get(SERVICE)).status_code == 200

    asyncio.run(main())


def test_a_refused_token_is_returned_and_not_remembered() -> None:
    """A 401 to a new token, too, is returned; the next request is sent, since it may be another."""
    server = Server(
        *(token("first"), reply(401)),
        *(token("second"), reply(401, {"error": "no"})),
        reply(200),
    )
    with server.client(httpx_auth(oauth())) as client:
        assert client.get("/things").json() == {"error": "no"}
        assert client.get("/others").status_code == 200


def test_the_response_is_never_that_of_a_token_endpoint() -> None:
    """If the endpoint hands out the refused token again, that is an error."""
    server = Server(token("same"), reply(401), token("same"), reply(200))
    with server.client(httpx_auth(oauth())) as client:
        with pytest.raises(AuthenticationError, match="the new token was refused as well"):
            client.get("/things")
        assert server.seen == ["POST tokens.test", "GET service.test", "POST tokens.test"]


def test_a_refused_client_secret_is_sent_once() -> None:
    """A secret that the token endpoint refuses is an error, and isn't sent again."""
    server = Server(reply(401, {"error": "invalid_client"}))
    with server.client(httpx_auth(oauth("wrong-secret"))) as client:
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="client ID or secret was refused"):
                client.get("/things")
    assert server.seen == ["POST tokens.test"]


def test_a_pause_of_the_token_endpoint_is_kept(clock: FakeClock) -> None:
    """A token endpoint that asks for a pause gets it."""
    server = Server(reply(503, **{"Retry-After": "60"}), token("first"), reply(200))
    with server.client(httpx_auth(oauth())) as client:
        with pytest.raises(Unavailable):
            client.get("/things")
        with pytest.raises(RateLimited, match="no request was sent"):
            client.get("/things")
        clock.advance(61)
        assert client.get("/things").status_code == 200
    assert len(server.requests) == 3


def read(request: httpx.Request) -> None:
    request.read()


async def aread(request: httpx.Request) -> None:
    await request.aread()


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("basic", [False, True])
def test_a_secret_does_not_follow_a_redirect(
    status: int, is_read: bool, is_async: bool, basic: bool
) -> None:
    """A token endpoint that redirects gets no second request with the secret, even if the client
    follows redirects and a hook has read the request; and where it leads to gives no token."""

    def handle(request: Request) -> bytes:
        if request.target == "/token":
            return answer(status, headers={"Location": "/other"})
        return answer(200, {"access_token": "another's"})

    def blocking(auth: httpx.Auth, url: str) -> None:
        hooks = {"request": [read] if is_read else []}
        with httpx.Client(auth=auth, follow_redirects=True, event_hooks=hooks) as client:
            client.get(url)

    async def asynchronous(auth: httpx.Auth, url: str) -> None:
        hooks = {"request": [aread] if is_read else []}
        async with httpx.AsyncClient(auth=auth, follow_redirects=True, event_hooks=hooks) as client:
            await client.get(url)

    with Loopback(handle) as server:
        url = f"{server.url}/token"
        secret = simulated_itwin.CLIENT_SECRET
        auth = httpx_auth(
            ClientCredentials(simulated_itwin.CLIENT_ID, secret, token_url=url, basic=basic)
        )
        with pytest.raises(ServiceError, match="which opwatch doesn't follow"):
            asyncio.run(asynchronous(auth, url)) if is_async else blocking(auth, url)
    first, *others = server.requests
    assert first.target == "/token"
    for each in others:
        assert (each.target, each.body, each.header("authorization")) == ("/other", b"", None)


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("place", ["https://other.test/x", "http://service.test/x", "/x"])
def test_no_token_follows_a_redirect(status: int, method: str, place: str) -> None:
    """The services' own headers stay at the address they were sent to, whatever it redirects to."""
    there = httpx.URL(SERVICE).join(place)
    temporary = AkSk("key", "hush-hush", security_token="temporary-token")

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        if request.url.host == "tokens.test":
            body = {"token": {"project": {"id": "p"}}}
            return httpx.Response(201, json=body, headers={"X-Subject-Token": "subject-token"})
        if request.url == there:
            return httpx.Response(200)
        assert {"x-auth-token", "x-security-token"} & set(request.headers)
        return httpx.Response(status, headers={"Location": place})

    for auth in (httpx_auth(iam()), httpx_auth(temporary)):
        server = Server(handle)
        with server.client(auth, follow_redirects=True) as client:
            assert client.request(method, "/things").url == there
            assert client.request(method, "/things", follow_redirects=False).status_code == status
        (followed,) = (each for each in server.requests if each.url == there)
        assert not {"x-auth-token", "x-security-token"} & set(followed.headers)


UNREADABLE = ["mailto:a@b", "javascript:1", "data:,x", "http://xn--a/", "//xn--a/", "http://[::1"]


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("location", [*UNREADABLE, None])
def test_an_unreadable_answer_for_a_token_is_an_opwatch_error(
    location: str | None, is_async: bool, follow: bool
) -> None:
    """A redirect of a token endpoint that httpx can't read, or broken compression, is an
    `OpwatchError`; the next request asks for a token again."""
    headers = {"Content-Encoding": "gzip"}
    unreadable = httpx.Response(200, headers=headers, stream=Broken())
    if location is not None:
        unreadable = httpx.Response(302, headers={"Location": location})
    server, auth = (
        Server(lambda request: unreadable, token("first"), reply(200)),
        httpx_auth(oauth()),
    )
    options: dict[str, Any] = {"transport": server.transport, "follow_redirects": follow}

    def blocking() -> int:
        with httpx.Client(auth=auth, **options) as client:
            with pytest.raises(TransportError, match="the request for a token failed"):
                client.get(SERVICE)
            return client.get(SERVICE).status_code

    async def asynchronous() -> int:
        async with httpx.AsyncClient(auth=auth, **options) as client:
            with pytest.raises(TransportError, match="the request for a token failed"):
                await client.get(SERVICE)
            return (await client.get(SERVICE)).status_code

    assert (asyncio.run(asynchronous()) if is_async else blocking()) == 200


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that isn't gzip."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"not gzip"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"not gzip"


@pytest.mark.parametrize("name", ["oauth2", "iam", "aksk"])
def test_a_hook_may_read_the_whole_url(sim: Simulator, name: str) -> None:
    """A hook that reads the fragment of a request's URL removes no credential."""
    auth, _, url, operation, at = way(name, sim)
    seen: list[str] = []
    hooks = {"request": [lambda request: seen.append(request.url.fragment)]}
    with httpx.Client(base_url=url, auth=auth, event_hooks=hooks) as client:
        assert client.request(**operation.build_request(**at)).status_code == 200
    assert seen == [""] * (1 if name == "aksk" else 2)


def test_the_history_holds_redirects_alone() -> None:
    """Neither the request for a token nor a refused request is in the history of a response."""
    moved = [reply(307, Location=f"/{step}") for step in ("once", "twice")]
    server = Server(token("first"), reply(401), token("second"), *moved, reply(200))
    with server.client(httpx_auth(oauth()), follow_redirects=True) as client:
        response = client.get("/things")
    assert [each.url.path for each in response.history] == ["/things", "/once"]
    assert [len(each.history) for each in response.history] == [0, 1]
    assert simulated_itwin.CLIENT_SECRET.encode() not in pickle.dumps(response)


def test_a_request_may_lack_its_host() -> None:
    """Without a `Host` header, the host of the URL is signed and sent."""
    server = Server(reply(200))
    request = httpx.Request("GET", f"{SERVICE}:8443/things")
    del request.headers["Host"]
    with server.client(httpx_auth(AkSk("key", "hush-hush"))) as client:
        assert client.send(request).status_code == 200
    assert server.requests[0].headers["Host"] == "service.test:8443"
    assert aksk_fault(received(server.requests[0]), secret_key="hush-hush") is None
