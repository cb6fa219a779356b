"""The way to a server: names and addresses, IPv6, proxies, and a server that doesn't read."""

from __future__ import annotations

import base64
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import attrs
import fault_tls
import pytest
from fault_plays import good, http
from fault_server import FaultServer, Peer, nobody
from fault_services import APIG, EVERY_MODE, MODES, SAMPLES, TOKEN, Sample, ask
from ports import full
from scales import at_some_scale

from opwatch import Apig, AsyncApig, IamPassword, Progress
from opwatch.errors import ConfigurationError, TransportError

every_mode = pytest.mark.parametrize("mode", EVERY_MODE)
FAR = "https://apig.far-away.invalid"
"""No such host: whatever answers there was reached through a proxy."""
GRACE = 10.0
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of each name; no other name is known, and none leaves this machine."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in known:
            return [found for at in known[name] for found in real(at, port, *args, **kwargs)]
        if name[:1].isdigit() or ":" in name:
            return real(host, port, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def answers(peer: Peer, sample: Sample = APIG) -> None:
    while peer.request():
        peer.send(http(good(sample)))


# --- names and addresses --------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_name_that_nobody_knows(names: dict[str, list[str]], sample: Sample, mode: str) -> None:
    """A name that doesn't resolve raises a `TransportError` that says so."""
    [outcome] = ask(sample, mode, "https://nonexistent.invalid")
    assert type(outcome) is TransportError
    assert "could not connect to https://nonexistent.invalid: Name or service not known" in str(
        outcome
    )


@every_mode
def test_the_next_address_of_a_name_is_tried(names: dict[str, list[str]], mode: str) -> None:
    """If a host's first address refuses the connection, the second one is used."""
    with FaultServer(answers) as server:
        names["localhost"] = ["127.0.0.2", "127.0.0.1"]
        [outcome] = ask(APIG, mode, f"http://localhost:{server.port}")
    assert type(outcome) is Progress


@every_mode
def test_many_dead_addresses_take_no_longer_than_one(
    names: dict[str, list[str]], mode: str
) -> None:
    """All addresses of a host share the time limit of a request."""
    names["localhost"] = ["127.0.0.1"] * 200
    began = time.monotonic()
    with full() as port:
        [outcome] = ask(APIG, mode, f"http://localhost:{port}", request_timeout=0.3)
    assert type(outcome) is TransportError
    assert "could not connect to http://localhost" in str(outcome)
    assert time.monotonic() - began < GRACE


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@every_mode
def test_ipv6(mode: str) -> None:
    """IPv6 addresses work like any other."""
    with FaultServer(answers, host="::1") as server:
        [outcome] = ask(APIG, mode, server.url)
    assert type(outcome) is Progress
    assert b"Host: [::1]:%d" % server.port in server.requests[0].head


# --- a server that reads slowly -------------------------------------------------------------------


MUCH = 32_000_000


@every_mode
@at_some_scale
def test_a_server_that_reads_slowly(mode: str, scale: int) -> None:
    """A server that reads slowly can't keep a request open beyond its time limit."""
    read = 0

    def play(peer: Peer) -> None:
        nonlocal read
        while data := peer.receive(65_536):
            read += len(data)
            server.ended.wait(0.01 * scale)

    with FaultServer(play, buffer=262_144) as server:
        [outcome] = ask(with_auth("x" * MUCH), mode, server.url, request_timeout=0.4 * scale)
    assert type(outcome) is TransportError
    assert "no complete response" in str(outcome)
    assert read < MUCH / 2


def with_auth(auth: Any) -> Sample:
    """A gateway asked about with other credentials; they may depend on the address."""

    def make(kind: Any) -> Any:
        return lambda url, **options: kind(
            url, auth(url) if callable(auth) else auth, project_id="made-up-project", **options
        )

    return attrs.evolve(APIG, make=make(Apig), make_async=make(AsyncApig))


# --- proxies --------------------------------------------------------------------------------------


def tunnel(play: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """A proxy that lets the client through to a host that does this."""

    def start(peer: Peer) -> None:
        if peer.request():
            peer.send(b"HTTP/1.1 200 Connection established\r\nX-Subject-Token: the-proxy\r\n\r\n")
            peer.start_tls(fault_tls.good("apig.far-away.invalid"))
            play(peer)

    return start


def behind(proxy: FaultServer, monkeypatch: pytest.MonkeyPatch, name: str = "HTTPS_PROXY") -> None:
    monkeypatch.setenv(name, proxy.url)


def reach(mode: str, **options: Any) -> Any:
    [outcome] = ask(APIG, mode, FAR, ssl_context=fault_tls.trusting(), **options)
    return outcome


@every_mode
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str, name: str
) -> None:
    """A proxy set in the environment opens a tunnel, so it never sees the service's credentials."""
    with FaultServer(tunnel(answers)) as proxy:
        behind(proxy, monkeypatch, name)
        outcome = reach(mode)
    assert isinstance(outcome, Progress)
    asked, sent = proxy.requests
    assert asked.line == b"CONNECT apig.far-away.invalid:443 HTTP/1.1"
    assert TOKEN.encode() not in asked.head
    assert TOKEN.encode() in sent.head


@every_mode
def test_a_tunnel_is_kept(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str
) -> None:
    """Several polls share one tunnel through a proxy."""
    with FaultServer(tunnel(answers)) as proxy:
        behind(proxy, monkeypatch)
        outcomes = ask(APIG, mode, FAR, times=3, ssl_context=fault_tls.trusting())
    assert [type(outcome) for outcome in outcomes] == [Progress] * 3
    assert proxy.connections == 1


@every_mode
def test_no_proxy_is_honoured(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str
) -> None:
    """A host that `NO_PROXY` lists is contacted directly."""
    with FaultServer(tunnel(answers)) as proxy:
        behind(proxy, monkeypatch)
        monkeypatch.setenv("NO_PROXY", ".far-away.invalid")
        outcome = reach(mode)
    assert type(outcome) is TransportError
    assert proxy.requests == []


@every_mode
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_loopback_is_never_proxied(monkeypatch: pytest.MonkeyPatch, mode: str, name: str) -> None:
    """Requests to this machine never go through a proxy."""
    with FaultServer(answers) as server, nobody() as dead:
        monkeypatch.setenv(name, dead)
        [outcome] = ask(APIG, mode, server.url)
    assert type(outcome) is Progress


@every_mode
def test_a_proxys_credentials_go_to_the_proxy_alone(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str
) -> None:
    """A proxy's credentials are sent only to the proxy, and no error contains them."""
    with FaultServer(tunnel(answers)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://made-up:hush@127.0.0.1:{proxy.port}")
        outcome = reach(mode)
    assert isinstance(outcome, Progress)
    asked, sent = proxy.requests
    pair = base64.b64encode(b"made-up:hush")
    assert b"Basic " + pair in asked.head
    assert pair not in sent.head


REFUSALS: dict[str, tuple[Callable[[Peer], object], str, bool]] = {
    "refused-407": (
        lambda peer: peer.request() and peer.send(http(b"", status=407)),
        "refused the credentials (407)",
        False,
    ),
    "refused-502": (
        lambda peer: peer.request() and peer.send(http(b"", status=502)),
        "refused to connect to apig.far-away.invalid:443 (502)",
        False,
    ),
    "closed": (lambda peer: peer.request(), "closed the connection", False),
    "garbage": (
        lambda peer: peer.request() and peer.send(b"what?\r\n\r\n"),
        "valid HTTP response",
        False,
    ),
    "silent": (lambda peer: peer.hold(), "no complete response from the proxy", True),
    "dripping": (
        lambda peer: peer.drip(b"HTTP/1.1 200 " + b"x" * 500),
        "no complete response from the proxy",
        True,
    ),
    "no-tls-behind": (
        lambda peer: peer.request() and peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello, hello"),
        "valid HTTP response",
        False,
    ),
    "other-host-behind": (
        lambda peer: (
            peer.request()
            and (
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n"),
                peer.start_tls(fault_tls.someone_else()),
            )
        ),
        "certificate",
        False,
    ),
}


@every_mode
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@at_some_scale
def test_a_proxy_that_does_not_let_through(
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, list[str]],
    mode: str,
    refusal: tuple[Callable[[Peer], None], str, bool],
    scale: int,
) -> None:
    """Any failure at a proxy raises a `TransportError` within `request_timeout`."""
    play, says, is_slow = refusal
    began = time.monotonic()
    with FaultServer(play) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://made-up:hush@127.0.0.1:{proxy.port}")
        outcome = reach(mode, request_timeout=0.3 * scale if is_slow else 20)
    assert type(outcome) is TransportError
    assert says in str(outcome)
    if "certificate" not in says:
        assert f"the proxy 127.0.0.1:{proxy.port}" in str(outcome)
    assert "hush" not in str(outcome)
    assert time.monotonic() - began < 20


@every_mode
def test_failed_tunnels_do_not_use_up_the_places(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str
) -> None:
    """Failed tunnels never block one that works, no matter how many there are."""

    def play(peer: Peer) -> None:
        bad = fault_tls.someone_else()
        if peer.number < 5 and peer.request():
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.start_tls(bad)
        tunnel(answers)(peer)

    with FaultServer(play) as proxy:
        behind(proxy, monkeypatch)
        trust = fault_tls.trusting()
        outcomes = ask(APIG, mode, FAR, times=6, ssl_context=trust, max_in_flight=2)
    assert [type(outcome) for outcome in outcomes] == [TransportError] * 5 + [Progress]


@every_mode
@pytest.mark.parametrize(
    "value",
    [
        "socks5://127.0.0.1:9",
        "https://127.0.0.1:9",
        "http://[::",
        "ftp://x",
        "http://h:port",
        "http://",
    ],
)
def test_a_proxy_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], mode: str, value: str
) -> None:
    """A proxy URL with TLS or SOCKS, or one that isn't valid, raises `ConfigurationError`."""
    monkeypatch.setenv("HTTPS_PROXY", value.replace("://", "://made-up:hush@"))
    outcome = reach(mode)
    assert type(outcome) is ConfigurationError
    assert "HTTPS_PROXY" in str(outcome)
    assert "hush" not in str(outcome)


LOGIN = b'{"token": {"expires_at": "2999-01-01T00:00:00Z", "project": {"id": "made-up-project"}}}'
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
HEADS = {
    "at-once": [b"HTTP/1.1 201 Created\r\nX-Subject-Token: %s\r\n%s\r\n"],
    "after-interim": [INTERIM + b"HTTP/1.1 201 Created\r\nX-Subject-Token: %s\r\n%s\r\n"],
    "in-pieces": [b"HTTP/1.1 201 Created\r\nX-Subj", b"ect-Token: %s\r\n%s\r\n"],
    "interim-in-pieces": [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nX-Sub",
        b"ject-Token: %s\r\n%s\r\n",
    ],
    "any-case": [b"HTTP/1.1 201 Created\r\nx-SUBJECT-token:%s  \r\n%s\r\n"],
}
LENGTH = b"Content-Length: %d\r\n" % len(LOGIN)


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxied"])
@pytest.mark.parametrize("pieces", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("mode", MODES)
def test_a_token_in_a_header_is_found_and_never_logged(
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, list[str]],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    pieces: list[bytes],
    proxied: bool,
) -> None:
    """No matter how the identity service's response arrives, its token is used and never logged."""
    caplog.set_level(logging.DEBUG)
    first, *others = (b"|".join(pieces) % (TOKEN.encode(), LENGTH)).split(b"|")

    def play(peer: Peer) -> None:
        while request := peer.request():
            if request.line.startswith(b"POST"):
                peer.send(first)
                for piece in others:
                    peer.pause()
                    peer.send(piece)
                peer.send(LOGIN)
            else:
                peer.send(http(good(APIG)))

    sample = with_auth(
        lambda url: IamPassword(f"{url}/v3", "u", "made-up", domain_name="d", project_name="p")
    )
    with FaultServer(tunnel(play) if proxied else play) as server:
        url = server.url
        if proxied:
            behind(server, monkeypatch)
            url = FAR
        [outcome] = ask(sample, mode, url, ssl_context=fault_tls.trusting())
    assert isinstance(outcome, Progress), outcome
    assert b"X-Auth-Token: %s\r" % TOKEN.encode() in server.requests[-1].head + b"\r"
    assert TOKEN not in caplog.text
