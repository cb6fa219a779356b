"""Proxies and certificates from the environment, and what can go wrong with them."""

from __future__ import annotations

import base64
import os
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fault_tls
import pytest
from fault_server import FaultServer, Peer, nobody
from net_support import MODES, TOKEN, answering, ask, get, http

from opwatch.errors import ConfigurationError, TransportError
from opwatch.net import tls
from opwatch.net.address import address
from opwatch.net.message import Answer, Secret
from opwatch.net.proxy import Proxy, find, is_exempt

every_mode = pytest.mark.parametrize("mode", MODES)
FAR = "https://api.far-away.invalid"
"""No such host: whatever answers there was reached through a proxy."""
PASSWORD = "planted-proxy-password"
PAIR = base64.b64encode(f"proxy-user:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


# --- which proxy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Proxy("p", 3128)),
        ({"HTTPS_PROXY": "p:3128"}, Proxy("p", 3128)),
        ({"HTTPS_PROXY": "HTTP://P.Example/"}, Proxy("p.example", 80)),
        ({"HTTPS_PROXY": "http://[::1]:1"}, Proxy("::1", 1)),
        ({"HTTPS_PROXY": "http://bücher.example:1"}, Proxy("xn--bcher-kva.example", 1)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, Proxy("lower", 1)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, None),
        ({"ALL_PROXY": "http://all:1"}, Proxy("all", 1)),
        ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://p:1"}, Proxy("p", 1)),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://u:p%40ss@p:1"}, Proxy("p", 1, Secret("Basic dTpwQHNz"))),
        ({"HTTPS_PROXY": "http://u@p:1"}, Proxy("p", 1, Secret("Basic dTo="))),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "far-away.invalid"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.invalid"}, Proxy("p", 1)),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Proxy | None
) -> None:
    """A lower-case variable wins, and an empty one unsets the other."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find(address(FAR, "base_url")) == expected


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1", "https://[::1]:8443"])
def test_loopback_is_never_proxied(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Not even over https."""
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    assert find(address(url, "base_url")) is None


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    [
        f"https://proxy-user:{PASSWORD}@p:1",
        f"socks5://proxy-user:{PASSWORD}@p:1",
        f"ftp://{PASSWORD}@p",
        f"http://proxy-user:{PASSWORD}",
        f"http://proxy-user:{PASSWORD}@",
        f"http://proxy-user:{PASSWORD}@[::1",
        f"http://proxy-user:{PASSWORD}@p:99999",
        f"http://a b{PASSWORD}",
        f"http://proxy-user:{PASSWORD}/more@p:1",
        f"http://proxy-user:1234/{PASSWORD}@p:1",
        f"http://proxy-user:1234#{PASSWORD}@p:1",
    ],
)
def test_only_an_http_proxy_will_do(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The error names the variable and does not quote it.

    A `/` or `#` in a password is an error as well, even if a port number is before it.
    """
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^`{variable}` must be the URL of") as caught:
        find(address(FAR, "base_url"))
    assert PASSWORD not in f"{caught.value} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    ("entry", "matching", "other"),
    [
        ("*", ["example.com", "10.0.0.1", "fd00::1"], []),
        (
            "example.com",
            ["example.com", "EXAMPLE.com", "api.example.com", "example.com."],
            ["badexample.com", "example.org", "com"],
        ),
        (".example.com", ["example.com", "api.example.com"], ["badexample.com"]),
        ("*.example.com", ["example.com", "a.b.example.com"], ["badexample.com"]),
        ("Example.COM", ["example.com"], ["example.org"]),
        ("example.com:443", ["example.com", "api.example.com"], []),
        ("example.com:8443", [], ["example.com"]),
        ("bücher.example", ["xn--bcher-kva.example", "a.xn--bcher-kva.example"], ["a.example"]),
        ("xn--bcher-kva.example", ["bücher.example"], []),
        ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.4", "a.10.1.2.3"]),
        ("10.1.2.3:443", ["10.1.2.3"], []),
        ("10.1.2.3:80", [], ["10.1.2.3"]),
        ("10.0.0.0/8", ["10.255.0.1"], ["11.0.0.1", "10.example.com", "fd00::1"]),
        ("10.1.2.3/8", ["10.255.0.1"], ["11.0.0.1"]),
        ("fd00::/8", ["fd12::1"], ["fe80::1", "10.0.0.1"]),
        ("fd00::1", ["fd00::1", "fd00:0::1"], ["fd00::2"]),
        ("[fd00::1]", ["fd00::1"], ["fd00::2"]),
        ("[fd00::1]:443", ["fd00::1"], []),
        ("[fd00::1]:80", [], ["fd00::1"]),
        (" a.example , example.com ", ["a.example", "example.com"], ["b.example"]),
        ("", [], ["example.com"]),
        (",,", [], ["example.com"]),
        ("10.0.0.0/99, /, [, :80, a..b", [], ["10.0.0.1", "example.com"]),
    ],
)
def test_the_forms_of_no_proxy(entry: str, matching: list[str], other: list[str]) -> None:
    """Each row of the table in `net.proxy`, and what looks like it but is not."""
    for host in (*matching, *other):
        shown = f"[{host}]" if ":" in host else host
        canonical = address(f"https://{shown}", "base_url").host.strip("[]")
        assert is_exempt(canonical, 443, entry) is (host in matching), host


# --- through a proxy ------------------------------------------------------------------------------


def tunnel(play: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """A proxy that connects to a host that does this."""

    def start(peer: Peer) -> None:
        if peer.request():
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            peer.start_tls(fault_tls.good("api.far-away.invalid"))
            play(peer)

    return start


def ask_far(mode: str, times: int = 1, **more: Any) -> list[Any]:
    return ask(mode, [get(FAR)] * times, ssl_context=fault_tls.trusting(), **more)


@every_mode
def test_credentials_stay_on_their_side_of_the_tunnel(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The proxy gets its own, the service gets the request's, and the tunnel is kept."""
    with FaultServer(tunnel(answering(http()))) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://proxy-user:{PASSWORD}@127.0.0.1:{server.port}")
        outcomes = ask_far(mode, times=2)
    assert [type(outcome) for outcome in outcomes] == [Answer] * 2
    asked, *sent = server.requests
    assert asked.line == b"CONNECT api.far-away.invalid:443 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {PAIR}".encode() in asked.head
    assert TOKEN.encode() not in asked.head
    assert [TOKEN.encode() in one.head and PAIR.encode() not in one.head for one in sent] == [
        True,
        True,
    ]


NOT_ACCEPTED = (
    "the proxy {proxy} refused the credentials (407); check the user and password in "
    "HTTPS_PROXY or ALL_PROXY"
)
REFUSALS: dict[str, tuple[Callable[[Peer], object], str]] = {
    "407": (
        lambda peer: (
            (request := peer.request())
            and peer.send(
                b"HTTP/1.1 407 "
                + PAIR.encode()
                + b"\r\nProxy-Authenticate: Basic realm="
                + PAIR.encode()
                + b"\r\n\r\n"
                + request.head
            )
        ),
        NOT_ACCEPTED,
    ),
    "502": (
        lambda peer: peer.request() and peer.send(http(PAIR.encode(), status=502)),
        "the proxy {proxy} refused to connect to api.far-away.invalid:443 (502)",
    ),
    "closed": (
        lambda peer: peer.request(),
        "the proxy {proxy} closed the connection before its response was complete",
    ),
    "garbage": (
        lambda peer: peer.request() and peer.send(PAIR.encode() + b"\r\n\r\n"),
        "the proxy {proxy} did not send a valid HTTP response",
    ),
    "silent": (
        lambda peer: peer.hold(),
        "no complete response from the proxy {proxy} within 0.2 s",
    ),
    "talks-first": (
        lambda peer: peer.request() and peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello"),
        "the proxy {proxy} did not send a valid HTTP response",
    ),
}


@every_mode
@pytest.mark.parametrize(("play", "says"), REFUSALS.values(), ids=REFUSALS)
def test_a_proxy_that_refuses_is_named_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, mode: str, play: Callable[[Peer], None], says: str
) -> None:
    """By host and port, with the status, and without its credentials even if it echoes them."""
    with FaultServer(play) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://proxy-user:{PASSWORD}@127.0.0.1:{server.port}")
        [outcome] = ask_far(mode, seconds=0.2 if "within" in says else 20)
    assert type(outcome) is TransportError
    said = re.sub(r"within [\d.]+ s", "within 0.2 s", str(outcome))  # what connecting left of it
    assert said == says.format(proxy=f"127.0.0.1:{server.port}")
    assert outcome.__context__ is None


@every_mode
def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """It is the proxy that can't be reached, not the service."""
    with nobody() as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("://", f"://proxy-user:{PASSWORD}@"))
        [outcome] = ask_far(mode)
    proxy = url.removeprefix("http://")
    assert str(outcome) == f"could not connect to the proxy {proxy}: Connection refused"


# --- TLS ------------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize(
    ("context", "says"),
    [
        (fault_tls.untrusted, "the issuer is unknown; if you trust it, set SSL_CERT_FILE "),
        (fault_tls.expired, "the certificate has expired; the server needs a new one"),
        (fault_tls.someone_else, "the certificate is for another host name; check the address"),
    ],
)
def test_a_certificate_that_fails_says_why(
    mode: str, context: Callable[[], ssl.SSLContext], says: str
) -> None:
    """And what to do about it."""

    def play(peer: Peer) -> None:
        peer.start_tls(context())
        answering(http())(peer)

    with FaultServer(play) as server:
        url = server.url.replace("http:", "https:")
        [outcome] = ask(mode, [get(url)], ssl_context=fault_tls.trusting())
    assert f"could not connect to {url}: certificate verify failed: {says}" in str(outcome)


@every_mode
def test_an_issuer_that_becomes_unknown_is_retried(mode: str) -> None:
    """An address that was trusted before may be so again: a firewall's page may be in between."""

    def play(peer: Peer) -> None:
        peer.start_tls(fault_tls.good() if peer.number == 0 else fault_tls.untrusted())
        answering(http(b"{}", "Connection: close"))(peer)

    with FaultServer(play) as server:
        url = server.url.replace("http:", "https:")
        outcomes = ask(mode, [get(url)] * 2, ssl_context=fault_tls.trusting())
    assert isinstance(outcomes[1], TransportError)
    assert "the issuer is unknown" in str(outcomes[1])
    assert outcomes[1].transient


@every_mode
def test_a_proxy_that_requires_credentials(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """If the variable contains none, the error says how to add them."""
    with FaultServer(lambda peer: peer.request() and peer.send(http(status=407))) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        [outcome] = ask_far(mode)
    assert str(outcome) == (
        f"the proxy 127.0.0.1:{server.port} requires credentials (407); "
        "add them: HTTPS_PROXY=http://user:password@host:port"
    )


@every_mode
def test_a_server_without_tls(mode: str) -> None:
    """It is the most frequent mistake of all, so it is said in plain words."""
    with FaultServer(lambda peer: peer.send(http(status=400))) as server:
        [outcome] = ask(mode, [get(server.url.replace("http:", "https:"))])
    assert str(outcome).endswith("the server does not seem to speak TLS on this port")


@every_mode
def test_a_context_that_offers_another_protocol(mode: str) -> None:
    """A server that chooses HTTP/2 will never answer an HTTP/1.1 request: no retry helps."""
    certificate = fault_tls.authority().issue_cert(*fault_tls.LOOPBACK)
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(serving)
    fault_tls.authority().configure_trust(trusting)
    for context in (serving, trusting):
        context.set_alpn_protocols(["h2", "http/1.1"])

    def play(peer: Peer) -> None:
        peer.start_tls(serving)
        peer.hold()

    with FaultServer(play) as server:
        url = server.url.replace("http:", "https:")
        [outcome] = ask(mode, [get(url)], ssl_context=trusting)
    assert isinstance(outcome, TransportError)
    assert not outcome.transient
    assert str(outcome).endswith(
        "chose h2, which `ssl_context` offers (ALPN); opwatch speaks only http/1.1"
    )


@every_mode
def test_ssl_cert_file_is_used(monkeypatch: pytest.MonkeyPatch, mode: str, tmp_path: Path) -> None:
    """A private authority is trusted without a line of code."""
    bundle = tmp_path / "ca.pem"
    fault_tls.authority().cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    def play(peer: Peer) -> None:
        peer.start_tls(fault_tls.good())
        answering(http())(peer)

    with FaultServer(play) as server:
        [outcome] = ask(mode, [get(server.url.replace("http:", "https:"))])
    assert type(outcome) is Answer


def test_clients_share_a_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Until the file changes: a renewed bundle is read again."""
    assert tls.context() is tls.context()
    assert tls.context().minimum_version == ssl.TLSVersion.TLSv1_2
    bundle = tmp_path / "ca.pem"
    fault_tls.authority().cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    first = tls.context()
    assert first is tls.context()
    assert len(first.get_ca_certs()) == 1
    later = time.time() + 10
    os.utime(bundle, (later, later))
    assert tls.context() is not first


@pytest.mark.parametrize(
    ("variable", "make", "problem"),
    [
        ("SSL_CERT_FILE", lambda path: None, "that file doesn't exist"),
        ("SSL_CERT_FILE", Path.touch, "that file is empty"),
        ("SSL_CERT_FILE", Path.mkdir, "that isn't a file"),
        ("SSL_CERT_FILE", lambda path: path.write_text("no PEM"), "must name a PEM file"),
        ("SSL_CERT_DIR", lambda path: None, "must name a folder with certificates"),
        ("SSL_CERT_DIR", Path.mkdir, "must name a folder with certificates"),
        ("SSL_CERT_DIR", Path.touch, "must name a folder with certificates"),
        ("SSLKEYLOGFILE", Path.mkdir, "must name a file that can be written"),
        ("SSLKEYLOGFILE", lambda path: path / "keys", "must name a file that can be written"),
    ],
)
def test_a_variable_that_can_not_be_right_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    make: Callable[[Path], object],
    problem: str,
) -> None:
    """At once, with what is wrong, and how to fix it."""
    path = tmp_path / "named"
    made = make(path)
    monkeypatch.setenv(variable, str(made if isinstance(made, Path) else path))
    with pytest.raises(ConfigurationError, match=f"^`{variable}` .*{problem}.* unset it"):
        tls.context()


def test_a_folder_that_may_not_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one without certificates."""

    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)  # as root is never told

    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ConfigurationError, match=r"^`SSL_CERT_DIR` must name a folder"):
        tls.context()


def test_keys_are_logged_if_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For debugging with Wireshark."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert tls.context().keylog_filename == str(tmp_path / "keys")
