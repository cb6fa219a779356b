"""Target and `Host` are signed byte for byte as they go over the wire.

On loopback the bytes are captured from a socket, and checked as the service checks them, by code
that was written from its documentation. For hosts that can't be reached from a test, the bytes come
from the exchange that produces them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest
from auth_support import (
    API_SECRET,
    APIG_CREATING,
    CATENIS_RUNNING,
    DEVICE,
    Loopback,
    Request,
    aksk_fault,
    answer,
    ctn1_fault,
)
from hypothesis import given
from hypothesis import strategies as st

from opwatch import AkSk, Apig, AsyncApig, AsyncCatenis, Catenis
from opwatch.errors import PermissionDenied
from opwatch.net.address import address, endpoint
from opwatch.net.exchange import exchange
from opwatch.net.message import Request as Outgoing
from opwatch.net.message import blocking
from opwatch.testing import FakeClock, Script, reply

SECRET_KEY = "made/up+secret=key"
LOCAL = ["127.0.0.1", "::1", "localhost"]

# --- strategies -----------------------------------------------------------------------------------

IDS = (
    st.text(
        st.characters(exclude_characters="/\\%?#", exclude_categories=["Cc", "Cs"]), min_size=1
    ).filter(lambda text: text.strip() not in ("", ".", ".."))
    | st.from_regex(r"[hp]\w{19}", fullmatch=True)
    | st.uuids().map(str)
    | st.uuids().map(lambda uuid: uuid.hex)
)
PROJECTS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/\\%?#"), min_size=1
).filter(lambda text: text not in (".", ".."))
SEGMENTS = st.one_of(
    st.sampled_from(
        ["api", "0.7", "a%20b", "%C3%A9", "%2F", "a%2fb", "~x", "a+b", "a:b", "(1)", "...", ".x"]
    ),
    st.from_regex(r"[a-z0-9~!$&'()*+,;=:-]+", fullmatch=True),
)
PATHS = st.tuples(st.lists(SEGMENTS, max_size=4), st.sampled_from(["", "/", "//"])).map(
    lambda parts: "".join(f"/{segment}" for segment in parts[0]) + parts[1]
)
LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True).filter(
    lambda label: label[2:4] != "--"
)
HOSTS = st.one_of(
    # A last label of digits makes it an address, which `0.0.0.00` is not.
    st.lists(LABELS, min_size=1, max_size=4)
    .filter(lambda labels: not labels[-1].isdigit())
    .map(".".join),
    st.sampled_from(["bücher.example", "EXAMPLE.com", "my_host.example", "example.com."]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
)
PORTS = st.just("") | st.integers(1, 65535).map(lambda port: f":{port}")


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Loopback]]:
    """Start a server on each loopback name, which answers as both services do."""

    def both(request: Request) -> bytes:
        is_catenis = request.header("x-bcot-timestamp") is not None
        return answer(200, CATENIS_RUNNING if is_catenis else APIG_CREATING)

    with ExitStack() as stack:
        yield {host: stack.enter_context(Loopback(both, host=host)) for host in LOCAL}


def newest(server: Loopback, before: int) -> Request:
    """Return the only request since there were `before`."""
    assert server.count == before + 1
    return server.requests[-1]


# --- captured from a socket -----------------------------------------------------------------------


@given(host=st.sampled_from(LOCAL), path=PATHS, message=IDS)
def test_what_catenis_receives_verifies(services, host, path, message):
    """Catenis accepts the signature for every ID, base path and loopback address."""
    server = services[host]
    before = server.count
    with Catenis(DEVICE, API_SECRET, base_url=server.url + path) as client:
        client.progress(message)
    request = newest(server, before)
    assert ctn1_fault(request, API_SECRET) is None
    assert request.header("host") == server.url.removeprefix("http://")
    assert request.target.endswith("/progress")


@given(
    host=st.sampled_from(LOCAL),
    path=PATHS,
    project=PROJECTS,
    gateway=IDS,
    token=st.none() | st.just("made-up/security+token="),
)
def test_what_apig_receives_verifies(services, host, path, project, gateway, token):
    """APIG accepts the signature for every project, ID, base path and kind of keys."""
    server = services[host]
    before = server.count
    auth = AkSk("MADEUPKEY", SECRET_KEY, security_token=token)
    with Apig(server.url + path, auth, project_id=project) as client:
        client.progress(gateway)
    request = newest(server, before)
    assert aksk_fault(request, SECRET_KEY) is None
    assert request.header("host") == server.url.removeprefix("http://")
    assert request.header("x-project-id") == project
    assert request.header("x-security-token") == token


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_an_async_client_sends_verifies(services, backend, host):
    """Async clients sign as blocking ones do."""
    server = services[host]
    before = server.count

    async def main() -> None:
        base_url = f"{server.url}/api/%C3%BC%2F/"
        async with AsyncCatenis(DEVICE, API_SECRET, base_url=base_url) as client:
            await client.progress("hé llo+")
        auth = AkSk("MADEUPKEY", SECRET_KEY)
        async with AsyncApig(f"{server.url}/%C3%BC%2F/", auth, project_id="p") as client:
            await client.progress("hé llo+")

    anyio.run(main, backend=backend)
    signed, keyed = server.requests[before:]
    assert ctn1_fault(signed, API_SECRET) is None
    assert aksk_fault(keyed, SECRET_KEY) is None
    assert signed.target == "/api/%C3%BC%2F/messages/h%C3%A9%20llo%2B/progress"
    assert keyed.target == "/%C3%BC%2F/v2/p/apigw/instances/h%C3%A9%20llo%2B/progress"


def test_the_checks_can_fail(services):
    """Another secret, method, target, host or body is found, so the tests above can fail."""
    server = services["127.0.0.1"]
    with Catenis(DEVICE, API_SECRET, base_url=server.url) as client:
        client.progress("m")
    signed = server.requests[-1]
    with Apig(server.url, AkSk("MADEUPKEY", SECRET_KEY), project_id="p") as client:
        client.progress("g")
    keyed = server.requests[-1]
    assert (ctn1_fault(signed, API_SECRET), aksk_fault(keyed, SECRET_KEY)) == (None, None)
    assert ctn1_fault(signed, "another made up secret") == "signature"
    assert aksk_fault(keyed, "another made up secret") == "signature"
    for old, new in ((b"/progress", b"/progresS"), (b"Host: 127", b"Host: 128"), (b"GET", b"PUT")):
        assert ctn1_fault(Request(signed.head.replace(old, new), b""), API_SECRET) == "signature"
        assert aksk_fault(Request(keyed.head.replace(old, new), b""), SECRET_KEY) == "signature"
    assert ctn1_fault(Request(signed.head, b"{}"), API_SECRET) == "signature"
    assert aksk_fault(Request(keyed.head, b"{}"), SECRET_KEY) == "signature"


# --- as the exchange writes it --------------------------------------------------------------------


class Wire:
    """Keeps what is sent, and answers it."""

    sent = b""

    async def send(self, pieces):
        self.sent += b"".join(one if isinstance(one, bytes) else one.encode() for one in pieces)

    async def receive(self):
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    async def pause(self): ...


def as_sent(outgoing: Outgoing) -> Request:
    """Return the request as the exchange writes it."""
    wire = Wire()
    blocking(exchange, outgoing, wire)
    return Request(wire.sent, b"")


@given(host=HOSTS, port=PORTS, path=PATHS, message=IDS)
def test_what_goes_to_any_host_is_what_was_signed(host, port, path, message):
    """For any https host, with and without a port, target and `Host` are those signed."""
    sent: list[Outgoing] = []

    def service(request: Outgoing):
        sent.append(request)
        return reply(200, CATENIS_RUNNING if "messages" in request.target else APIG_CREATING)

    url = f"https://{host}{port}{path}"
    with Script(service):
        Catenis(DEVICE, API_SECRET, base_url=url).progress(message)
        Apig(url, AkSk("MADEUPKEY", SECRET_KEY), project_id="p").progress(message)
    signed, keyed = map(as_sent, sent)
    assert ctn1_fault(signed, API_SECRET) is None
    assert aksk_fault(keyed, SECRET_KEY) is None
    expected = address(url, "base_url")
    assert {signed.header("host"), keyed.header("host")} == {expected.host}
    assert port in ("", ":443") or expected.host.endswith(port)
    assert {outgoing.address for outgoing in sent} == {expected}


@given(host=HOSTS, port=PORTS)
def test_the_endpoint_of_a_connection_is_that_of_the_address(host, port):
    """A connection goes to the host and port of the `Host` header."""
    found = address(f"https://{host}{port}", "base_url")
    dialed, number = endpoint(found)
    assert number == (int(port[1:]) if port else 443)
    netloc = f"[{dialed}]" if ":" in dialed else dialed
    assert found.host == netloc + ("" if port in ("", ":443") else port)


def test_every_attempt_is_signed_again():
    """A poll that is repeated is signed with its own time."""
    stamps = []

    def service(request: Outgoing):
        stamps.append(dict(request.headers)["X-BCoT-Timestamp"])
        return reply(503) if len(stamps) < 4 else reply(400, {"message": "Device is deleted"})

    with FakeClock(epoch=1_800_000_000) as clock, Script(service), pytest.raises(PermissionDenied):
        Catenis(DEVICE, API_SECRET).wait("m", timeout=60)
    assert clock.slept == [1, 2, 4]
    assert stamps == [
        "20270115T080000Z",
        "20270115T080001Z",
        "20270115T080003Z",
        "20270115T080007Z",
    ]
