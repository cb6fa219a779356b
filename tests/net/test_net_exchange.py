"""One exchange, driven with bytes only: what is sent, and how a response is read."""

from __future__ import annotations

import functools
import gzip
import random
import zlib
from collections.abc import Callable

import pytest
from net_support import TOKEN, feed, get, http

from opwatch.errors import ConfigurationError
from opwatch.net.exchange import (
    LONGEST_ANSWER,
    ProtocolError,
)
from opwatch.net.message import Address, Request, Secret

JSON = b'{"state": "running"}'


packed = functools.partial(gzip.compress, mtime=0)


def written(pieces: list[bytes | Secret]) -> bytes:
    return b"".join(one.encode() if isinstance(one, Secret) else one for one in pieces)


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


# --- the request ----------------------------------------------------------------------------------


def test_a_get_is_sent_with_its_headers_and_no_length() -> None:
    """Host and Accept-Encoding come first, and secrets last."""
    sent = feed([http()])[2]
    assert written(sent) == (
        b"GET /job HTTP/1.1\r\nHost: 127.0.0.1:9\r\nAccept-Encoding: identity\r\n"
        b"Accept: application/json\r\nAuthorization: Bearer planted-bearer-token\r\n\r\n"
    )


@pytest.mark.parametrize("body", [b"a=b", Secret("a=b")])
def test_a_body_has_a_length(body: bytes | Secret) -> None:
    """Whether it is a secret or not."""
    sent = feed([http()], get(method="POST", body=body))[2]
    head, _, rest = written(sent).partition(b"\r\n\r\n")
    assert (b"\r\nContent-Length: 3\r\n" in head, rest) == (True, b"a=b")


def test_a_post_without_a_body_says_so() -> None:
    """Some servers wait for a body unless its length is 0."""
    assert b"\r\nContent-Length: 0\r\n" in written(feed([http()], get(method="POST"))[2])


def test_secrets_stay_wrapped() -> None:
    """What leaves the exchange in plain bytes has no secret in it."""
    sent = feed([http()], get(method="POST", body=Secret("hush")))[2]
    plain = b"".join(one for one in sent if isinstance(one, bytes))
    assert TOKEN.encode() not in plain
    assert b"hush" not in plain
    assert [one for one in sent if isinstance(one, Secret)] == [
        Secret(f"Bearer {TOKEN}"),
        Secret("hush"),
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\n", "", " a", "ä"])
def test_a_secret_can_not_add_a_header(value: str) -> None:
    """A secret that would end its line is refused by the header's name."""
    request = get().authenticated([("X-Auth-Token", Secret(value))], Secret(value))
    with pytest.raises(ConfigurationError, match=r"^the header `X-Auth-Token` must "):
        feed([http()], request)


@pytest.mark.parametrize("target", ["/a b", "/ä", "/a\r\nX: y"])
def test_a_target_can_not_add_a_header(target: str) -> None:
    """A target with characters that HTTP doesn't allow is refused, and not quoted."""
    with pytest.raises(ConfigurationError, match="characters that HTTP does not allow") as caught:
        feed([http()], get(target=target))
    assert target not in str(caught.value)


# --- the answer -----------------------------------------------------------------------------------


def test_an_answer_has_status_headers_and_body() -> None:
    """Header names keep their case, and are found without regard to it."""
    answer, is_reusable, *_ = feed([http(JSON, "X-Request-Id: r-1")])
    assert (answer.status, answer.body, is_reusable) == (200, JSON, True)
    assert answer.headers[0] == (b"x-request-id", b"r-1")
    assert answer.header("x-request-ID") == "r-1"


def test_it_does_not_matter_where_the_bytes_are_cut() -> None:
    """A response that arrives byte by byte is the same answer."""
    whole = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(
        b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
        "Transfer-Encoding: chunked",
        length=False,
    )
    answer, is_reusable, *_ = feed(whole[at : at + 1] for at in range(len(whole)))
    assert (answer.body, is_reusable) == (b"hello!", True)


@pytest.mark.parametrize(
    ("answer", "is_reusable"),
    [
        (http(JSON), True),
        (http(b"", status=204, length=False), True),
        (http(JSON, "Connection: close"), False),
        (http(JSON).replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (http(JSON, length=False), False),
        (http(JSON) + b"\r\n", False),
        (http(JSON) + http(JSON), False),
    ],
)
def test_only_a_complete_answer_leaves_a_reusable_connection(
    answer: bytes, is_reusable: bool
) -> None:
    """Neither one that ends with the stream, nor one with something after it."""
    assert feed([answer])[1] is is_reusable


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.invalid ESMTP\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 20_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Another protocol, contradicting lengths, impossible statuses, a head without an end."""
    with pytest.raises(ProtocolError):
        feed([data[at : at + 65_536] for at in range(0, len(data), 65_536)])


@pytest.mark.parametrize("keep", [0, 5, 30, 60])
def test_an_answer_that_is_cut_off_is_incomplete(keep: int) -> None:
    """Wherever the stream ends."""
    with pytest.raises(ProtocolError, match="before its response was complete"):
        feed([http(JSON, "X-Request-Id: r-1")[:keep]])


def test_an_error_is_known_by_its_head() -> None:
    """From status 300 on, a body that is cut off, too long or unreadable changes nothing."""
    cut = http(b"x" * 100, "Retry-After: 9", status=503)[:-1]
    assert feed([cut])[0].header("retry-after") == "9"
    assert feed([http(b"?", "Content-Encoding: br", status=429)])[0].body == b""
    long = feed([http(b"x" * (2 * LONGEST_ANSWER), status=500)])
    assert (len(long[0].body), long[1]) == (LONGEST_ANSWER, False)


@pytest.mark.parametrize("status", [200, 503])
def test_a_broken_connection_ends_the_exchange(status: int) -> None:
    """Unless an error's head is there."""
    received = [http(b"12345", status=status)[:-1], ConnectionResetError()]
    if status == 200:
        with pytest.raises(ConnectionResetError):
            feed(received)
    else:
        assert feed(received)[0].status == 503


def test_one_mebibyte_fits_and_a_byte_more_does_not() -> None:
    """The limit is on the decoded body."""
    fits = b"x" * LONGEST_ANSWER
    assert feed([http(fits)])[0].body == fits
    assert feed([http(packed(fits), "Content-Encoding: gzip")])[0].body == fits
    for too_long in (
        http(fits + b"x"),
        http(packed(fits + b"x"), "Content-Encoding: gzip"),
        http(packed(b"x" * 64 * LONGEST_ANSWER), "Content-Encoding: gzip"),
    ):
        assert feed([too_long])[0].problem == "is longer than 1048576 bytes"


# --- content codings ------------------------------------------------------------------------------

NOISE = random.Random(7).randbytes(30_000)


@pytest.mark.parametrize("body", [JSON, b"", NOISE], ids=["json", "empty", "noise"])
@pytest.mark.parametrize(
    ("encode", "name"),
    [
        (bytes, "identity"),
        (packed, "gzip"),
        (packed, "X-GZIP"),
        (packed, "identity, gzip"),
        (zlib.compress, "deflate"),
        (deflate, "deflate"),
        (lambda data: packed(data[:9]) + packed(data[9:]), "gzip"),
        (lambda data: packed(b"") * 500 + packed(data), "gzip"),
    ],
    ids=["identity", "gzip", "x-gzip", "both", "zlib", "raw", "members", "many-members"],
)
def test_a_coding_that_was_not_requested_is_decoded(
    encode: Callable[[bytes], bytes], name: str, body: bytes
) -> None:
    """Gzip also of several members, deflate with and without the zlib header."""
    answer, is_reusable, *_ = feed([http(encode(body), f"Content-Encoding: {name}")])
    assert (answer.body, is_reusable) == (body, True)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (JSON, "gzip"),
        (JSON, "deflate"),
        (JSON, "br"),
        (packed(packed(JSON)), "gzip, gzip"),
        (packed(JSON)[:-1], "gzip"),
        (packed(JSON)[:-8] + b"\0" * 8, "gzip"),
        (packed(JSON) + b"more", "gzip"),
        (packed(JSON) + packed(JSON)[:-9], "gzip"),
        (zlib.compress(JSON) + b"more", "deflate"),
        (zlib.compress(JSON), "gzip"),
        (b"", "gzip"),
    ],
)
def test_what_can_not_be_decoded_is_a_bad_response(body: bytes, name: str) -> None:
    """Cut off, damaged, followed by something, coded twice or in an unknown way."""
    assert feed([http(body, f"Content-Encoding: {name}")])[0].problem == "can't be decoded"


def test_much_work_on_few_bytes_is_interrupted() -> None:
    """One-byte chunks, interim answers and empty gzip members: a pause after every 64."""
    chunks = http(b"1\r\nx\r\n" * 6400 + b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)
    assert feed([chunks])[3] == 100
    assert feed([b"HTTP/1.1 103 Hints\r\n\r\n" * 640 + http(JSON)])[3] == 10
    members = packed(b"") * 6400 + packed(JSON)
    assert feed([http(members, "Content-Encoding: gzip")])[3] >= 100


# --- the proxy's tunnel ---------------------------------------------------------------------------

FAR = "api.example.com:443"
CONNECT = Request(
    "CONNECT", Address("", FAR), FAR, (("Proxy-Authorization", Secret("Basic cHJveHk=")),)
)


def test_a_tunnel_is_asked_for_with_the_proxys_credentials() -> None:
    """The host is the target's; the credentials stay wrapped."""
    answer, is_usable, sent, _ = feed([b"HTTP/1.1 200 Connection established\r\n\r\n"], CONNECT)
    assert written(sent) == (
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n"
        b"Accept-Encoding: identity\r\nProxy-Authorization: Basic cHJveHk=\r\n\r\n"
    )
    assert (answer.status, answer.problem, is_usable) == (200, None, True)


def test_a_proxy_that_goes_on_talking_is_no_tunnel() -> None:
    """In TLS the client speaks first, so nothing may come after the proxy's head."""
    assert feed([b"HTTP/1.1 200 OK\r\n\r\nhello"], CONNECT)[1] is False
