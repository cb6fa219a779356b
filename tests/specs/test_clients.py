"""The typed clients on their own, without opwatch."""

import asyncio
import copy
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
import spec_generation
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as gateway
from opwatch_api.catenis.api.messages import retrieve_message_progress as message
from opwatch_api.itwin.api.jobs import get_job, get_job_progress

from opwatch.cli.generating import security
from opwatch.simulator import Frame, Simulator
from opwatch.simulator.apig import PROJECT_ID
from opwatch.testing import FakeClock

TESTS = Path(__file__).resolve().parents[1]
JOB = "p" + "j" * 19
TOKEN = "token-of-nobody"
Operation = tuple[ModuleType, ModuleType, dict[str, str]]
OPERATIONS: list[Operation] = [
    (catenis, message, {"ephemeral_message_id": JOB}),
    (itwin, get_job_progress, {"id": JOB}),
    (itwin, get_job, {"id": JOB}),
    (apig, gateway, {"project_id": "p", "instance_id": JOB}),
]
each_operation = pytest.mark.parametrize(("service", "operation", "ids"), OPERATIONS)


def sent(handler: Callable[[httpx.Request], httpx.Response]) -> dict[str, Any]:
    """Arguments of a client that sends to `handler`."""
    return {"httpx_args": {"transport": httpx.MockTransport(handler)}}


def call(operation: Operation, response: httpx.Response, **options: Any) -> Any:
    service, module, ids = operation
    client = service.Client("https://x.test", **sent(lambda request: response), **options)
    return module.sync_detailed(client=client, **ids)


@pytest.mark.parametrize("service", [catenis, itwin, apig])
def test_no_repr_shows_a_credential(service: ModuleType) -> None:
    """The repr of a client shows its address, and neither a token nor a header nor a cookie."""
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


@each_operation
def test_each_request_says_what_it_accepts(
    service: ModuleType, operation: ModuleType, ids: dict[str, str]
) -> None:
    """The documented media type is in each request, whatever the client's own headers are."""
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
def test_a_token_goes_into_the_services_header(
    service: ModuleType, token: str, header: dict[str, str]
) -> None:
    """The header and what stands in front of the token are those that the spec documents."""
    client = service.AuthenticatedClient("https://x.test", token, headers={"X-Mine": "1"})
    found = client.get_httpx_client().headers
    assert {name: found.get(name) for name in header} == header
    assert found["X-Mine"] == "1"


WAYS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({}, ("Authorization", "Bearer")),
    ({"security": [{"key": []}]}, ("X-Key", "")),
    ({"security": [{"key": [], "both": []}, {"bearer": []}]}, ("Authorization", "Bearer")),
    ({"security": [{"query": []}, {"key": []}]}, ("X-Key", "")),
    ({"security": [{"key": [], "both": []}]}, ("", "")),
    ({"security": [{"query": []}]}, ("", "")),
]


@pytest.mark.parametrize(("spec", "found"), WAYS)
def test_the_header_of_a_token_is_that_of_the_spec(
    spec: dict[str, Any], found: tuple[str, str]
) -> None:
    """The first way to authenticate that is a token alone decides; without `security`, Bearer."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "both": {"type": "apiKey", "in": "header", "name": "X-Time"},
        "query": {"type": "apiKey", "in": "query", "name": "key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    content = spec | {"components": {"securitySchemes": schemes}}
    assert security.token_header(content) == found


@pytest.mark.parametrize("service", [catenis, itwin, apig])
def test_a_client_waits_for_a_limited_time(service: ModuleType) -> None:
    """A request has a time limit unless the caller says None; it may be given in seconds."""
    own = service.Client("https://x.test")
    assert own.get_httpx_client().timeout == httpx.Timeout(30)
    assert own.with_timeout(3).get_httpx_client().timeout == httpx.Timeout(3)
    assert own.with_timeout(None).get_httpx_client().timeout == httpx.Timeout(None)


@each_operation
@pytest.mark.parametrize("status", [302, 418, 499, 520, 999])
def test_an_undocumented_status_is_an_error_with_its_number(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], status: int
) -> None:
    """So is one that Python has no name for; redirects aren't followed. It can be turned off."""
    response = httpx.Response(status, text="a page", headers={"Location": "/", "Retry-After": "7"})
    with pytest.raises(service.errors.UnexpectedStatus) as caught:
        call((service, operation, ids), response)
    assert (caught.value.status_code, caught.value.content) == (status, b"a page")
    assert (caught.value.headers["Retry-After"], caught.value.headers["Location"]) == ("7", "/")
    found = call((service, operation, ids), response, raise_on_unexpected_status=False)
    assert (found.status_code, found.content, found.parsed) == (status, b"a page", None)


LOCATIONS = [
    *("mailto:a@b", "javascript:1", "data:,x", "http://xn--a/", "//xn--a/", "http://[::1"),
    *("http:x", "http://h:99999/", "\\\\h\\x", "?" * 70_000),
]


@each_operation
@pytest.mark.parametrize("location", LOCATIONS, ids=range(len(LOCATIONS)))
def test_a_redirect_to_nowhere_is_an_undocumented_status(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], location: str
) -> None:
    """Whatever its `Location` is, a redirect that httpx can't read is the documented error."""

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": location})

    async def asynchronous() -> None:
        async with service.Client("https://x.test", **sent(handle)) as own:
            await operation.asyncio(client=own, **ids)

    client = service.Client("https://x.test", **sent(handle))
    with pytest.raises(service.errors.UnexpectedStatus, match="status 302"):
        operation.sync(client=client, **ids)
    with pytest.raises(service.errors.UnexpectedStatus, match="status 302"):
        asyncio.run(asynchronous())


BODIES = [b"<html>", b"", b"null", b"[]", b'"text"', b'{"\xff": 1}', b"[" * 100_000]


@each_operation
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("status", [200, 401])
def test_a_body_of_another_form_is_an_error_with_its_status(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], body: bytes, status: int
) -> None:
    """A body that isn't a JSON object is one error, for documented errors too."""
    with pytest.raises(service.errors.UnexpectedBody) as caught:
        call((service, operation, ids), httpx.Response(status, content=body))
    assert (caught.value.status_code, caught.value.content) == (status, body)
    assert caught.value.__context__ is None  # a parser's error holds the body


@pytest.mark.parametrize(("number", "body"), [(0, {"status": "success"}), (1, {}), (2, {"job": 1})])
def test_an_incomplete_body_is_an_error(number: int, body: dict[str, Any]) -> None:
    """So is an object without a required field, or with another value in its place."""
    with pytest.raises(OPERATIONS[number][0].errors.UnexpectedBody):
        call(OPERATIONS[number], httpx.Response(200, json=body))


@pytest.mark.parametrize("kind", ["UnexpectedStatus", "UnexpectedBody"])
def test_the_errors_quote_nothing_and_pickle(kind: str) -> None:
    """The text and the repr of an error quote nothing of the response; it survives a process."""
    error = getattr(itwin.errors, kind)(401, TOKEN.encode(), {"X-Token": TOKEN})
    assert TOKEN not in f"{error} {error!r}"
    assert "401" in str(error)
    same = pickle.loads(pickle.dumps(error))
    assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))


def test_another_client_leaves_the_first_alone() -> None:
    """`with_headers` and the like return another client, and change nothing of the first."""
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
def test_an_httpx_client_of_ones_own_is_not_dropped(change: Callable[[Any], Any]) -> None:
    """Another client would send without what was given, or without the change."""
    with httpx.Client() as given, pytest.raises(ValueError, match="an httpx client was set"):
        change(itwin.Client("https://x.test").set_httpx_client(given))
    client = itwin.Client("https://x.test").set_async_httpx_client(httpx.AsyncClient())
    with pytest.raises(ValueError, match="an httpx client was set"):
        change(client)


@pytest.mark.parametrize("service", [catenis, itwin, apig])
def test_threads_share_the_httpx_client(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If several threads make the first call, they all send with the same httpx client."""
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


@pytest.mark.parametrize("service", [catenis, itwin, apig])
@pytest.mark.parametrize("token", [None, 1, b"bytes", "", " ", "schlüssel", "two\nlines", "\ud800"])
def test_a_token_that_cannot_be_sent_is_refused(service: ModuleType, token: Any) -> None:
    """What isn't a valid token is one error when the client is made, which doesn't quote it."""
    with pytest.raises(ValueError, match="`token` must") as caught:
        service.AuthenticatedClient("https://x.test", token)
    assert type(caught.value) is ValueError
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", ".", "..", "job\ud800"])
@each_operation
def test_an_id_stays_within_its_path(
    service: ModuleType, operation: ModuleType, ids: dict[str, str], value: str
) -> None:
    """An ID that would lead to another path, or can't be encoded, is refused by its name."""
    for name in ids:
        with pytest.raises(ValueError, match=f"`{name}` must not") as caught:
            operation.build_request(**ids | {name: value})
        assert type(caught.value) is ValueError
    (name, *_) = ids
    assert "%2F..%2F" in operation.build_request(**ids | {name: "/../"})["url"]


@pytest.mark.parametrize("value", [[], "", [["status", "success"]], 0, None])
def test_nothing_else_is_taken_for_an_object(value: Any) -> None:
    """An empty array inside of a response isn't an object without fields."""
    with pytest.raises(itwin.errors.UnexpectedBody):
        call(OPERATIONS[1], httpx.Response(200, json={"jobProgress": value}))


@pytest.mark.parametrize("service", [catenis, itwin, apig])
@pytest.mark.parametrize("user", ["user:pass-word", "pass-word", "user:p@pass-word"])
def test_the_repr_of_an_address_shows_no_password(service: ModuleType, user: str) -> None:
    """The user name and the password in an address don't show."""
    client = service.Client(f"https://{user}@x.test/a@b")
    assert "https://***@x.test/a@b" in repr(client)
    assert "pass-word" not in repr(client.with_timeout(1))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_works_in_a_second_event_loop(backend: str) -> None:
    """Each event loop has its connections: none of a loop that has ended is used again."""
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


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_field_that_was_not_sent_is_one_object(copied: Callable[[Any], Any]) -> None:
    """It is `UNSET` in a copy and in another process too, where the models are equal."""
    found = itwin.models.JobProgressResponse.from_dict({"jobProgress": {}})
    assert repr(found.job_progress.step) == "UNSET"
    assert copied(found) == found
    assert copied(found).job_progress.step is itwin.types.UNSET


@pytest.mark.parametrize("own", [False, True])
def test_with_closes_the_connections(own: bool) -> None:
    """Also after a first request; then a client made of arguments opens new ones."""
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


def test_an_httpx_client_of_ones_own_is_used() -> None:
    """What was given with `set_httpx_client` sends, blocking and async."""
    transport = httpx.MockTransport(lambda request: httpx.Response(599))
    client = itwin.Client("https://x.test", raise_on_unexpected_status=False)
    client.set_httpx_client(httpx.Client(base_url="https://y.test", transport=transport))
    client.set_async_httpx_client(httpx.AsyncClient(base_url="https://y.test", transport=transport))
    assert get_job_progress.sync_detailed(JOB, client=client).status_code == 599
    found = asyncio.run(get_job_progress.asyncio_detailed(JOB, client=client))
    assert found.status_code == 599


def test_the_readme_of_the_package_shows_what_the_page_runs() -> None:
    """The README's code stands on the page of the typed clients, whose code the tests run."""
    fence = re.compile(r"```python\n.*?```", re.DOTALL)
    readme = (spec_generation.GENERATED / "opwatch_api" / "README.md").read_text(encoding="utf-8")
    page = spec_generation.ROOT / "docs" / "typed-clients.md"
    shown = fence.findall(readme)
    assert shown
    assert set(shown) <= set(fence.findall(page.read_text(encoding="utf-8")))


def test_the_readme_of_the_package_names_every_operation() -> None:
    """So a spec that gains an operation gains it in the README."""
    readme = spec_generation.README.read_text(encoding="utf-8")
    for file in (spec_generation.GENERATED / "opwatch_api").glob("*/api/*/*.py"):
        if file.name != "__init__.py":
            assert f"`api.{file.parent.name}.{file.stem}`" in readme


def test_a_program_with_the_clients_alone() -> None:
    """A user's program: three services, blocking and async, errors, time limits, no opwatch."""
    program = TESTS / "house" / "typed_consumer.py"
    with FakeClock(), Simulator() as sim:
        for service in ("itwin", "apig"):
            sim.add(service, JOB, Frame("running", percent=50))
        tokens = {"ITWIN_TOKEN": sim.token("itwin"), "APIG_TOKEN": sim.token("apig")}
        tokens["OS_PROJECT_ID"] = PROJECT_ID
        done = subprocess.run(
            [sys.executable, "-W", "error", program],
            env=os.environ | sim.environ | tokens | {"no_proxy": "*"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "itwin Active 50",
        "itwin active",
        "catenis Authorization failed; missing required HTTP headers",
        "apig creating 50",
        "apig creating 50",
        "UnexpectedBody 200",
        "UnexpectedStatus 302",
        "UnexpectedStatus 499",
        "UnexpectedStatus 520",
        "gave up after 30.0 s",
        "itwin Active 50",
    ]
