"""What the typed clients leave to their user, and the page that says so."""

import re
import threading
from types import ModuleType

import httpx
import pytest
import spec_generation
import test_client_traps as traps
from opwatch_api import apig, catenis, itwin
from opwatch_api.itwin.api.jobs import get_job_progress
from typed_clients import JOB, OPERATIONS, TOKEN, call, each_operation, each_service, sent


@each_service
def test_token_in_httpx_errors(service: ModuleType) -> None:
    """httpx's own errors contain the request, whose headers contain the token."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    client = service.AuthenticatedClient("https://x.test", TOKEN, **sent(refuse))
    _, operation, ids = next(each for each in OPERATIONS if each[0] is service)
    with pytest.raises(httpx.ConnectError) as caught:
        operation.sync(client=client, **ids)
    assert TOKEN not in f"{caught.value} {caught.value!r}"
    assert TOKEN in str(caught.value.request.headers.raw)


@each_operation
def test_errors_are_returned(
    service: ModuleType, operation: ModuleType, ids: dict[str, str]
) -> None:
    """A documented error is returned, not raised."""
    body = {"status": "error", "message": "no", "error": {"code": "a", "message": "b"}}
    found = call((service, operation, ids), httpx.Response(401, json=body)).parsed
    assert type(found).__name__ in ("ErrorResponse", "Response401")


def test_failed_with_200() -> None:
    """A failed job is reported with status 200."""
    found = call(OPERATIONS[3], httpx.Response(200, json={"status": "failed"}))
    assert (found.status_code, found.parsed.status) == (200, "failed")


def test_values_are_not_checked() -> None:
    """Values aren't checked: a number may be a string."""
    found = call(OPERATIONS[1], httpx.Response(200, json={"jobProgress": {"percentage": "50"}}))
    assert found.parsed.job_progress.percentage == "50"


@pytest.mark.parametrize("error", ["text", {"code": 1}])
def test_optional_object(error: object) -> None:
    """An optional object that doesn't have the documented form is returned as it was sent."""
    body = {"jobProgress": {}, "error": error}
    assert call(OPERATIONS[1], httpx.Response(200, json=body)).parsed.error == error


def test_unset_is_falsy() -> None:
    """`UNSET` is falsy, like False and 0."""
    progress = {"bytesProcessed": 0, "done": False}
    body = {"status": "success", "data": {"action": "send", "progress": progress}}
    found = call(OPERATIONS[0], httpx.Response(200, json=body)).parsed.data.progress
    assert found.success is catenis.types.UNSET
    assert not found.success


def test_one_set_per_service() -> None:
    """Each service has its own `UNSET` and `errors`."""
    assert itwin.types.UNSET is not catenis.types.UNSET
    assert not issubclass(itwin.errors.UnexpectedBody, catenis.errors.ResponseError)
    assert issubclass(itwin.errors.UnexpectedBody, ValueError)


def test_timeout_per_phase() -> None:
    """`timeout` isn't a limit for the whole response."""
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={"jobProgress": {}})

    get_job_progress.sync(JOB, client=itwin.Client("https://x.test", timeout=3, **sent(handle)))
    assert seen == [dict.fromkeys(("connect", "read", "write", "pool"), 3)]


def test_no_retry() -> None:
    """Nothing is retried, and a token isn't renewed."""
    statuses = [429, 401]

    def handle(request: httpx.Request) -> httpx.Response:
        body = {"error": {"code": "a", "message": "b"}}
        return httpx.Response(statuses.pop(), json=body, headers={"Retry-After": "7"})

    client = itwin.AuthenticatedClient("https://x.test", TOKEN, **sent(handle))
    assert get_job_progress.sync_detailed(JOB, client=client).status_code == 401
    found = get_job_progress.sync_detailed(JOB, client=client)
    assert (found.status_code, found.headers["Retry-After"]) == (429, "7")


def test_own_httpx_client() -> None:
    """Your own httpx client overrides every argument, including the token and the timeout."""
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(401, json={"error": None})

    client = itwin.AuthenticatedClient("https://x.test", TOKEN)
    own = httpx.Client(base_url="https://y.test", transport=httpx.MockTransport(handle))
    get_job_progress.sync(JOB, client=client.set_httpx_client(own))
    assert "Authorization" not in seen[0]
    with client:
        pass
    with pytest.raises(RuntimeError, match="has been closed"):
        get_job_progress.sync(JOB, client=client)


def test_with_in_a_thread() -> None:
    """`with` in one thread closes the connections of the others."""
    client = itwin.Client("https://x.test")
    used = client.get_httpx_client()
    thread = threading.Thread(target=client.__exit__)
    thread.start()
    thread.join()
    assert used.is_closed


def test_cookies() -> None:
    """Cookies from a response are sent with the next request."""
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Cookie"))
        return httpx.Response(200, json={"jobProgress": {}}, headers={"Set-Cookie": "a=1"})

    client = itwin.Client("https://x.test", **sent(handle))
    for _ in range(2):
        get_job_progress.sync(JOB, client=client)
    assert seen == [None, "a=1"]


def test_plain_http() -> None:
    """A token is sent over `http://` too."""
    client = apig.AuthenticatedClient("http://x.test", TOKEN)
    assert client.get_httpx_client().headers["X-Auth-Token"] == TOKEN


def test_size() -> None:
    """A response of any size is read."""
    body = {"jobProgress": {"step": "x" * 3_000_000}}
    found = call(OPERATIONS[1], httpx.Response(200, json=body))
    assert len(found.content) > 3_000_000


def test_the_page_has_each_trap() -> None:
    """The page lists the traps that are closed, and what is left: each docstring of these tests."""
    page = (spec_generation.ROOT / "docs" / "typed-clients.md").read_text(encoding="utf-8")
    part = page.partition("## Traps")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| (.+?\.) \|", part, re.MULTILINE)
    tests = [
        each
        for module in (vars(traps), globals())
        for name, each in module.items()
        if name.startswith("test_") and each is not test_the_page_has_each_trap
    ]
    assert listed == [" ".join(str(each.__doc__).split()) for each in tests if each is not traps]
