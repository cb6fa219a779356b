"""Everything a network or a server may do to one poll, and what the user gets: the one table.

The tests run each scenario for each service, blocking and async; `docs/every-case.md` is
written from the same table. Nothing here sends anything by itself: a scenario is a function that
plays the server's side of a connection.
"""

from __future__ import annotations

import gzip
import json
import ssl
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import attrs
import fault_tls
from fault_server import FaultServer, Peer
from fault_services import Sample

from opwatch import Phase
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
)

MIB = 1024 * 1024
Play = Callable[[Peer, Sample], None]
Make = Callable[[Sample], bytes]


@attrs.frozen
class Gives:
    """What a user gets."""

    what: Phase | type[OpwatchError]
    status: int | None = None
    retry_after: float | None = None
    says: str = ""
    """What the message has in it."""
    asks_again: bool = False
    """The job is over; how it ended may yet be learnt."""
    is_final: bool = False
    """No retry fixes it."""


@attrs.frozen
class Scenario:
    """One thing that may happen."""

    name: str
    """For test ids."""
    title: str
    """For the page: what happens."""
    play: Play | None
    """The server's side of each connection; None: nobody listens."""
    gives: Gives
    slow: bool = False
    """The server never comes to an end by itself: the client's time limit is set short."""
    on_trio: bool = False
    """Also run on trio."""
    https: bool = False
    """The client speaks TLS; otherwise it doesn't."""
    note: str = ""
    """For the page: what else is to be said."""

    @property
    def limit(self) -> float:
        """Seconds that the client gives a request."""
        return 0.5 if self.slow else 20.0

    def options(self) -> dict[str, Any]:
        """What the client is made with."""
        options: dict[str, Any] = {"request_timeout": self.limit}
        return options | {"ssl_context": fault_tls.trusting()} if self.https else options

    def at(self, server: FaultServer) -> str:
        """Where the client looks for the server."""
        return server.url.replace("http:", "https:") if self.https else server.url

    @property
    def is_answered(self) -> bool:
        """Whether the user gets a `Progress`."""
        return isinstance(self.gives.what, Phase)


RIGHT = Gives(Phase.RUNNING)
BROKEN = Gives(TransportError)
BAD = Gives(BadResponse)


# --- what a server sends --------------------------------------------------------------------------


def http(
    body: bytes = b"",
    *headers: str,
    status: int | str = 200,
    length: bool = True,
    version: str = "1.1",
) -> bytes:
    """A response. Without `length` nothing says where its body ends."""
    lines = [f"HTTP/{version} {status} Some Reason", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunks(body: bytes, size: int = 10, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return coded + b"0\r\n" + trailers + b"\r\n"


CHUNKED = "Transfer-Encoding: chunked"


def answer(make: Make) -> Play:
    """Answer each request on a connection so."""

    def play(peer: Peer, sample: Sample) -> None:
        while peer.request():
            peer.send(make(sample))

    return play


def then(make: Make, end: Callable[[Peer], None]) -> Play:
    """Answer one request so, and then do something to the connection."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            peer.send(make(sample))
            end(peer)

    return play


def drip(make: Make, whole_head: bool = False) -> Play:
    """Answer so, some bytes now and then."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            data = make(sample)
            start = data.index(b"\r\n\r\n") + 4 if whole_head else 0
            peer.send(data[:start])
            peer.drip(data[start:])

    return play


def endless(head: bytes, piece: bytes) -> Play:
    """Answer without an end, as fast as it is read."""

    def play(peer: Peer, sample: Sample) -> None:
        if peer.request():
            peer.send(head)
            while True:
                peer.send(piece)

    return play


def body(make: Callable[[Sample], bytes], *headers: str, status: int = 200) -> Play:
    """Answer with this body, well framed."""
    return answer(lambda sample: http(make(sample), *headers, status=status))


def just(data: bytes) -> Make:
    return lambda sample: data


def good(sample: Sample) -> bytes:
    return sample.body()


def good_answer(*headers: str) -> Make:
    return lambda sample: http(good(sample), *headers)


def mismeasured(error: int) -> Make:
    """The right response with a `Content-Length` that is wrong by so much."""
    return lambda sample: http(
        good(sample), f"Content-Length: {len(good(sample)) + error}", length=False
    )


def cut(make: Make, keep: int) -> Make:
    return lambda sample: make(sample)[:keep]


def padded(sample: Sample, size: int) -> bytes:
    """The right response, made `size` bytes long."""
    room = size - len(sample.body(extra=',"extra":""'))
    return sample.body(extra=f',"extra":"{"x" * room}"')


HEAD_OF_200 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HEAD_OF_CHUNKED = HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = b"<!doctype html><title>Sign in</title><p>Welcome to our hotel"


@cache
def bomb(sample: Sample) -> bytes:
    """64 KiB that unpack to 64 MiB."""
    return gzip.compress(b'{"extra":"' + b"x" * (64 * MIB), 9)


# --- the table ------------------------------------------------------------------------------------


CONNECTION = (
    Scenario(
        "refused", "no server is listening", None, Gives(TransportError, says="could not connect")
    ),
    Scenario(
        "reset-at-once",
        "the connection is reset as soon as it is opened",
        lambda peer, sample: peer.reset(),
        BROKEN,
    ),
    Scenario(
        "closed-at-once",
        "the connection is closed as soon as it is opened",
        lambda peer, sample: peer.close(),
        BROKEN,
    ),
    Scenario(
        "reset-unanswered",
        "the connection is reset before any response",
        then(just(b""), Peer.reset),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "closed-unanswered",
        "the connection is closed before any response",
        then(just(b""), Peer.close),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "silent",
        "no response arrives",
        then(just(b""), Peer.hold),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "cut-in-status-line",
        "the response is cut off in its first line",
        then(just(b"HTTP/1.1 20"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "cut-in-head",
        "the response is cut off in its headers",
        then(just(HEAD_OF_200), Peer.close),
        BROKEN,
    ),
    Scenario(
        "reset-in-head",
        "the connection is reset during the headers",
        then(just(HEAD_OF_200), Peer.reset),
        BROKEN,
    ),
    Scenario(
        "cut-after-head",
        "the response is cut off after its headers",
        then(just(HEAD_OF_200 + b"Content-Length: 50\r\n\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "cut-in-body",
        "the response is cut off in its body",
        then(cut(good_answer(), -10), Peer.close),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "reset-in-body",
        "the connection is reset during the body",
        then(cut(good_answer(), -10), Peer.reset),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "silent-in-body",
        "the response stalls in its body",
        then(cut(good_answer(), -10), Peer.hold),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
    Scenario(
        "dripped-head",
        "the headers arrive one byte at a time",
        drip(good_answer("X-Filler: " + "x" * 5000)),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "dripped-body",
        "the body arrives one byte at a time",
        drip(lambda sample: http(padded(sample, 5000)), whole_head=True),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "dripped-interim-answers",
        "interim responses arrive slowly, one after another",
        drip(just(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
    Scenario(
        "endless-interim-answers",
        "interim responses never end",
        endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
)

FRAMING = (
    Scenario("plain", "a complete response", answer(good_answer()), RIGHT, on_trio=True),
    Scenario(
        "length-missing",
        "the body's length isn't given; closing the connection ends it",
        then(lambda sample: http(good(sample), length=False), Peer.close),
        RIGHT,
        on_trio=True,
    ),
    Scenario(
        "length-missing-cut",
        "the body's length isn't given, and it ends early",
        then(lambda sample: http(good(sample)[:-10], length=False), Peer.close),
        BAD,
    ),
    Scenario(
        "http-1.0",
        "an HTTP/1.0 response",
        then(lambda sample: http(good(sample), version="1.0"), Peer.close),
        RIGHT,
    ),
    Scenario(
        "length-too-short",
        "`Content-Length` is less than what arrives",
        then(mismeasured(-9), Peer.close),
        BAD,
    ),
    Scenario(
        "length-too-long",
        "`Content-Length` is more than what arrives, and the connection is closed",
        then(
            mismeasured(9),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "length-too-long-held",
        "`Content-Length` is more than what arrives, and the connection stays open",
        then(
            mismeasured(9),
            Peer.hold,
        ),
        BROKEN,
        slow=True,
    ),
    Scenario(
        "length-twice-the-same",
        "two `Content-Length` headers with the same value",
        answer(lambda sample: http(good(sample), f"Content-Length: {len(good(sample))}")),
        RIGHT,
    ),
    Scenario(
        "length-twice",
        "two `Content-Length` headers with different values",
        answer(lambda sample: http(good(sample), "Content-Length: 1")),
        BROKEN,
    ),
    Scenario(
        "length-negative",
        "`Content-Length` is negative",
        answer(lambda sample: http(good(sample), "Content-Length: -1", length=False)),
        BROKEN,
    ),
    Scenario(
        "length-no-number",
        "`Content-Length` is not a number",
        answer(lambda sample: http(good(sample), "Content-Length: 0x10", length=False)),
        BROKEN,
    ),
    Scenario(
        "length-huge",
        "`Content-Length` is several exabytes",
        then(
            lambda sample: http(good(sample), "Content-Length: 9999999999999999999", length=False),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "bytes-after-the-body",
        "more bytes arrive after the end of the response",
        answer(lambda sample: http(good(sample)) + b"\r\nand more"),
        RIGHT,
        note="A later poll never mistakes them for its response.",
    ),
    Scenario(
        "second-answer",
        "a second response that was not requested",
        answer(lambda sample: http(good(sample)) + http(sample.body(number="99"))),
        RIGHT,
        note="A later poll never mistakes it for its own.",
    ),
    Scenario(
        "chunked",
        "the body comes in chunks",
        answer(lambda sample: http(chunks(good(sample)), CHUNKED, length=False)),
        RIGHT,
        on_trio=True,
    ),
    Scenario(
        "chunked-trailers",
        "trailers follow the chunks",
        answer(
            lambda sample: http(
                chunks(good(sample), trailers=b"X-Sum: 1\r\n"), CHUNKED, length=False
            )
        ),
        RIGHT,
    ),
    Scenario(
        "chunked-extensions",
        "the chunks have extensions",
        answer(lambda sample: http(chunks(good(sample), extension=b";a=b"), CHUNKED, length=False)),
        RIGHT,
    ),
    Scenario(
        "chunked-and-length",
        "the body comes in chunks, and there is a `Content-Length`",
        answer(lambda sample: http(chunks(good(sample)), CHUNKED)),
        RIGHT,
    ),
    Scenario(
        "chunked-cut",
        "the chunks end before the last one",
        then(
            lambda sample: http(chunks(good(sample))[:-5], CHUNKED, length=False),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "chunked-no-size",
        "a chunk's size is not a number",
        answer(lambda sample: http(b"zz\r\n" + good(sample), CHUNKED, length=False)),
        BROKEN,
    ),
    Scenario(
        "chunked-size-too-small",
        "a chunk is longer than its size says",
        answer(
            lambda sample: http(b"5\r\n" + good(sample) + b"\r\n0\r\n\r\n", CHUNKED, length=False)
        ),
        BROKEN,
    ),
    Scenario(
        "chunked-size-huge",
        "a chunk's size has 40 digits",
        answer(lambda sample: http(b"f" * 40 + b"\r\n" + good(sample), CHUNKED, length=False)),
        BROKEN,
    ),
    Scenario(
        "chunked-endless-extension",
        "a chunk's extension never ends",
        endless(HEAD_OF_CHUNKED + b"5;", b"x" * 4096),
        BROKEN,
    ),
    Scenario(
        "chunked-endless-trailers",
        "the trailers never end",
        endless(HEAD_OF_CHUNKED + b"0\r\n", b"X-More: x\r\n" * 100),
        BROKEN,
    ),
    Scenario(
        "transfer-encoding-unknown",
        "a `Transfer-Encoding` that was not requested",
        answer(lambda sample: http(good(sample), "Transfer-Encoding: gzip", length=False)),
        BROKEN,
    ),
    Scenario("http-0.9", "a body without headers or status", then(good, Peer.close), BROKEN),
    Scenario(
        "http-2",
        "the server speaks HTTP/2",
        then(just(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), Peer.hold),
        BROKEN,
    ),
    Scenario(
        "http-2-preface",
        "the server sends the preface of HTTP/2",
        then(just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Peer.hold),
        BROKEN,
    ),
    Scenario(
        "garbage",
        "random bytes",
        then(just(bytes(range(256)) * 4), Peer.close),
        BROKEN,
    ),
    Scenario(
        "other-protocol",
        "another protocol's greeting",
        then(just(b"220 mail.invalid ESMTP\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "no-reason",
        "a status without a reason",
        answer(lambda sample: http(good(sample)).replace(b" Some Reason", b"")),
        RIGHT,
    ),
    Scenario(
        "bare-newlines",
        "lines that end without a carriage return",
        answer(lambda sample: http(good(sample)).replace(b"\r\n", b"\n")),
        RIGHT,
    ),
    Scenario(
        "header-without-colon",
        "a header line without a colon",
        answer(good_answer("what is this")),
        BROKEN,
    ),
    Scenario(
        "header-folded",
        "a header folded over two lines",
        answer(good_answer("X-Folded: a", " b")),
        RIGHT,
    ),
    Scenario("header-nul", "a header with a NUL", answer(good_answer("X-Nul: \0")), BROKEN),
    Scenario(
        "header-not-ascii",
        "a header that is not ASCII",
        answer(good_answer("X-Name: M\xfcller")),
        RIGHT,
    ),
    Scenario(
        "header-name-wrong",
        "a header name with a space",
        answer(good_answer("X Name: a")),
        BROKEN,
    ),
    Scenario(
        "headers-many",
        "a thousand headers",
        answer(good_answer(*(f"X-Filler-{n}: {'x' * 60}" for n in range(1000)))),
        RIGHT,
    ),
    Scenario(
        "header-flood",
        "endless headers",
        endless(HEAD_OF_200, b"X-Filler: x\r\n" * 100),
        BROKEN,
    ),
    Scenario(
        "header-huge",
        "a header of several megabytes",
        endless(HEAD_OF_200 + b"X-Filler: ", b"x" * 65536),
        BROKEN,
    ),
    Scenario(
        "continue-first",
        "`100 Continue` comes before the response",
        answer(lambda sample: b"HTTP/1.1 100 Continue\r\n\r\n" + http(good(sample))),
        RIGHT,
    ),
    Scenario(
        "hints-first",
        "`103 Early Hints` comes before the response",
        answer(lambda sample: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(good(sample))),
        RIGHT,
    ),
    Scenario(
        "continue-only",
        "`100 Continue` comes, and nothing follows it",
        then(just(b"HTTP/1.1 100 Continue\r\n\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "switching-protocols",
        "`101 Switching Protocols`",
        then(just(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), Peer.hold),
        BROKEN,
    ),
)


def coded(encode: Callable[[bytes], bytes], name: str) -> Play:
    return body(lambda sample: encode(good(sample)), f"Content-Encoding: {name}")


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


ENCODING = (
    Scenario("gzip", "gzip, although it was not requested", coded(gzip.compress, "gzip"), RIGHT),
    Scenario(
        "deflate", "deflate, although it was not requested", coded(zlib.compress, "deflate"), RIGHT
    ),
    Scenario(
        "deflate-raw",
        "deflate without the zlib header, as some servers send it",
        coded(raw_deflate, "deflate"),
        RIGHT,
    ),
    Scenario(
        "gzip-members",
        "gzip in several members",
        coded(lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]), "gzip"),
        RIGHT,
    ),
    Scenario(
        "gzip-and-more",
        "gzip with other bytes after it",
        coded(lambda data: gzip.compress(data) + b"and more", "gzip"),
        BAD,
    ),
    Scenario(
        "deflate-and-more",
        "deflate with other bytes after it",
        coded(lambda data: zlib.compress(data) + b"and more", "deflate"),
        BAD,
    ),
    Scenario("identity", "`Content-Encoding: identity`", coded(bytes, "identity"), RIGHT),
    Scenario(
        "gzip-twice",
        "gzip in gzip",
        coded(lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip"),
        BAD,
    ),
    Scenario("gzip-not", "plain text labelled as gzip", coded(bytes, "gzip"), BAD),
    Scenario(
        "gzip-cut",
        "truncated gzip",
        coded(lambda data: gzip.compress(data)[:-9], "gzip"),
        BAD,
    ),
    Scenario(
        "gzip-sum-wrong",
        "gzip whose checksum is wrong",
        coded(lambda data: gzip.compress(data)[:-8] + b"\0" * 8, "gzip"),
        BAD,
    ),
    Scenario(
        "gzip-bomb",
        "a gzip bomb: 64 KiB that unpack to 64 MiB",
        body(bomb, "Content-Encoding: gzip"),
        BAD,
    ),
    Scenario("brotli", "brotli", coded(bytes, "br"), BAD),
    Scenario("zstd", "zstd", coded(bytes, "zstd"), BAD),
    Scenario("encoding-unknown", "an unknown encoding", coded(bytes, "rot13"), BAD),
)


def statuses(
    codes: Iterable[int], kind: type[OpwatchError], title: str = "", says: str = ""
) -> Iterable[Scenario]:
    for code in codes:
        empty = code in (204, 304)
        yield Scenario(
            f"status-{code}",
            f"status {code}{title}",
            answer(
                lambda sample, code=code, empty=empty: http(
                    b"" if empty else PAGE, status=code, length=not empty
                )
            ),
            Gives(kind, code, says=says),
        )


def redirects(codes: Iterable[int]) -> Iterable[Scenario]:
    for code in codes:
        yield Scenario(
            f"redirect-{code}",
            f"status {code} to elsewhere",
            body(just(PAGE), "Location: http://127.0.0.1:9/elsewhere", status=code),
            Gives(ServiceError, code, says="opwatch doesn't follow"),
        )


DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
LATER = "Mon, 01 Jan 2024 00:01:30 GMT"

STATUS = (
    *statuses((201, 202, 203, 204, 205, 206, 299), BadResponse),
    *redirects((300, 301, 302, 303, 305, 307, 308)),
    *statuses((304,), BadResponse),
    *statuses((400, 402, 405, 406, 409, 410, 418, 422, 431, 451, 499), ServiceError),
    *statuses((401,), AuthenticationError),
    *statuses((403,), PermissionDenied),
    *statuses((404,), NotFound),
    *statuses((408, 425), Unavailable),
    *statuses((429,), RateLimited),
    *statuses((500, 501, 502, 503, 504, 511, 520, 529, 599, 600, 777, 999), Unavailable),
    Scenario(
        "retry-after",
        "status 429 with `Retry-After: 90`",
        body(just(b""), "Retry-After: 90", status=429),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "retry-after-date",
        "status 503 with `Retry-After` as a date",
        body(just(b""), f"Date: {DATE}", f"Retry-After: {LATER}", status=503),
        Gives(Unavailable, 503, 90.0),
        note="The date is compared with the response's own `Date`.",
    ),
    Scenario(
        "retry-after-garbage",
        "status 429 with an invalid `Retry-After`",
        body(just(b""), "Retry-After: soon", status=429),
        Gives(RateLimited, 429),
    ),
    Scenario(
        "retry-after-negative",
        "status 429 with a negative `Retry-After`",
        body(just(b""), "Retry-After: -5", status=429),
        Gives(RateLimited, 429),
    ),
    Scenario(
        "error-encoded",
        "status 429 with a body in brotli",
        body(just(b"\x0b\x02\x80"), "Retry-After: 90", "Content-Encoding: br", status=429),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "error-too-long",
        "status 503 with a page of 2 MiB",
        body(just(PAGE + b"x" * 2 * MIB), "Retry-After: 90", status=503),
        Gives(Unavailable, 503, 90.0),
    ),
    Scenario(
        "error-cut",
        "status 429 whose body is cut off",
        then(lambda sample: http(PAGE, "Retry-After: 90", status=429)[:-9], Peer.close),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "error-silent-in-body",
        "status 503 whose body stalls",
        then(lambda sample: http(PAGE, "Retry-After: 90", status=503)[:-9], Peer.hold),
        Gives(Unavailable, 503, 90.0),
        slow=True,
    ),
    *(
        Scenario(
            f"status-{code}".replace(" ", "-"),
            f"status {code}",
            answer(lambda sample, code=code: http(good(sample), status=code)),
            BROKEN,
        )
        for code in ("000", "099", "1000", "20", "abc", "2OO", "-1")
    ),
)

WORDS = {
    "boom": b'"boom"',
    "null": b"null",
    "list": b"[]",
    "number": b"42",
    "true": b"true",
    "NaN": b"NaN",
}
NESTED = b"[" * 100_000 + b"]" * 100_000
BODY = (
    Scenario("empty", "an empty body", body(just(b"")), BAD),
    Scenario("blank", "a blank body", body(just(b" \r\n\t ")), BAD),
    Scenario("html", "an HTML page with status 200", body(just(PAGE), "X-Portal: yes"), BAD),
    Scenario("text", "text", body(just(b"OK")), BAD),
    *(
        Scenario(f"json-{name}", f"the JSON value `{raw.decode()}`", body(just(raw)), BAD)
        for name, raw in WORDS.items()
    ),
    Scenario("json-empty-object", "the JSON object `{}`", body(just(b"{}")), BAD),
    Scenario(
        "json-foreign",
        "JSON of another service",
        body(just(b'{"message": "hello", "code": 0}')),
        BAD,
    ),
    Scenario(
        "json-listed",
        "the expected response in a list",
        body(lambda sample: b"[" + good(sample) + b"]"),
        BAD,
    ),
    Scenario(
        "json-in-text",
        "the expected response as a JSON string",
        body(lambda sample: json.dumps(good(sample).decode()).encode()),
        BAD,
    ),
    Scenario("json-cut", "truncated JSON", body(lambda sample: good(sample)[:-1]), BAD),
    Scenario(
        "json-trailing",
        "JSON followed by something else",
        body(lambda sample: good(sample) + b"}"),
        BAD,
    ),
    Scenario(
        "json-twice",
        "two JSON objects",
        body(lambda sample: good(sample) + b"\n" + good(sample)),
        BAD,
    ),
    Scenario(
        "json-duplicate-keys",
        "a duplicate name in an object",
        body(lambda sample: sample.body(extra=',"extra":1,"extra":2')),
        BAD,
    ),
    Scenario(
        "json-nested",
        "100,000 nested brackets",
        body(just(NESTED)),
        BAD,
    ),
    Scenario(
        "json-nested-inside",
        "100,000 nested brackets in another field",
        body(lambda sample: sample.body(extra=f',"extra":{NESTED.decode()}')),
        BAD,
    ),
    Scenario(
        "json-nested-objects",
        "100,000 nested objects",
        body(just(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        BAD,
    ),
    Scenario(
        "json-nested-a-little",
        "200 nested brackets in another field",
        body(lambda sample: sample.body(extra=f',"extra":{"[" * 200 + "]" * 200}')),
        RIGHT,
    ),
    Scenario(
        "json-huge-integer",
        "an integer of 5,000 digits",
        body(lambda sample: sample.body(number="9" * 5000)),
        BAD,
    ),
    Scenario(
        "json-further-fields",
        "undocumented fields",
        body(lambda sample: sample.body(extra=',"extra":{"a":[1,null]}')),
        RIGHT,
    ),
    Scenario(
        "json-surrogate",
        "half a surrogate pair in a string",
        body(lambda sample: sample.body(text='"\\ud800"')),
        RIGHT,
        note="The string can be printed.",
    ),
    Scenario(
        "json-bom", "a byte order mark", body(lambda sample: b"\xef\xbb\xbf" + good(sample)), RIGHT
    ),
    Scenario(
        "utf-16", "UTF-16", body(lambda sample: good(sample).decode().encode("utf-16")), RIGHT
    ),
    Scenario(
        "not-utf-8",
        "bytes that are not UTF-8",
        body(lambda sample: sample.body(text='"M%s"').replace(b"%s", b"\xfc")),
        BAD,
    ),
    Scenario("nul-bytes", "a body of NUL bytes", body(just(b"\0" * 100)), BAD),
    Scenario(
        "content-type-wrong",
        "the expected JSON with another `Content-Type`",
        answer(lambda sample: http(good(sample)).replace(b"application/json", b"text/html")),
        RIGHT,
    ),
    Scenario(
        "content-type-missing",
        "the expected JSON without a `Content-Type`",
        answer(
            lambda sample: http(good(sample)).replace(b"Content-Type: application/json\r\n", b"")
        ),
        RIGHT,
    ),
    Scenario("just-fits", "a response of 1 MiB", body(lambda sample: padded(sample, MIB)), RIGHT),
    Scenario(
        "too-long",
        "a response of 1 MiB and a byte",
        body(lambda sample: padded(sample, MIB + 1)),
        BAD,
    ),
    Scenario(
        "much-too-long", "a response of 2 MiB", body(lambda sample: padded(sample, 2 * MIB)), BAD
    ),
    Scenario(
        "endless",
        "an endless response",
        endless(HEAD_OF_200 + b"\r\n", b"x" * 65536),
        BAD,
        on_trio=True,
    ),
    Scenario(
        "endless-chunks",
        "endless chunks",
        endless(HEAD_OF_CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        BAD,
    ),
)

NUMBERS = (
    *(
        Scenario(
            f"number-{name}",
            f"`{written}` where a number should be",
            body(lambda sample, written=written: sample.body(number=written)),
            RIGHT,
            note="The number is `None`; `wire` has it as received.",
        )
        for name, written in {
            "nan": "NaN",
            "infinite": "Infinity",
            "minus-infinite": "-Infinity",
            "1e999": "1e999",
            "negative": "-1",
            "null": "null",
            "true": "true",
            "list": "[1]",
            "object": "{}",
            "word": '"much"',
        }.items()
    ),
)


def over_tls(context: Callable[[], ssl.SSLContext], play: Play) -> Play:
    """The same, once TLS is agreed upon with this certificate."""

    def start(peer: Peer, sample: Sample) -> None:
        peer.start_tls(context())
        play(peer, sample)

    return start


PLAIN = answer(good_answer())
CERTIFICATE = Gives(TransportError, says="certificate")
TLS = (
    Scenario(
        "tls",
        "a complete response over TLS",
        over_tls(fault_tls.good, PLAIN),
        RIGHT,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-untrusted",
        "a certificate from an unknown authority",
        over_tls(fault_tls.untrusted, PLAIN),
        attrs.evolve(CERTIFICATE, is_final=True),
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-someone-else",
        "a certificate for another host",
        over_tls(fault_tls.someone_else, PLAIN),
        CERTIFICATE,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-expired",
        "a certificate that has expired",
        over_tls(fault_tls.expired, PLAIN),
        CERTIFICATE,
        https=True,
    ),
    Scenario(
        "tls-to-plain",
        "TLS to a port that doesn't speak it",
        lambda peer, sample: peer.send(http(PAGE, status=400)),
        Gives(TransportError, says="could not connect"),
        https=True,
    ),
    Scenario(
        "plain-to-tls",
        "plain HTTP to a port that speaks TLS",
        over_tls(fault_tls.good, PLAIN),
        BROKEN,
    ),
    Scenario(
        "tls-closed-in-handshake",
        "the connection is closed during the handshake",
        lambda peer, sample: peer.drop_handshake(Peer.close),
        Gives(TransportError, says="could not connect"),
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-reset-in-handshake",
        "the connection is reset during the handshake",
        lambda peer, sample: peer.drop_handshake(Peer.reset),
        Gives(TransportError, says="could not connect"),
        https=True,
    ),
    Scenario(
        "tls-silent-in-handshake",
        "the handshake never ends",
        lambda peer, sample: peer.hold(),
        Gives(TransportError, says="could not connect"),
        https=True,
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "tls-dripped-handshake",
        "the handshake arrives one byte at a time",
        lambda peer, sample: peer.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 500),
        Gives(TransportError, says="could not connect"),
        https=True,
        slow=True,
    ),
    Scenario(
        "tls-silent",
        "no response arrives over TLS",
        over_tls(fault_tls.good, then(just(b""), Peer.hold)),
        Gives(TransportError, says="no complete response"),
        https=True,
        slow=True,
    ),
    Scenario(
        "tls-dripped-body",
        "the body arrives one byte at a time over TLS",
        over_tls(fault_tls.good, drip(lambda sample: http(padded(sample, 5000)), whole_head=True)),
        Gives(TransportError, says="no complete response"),
        https=True,
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "tls-closed-unanswered",
        "the connection is closed before any response over TLS",
        over_tls(fault_tls.good, then(just(b""), Peer.close)),
        BROKEN,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-cut-in-body",
        "the response is cut off in its body over TLS",
        over_tls(fault_tls.good, then(cut(good_answer(), -10), Peer.close)),
        BROKEN,
        https=True,
    ),
    Scenario(
        "tls-reset-in-body",
        "the connection is reset during the body over TLS",
        over_tls(fault_tls.good, then(cut(good_answer(), -10), Peer.reset)),
        BROKEN,
        https=True,
    ),
    Scenario(
        "tls-length-missing-cut",
        "TLS is cut off in a body whose length isn't given",
        over_tls(
            fault_tls.good,
            then(lambda sample: http(good(sample)[:-10], length=False), Peer.close),
        ),
        BAD,
        https=True,
    ),
    Scenario(
        "tls-garbage-in-body",
        "bytes that are not TLS arrive in the body",
        over_tls(
            fault_tls.good, then(cut(good_answer(), -10), lambda peer: peer.send_below_tls(PAGE))
        ),
        BROKEN,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-endless",
        "an endless response over TLS",
        over_tls(fault_tls.good, endless(HEAD_OF_200 + b"\r\n", b"x" * 65536)),
        BAD,
        https=True,
    ),
)

GROUPS: dict[str, tuple[Scenario, ...]] = {
    "The connection": CONNECTION,
    "TLS": TLS,
    "The form of the response": FRAMING,
    "The encoding of the body": ENCODING,
    "The status": STATUS,
    "The body, with status 200": BODY,
    "Numbers": NUMBERS,
}
SCENARIOS = tuple(scenario for group in GROUPS.values() for scenario in group)
