"""Proxies: only the service gets its credentials, only the proxy gets its own, and neither is
shown."""

from __future__ import annotations

import base64
import logging
import ssl
import traceback
from collections.abc import Iterator

import anyio
import pytest
import trustme
from auth_support import APIG_CREATING, Loopback, Request, answer

from opwatch import Apig, AsyncApig, AsyncITwin, IamPassword, ITwin
from opwatch.errors import ConfigurationError, OpwatchError, TransportError

PASSWORD = "planted-iam-password"
TOKEN = "planted-subject-token"
PROXY_PASSWORD = "planted-proxy-password"
PROXY_PAIR = base64.b64encode(f"proxy-user:{PROXY_PASSWORD}".encode()).decode("ascii")
PLANTED = (PASSWORD, TOKEN, PROXY_PASSWORD, PROXY_PAIR)
ENDPOINT = "https://apig.example.test"
BACKENDS = ["", "asyncio", "trio"]


@pytest.fixture(scope="module")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's TLS context, for a host name that doesn't exist."""
    authority = trustme.CA()
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("apig.example.test").configure_cert(tls)
    authority.configure_trust(trust)
    return tls, trust


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture everything that any library logs, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


def proxied(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", url)


def service(request: Request) -> bytes:
    if request.method == "POST":
        headers = {"X-Subject-Token": TOKEN}
        return answer(201, {"token": {"project": {"id": "p"}}}, headers)
    assert request.header("x-auth-token") == TOKEN
    return answer(200, APIG_CREATING)


def ask(backend: str, trust: ssl.SSLContext) -> float | None:
    auth = IamPassword(f"{ENDPOINT}/v3", "u", PASSWORD, domain_name="d", project_name="n")
    if not backend:
        with Apig(ENDPOINT, auth, ssl_context=trust) as client:
            return client.progress("g").percent

    async def main() -> float | None:
        async with AsyncApig(ENDPOINT, auth, ssl_context=trust) as client:
            return (await client.progress("g")).percent

    return anyio.run(main, backend=backend)


def shown(error: OpwatchError, logs: pytest.LogCaptureFixture) -> str:
    """Return the error with the locals of its frames (without this file's), and all logs."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in found.stack if frame.filename != __file__]
    found.stack = traceback.StackSummary.from_list(ours)
    return "".join(found.format(chain=True)) + logs.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_login_works_through_a_proxy(backend, certificates, monkeypatch, logs):
    """The proxy sees its own credentials and the origin; the service sees everything else."""
    tls, trust = certificates
    connects: list[Request] = []

    def tunnel(request: Request) -> bytes:
        connects.append(request)
        return b"HTTP/1.1 200 Connection established\r\nX-Seen: %s\r\n\r\n" % PROXY_PAIR.encode()

    with Loopback(service, tls=tls, tunnel=tunnel) as proxy:
        proxied(monkeypatch, f"http://proxy-user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}")
        assert ask(backend, trust) == 30
    assert [request.method for request in connects] == ["CONNECT"]
    assert connects[0].target == "apig.example.test:443"
    assert connects[0].header("proxy-authorization") == f"Basic {PROXY_PAIR}"
    assert not any(name in ("authorization", "x-auth-token") for name, _ in connects[0].fields)
    assert [request.method for request in proxy.requests] == ["POST", "GET"]
    assert all(request.header("proxy-authorization") is None for request in proxy.requests)
    assert [secret for secret in PLANTED if secret in logs.text] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_proxy_that_refuses_shows_nothing(backend, certificates, monkeypatch, logs):
    """A proxy that refuses its credentials and echoes them is a transient error in our words."""
    tls, trust = certificates

    def tunnel(request: Request) -> bytes:
        return answer(407, request.head, [("Proxy-Authenticate", f'Basic realm="{PROXY_PAIR}"')])

    with Loopback(service, tls=tls, tunnel=tunnel) as proxy:
        proxied(monkeypatch, f"http://proxy-user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}")
        with pytest.raises(TransportError, match="refused the credentials") as caught:
            ask(backend, trust)
    assert [secret for secret in PLANTED if secret in shown(caught.value, logs)] == []
    assert proxy.requests == []


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://proxy-user:{PROXY_PASSWORD}@127.0.0.1",
        f"socks5://proxy-user:{PROXY_PASSWORD}@127.0.0.1:1080",
        f"http://proxy-user:{PROXY_PASSWORD}",
        f"http://proxy-user:{PROXY_PASSWORD}@[::1",
        f"http://:{PROXY_PASSWORD}@",
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_invalid_proxy_is_a_configuration_error(backend, url, monkeypatch, logs):
    """The first request names the variable, without quoting it."""
    proxied(monkeypatch, url)

    async def main() -> None:
        async with AsyncITwin("made-up") as client:
            await client.progress("j")

    with pytest.raises(ConfigurationError, match=r"^itwin j: `HTTPS_PROXY` must be ") as caught:
        anyio.run(main, backend=backend) if backend else ITwin("made-up").progress("j")
    assert PROXY_PASSWORD not in shown(caught.value, logs)
    assert PROXY_PASSWORD not in repr(caught.value.__context__)
