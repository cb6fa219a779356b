"""A client's environment: proxies and certificates, this machine's addresses, no server.

No name of these tests is resolved and no address of another machine is dialled: both lead to
loopback here, whoever asks.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from hardness_servers import (
    LOOPBACK,
    Peer,
    Playing,
    Relay,
    authority_file,
    http,
    nobody,
    running,
    serving,
    trusting,
)
from hardness_support import MODES, TOKEN, asking

from opwatch import Apig, AsyncITwin, ClientCredentials, IamPassword, ITwin
from opwatch.errors import ConfigurationError, TransportError

every_mode = pytest.mark.parametrize("mode", MODES)
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


def answer_all(peer: Peer) -> None:
    while peer.request():
        peer.sock.sendall(http(running()))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these is set, whatever runs the tests."""
    for name in (*VARIABLES, "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# --- proxies --------------------------------------------------------------------------------------

NAMES = (
    *("api.corp.example", "corp.example", "notcorp.example", "other.example", "bücher.example"),
    *("10.1.2.3", "11.1.2.3", "fd12::1", "fd00::1", "fd00::2", "2001:db8::1"),
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name and every address leads to this machine."""
    getaddrinfo, connect = socket.getaddrinfo, socket.socket.connect

    def found(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in ("127.0.0.1", "localhost", "::1", None):
            return getaddrinfo(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    def connected(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET6:
            address = ("::1", *address[1:])
        elif self.family == socket.AF_INET:
            address = ("127.0.0.1", address[1])
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(socket.socket, "connect", connected)


@pytest.fixture(scope="module")
def everybody() -> Iterator[Playing]:
    """An https server with all those names, on both kinds of loopback, at one port."""
    tls = serving(*NAMES)
    with (
        Playing(answer_all, tls=tls) as server,
        Playing(answer_all, tls=tls, host="::1", port=server.port),
    ):
        yield server


BYPASSED = [
    ("api.corp.example", "api.corp.example", True),
    ("api.corp.example:PORT", "api.corp.example", True),
    ("api.corp.example:9", "api.corp.example", False),
    ("10.1.2.3:PORT", "10.1.2.3", True),
    ("[fd00::1]:PORT", "[fd00::1]", True),
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", False),
    ("10.0.0.0/8", "api.corp.example", False),
    ("fd00::/8", "[fd12::1]", True),
    ("fd00::/8", "[2001:db8::1]", False),
    ("[fd00::1]", "[fd00::1]", True),
    ("fd00::1", "[fd00::1]", True),
    ("[fd00::1]", "[fd00::2]", False),
    ("*.corp.example", "api.corp.example", True),
    ("*.corp.example", "other.example", False),
    ("*.corp.example", "notcorp.example", False),
    (".corp.example", "api.corp.example", True),
    ("corp.example", "api.corp.example", True),
    ("corp.example", "corp.example", True),
    ("corp.example", "notcorp.example", False),
    ("bücher.example", "bücher.example", True),
    ("xn--bcher-kva.example", "bücher.example", True),
    ("bücher.example", "xn--bcher-kva.example", True),
    ("other.example, API.Corp.Example ,10.0.0.0/8", "api.corp.example", True),
    ("other.example,,nonsense/99,10.0.0.0/8", "10.1.2.3", True),
    ("*", "api.corp.example", True),
    ("", "api.corp.example", False),
]


@pytest.mark.usefixtures("here")
@every_mode
@pytest.mark.parametrize(("no_proxy", "host", "direct"), BYPASSED)
def test_hosts_that_no_proxy_exempts(
    no_proxy: str,
    host: str,
    direct: bool,
    mode: str,
    everybody: Playing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that `NO_PROXY` names, by name, suffix, port, address or network, is connected to
    directly; any other through the proxy."""
    with Relay(everybody.port, tunnel=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy.replace("PORT", str(everybody.port)))
        url = f"https://{host}:{everybody.port}"
        with asking(mode, url, ssl_context=trusting(), request_timeout=20) as client:
            assert client.ask("j-1").percent == 37
        connects = proxy.connects
    asked = f"{host.encode('idna').decode()}:{everybody.port}"
    assert connects == ([] if direct else [asked])


@every_mode
def test_a_dead_proxy_is_named(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the proxy does not answer, the error names it, and not the service alone."""
    with nobody() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        with (
            asking(mode, "https://api.corp.example", ssl_context=trusting()) as client,
            pytest.raises(TransportError) as caught,
        ):
            client.ask("j-1")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "refused" in str(caught.value).lower()
    assert PROXY_PASSWORD not in shown(caught.value)


PROXY_PASSWORD = "FigPasswordOfTheProxy"
PROXY_PAIR = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()


def shown(error: BaseException) -> str:
    """An error with its causes, and what their frames but this file's hold."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    kept = [frame for frame in found.stack if frame.filename != __file__]
    found.stack = traceback.StackSummary.from_list(kept)
    return "".join(found.format(chain=True))


@every_mode
def test_a_proxy_that_echoes_its_credential(
    mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A 407 whose reason phrase is the `Proxy-Authorization` that the proxy was sent: the
    credential is in no error and in no log."""
    sent: list[bytes] = []

    def refuse(peer: Peer) -> None:
        while head := peer.request():
            found = re.search(rb"(?i)proxy-authorization: *(.*?)(?:\r\n|$)", head)
            sent.append(found[1] if found else b"")
            lines = [b"HTTP/1.1 407 " + sent[-1], b"Content-Length: 0", b"X-Echo: " + sent[-1]]
            peer.sock.sendall(b"\r\n".join([*lines, b"", b""]))

    with Playing(refuse) as proxy, caplog.at_level(logging.DEBUG):
        url = f"http://user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", url)
        with (
            asking(mode, "https://api.corp.example", ssl_context=trusting()) as client,
            pytest.raises(TransportError, match="407") as caught,
        ):
            client.ask("j-1")
    assert sent == [f"Basic {PROXY_PAIR}".encode()]
    for where in (shown(caught.value), caplog.text, repr([vars(one) for one in caplog.records])):
        assert PROXY_PASSWORD not in where
        assert PROXY_PAIR not in where


# --- files for TLS --------------------------------------------------------------------------------

Broken = Callable[[Path], Path]


def no_file(folder: Path) -> Path:
    return folder / "missing.pem"


def empty_file(folder: Path) -> Path:
    path = folder / "empty.pem"
    path.touch()
    return path


def a_folder(folder: Path) -> Path:
    return folder


def no_folder(folder: Path) -> Path:
    return folder / "missing" / "keys.log"


BROKEN_FILES = [
    ("SSL_CERT_FILE", no_file),
    ("SSL_CERT_FILE", empty_file),
    ("SSL_CERT_FILE", a_folder),
    ("SSLKEYLOGFILE", a_folder),
    ("SSLKEYLOGFILE", no_folder),
]
broken_files = pytest.mark.parametrize(("variable", "broken"), BROKEN_FILES)


@broken_files
@pytest.mark.parametrize("kind", [ITwin, AsyncITwin], ids=["blocking", "async"])
def test_a_tls_file_that_cannot_be_used(
    kind: Any, variable: str, broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the environment that TLS cannot use is a `ConfigurationError` that names the
    variable, when the client is made: no request, and no retry, has to find out."""
    monkeypatch.setenv(variable, str(broken(tmp_path)))
    with pytest.raises(ConfigurationError, match=variable):
        kind(TOKEN)


@broken_files
def test_a_tls_file_that_nobody_needs(
    variable: str, broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that needs no TLS, or brings its own settings, does not care for those files."""
    monkeypatch.setenv(variable, str(broken(tmp_path)))
    ITwin(TOKEN, base_url="http://127.0.0.1:9").close()
    ITwin(TOKEN, ssl_context=trusting()).close()


@broken_files
def test_the_command_with_a_tls_file_that_cannot_be_used(
    variable: str, broken: Broken, tmp_path: Path
) -> None:
    """The command says so too, and exits with 2."""
    environ = os.environ | {
        "ITWIN_ACCESS_TOKEN": TOKEN,
        "ITWIN_BASE_URL": "https://127.0.0.1:9",
        "PYTHONPATH": os.pathsep.join([path for path in sys.path if Path(path).is_dir()]),
        variable: str(broken(tmp_path)),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "opwatch.cli", "progress", "itwin", "j-1"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert variable in ended.stderr
    assert "Traceback" not in ended.stderr


@every_mode
def test_certificates_are_read_for_each_client(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`SSL_CERT_FILE` that is set after a first client was made holds for the next one, and no
    longer once it is gone."""
    with Playing(answer_all, tls=serving(*LOOPBACK)) as server:

        def told() -> Any:
            with asking(mode, server.url, request_timeout=20) as client:
                try:
                    return client.ask("j-1").percent
                except TransportError:
                    return "refused"

        found = [told()]
        monkeypatch.setenv("SSL_CERT_FILE", authority_file())
        found.append(told())
        monkeypatch.delenv("SSL_CERT_FILE")
        found.append(told())
    assert found == ["refused", 37, "refused"]


@every_mode
def test_a_file_of_the_usual_authorities_and_one_more(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are trusted if `SSL_CERT_FILE` contains both: certifi's file, and yours after it."""
    both = tmp_path / "authorities.pem"
    files = (Path(certifi.where()), Path(authority_file()))
    both.write_bytes(b"".join(file.read_bytes() for file in files))
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with (
        Playing(answer_all, tls=serving(*LOOPBACK)) as server,
        asking(mode, server.url, request_timeout=20) as client,
    ):
        assert client.ask("j-1").percent == 37
    assert len(ssl.create_default_context(cafile=both).get_ca_certs()) > 100


# --- addresses ------------------------------------------------------------------------------------

NOT_THIS_MACHINE = [
    "http://api.localhost",
    "http://api.localhost:8080",
    "http://localhost.example",
    "http://127.0.0.1.example",
    "http://[::ffff:127.0.0.1]",
    "http://0.0.0.0",
    "http://10.0.0.1",
]


@pytest.mark.parametrize("url", NOT_THIS_MACHINE)
def test_plain_http_is_for_this_machine_alone(url: str) -> None:
    """Plain http to anything but `localhost` itself and literal loopback addresses is refused: what
    a resolver makes of `api.localhost` nobody knows."""
    password = {"username": "u", "password": "FigPassword", "domain_name": "d", "project_id": "p"}
    makers: list[Callable[[], object]] = [
        lambda: ITwin(TOKEN, base_url=url),
        lambda: AsyncITwin(TOKEN, base_url=url),
        lambda: Apig(url, TOKEN, project_id="p"),
        lambda: ClientCredentials("a-client", "FigSecret", token_url=f"{url}/token"),
        lambda: IamPassword(f"{url}/v3", **password),
    ]
    for make in makers:
        with pytest.raises(ConfigurationError, match="https"):
            make()


@every_mode
@pytest.mark.parametrize(
    ("listening", "named"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "LOCALHOST"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "[::1]"),
    ],
)
def test_plain_http_to_this_machine(listening: str, named: str, mode: str) -> None:
    """Plain http to `localhost` and to loopback addresses works."""
    with (
        Playing(answer_all, host=listening) as server,
        asking(mode, f"http://{named}:{server.port}") as client,
    ):
        assert client.ask("j-1").percent == 37


@every_mode
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_says_so(host: str, mode: str) -> None:
    """Where nobody listens, the error says that the connection was refused, and by whom."""
    with (
        nobody() as port,
        asking(mode, f"http://{host}:{port}") as client,
        pytest.raises(TransportError) as caught,
    ):
        client.ask("j-1")
    assert "refused" in str(caught.value).lower()
    assert f"{host}:{port}" in str(caught.value)
