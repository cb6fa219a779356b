"""Random byte streams, read by httpx and by our exchange: both must read the same response.

A failure names the seed that repeats it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from random import Random
from typing import Any

import httpcore
import httpx
import pytest
from net_support import feed

from opwatch.net.exchange import LONGEST_ANSWER, ProtocolError
from opwatch.net.message import Answer

FEW, MANY, AT_ONCE = 600, 100_000, 10_000
SEEDS = [
    range(FEW),
    *(
        pytest.param(range(first, first + AT_ONCE), marks=pytest.mark.slow)
        for first in range(FEW, MANY, AT_ONCE)
    ),
]


# --- streams --------------------------------------------------------------------------------------

STATUS_LINES = (
    *(b"HTTP/1.1 200 OK",) * 40,
    *(b"HTTP/1.1 201", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 X"),
    *(b"HTTP/1.1 404 Not Found", b"HTTP/1.1 503 Busy", b"HTTP/1.1 302 Moved", b"HTTP/1.1 999 X"),
    *(b"HTTP/1.1 099 X", b"HTTP/1.1 1000 X", b"HTTP/2 200", b"HTTP/1.1  200 OK", b"ICY 200 OK"),
    *(b"http/1.1 200 OK", b"HTTP/1.1 200 \xff", b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 101 Switch"),
)
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
    b"\r\n",
)
HEADERS = (
    *(b"Content-Type: application/json", b"X-Request-Id: r-1", b"Retry-After: 90", b"Date: x"),
    *(b"Connection: close", b"Connection: keep-alive", b"connection: Close", b"Upgrade: h2c"),
    *(b"X-Folded: a\r\n b", b" X-Leading: a", b"X-Empty:", b"X-Latin: M\xfcller", b"X-Nul: \0"),
    *(b"X Space: a", b"X-Colon : a", b"no colon", b": no name", b"X-Tab:\ta\t", b"X-Cr: a\rb"),
    *(b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: 5, 5"),
    *(b"Content-Length: 99999999999999999999", b"Content-Length: -1", b"Content-Length: \xb2"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"TE: chunked"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding: CHUNKED", b"Trailer: X-Sum"),
    *(b"Content-Encoding: identity", b"Content-Encoding: br", b"Content-Encoding: gzip"),
)
CODINGS = ("gzip", "gzip", "members", "deflate", "raw", "x-gzip", "identity", "")


def coded(body: bytes, how: str) -> bytes:
    if how in ("gzip", "x-gzip"):
        return gzip.compress(body, 1, mtime=0)
    if how == "members":
        return gzip.compress(body[:7], 1, mtime=0) + gzip.compress(body[7:], 1, mtime=0)
    if how == "deflate":
        return zlib.compress(body)
    if how == "raw":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(body) + packer.flush()
    return body


def chunked(body: bytes, chance: Random) -> bytes:
    out, at = [], 0
    while at < len(body):
        piece = body[at : at + chance.choice((1, 3, 20, 1000))]
        size = chance.choice((b"%x", b"%X", b"0%x")) % len(piece)
        extension = chance.choice((b"",) * 40 + (b";a=b", b" ", b';a="\r\n"'))
        out.append(size + extension + b"\r\n" + piece + b"\r\n")
        at += len(piece)
    trailers = chance.choice((b"", b"", b"X-Sum: 1\r\n", b"Content-Length: 1\r\n", b"bad\r\n"))
    return b"".join(out) + b"0\r\n" + trailers + b"\r\n"


def a_body(chance: Random) -> bytes:
    kind = chance.randrange(8)
    if kind == 0:
        return b""
    if kind == 1:
        return chance.randbytes(chance.randrange(300))
    if kind == 2 and chance.random() < 0.05:
        return b"x" * (LONGEST_ANSWER + chance.randrange(-1, 2))
    return b'{"state": "running", "percent": %d}' % chance.randrange(100) * chance.randrange(1, 9)


def a_stream(chance: Random) -> bytes:
    """A response, with more or less wrong with it."""
    body = a_body(chance)
    lines = [chance.choice(STATUS_LINES)]
    if chance.random() < 0.35:
        how = chance.choice(CODINGS)
        body = coded(body, how)
        name = {"members": "gzip", "raw": "deflate"}.get(how, how)
        lines.append(b"Content-Encoding: " + chance.choice((name, name.upper())).encode())
    framing = chance.randrange(10)
    if framing < 5:
        wrong = chance.choice((-1, 1, 7)) if framing == 4 else 0
        lines.append(b"Content-Length: %d" % max(len(body) + wrong, 0))
    elif framing < 9:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body, chance)
    if chance.random() < 0.2:
        lines += chance.choices(HEADERS, k=chance.randrange(1, 4))
        lines[1:] = chance.sample(lines[1:], len(lines) - 1)
    end = b"\n" if chance.random() < 0.05 else b"\r\n"
    stream = end.join([*lines, b"", b""]) + body
    if chance.random() < 0.15:
        stream = b"".join(chance.choices(INTERIM, k=chance.randrange(1, 4))) + stream
    if chance.random() < 0.1:
        stream += chance.choice((b"\r\n", b"junk", stream))
    if chance.random() < 0.3 and len(stream) < 10_000:
        stream = spoilt(stream, chance)
    return stream


def spoilt(stream: bytes, chance: Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 3))):
        at = chance.randrange(len(stream) + 1)
        how = chance.randrange(5)
        if how == 0:
            stream = stream[:at]
        elif how == 1:
            stream = stream[:at] + chance.randbytes(chance.randrange(1, 4)) + stream[at:]
        elif how == 2:
            stream = stream[:at] + stream[at + chance.randrange(1, 6) :]
        elif how == 3:
            stream = stream[:at] + chance.choice((b"\r\n", b"\n", b"\r", b" ")) + stream[at:]
        else:
            other = chance.randrange(len(stream) + 1)
            stream = stream[:at] + stream[other : other + 30] + stream[at:]
    return stream


def pieces_of(stream: bytes, chance: Random) -> list[bytes]:
    most = chance.choice((1, 7, 100, 65_536, 65_536)) if len(stream) < 5000 else 65_536
    pieces, at = [], 0
    while at < len(stream):
        size = chance.randrange(1, most + 1) if most < 65_536 else most
        pieces.append(stream[at : at + size])
        at += size
    return pieces


# --- readers --------------------------------------------------------------------------------------


class Scripted(httpcore.NetworkStream):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return next(self._pieces, b"")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return None


class Network(httpcore.NetworkBackend):
    """Every connection brings the same stream."""

    pieces: list[bytes]

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        return Scripted(self.pieces)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def client(network: Network) -> Iterable[httpx.Client]:
    """Keeps no connection, so that no stream meets two requests."""
    transport = httpx.HTTPTransport()
    transport._pool = httpcore.ConnectionPool(network_backend=network, max_keepalive_connections=0)
    with httpx.Client(transport=transport, headers={"Accept-Encoding": "identity"}) as opened:
        yield opened


Theirs = tuple[int, tuple[tuple[bytes, bytes], ...], bytes | None, str]


def theirs(client: httpx.Client) -> Theirs | None:
    """What httpx reads: status, headers, the body as sent, or None, and its codings."""
    try:
        with client.stream("GET", "http://host/job") as response:
            codings = ",".join(response.headers.get_list("content-encoding", split_commas=True))
            head = (
                response.status_code,
                tuple((name.lower(), value) for name, value in response.headers.raw),
            )
            try:
                return *head, b"".join(response.iter_raw()), codings.lower()
            except httpx.HTTPError:
                return *head, None, codings.lower()
    except httpx.HTTPError:
        return None


def ours(pieces: list[bytes]) -> Answer | None:
    try:
        answer = feed(pieces)[0]
    except ProtocolError:
        return None
    return None if answer.problem else answer


def plain(raw: bytes, codings: str) -> list[bytes]:
    """A body decoded by httpx, and by Python for what httpx leaves out; none if it can't be."""
    names = [name for one in codings.split(",") if (name := one.strip()) not in ("", "identity")]
    if not names:
        return [raw]
    readings = []
    try:
        if names == ["gzip"] or names == ["deflate"]:
            readings.append(
                httpx.Response(200, headers={"content-encoding": codings}, content=raw).content
            )
        if names in (["gzip"], ["x-gzip"]):  # httpx reads the first member only
            readings.append(gzip.decompress(raw))
    except (httpx.DecodingError, OSError, EOFError, zlib.error):
        pass
    return readings


def check(them: Theirs | None, us: Answer | None) -> str:
    """Compare the two readings and name the case."""
    if them is None or us is None:
        assert us is None, "accepted what httpx refuses"
        if them is None:
            return "both refuse"
        status, _, raw, codings = them
        is_plain = not codings.replace("identity", "").strip(", ")
        assert raw is None or not is_plain or len(raw) > LONGEST_ANSWER, "refused a valid answer"
        assert status < 300, "refused an error"
        return "refused: cut off, too long or not decodable"
    status, headers, raw, codings = them
    is_plain = not codings.replace("identity", "").strip(", ")
    assert (us.status, us.headers) == (status, headers)
    if status < 300:
        assert raw is not None, "accepted a body that httpx refuses"
        assert us.body in plain(raw, codings), "decoded otherwise"
        return "both accept"
    if raw is not None and us.body in [one[:LONGEST_ANSWER] for one in plain(raw, codings)]:
        return "both accept an error"
    assert raw is None or not is_plain, "read otherwise"
    return "an error by its head alone"


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_we_read_what_httpx_reads(network: Network, client: httpx.Client, seeds: range) -> None:
    """No response is accepted that httpx refuses, and what both accept is the same to both."""
    cases: dict[str, int] = {}
    for seed in seeds:
        chance = Random(seed)
        network.pieces = pieces_of(a_stream(chance), chance)
        try:
            case = check(theirs(client), ours(network.pieces))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {network.pieces!r:.3000}") from error
        cases[case] = cases.get(case, 0) + 1
    print(cases)
    assert all(cases.get(case, 0) > len(seeds) / 100 for case in ("both accept", "both refuse"))
    assert len(cases) == 5
