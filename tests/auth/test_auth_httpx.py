"""`opwatch.httpx_auth`: the same credentials for any httpx client, blocking and async.

Against the simulator, which checks signatures and tokens as the services do; and on httpx's own
mock transport, where a test sees each request.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from auth_support import (
    API_SECRET,
    DEVICE,
    PATIENCE,
    Loopback,
    Request,
    aksk_fault,
    answer,
    ctn1_fault,
)
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as gateway
from opwatch_api.catenis.api.messages import retrieve_message_progress as message
from opwatch_api.itwin.api.jobs import get_job_progress as job

from opwatch import AkSk, ClientCredentials, Ctn1, IamPassword, httpx_auth
from opwatch.errors import (
    AuthenticationError,
    ConfigurationError,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
)
from opwatch.simulator import Frame, Simulator
from opwatch.simulator import apig as simulated_apig
from opwatch.simulator import catenis as simulated_catenis
from opwatch.simulator import itwin as simulated_itwin
from opwatch.testing import FakeClock

JOB = "p" + "j" * 19
SERVICE, TOKENS = "https://service.test", "https://tokens.test/connect/token"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as found:
        yield found


@pytest.fixture
def sim(clock: FakeClock) -> Iterator[Simulator]:
    with Simulator() as found:
        for service in found.services:
            found.add(service, JOB, Frame("running", percent=50))
        yield found


def oauth(secret: str = simulated_itwin.CLIENT_SECRET, url: str = TOKENS) -> ClientCredentials:
    return ClientCredentials(simulated_itwin.CLIENT_ID, secret, token_url=url)


def iam(url: str = "https://tokens.test") -> IamPassword:
    return IamPassword(
        f"{url}/v3",
        simulated_apig.USERNAME,
        simulated_apig.PASSWORD,
        domain_name=simulated_apig.DOMAIN_NAME,
        project_name=simulated_apig.PROJECT_NAME,
    )


def keys(secret: str = simulated_apig.SECRET_KEY) -> httpx.Auth:
    project_id = simulated_apig.PROJECT_ID
    return httpx_auth(AkSk(simulated_apig.ACCESS_KEY, secret), project_id=project_id)


Way = tuple[httpx.Auth, ModuleType, str, ModuleType, dict[str, str]]


def way(name: str, sim: Simulator) -> Way:
    """An auth; the package, base URL, operation and arguments of the service it is for."""
    at = {"project_id": simulated_apig.PROJECT_ID, "instance_id": JOB}
    if name == "ctn1":
        device = Ctn1(simulated_catenis.DEVICE_ID, simulated_catenis.API_ACCESS_SECRET)
        path = f"{sim.url}/api/0.7"
        return httpx_auth(device), catenis, path, message, {"ephemeral_message_id": JOB}
    if name == "oauth2":
        auth = httpx_auth(oauth(url=sim.environ["ITWIN_TOKEN_URL"]))
        return auth, itwin, sim.environ["ITWIN_BASE_URL"], job, {"id": JOB}
    auth = keys() if name == "aksk" else httpx_auth(iam(sim.url))
    return auth, apig, sim.url, gateway, at


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


class Server:
    """httpx's mock transport, blocking and async: responses by `handler`, and keeps the
    requests."""

    def __init__(self, *handlers: Handler) -> None:
        self.requests: list[httpx.Request] = []
        self._handlers = list(handlers)
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        handler = self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0]
        return handler(request)

    @property
    def seen(self) -> list[str]:
        return [f"{each.method} {each.url.host}" for each in self.requests]

    def client(self, auth: httpx.Auth, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=SERVICE, auth=auth, transport=self.transport, **options)


def reply(status: int, body: Any = None, **headers: str) -> Handler:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def token(value: str, **more: Any) -> Handler:
    return reply(200, {"access_token": value, "token_type": "Bearer", "expires_in": 3600, **more})


def received(request: httpx.Request) -> Request:
    """The request as the checks of signatures want it."""
    lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return Request("\r\n".join(lines).encode(), request.content)


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


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", [httpx_auth(Ctn1(DEVICE, API_SECRET)), keys("wrong")])
def test_refused_keys_are_sent_once(auth: httpx.Auth) -> None:
    """The refusal is returned; later requests raise it and send nothing."""
    server = Server(reply(401, {"message": "no"}))
    with server.client(auth) as client:
        assert client.get("/things").json() == {"message": "no"}
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="doesn't send them again"):
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
            with pytest.raises(AuthenticationError, match="token endpoint: invalid_client"):
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


# --- where credentials go -------------------------------------------------------------------------


def test_an_auth_is_for_one_origin() -> None:
    """A request to another origin than the first is refused before it is authenticated."""
    server = Server(token("first"), reply(200))
    with server.client(httpx_auth(oauth())) as client:
        client.get("/things")
        with pytest.raises(ConfigurationError, match=r"is for https://service\.test, where"):
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
            with pytest.raises(TransportError, match="no request was sent in time"):
                client.get("/things", timeout=0.001)
            go_on.set()
            assert isinstance(first.exception(PATIENCE), httpx.ReadTimeout)
        assert client.get("/things").status_code == 200
    assert server.seen == ["POST tokens.test", "POST tokens.test", "GET service.test"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("make", [keys, lambda: httpx_auth(oauth())])
def test_a_hook_that_sends_another_request_does_not_hang(
    make: Callable[[], httpx.Auth], is_async: bool
) -> None:
    """A hook's own request waits for the one that it is a hook of no longer than its timeout."""
    server, auth = Server(token("first")), make()
    hooked: list[Any] = []

    def blocking() -> int:
        def hook(response: httpx.Response) -> None:
            if not hooked:
                hooked.append(response)
                with pytest.raises(TransportError, match="was in flight"):
                    client.get("/others", timeout=0.001)

        with server.client(auth, event_hooks={"response": [hook]}, timeout=None) as client:
            return client.get("/things").status_code

    async def asynchronous() -> int:
        async def hook(response: httpx.Response) -> None:
            if not hooked:
                hooked.append(response)
                with pytest.raises(TransportError, match="was in flight"):
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
