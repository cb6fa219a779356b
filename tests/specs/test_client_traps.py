"""What a user of a plain generated client trips over, each closed here or written down.

The page "The typed clients" lists these traps: each is the first line of a test's docstring.
"""

import asyncio
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as gateway
from opwatch_api.catenis.api.messages import retrieve_message_progress as message
from opwatch_api.itwin.api.jobs import get_job_progress
from typed_clients import JOB, OPERATIONS, TOKEN, call, each_operation, each_service, sent

from opwatch.simulator import Frame, Simulator
from opwatch.testing import FakeClock


@each_service
def test_no_timeout(service: ModuleType) -> None:
    """A request without a timeout waits forever."""
    own = service.Client("https://x.test")
    assert own.get_httpx_client().timeout == httpx.Timeout(30)
    assert own.with_timeout(3).get_httpx_client().timeout == httpx.Timeout(3)
    assert own.with_timeout(None).get_httpx_client().timeout == httpx.Timeout(None)


@each_service
def test_token_in_repr(service: ModuleType) -> None:
    """A client's `repr` shows its token."""
    client = service.AuthenticatedClient(
        "https://x.test",
        TOKEN,
        headers={"X-Key": TOKEN},
        cookies={"session": TOKEN},
        httpx_args={"auth": (TOKEN, TOKEN)},
        auth=httpx.BasicAuth("user", TOKEN),
    )
    client.get_httpx_client()
    for other in (client, client.with_headers({"A": TOKEN}), client.with_cookies({"b": TOKEN})):
        assert "https://x.test" in repr(other)
        assert TOKEN not in repr(other)


@each_service
@pytest.mark.parametrize("between", ["", "@", "/", "?", "#", "\n", "\\", "//"])
def test_password_in_repr(service: ModuleType, between: str) -> None:
    """A client's `repr` shows the password in its base URL."""
    for scheme in ("https://", "", "https:/"):
        client = service.Client(f"{scheme}pass-word:1{between}pass-word@x.test/a")
        assert "***@x.test/a" in repr(client)
        assert "pass-word" not in repr(client.with_timeout(1))
        with pytest.raises(ValueError, match="`base_url` must be") as caught:
            client.get_httpx_client()
        assert "pass-word" not in str(caught.value)


@each_operation
def test_404_without_accept(
    service: ModuleType, operation: ModuleType, ids: dict[str, str]
) -> None:
    """iTwin responds with 404 unless the request has the right `Accept`."""
    own = "application/json"
    if service is itwin:
        own = "application/vnd.bentley.itwin-platform.v1+json"
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Accept"])
        return httpx.Response(401, json={"status": "error", "message": "no", "error": None})

    client = service.Client("https://x.test", headers={"Accept": "text/html"}, **sent(handle))
    operation.sync(client=client, **ids)
    asyncio.run(operation.asyncio(client=client, **ids))
    assert seen == [own] * 2


@pytest.mark.parametrize(
    ("service", "token", "header"),
    [
        (itwin, TOKEN, {"Authorization": f"Bearer {TOKEN}"}),
        (itwin, f"Bearer {TOKEN}", {"Authorization": f"Bearer {TOKEN}"}),
        (apig, TOKEN, {"X-Auth-Token": TOKEN}),
        (catenis, TOKEN, {"Authorization": TOKEN}),
    ],
)
def test_bearer_instead_of_x_auth_token(
    service: ModuleType, token: str, header: dict[str, str]
) -> None:
    """APIG's token is sent as `Authorization: Bearer`, and iTwin's can get `Bearer` twice."""
    client = service.AuthenticatedClient("https://x.test", token, headers={"X-Mine": "1"})
    found = client.get_httpx_client().headers
    assert {name: found.get(name) for name in header} == header
    assert found["X-Mine"] == "1"


@each_service
@pytest.mark.parametrize("token", [None, 1, b"bytes", "", " ", "schlüssel", "two\nlines", "\ud800"])
def test_token_that_is_no_header(service: ModuleType, token: Any) -> None:
    """A token that isn't a valid header value raises an error that quotes it."""
    with pytest.raises(ValueError, match="`token` must") as caught:
        service.AuthenticatedClient("https://x.test", token)
    assert type(caught.value) is ValueError
    assert "schl" not in str(caught.value)


@each_operation
@pytest.mark.parametrize("status", [302, 418, 499, 520, 999])
def test_undocumented_status(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], status: int
) -> None:
    """An undocumented status returns None; 499 and 520 raise `ValueError`."""
    response = httpx.Response(status, text="a page", headers={"Location": "/", "Retry-After": "7"})
    with pytest.raises(service.errors.UnexpectedStatus) as caught:
        call((service, operation, ids), response)
    assert (caught.value.status_code, caught.value.content) == (status, b"a page")
    assert (caught.value.headers["Retry-After"], caught.value.headers["Location"]) == ("7", "/")
    found = call((service, operation, ids), response, raise_on_unexpected_status=False)
    assert (found.status_code, found.content, found.parsed) == (status, b"a page", None)


BODIES = [b"<html>", b"", b"null", b"[]", b'"text"', b'{"\xff": 1}', b"[" * 100_000]


@each_operation
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("status", [200, 401])
def test_html_instead_of_json(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], body: bytes, status: int
) -> None:
    """HTML, an empty body or null raises an error that doesn't include the status."""
    with pytest.raises(service.errors.UnexpectedBody) as caught:
        call((service, operation, ids), httpx.Response(status, content=body))
    assert (caught.value.status_code, caught.value.content) == (status, body)
    assert caught.value.__context__ is None  # a parser's error holds the body


@pytest.mark.parametrize(("number", "body"), [(0, {"status": "success"}), (1, {}), (2, {"job": 1})])
def test_incomplete_body(number: int, body: dict[str, Any]) -> None:
    """An object that lacks a field raises `KeyError`."""
    with pytest.raises(OPERATIONS[number][0].errors.UnexpectedBody):
        call(OPERATIONS[number], httpx.Response(200, json=body))


@pytest.mark.parametrize("value", [[], "", [["status", "success"]], 0, None])
def test_list_instead_of_object(value: Any) -> None:
    """An empty list is read as an object without fields."""
    with pytest.raises(itwin.errors.UnexpectedBody):
        call(OPERATIONS[1], httpx.Response(200, json={"jobProgress": value}))


@each_service
def test_new_enum_member(service: ModuleType) -> None:
    """A new value of an enumeration raises `ValueError`."""
    parts = {
        catenis: (message, {"action": "x", "progress": {"bytesProcessed": 1, "done": False}}),
        itwin: (get_job_progress, {"state": "x"}),
        apig: (gateway, {"status": "x"}),
    }
    operation, body = parts[service]
    if service is itwin:
        body = {"jobProgress": body}
    elif service is catenis:
        body = {"status": "success", "data": body}
    ids = next(ids for _, module, ids in OPERATIONS if module is operation)
    parsed = call((service, operation, ids), httpx.Response(200, json=body)).parsed
    assert parsed.to_dict() == body


LOCATIONS = [
    *("mailto:a@b", "javascript:1", "data:,x", "http://xn--a/", "//xn--a/", "http://[::1"),
    *("http:x", "http://h:99999/", "\\\\h\\x", "?" * 70_000),
]


@each_operation
@pytest.mark.parametrize("location", LOCATIONS, ids=range(len(LOCATIONS)))
def test_redirect(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], location: str
) -> None:
    """A redirect sends `X-Auth-Token` to another host, or raises an error from `idna`."""

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": location})

    async def asynchronous() -> None:
        transport = httpx.MockTransport(handle)
        own = httpx.AsyncClient(base_url="https://x.test", transport=transport)
        async with service.Client("https://x.test").set_async_httpx_client(own) as client:
            await operation.asyncio(client=client, **ids)

    own = httpx.Client(base_url="https://x.test", transport=httpx.MockTransport(handle))
    for client in (
        service.Client("https://x.test", **sent(handle)),
        service.Client("https://x.test").set_httpx_client(own),
    ):
        with pytest.raises(service.errors.UnexpectedStatus, match="status 302"):
            operation.sync(client=client, **ids)
    with pytest.raises(service.errors.UnexpectedStatus, match="status 302"):
        asyncio.run(asynchronous())


@pytest.mark.parametrize("kind", ["UnexpectedStatus", "UnexpectedBody"])
def test_errors_that_quote(kind: str) -> None:
    """An error quotes the response, which may repeat a credential, and can't be pickled."""
    error = getattr(itwin.errors, kind)(401, TOKEN.encode(), {"X-Token": TOKEN})
    assert TOKEN not in f"{error} {error!r}"
    assert "401" in str(error)
    same = pickle.loads(pickle.dumps(error))
    assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_second_event_loop(backend: str) -> None:
    """A client breaks in a second event loop."""
    with FakeClock(), Simulator() as sim:
        sim.add("itwin", JOB, Frame("running", percent=50))
        client = itwin.AuthenticatedClient(sim.environ["ITWIN_BASE_URL"], sim.token("itwin"))
        found = []

        async def once() -> None:
            for _ in range(2):
                found.append(await get_job_progress.asyncio_detailed(JOB, client=client))
            await client.get_async_httpx_client().aclose()

        for _ in range(2):
            anyio.run(once, backend=backend)
        with client:
            found.append(get_job_progress.sync_detailed(JOB, client=client))
    assert [each.status_code for each in found] == [200] * 5


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_event_loops(backend: str) -> None:
    """A client keeps alive every event loop that it was used in, along with its sockets."""
    found: list[weakref.ref[Any]] = []
    with FakeClock(), Simulator() as sim:
        sim.add("itwin", JOB, Frame("running", percent=50))
        client = itwin.AuthenticatedClient(sim.environ["ITWIN_BASE_URL"], sim.token("itwin"))

        async def once() -> None:
            await get_job_progress.asyncio(JOB, client=client)
            found.append(weakref.ref(client.get_async_httpx_client()))

        async def closed() -> None:
            async with client:
                await get_job_progress.asyncio(JOB, client=client)

        for _ in range(5):
            anyio.run(once, backend=backend)
        gc.collect()
        left = sum(each() is not None for each in found)
        anyio.run(closed, backend=backend)
        gc.collect()  # now, while the warning about sockets of closed loops is ignored
    assert left <= 1


def test_two_credentials() -> None:
    """`with_headers({"authorization": …})` sends a second credential."""
    client = itwin.AuthenticatedClient("https://x.test", TOKEN, headers={"AUTHORIZATION": "other"})
    for each in (client, client.with_headers({"authorization": "other"})):
        found = each.get_httpx_client().headers.get_list("Authorization")
        assert found == [f"Bearer {TOKEN}"]
    client = client.with_headers({"X-A": "1"}).with_headers({"x-a": "2"})
    assert client.get_httpx_client().headers.get_list("X-A") == ["2"]


@each_service
def test_threads(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that send their first requests at the same time each open a connection pool."""
    together = threading.Barrier(4)

    class Slow(httpx.Client):
        def __init__(self, **options: Any) -> None:
            together.wait(60)
            super().__init__(**options)

    monkeypatch.setattr(httpx, "Client", Slow)
    client = service.Client("https://x.test")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.get_httpx_client) for _ in range(4)]
        assert len({id(each.result(60)) for each in calls}) == 1


def test_changed_in_place() -> None:
    """`with_headers` and the like change the client that they are called on."""
    client = apig.AuthenticatedClient("https://x.test", TOKEN)
    first = client.get_httpx_client()
    other = client.with_headers({"X-More": "1"}).with_cookies({"c": "1"}).with_timeout(1)
    assert isinstance(other, apig.AuthenticatedClient)
    assert other.get_httpx_client().headers["X-Auth-Token"] == TOKEN
    assert other.get_httpx_client().headers["X-More"] == "1"
    assert "X-More" not in first.headers
    assert first.timeout == httpx.Timeout(30)
    assert not first.cookies


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.with_headers({"X-More": "1"}),
        lambda client: client.with_cookies({"c": "1"}),
        lambda client: client.with_timeout(5),
    ],
)
def test_own_httpx_client_is_dropped(change: Callable[[Any], Any]) -> None:
    """`with_headers` and the like drop an httpx client that was set."""
    with httpx.Client() as given, pytest.raises(ValueError, match="an httpx client was set"):
        change(itwin.Client("https://x.test").set_httpx_client(given))
    client = itwin.Client("https://x.test").set_async_httpx_client(httpx.AsyncClient())
    with pytest.raises(ValueError, match="an httpx client was set"):
        change(client)


@pytest.mark.parametrize("own", [False, True])
def test_closed_client(own: bool) -> None:
    """A client can't be used again after `with`."""
    with FakeClock(), Simulator() as sim:
        sim.add("itwin", JOB, Frame("running", percent=50))
        url = sim.environ["ITWIN_BASE_URL"]
        client = itwin.AuthenticatedClient(url, sim.token("itwin"))
        if own:
            client.set_httpx_client(httpx.Client(base_url=url))
            client.set_async_httpx_client(httpx.AsyncClient(base_url=url))
        get_job_progress.sync(JOB, client=client)
        used = client.get_httpx_client()
        with client:
            get_job_progress.sync(JOB, client=client)
            assert not used.is_closed
        assert used.is_closed
        assert (client.get_httpx_client() is used) is own

        async def once() -> None:
            await get_job_progress.asyncio(JOB, client=client)
            used = client.get_async_httpx_client()
            async with client:
                await get_job_progress.asyncio(JOB, client=client)
                assert not used.is_closed
            assert used.is_closed
            assert (client.get_async_httpx_client() is used) is own

        asyncio.run(once())


@pytest.mark.parametrize("value", [None, "", ".", "..", "job\ud800"])
@each_operation
def test_id_that_leads_elsewhere(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], value: str
) -> None:
    """An ID with a slash or dots leads to another path."""
    for name in ids:
        with pytest.raises(ValueError, match=f"`{name}` must not") as caught:
            operation.build_request(**ids | {name: value})
        assert type(caught.value) is ValueError
    (name, *_) = ids
    for other in (b"job", bytearray(b"job"), ["job"], service.types.UNSET, catenis.types.UNSET):
        with pytest.raises(ValueError, match=f"`{name}` must not be None, UNSET, bytes"):
            operation.build_request(**ids | {name: other})
    assert "%2F..%2F" in operation.build_request(**ids | {name: "/../"})["url"]


@each_service
@pytest.mark.parametrize(
    "url",
    [
        *("https://x.test/a?k=1", "https://x.test#a", "x.test", "", "ftp://x.test", " https://x"),
        *("https://x.test:abc", "https://x.test:65536", "https://[::1", "https://x.test/\0", None),
        *("https://xn--a", "https://x.test\\@y.test", "https://x.test\\.y.test", "https://:1"),
        *("https://user@x.test", "https://:@x.test", "https://user:1/2@x.test", "https://\ud800"),
    ],
)
def test_base_url_that_leads_elsewhere(service: ModuleType, url: Any) -> None:
    """A base URL with a `?` or `@`, or without `https://`, leads to another address."""
    client = service.Client(url)
    with pytest.raises(ValueError, match="`base_url` must be an http or https address") as caught:
        client.get_httpx_client()
    assert caught.value.__context__ is None  # httpx's error would quote a part
    client = service.Client(
        "https://x.test/a/", **sent(lambda it: httpx.Response(401, text=str(it.url)))
    )
    _, operation, ids = next(each for each in OPERATIONS if each[0] is service)
    with pytest.raises(service.errors.UnexpectedBody) as caught:
        operation.sync(client=client, **ids)
    url = operation.build_request(**ids)["url"]
    assert caught.value.content.decode() == f"https://x.test/a{url}"


@each_service
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_pickled_token(service: ModuleType, how: Callable[[Any], Any]) -> None:
    """Pickling or copying a client also copies its token, or fails because of its locks."""
    client = service.AuthenticatedClient("https://x.test", TOKEN)
    with pytest.raises(TypeError, match="holds credentials and connections; make another"):
        how(client)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_second_unset(copied: Callable[[Any], Any]) -> None:
    """`UNSET` isn't `UNSET` anymore in a copy or another process."""
    found = itwin.models.JobProgressResponse.from_dict({"jobProgress": {}})
    assert repr(found.job_progress.step) == "UNSET"
    assert copied(found) == found
    assert copied(found).job_progress.step is itwin.types.UNSET
