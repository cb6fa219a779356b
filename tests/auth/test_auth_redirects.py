"""A redirect is an error, and no credential follows it, wherever it leads.

The servers are real: the one that redirects lead to counts its connections, and must have none.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import attrs
import pytest
import trustme
from auth_support import API_SECRET, DEVICE, Loopback, answer

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
from opwatch.errors import ServiceError
from opwatch.testing import FakeClock

STATUSES = [301, 302, 303, 307, 308]


@attrs.define
class Servers:
    """A server that redirects, over http and https, and one that must not be reached."""

    plain: Loopback
    secure: Loopback
    elsewhere: Loopback
    trust: ssl.SSLContext
    status: int = 302
    location: str | None = None

    def redirect(self, request: Any) -> bytes:
        headers = {} if self.location is None else {"Location": self.location}
        return answer(self.status, b"<html>moved</html>", headers)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(tls)
    authority.configure_trust(trust)
    found: list[Servers] = []

    def redirect(request: Any) -> bytes:
        return found[0].redirect(request)

    with ExitStack() as stack:
        plain = stack.enter_context(Loopback(redirect))
        secure = stack.enter_context(Loopback(redirect, tls=tls))
        elsewhere = stack.enter_context(Loopback(lambda request: answer(200, {})))
        found.append(Servers(plain, secure, elsewhere, trust))
        yield found[0]


LOCATIONS: dict[str, Callable[[Servers], str | None]] = {
    "another port": lambda s: f"{s.elsewhere.url}/path",
    "another host": lambda s: f"http://localhost:{s.elsewhere.port}/path",
    "protocol-relative": lambda s: f"//127.0.0.1:{s.elsewhere.port}/path",
    "userinfo": lambda s: f"http://user:planted-password@127.0.0.1:{s.elsewhere.port}/",
    "backslashes": lambda s: f"http:\\\\127.0.0.1:{s.elsewhere.port}\\path",
    "the same origin": lambda s: "/another/path",
    "nowhere": lambda s: None,
    "nonsense": lambda s: "http://[::1",
}

BLOCKING: dict[str, Callable[..., Any]] = {
    "CTN1": lambda url, **how: Catenis(DEVICE, API_SECRET, base_url=url, **how),
    "bearer token": lambda url, **how: ITwin("made-up", base_url=url, **how),
    "X-Auth-Token": lambda url, **how: Apig(url, "made-up", project_id="p", **how),
    "AK/SK": lambda url, **how: Apig(
        url, AkSk("AK", "made up", security_token="made-up"), project_id="p", **how
    ),
    "OAuth form": lambda url, **how: ITwin(
        ClientCredentials("client", "made up", token_url=url), base_url=url, **how
    ),
    "OAuth Basic": lambda url, **how: ITwin(
        ClientCredentials("client", "made up", token_url=url, basic=True), base_url=url, **how
    ),
    "IAM login": lambda url, **how: Apig(
        url, IamPassword(url, "u", "made up", domain_name="d", project_id="p"), **how
    ),
}
ASYNC: dict[str, Callable[..., Any]] = {
    "CTN1": lambda url, **how: AsyncCatenis(DEVICE, API_SECRET, base_url=url, **how),
    "OAuth form": lambda url, **how: AsyncITwin(
        ClientCredentials("client", "made up", token_url=url), base_url=url, **how
    ),
    "IAM login": lambda url, **how: AsyncApig(
        url, IamPassword(url, "u", "made up", domain_name="d", project_id="p"), **how
    ),
}


def check(servers: Servers, error: ServiceError, count: int) -> None:
    assert type(error) is ServiceError
    assert error.status == servers.status
    assert "a redirect, which opwatch doesn't follow" in error.message
    assert error.advice is not None
    assert error.advice.startswith("check `")
    assert "planted-password" not in str(error)
    assert not error.transient
    assert servers.elsewhere.connections == 0
    assert servers.plain.count + servers.secure.count == count + 1


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", BLOCKING)
def test_a_redirect_is_not_followed(servers, way, status, location):
    """Wherever a redirect leads, it ends a wait at the first request, whatever the credentials."""
    servers.status, servers.location = status, LOCATIONS[location](servers)
    count = servers.plain.count + servers.secure.count
    with (
        FakeClock(),
        BLOCKING[way](servers.plain.url) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.wait("j", timeout=3600)
    check(servers, caught.value, count)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", BLOCKING)
def test_a_redirect_to_plain_http_is_not_followed(servers, way, status):
    """A redirect from https to http isn't followed either."""
    servers.status, servers.location = status, f"{servers.elsewhere.url}/path"
    count = servers.plain.count + servers.secure.count
    with (
        BLOCKING[way](servers.secure.url, ssl_context=servers.trust) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.progress("j")
    check(servers, caught.value, count)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", ASYNC)
def test_an_async_client_follows_no_redirect_either(servers, way, backend, status):
    """Async clients treat redirects as blocking ones do."""
    servers.status, servers.location = status, f"{servers.elsewhere.url}/path"
    count = servers.plain.count + servers.secure.count

    async def main() -> None:
        async with ASYNC[way](servers.secure.url, ssl_context=servers.trust) as client:
            await client.progress("j")

    with pytest.raises(ServiceError) as caught:
        anyio.run(main, backend=backend)
    check(servers, caught.value, count)


@pytest.mark.parametrize("status", [300, 305, 306, 399])
def test_any_other_3xx_status_is_an_error_too(servers, status):
    """No 3xx status is a response."""
    servers.status, servers.location = status, f"{servers.elsewhere.url}/path"
    count = servers.plain.count + servers.secure.count
    with BLOCKING["CTN1"](servers.plain.url) as client, pytest.raises(ServiceError) as caught:
        client.progress("j")
    check(servers, caught.value, count)
