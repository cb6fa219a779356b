"""What is signed is what goes on the wire: target and `Host`, byte for byte.

On loopback the bytes are captured from a socket, and checked by what the service does, written from
its documentation and not from our code. For hosts that can't be dialled here, the request as the
transport builds it is compared with what was signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import h11
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
from hypothesis import given, settings
from hypothesis import strategies as st

from opwatch import AkSk, Apig, AsyncApig, AsyncCatenis, Catenis
from opwatch.errors import PermissionDenied
from opwatch.testing import FakeClock, Script, reply
from opwatch.transport import address, exchange
from opwatch.transport.limits import Limit
from opwatch.wire import Outgoing

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
        ["api", "0.7", "a%20b", "%C3%A9", "%2F", "a%2fb", "~x", "a+b", "a:b", "(1)", ".", ".."]
    ),
    st.text(
        st.characters(exclude_characters="/\\?#@%", exclude_categories=["Cc", "Cs"]), min_size=1
    ).filter(lambda text: text not in (".", "..")),
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
    """A server on each way to say loopback, answering as both services do."""

    def both(request: Request) -> bytes:
        is_catenis = request.header("x-bcot-timestamp") is not None
        return answer(200, CATENIS_RUNNING if is_catenis else APIG_CREATING)

    with ExitStack() as stack:
        yield {host: stack.enter_context(Loopback(both, host=host)) for host in LOCAL}


def newest(server: Loopback, before: int) -> Request:
    """The only request since there were `before`."""
    assert server.count == before + 1
    return server.requests[-1]


# --- captured from a socket -----------------------------------------------------------------------


@settings(max_examples=150)
@given(host=st.sampled_from(LOCAL), path=PATHS, message=IDS)
def test_what_catenis_receives_verifies(services, host, path, message):
    """CTN1: every id, every base path, each of the loopback addresses with its port."""
    server = services[host]
    before = server.count
    with Catenis(DEVICE, API_SECRET, base_url=server.url + path) as client:
        client.progress(message)
    request = newest(server, before)
    assert ctn1_fault(request, API_SECRET) is None
    assert request.header("host") == server.url.removeprefix("http://")
    assert request.target.endswith("/progress")


@settings(max_examples=150)
@given(
    host=st.sampled_from(LOCAL),
    path=PATHS,
    project=PROJECTS,
    gateway=IDS,
    token=st.none() | st.just("made-up/security+token="),
)
def test_what_apig_receives_verifies(services, host, path, project, gateway, token):
    """AK/SK: every project, every id, every base path, with permanent and temporary keys."""
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
    """The async clients send the same bytes, but for the time."""
    server = services[host]
    before = server.count

    async def main() -> None:
        async with AsyncCatenis(DEVICE, API_SECRET, base_url=f"{server.url}/api/ü%2F/") as client:
            await client.progress("hé llo+")
        auth = AkSk("MADEUPKEY", SECRET_KEY)
        async with AsyncApig(f"{server.url}/ü%2F/", auth, project_id="p") as client:
            await client.progress("hé llo+")

    anyio.run(main, backend=backend)
    signed, keyed = server.requests[before:]
    assert ctn1_fault(signed, API_SECRET) is None
    assert aksk_fault(keyed, SECRET_KEY) is None
    assert signed.target == "/api/%C3%BC%2F/messages/h%C3%A9%20llo%2B/progress"
    assert keyed.target == "/%C3%BC%2F/v2/p/apigw/instances/h%C3%A9%20llo%2B/progress"


def test_the_checks_can_fail(services):
    """Another secret, another target, another host: each is found."""
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


# --- as the transport builds it -------------------------------------------------------------------


def as_sent(outgoing: Outgoing) -> Request:
    """The bytes of a request, written by the library that also writes them on the wire."""
    built = exchange.request(outgoing, Limit(1.0, outgoing))
    connection = h11.Connection(h11.CLIENT)
    event = h11.Request(method=built.method, target=built.url.target, headers=built.headers)
    return Request(connection.send(event) or b"", b"")


@given(host=HOSTS, port=PORTS, path=PATHS, message=IDS)
def test_what_goes_to_any_host_is_what_was_signed(host, port, path, message):
    """https, every kind of host, with and without a port: target and `Host` are those signed."""
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
def test_the_origin_that_is_dialled_is_the_one_that_was_given(host, port):
    """Scheme, host and port of the connection, as those of the address."""
    found = address(f"https://{host}{port}", "base_url")
    outgoing = Outgoing("GET", found, "/")
    url = exchange.request(outgoing, Limit(1.0, outgoing)).url
    assert (url.scheme, url.origin.port) == (b"https", int(port[1:]) if port else 443)
    dialled = url.host.decode("ascii")
    netloc = f"[{dialled}]" if ":" in dialled else dialled
    assert found.host == netloc + ("" if port in ("", ":443") else port)


def test_every_attempt_is_signed_anew():
    """A query that is made again has a signature of its own time."""
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
