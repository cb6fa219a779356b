"""`opwatch.httpx_auth`: the same credentials for any httpx client, blocking and async.

Against the simulator, which checks signatures and tokens as the services do; and on httpx's own
mock transport, where a test sees each request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from auth_support import API_SECRET, DEVICE, PATIENCE, aksk_fault, ctn1_fault
from httpx_support import SERVICE, Server, iam, keys, oauth, received, reply, token, way

from opwatch import AkSk, Ctn1, httpx_auth
from opwatch.errors import ConfigurationError, TransportError
from opwatch.simulator import Simulator
from opwatch.testing import FakeClock

WAYS = ["ctn1", "oauth2", "iam", "aksk"]


@pytest.mark.parametrize("name", WAYS)
def test_a_typed_client_is_authenticated(sim: Simulator, name: str) -> None:
    """A typed client with each of the credentials gets its answers, with one token for them."""
    auth, package, url, operation, at = way(name, sim)
    with package.Client(url, auth=auth) as client:
        found = [operation.sync_detailed(client=client, **at) for _ in range(3)]
    assert [each.status_code for each in found] == [200] * 3
    tokens = [each for each in sim.requests if each.operation == "token"]
    assert len(tokens) == (name in ("oauth2", "iam"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", WAYS)
def test_an_async_client_is_authenticated(sim: Simulator, name: str, backend: str) -> None:
    """So does an async one, on asyncio and trio; many tasks at once share one token."""
    auth, package, url, operation, at = way(name, sim)
    found: list[int] = []

    async def once(client: Any) -> None:
        found.append((await operation.asyncio_detailed(client=client, **at)).status_code)

    async def main() -> None:
        async with package.Client(url, auth=auth) as client, anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(once, client)

    anyio.run(main, backend=backend)
    assert found == [200] * 8
    tokens = [each for each in sim.requests if each.operation == "token"]
    assert len(tokens) == (name in ("oauth2", "iam"))


@pytest.mark.parametrize("name", WAYS)
def test_threads_share_an_auth(sim: Simulator, name: str) -> None:
    """Threads with one auth and one client fetch one token."""
    auth, _, url, operation, at = way(name, sim)
    with httpx.Client(base_url=url, auth=auth) as client, ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.request, **operation.build_request(**at)) for _ in range(16)]
        assert [each.result(PATIENCE).status_code for each in sent] == [200] * 16
    tokens = [each for each in sim.requests if each.operation == "token"]
    assert len(tokens) == (name in ("oauth2", "iam"))


@pytest.mark.parametrize("name", ["oauth2", "iam"])
def test_a_token_is_renewed(sim: Simulator, clock: FakeClock, name: str) -> None:
    """A token is renewed before it expires, and one that was revoked is replaced."""
    auth, package, url, operation, at = way(name, sim)
    with package.Client(url, auth=auth) as client:
        for _ in range(2):
            assert operation.sync_detailed(client=client, **at).status_code == 200
            clock.advance(86_400)
        sim.revoke_tokens()
        assert operation.sync_detailed(client=client, **at).status_code == 200
    seen = [(each.operation, each.status) for each in sim.requests]
    renewal = [("token", {"oauth2": 200, "iam": 201}[name]), ("progress", 200)]
    assert seen[:4] == renewal * 2
    assert seen[-2:] == renewal


@pytest.mark.parametrize("skew", [3600, -3600])
def test_a_wrong_clock_is_corrected(sim: Simulator, skew: float) -> None:
    """A Catenis request that was refused because of the clock is signed again, once."""
    sim.skew = skew
    auth, package, url, operation, at = way("ctn1", sim)
    with package.Client(url, auth=auth) as client:
        assert [operation.sync_detailed(client=client, **at).status_code for _ in range(2)] == [
            200,
            200,
        ]
    assert [each.status for each in sim.requests] == [401, 200, 200]


# --- what goes over the wire ----------------------------------------------------------------------


BODIES: list[dict[str, Any]] = [
    {"method": "GET", "url": "/a%20b/ü?b=2&a=1&a=&c=%2F"},
    {"method": "POST", "url": "/things", "json": {"a": "ü"}},
    {"method": "PUT", "url": "/things", "content": (part for part in (b"in ", b"parts"))},
    {"method": "GET", "url": "/things", "headers": {"Host": "other.test:8443"}},
]


@pytest.mark.parametrize("kwargs", BODIES, ids=range(len(BODIES)))
def test_what_is_sent_is_what_was_signed(kwargs: dict[str, Any]) -> None:
    """Signatures cover the path, query, body and `Host` as httpx sends them."""
    if "content" in kwargs:
        kwargs = kwargs | {"content": b"in parts"}
    for auth, fault in [
        (httpx_auth(Ctn1(DEVICE, API_SECRET)), partial(ctn1_fault, secret=API_SECRET)),
        (httpx_auth(AkSk("key", "hush-hush")), partial(aksk_fault, secret_key="hush-hush")),
    ]:
        server = Server(reply(200))
        assert server.client(auth).request(**kwargs).status_code == 200
        assert fault(received(server.requests[0])) is None


def test_a_body_in_parts_is_sent_again() -> None:
    """A body that comes from a generator is there again when the request is sent once more."""
    sent = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append((request.headers["Authorization"], request.read()))
        return httpx.Response(200 if len(sent) == 2 else 401)

    server = Server(token("first"), refuse, token("second"), refuse)
    with server.client(httpx_auth(oauth())) as client:
        assert client.post("/things", content=iter([b"in ", b"parts"])).status_code == 200
    assert sent == [("Bearer first", b"in parts"), ("Bearer second", b"in parts")]


def test_a_body_of_the_other_kind_is_refused() -> None:
    """An async body in a blocking client, and a blocking one in an async client, say so."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"part"

    async def main() -> None:
        transport = server.transport
        async with httpx.AsyncClient(transport=transport, auth=httpx_auth(oauth())) as client:
            await client.post(f"{SERVICE}/things", content=iter([b"part"]))

    server = Server(token("first"), reply(200))
    with server.client(httpx_auth(oauth())) as client:
        with pytest.raises(ConfigurationError, match="`content` must not be async in a blocking"):
            client.post("/things", content=parts())
        with pytest.raises(ConfigurationError, match="`content` must be async in an async client"):
            asyncio.run(main())
        assert server.requests == []
        assert client.post("/things", data={"a": "b"}).status_code == 200


def test_a_response_is_not_read() -> None:
    """A streamed response is left to whoever asked for it."""
    server = Server(token("first"), lambda request: httpx.Response(200, content=iter([b"a", b"b"])))
    with server.client(httpx_auth(oauth())) as client, client.stream("GET", "/things") as response:
        assert not response.is_stream_consumed
        assert b"".join(response.iter_bytes()) == b"ab"


def test_a_token_is_requested_with_the_time_limit_of_the_request() -> None:
    """Fetching a token takes no longer than the caller's client permits."""
    server = Server(token("first"), reply(200))
    with server.client(httpx_auth(oauth()), timeout=7) as client:
        client.get("/things")
    limits = [each.extensions["timeout"] for each in server.requests]
    assert limits == [dict.fromkeys(("connect", "read", "write", "pool"), 7)] * 2


def test_the_services_header_is_used() -> None:
    """The identity service's token goes out as `X-Auth-Token`, as it is."""
    server = Server(
        reply(201, {"token": {"project": {"id": "p"}}}, **{"X-Subject-Token": "subject"}),
        reply(200),
    )
    with server.client(httpx_auth(iam())) as client:
        client.get("/things")
    assert server.requests[1].headers["X-Auth-Token"] == "subject"
    assert "Authorization" not in server.requests[1].headers


# --- where credentials go -------------------------------------------------------------------------


def test_an_auth_is_for_one_origin() -> None:
    """A request to another origin than the first is refused before it is authenticated."""
    server = Server(token("first"), reply(200))
    with server.client(httpx_auth(oauth())) as client:
        client.get("/things")
        with pytest.raises(
            ConfigurationError, match=r"was first used for https://service\.test, so"
        ):
            client.get("https://other.test/things")
        assert client.get(f"{SERVICE}:443/things").status_code == 200
    assert server.seen == ["POST tokens.test", "GET service.test", "GET service.test"]


def test_no_credential_travels_unencrypted() -> None:
    """Plain http to another machine is refused."""
    server = Server(reply(200))
    for auth in (httpx_auth(Ctn1(DEVICE, API_SECRET)), httpx_auth(oauth())):
        with server.client(auth) as client, pytest.raises(ConfigurationError, match="https"):
            client.get("http://service.test/things")
        with server.client(auth) as client:
            assert server.requests == []


def test_whoever_is_cancelled_leaves_the_token_to_the_others() -> None:
    """If the task that fetches a token is cancelled, another that waits for it takes over."""
    auth, asked = httpx_auth(oauth()), []

    async def main() -> int:
        started = asyncio.Event()

        async def handle(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200)
            asked.append(request)
            if len(asked) == 1:
                started.set()
                await asyncio.sleep(PATIENCE)
            return token("second")(request)

        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(handle)) as client:
            first = asyncio.create_task(client.get(f"{SERVICE}/things"))
            await started.wait()
            other = asyncio.create_task(client.get(f"{SERVICE}/things"))
            await asyncio.sleep(0)
            first.cancel()
            return (await other).status_code

    assert asyncio.run(main()) == 200
    assert len(asked) == 2


def test_a_thread_waits_for_the_token_of_another() -> None:
    """While one thread fetches a token, another waits for it and fetches none."""
    fetching, go_on, found = threading.Event(), threading.Event(), []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            fetching.set()
            assert go_on.wait(PATIENCE)
            return token("first")(request)
        found.append(request.headers["Authorization"])
        return httpx.Response(200)

    server = Server(handle)
    with server.client(httpx_auth(oauth())) as client, ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(client.get, "/things")]
        assert fetching.wait(PATIENCE)
        sent.append(pool.submit(client.get, "/things"))
        go_on.set()
        assert [each.result(PATIENCE).status_code for each in sent] == [200, 200]
    assert found == ["Bearer first"] * 2
    assert server.seen.count("POST tokens.test") == 1


@pytest.mark.parametrize(
    "failure", [httpx.ConnectTimeout("slow"), httpx.ConnectError("refused"), ValueError("a hook's")]
)
def test_the_failure_to_fetch_a_token_is_shared(failure: Exception) -> None:
    """If the endpoint is dead, waiting requests fail with the one that was sent, and don't repeat
    it."""
    auth, asked = httpx_auth(oauth()), []

    async def main() -> list[Any]:
        waiting = asyncio.Event()

        async def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            await waiting.wait()
            raise failure

        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(handle)) as client:
            tasks = [asyncio.create_task(client.get(f"{SERVICE}/things")) for _ in range(10)]
            await anyio.wait_all_tasks_blocked()
            waiting.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    own, *others = asyncio.run(main())
    assert own is failure
    assert {str(each) for each in others} == {
        f"the request for a token failed: {type(failure).__name__}"
    }
    assert all(isinstance(each, TransportError) for each in others)
    assert len(asked) == 1


def test_a_thread_waits_no_longer_than_its_timeout() -> None:
    """A request waits for a token for its own timeout; a later one requests a token again."""
    fetching, go_on = threading.Event(), threading.Event()

    def fail(request: httpx.Request) -> httpx.Response:
        fetching.set()
        assert go_on.wait(PATIENCE)
        raise httpx.ReadTimeout("slow")

    server = Server(fail, token("second"), reply(200))
    with server.client(httpx_auth(oauth()), timeout=PATIENCE) as client:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.get, "/things")
            assert fetching.wait(PATIENCE)
            with pytest.raises(TransportError, match="timed out waiting for the token"):
                client.get("/things", timeout=0.001)
            go_on.set()
            assert isinstance(first.exception(PATIENCE), httpx.ReadTimeout)
        assert client.get("/things").status_code == 200
    assert server.seen == ["POST tokens.test", "POST tokens.test", "GET service.test"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (keys, "waiting for the response to the first signed request"),
        (lambda: httpx_auth(oauth()), "waiting for the token that another request was fetching"),
    ],
)
def test_a_hook_that_sends_another_request_does_not_hang(
    make: Callable[[], httpx.Auth], words: str, is_async: bool
) -> None:
    """A hook's own request waits for the one that it is a hook of no longer than its timeout."""
    server, auth = Server(token("first")), make()
    hooked: list[Any] = []

    def blocking() -> int:
        def hook(response: httpx.Response) -> None:
            if not hooked:
                hooked.append(response)
                with pytest.raises(TransportError, match=words):
                    client.get("/others", timeout=0.001)

        with server.client(auth, event_hooks={"response": [hook]}, timeout=None) as client:
            return client.get("/things").status_code

    async def asynchronous() -> int:
        async def hook(response: httpx.Response) -> None:
            if not hooked:
                hooked.append(response)
                with pytest.raises(TransportError, match=words):
                    await client.get(f"{SERVICE}/others", timeout=0.001)

        hooks, transport = {"response": [hook]}, server.transport
        async with httpx.AsyncClient(transport=transport, auth=auth, event_hooks=hooks) as client:
            return (await client.get(f"{SERVICE}/things")).status_code

    assert (asyncio.run(asynchronous()) if is_async else blocking()) == 200
    assert hooked


def test_the_time_of_an_old_answer_is_not_believed() -> None:
    """A refusal that a cache wrote some time ago corrects no clock."""
    old = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    server = Server(reply(401, Date=old, Age="100"))
    with server.client(httpx_auth(Ctn1(DEVICE, API_SECRET))) as client:
        assert client.get("/things").status_code == 401
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("a token",),
            "`credentials` must be Ctn1, ClientCredentials, IamPassword or AkSk, not str",
        ),
        ((None,), "not NoneType"),
    ],
)
def test_anything_else_is_refused(arguments: tuple[Any], text: str) -> None:
    """What isn't one of the credentials is named by its type: it may be a token."""
    with pytest.raises(ConfigurationError, match=text) as caught:
        httpx_auth(*arguments)
    assert "a token" not in str(caught.value)


def test_a_project_is_for_keys_alone() -> None:
    """`project_id` beside other credentials is a mistake."""
    with pytest.raises(ConfigurationError, match="`project_id` is for AkSk only"):
        httpx_auth(oauth(), project_id="p")


@pytest.mark.parametrize(
    ("device", "secret", "argument"),
    [("short", "s", "device_id"), (DEVICE, "", "api_access_secret"), (None, "s", "device_id")],
)
def test_a_device_is_checked(device: Any, secret: str, argument: str) -> None:
    """A device ID or secret that can't be right is refused by its name."""
    with pytest.raises(ConfigurationError) as caught:
        Ctn1(device, secret)
    assert caught.value.argument == argument


def test_no_repr_shows_a_secret() -> None:
    """Neither the auth nor a device shows what it signs with."""
    device = Ctn1(DEVICE, API_SECRET)
    assert repr(device) == f"Ctn1('{DEVICE}', '***')"
    assert API_SECRET not in repr(httpx_auth(device))
    assert API_SECRET not in json.dumps(str(vars(httpx_auth(device))))
